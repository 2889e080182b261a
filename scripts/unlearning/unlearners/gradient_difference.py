"""GradDiff: gradient ascent on the forget set, with descent on text to keep.

Liu, Liu and Stone 2022 (Continual Learning and Private Unlearning); Maini et al. 2024 (TOFU,
arXiv 2401.06121, "gradient difference"; with `retain: {kind: kl}` its "KL minimization"). The loss
is -L(forget) + weight * R(retain), L the mean token cross-entropy.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from unlearning.settings import settings_class
from unlearning.settings.unlearning import RetainSettings

if TYPE_CHECKING:
    from unlearning.unlearners.learner import Learner
    from unlearning.unlearners.request import Request

RETAIN = RetainSettings(kind="nll")


@settings_class
class Settings:
    """GradDiff has nothing to set beyond what all unlearners share."""


def unlearn(
    learner: Learner, request: Request, settings: Settings
) -> Generator[str, np.ndarray, None]:
    """Each epoch, one ascent step on the whole forget set; the learner adds the term to keep."""
    yield "before"
    while True:
        learner.ascend(request.forget)
        yield "ascent"
