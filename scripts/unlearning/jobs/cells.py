"""Cells of the experiment: on one model, one run of one unlearner; a job does a batch of them."""

from typing import NamedTuple


class Cell(NamedTuple):
    """A cell, apart from its model. In settings it is the list [forget size, label, seed]."""

    forget_size: int
    unlearner: str
    """Label of the unlearner."""
    seed: int

    @property
    def name(self) -> str:
        """Its folder among the checkpoints and the finished parts of a job."""
        return "-".join(map(str, self))

    def keys(self, model: str) -> dict[str, str | int]:
        """What tells its rows apart in a table."""
        return {"model": model, **self._asdict()}
