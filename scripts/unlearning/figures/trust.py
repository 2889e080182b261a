"""Which measure of forgetting deserves trust."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from unlearning import attacks
from unlearning.figures.style import FigureJob, empty, grid

NAMES = {
    "ma": "MA (g)",
    "el": "extraction likelihood",
    "loss": "loss",
    "suffix_loss": "loss of the suffix",
    "verbatim_run": "longest verbatim run",
    "min_k": "Min-K%",
    "min_k_plus_plus": "Min-K%++",
    "extracted": "suffix emitted verbatim",
    "entropy": "entropy",
    "head_loss": "loss of the head",
}
"""What the scores are called; a row of an attack has the attack's title."""
PANELS = (
    ("faithfulness", "low", "high", "faithful", "AUC, original against control", 0.5),
    ("relearning", "relearning_low", "relearning_high", "after relearning", "share back", 0.0),
    ("quantization", "quantization_low", "quantization_high", "quantized", "share back", 0.0),
)
"""Column, its interval's, title, axis, and the value that says nothing or that is best."""


def trust(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Dot plot: a row per score, a panel each for faithfulness and the two sides of robustness.

    Args:
        results: uses trust.
        settings: uses replicated.
    """
    table = results["trust"]
    if table.empty:
        return empty("no control model: there is no truth to hold a score against")
    height = 0.19 * len(table) + 0.6
    figure, axes = grid(1, len(PANELS), width=2.3, height=height, sharey=True)
    for axis, (column, low, high, title, label, line) in zip(axes[0], PANELS, strict=True):
        axis.axvline(line, color="#7F7F7F", linewidth=0.8)
        for y, row in enumerate(table.to_dict("records")):
            if np.isfinite(row[column]):
                axis.plot([row[low], row[high]], [y, y], color="#4C72B0", linewidth=1.8)
                axis.plot(row[column], y, marker="o", markersize=5, color="#4C72B0")
        axis.set_title(title)
        axis.set_xlabel(label, fontsize=8)
        axis.locator_params(axis="x", nbins=4)
    attack = table["attack"].fillna("")
    names = [
        attacks.load(by).TITLE if by else NAMES[score]
        for score, by in zip(table["score"], attack, strict=True)
    ]
    axes[0][0].set_yticks(range(len(table)), names)
    axes[0][0].set_ylim(len(table) - 0.5, -0.5)
    counts = (("n", "models"), ("relearning_n", "cells"))
    if settings.replicated:
        counts = (("n", "replicates"),)
    said = [f"{int(table[n].max())} {unit}" for n, unit in counts if table[n].notna().any()]
    figure.supxlabel(f"n = {', '.join(said)}.  Bars: 95 % intervals.", fontsize=8)
    return figure
