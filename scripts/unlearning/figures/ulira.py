"""What an attacker finds who has trained models with and without each sequence."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from unlearning.analysis.shadows import REPEATED, SHARED
from unlearning.figures.style import FigureJob, grid, palette
from unlearning.names import method_order

ATTACKERS = {"each": "one attacker for each sequence", "all": "one for all"}
MARKERS = {"each": "o", "all": "D"}


def ulira(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Forest plot: one panel per model, one row per method, both attackers by all scores together.

    Grey: the control's interval, of sequences that no model was trained on. Filled: surely above.

    Args:
        results: uses ulira.
        settings: names of methods.
    """
    table = results["ulira"]
    table = table[(table["score"] == "joint") & (table["metric"] == "auc")]
    models, labels = settings.model_order(table), method_order(table["unlearner"])
    colours = palette(labels)
    figure, axes = grid(
        1, len(models), width=3.2, height=0.34 * len(labels) + 0.9, sharey=True, sharex=True
    )
    for axis, model in zip(axes[0], models, strict=True):
        _panel(axis, table[table["model"] == model], labels, colours)
        axis.set_title(model)
    axes[0][0].set_yticks(range(len(labels)), [settings.name(label) for label in labels])
    axes[0][0].set_ylim(len(labels) - 0.5, -0.5)
    handles = [
        Line2D([], [], color="#555555", marker=MARKERS[name], linewidth=1.4, label=text)
        for name, text in ATTACKERS.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    n = " or ".join(map(str, sorted(set(table["n"])))) or 0
    over = REPEATED if REPEATED in set(table["n_counts"]) else SHARED
    figure.supxlabel(
        f"n = {n} {over}.  Bars: 95 % intervals.\n"
        "Grey: the control's, sequences in no model.  Filled: surely above it",
        fontsize=8,
    )
    return figure


def _panel(axis, table: pd.DataFrame, labels: list[str], colours: dict[str, str]) -> None:
    """One model: mean and interval of both attackers for each method."""
    for shift, attacker in ((-0.14, "each"), (0.14, "all")):
        rows = table[table["attacker"] == attacker].set_index("unlearner")
        for y, label in enumerate(labels):
            if label not in rows.index:
                continue
            row, colour = rows.loc[label], colours[label]
            control = row[["control_low", "control_high"]].to_numpy(float)
            if np.isfinite(control).all():
                axis.plot(control, [y + shift] * 2, color="#DDDDDD", linewidth=5, zorder=0)
            axis.plot([row["low"], row["high"]], [y + shift] * 2, color=colour, linewidth=1.4)
            axis.plot(
                row["mean"],
                y + shift,
                marker=MARKERS[attacker],
                markersize=4.5,
                markeredgecolor=colour,
                markerfacecolor=colour if row["above_low"] > 0 else "white",
            )
    axis.axvline(0.5, color="#7F7F7F", linewidth=0.8, zorder=0)
    axis.set_xlabel("AUC", fontsize=8)
    axis.locator_params(axis="x", nbins=5)
