"""Reference-calibrated membership: is a text likelier than a reference model makes it?

Some texts are easy for any model. Subtracting or dividing by a reference model's loss on the same
text takes that away (Carlini et al. 2021; Watson et al. 2022, arXiv 2111.08440). References: the
control model, trained alike but without the pool, which is what a well-informed attacker can make;
and the original model, which only an attacker who kept a copy has. Against the original even a
model that truly never saw the set differs on it, so no unlearner can answer that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from unlearning.attacks import Reason
from unlearning.settings import settings_class

if TYPE_CHECKING:
    import pandas as pd

TITLE = "loss calibrated by"
HEADLINE = ("difference", "auc")
UNIT = "AUC"
REASONS = {"difference": Reason("known better than by the reference model", 0.02)}


@settings_class
class Settings:
    """What to compare with."""

    references: tuple[Literal["control", "original"], ...] = Field(
        default=("control", "original"), min_length=1
    )
    """Reference models; a control that was not trained is left out."""


def score(membership: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """The attack on every run.

    Args:
        membership: rows per run and sequence, with the column loss (nats per token).
        settings: the references.

    Returns:
        Variants by reference. Measures: difference, the reference's loss less the model's own for
        the control (memorized = member), the model's own less the reference's for the original
        (what moved = member); ratio, the same as a logarithm of the quotient; difference_two_sided
        and ratio_two_sided, the distance from the median of the unseen "threshold" half.
    """
    import pandas as pd

    keys = ["model", "forget_size", "unlearner", "seed"]
    join = ["model", "forget_size", "seed", "sequence_id"]
    parts = []
    for reference in settings.references:
        known = membership.loc[membership["unlearner"] == reference, [*join, "loss"]]
        if known.empty:
            continue
        table = membership.merge(known, on=join, suffixes=("", "_reference"))
        own, other = table["loss"], table["loss_reference"]
        sign = 1.0 if reference == "control" else -1.0
        measures = {"difference": sign * (other - own), "ratio": sign * np.log(other / own)}
        fixed = (table["split"] == "unseen") & (table["half"] == "threshold")
        for name, values in list(measures.items()):
            centre = values.where(fixed).groupby([table[key] for key in keys]).transform("median")
            measures[f"{name}_two_sided"] = (values - centre).abs()
        parts += [
            table[[*keys, "sequence_id", "split", "half"]].assign(
                variant=reference, measure=name, value=values
            )
            for name, values in measures.items()
        ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
