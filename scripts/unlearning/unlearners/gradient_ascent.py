"""GA: gradient ascent on the whole forget set (Jang et al. 2023, "UL"; the paper's baseline)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from unlearning.settings import settings_class

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.request import Request


@settings_class
class Settings:
    """GA has nothing to set beyond what all unlearners share."""


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one ascent step on the mean token cross-entropy of the forget set."""
    yield "before"
    while True:
        learner.ascend(request.forget)
        yield "ascent"
