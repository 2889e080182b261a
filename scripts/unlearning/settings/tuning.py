"""Settings of the tuning: one rule by which every method's settings are chosen."""

from typing import Annotated, Any

from pydantic import Field

from unlearning.settings import Name, settings_class

Values = Annotated[tuple[Any, ...], Field(min_length=1)]


@settings_class
class TuningSettings:
    """The grids, the forget sets they are tried on, and the limits of the criterion.

    The criterion stands in `analysis.tuning.choose`.
    """

    grids: dict[Name, dict[str, Values]] = Field(min_length=1)
    """Label of an unlearner -> key of its block -> values to try; a point of the grid takes one of
    each. `retain.weight` is the weight in `retain`. All grids have equally many points, so that no
    method is tuned harder than another."""

    sizes: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]
    """Numbers of sequences to forget while tuning."""

    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    """One draw from the planted pool each; none of `forget_sets.seeds`, which are reported."""

    models: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    """Models to tune on; null is all. Rates are relative, so that what small models choose can be
    tried on large ones, on which tuning costs most; it need not hold there."""

    max_rise: float = Field(default=0.1, gt=0)
    """Largest acceptable rise of the loss of ordinary text, nats per token."""

    max_drift: float = Field(default=0.1, gt=0)
    """Largest acceptable rise of the loss of unseen sequences, nats per token."""
