"""Progress of long work, as a line that a log can hold."""

import os
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A bar like tqdm's that speaks every few seconds, and never where all is done sooner.

    Bars within bars share one line: each says what it counts. Of several processes that torchrun
    has started, the first speaks.

    Args:
        items: what to go through; None for a bar that is moved on by hand.
        **options: tqdm's own, among them desc, unit and total.
    """
    options = {"mininterval": 5, "delay": 5, "position": 0} | options
    return tqdm(items, disable=os.environ.get("RANK", "0") != "0", **options)
