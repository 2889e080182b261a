"""What every attack of the suite finds, method by method, against the control."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from unlearning import attacks
from unlearning.analysis.rows import ALL
from unlearning.figures.style import FigureJob, empty, grid, palette
from unlearning.names import method_order

COLUMNS = 4


def attack_suite(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Forest plot: one panel per attack, one row per method, pooled over all cells.

    Each attack is shown by its headline measure and metric of its first variant. Grey: the
    control's interval. Filled: surely above the control, paired over cells.

    Args:
        results: uses attack_suite.
        settings: names of methods.
    """
    table = results["attack_suite"]
    table = table[table["model"] == ALL]
    names = [name for name in table["attack"].unique() if name in attacks.names()]
    # membership tests first, then what brings text back
    names.sort(key=lambda name: (attacks.load(name).HEADLINE[1] != "auc", name))
    if not names:
        return empty("no attack of the suite was run")
    labels = method_order(table["unlearner"])
    colours = palette(labels)
    rows = -(-len(names) // COLUMNS)
    columns = min(COLUMNS, len(names))
    figure, axes = grid(rows, columns, width=2.15, height=0.21 * len(labels) + 0.75, sharey=True)
    panels = [axis for row in axes for axis in row]
    for axis, name in zip(panels, names, strict=False):
        _panel(axis, table[table["attack"] == name], attacks.load(name), labels, colours)
    for axis in panels[len(names) :]:
        axis.set_axis_off()
    panels[0].set_yticks(range(len(labels)), [settings.name(label) for label in labels])
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    n = " or ".join(map(str, sorted(set(table["n"]) - {0}))) or 0
    control = "No control model: what is found of one with nothing to hide is not known"
    if "control" in labels:
        control = "Grey: the control's.  Filled: surely above the control, paired"
    figure.supxlabel(
        f"n = {n} {table['n_counts'].iloc[0]}.  Bars: 95 % intervals.\n{control}",
        fontsize=8,
    )
    return figure


def _panel(axis, table: pd.DataFrame, attack, labels: list[str], colours: dict[str, str]) -> None:
    """One attack: its mean and interval for each method."""
    measure, metric = attack.HEADLINE
    variant = table["variant"].iloc[0]
    table = table[
        (table["variant"] == variant) & (table["measure"] == measure) & (table["metric"] == metric)
    ]
    table = table.set_index("unlearner")
    if "control" in table.index:
        control = table.loc["control"]
        if np.isfinite(control[["low", "high"]].to_numpy(float)).all():
            axis.axvspan(control["low"], control["high"], color="#DDDDDD", lw=0, zorder=0)
        axis.axvline(control["mean"], color="#7F7F7F", linewidth=0.8)
    for y, label in enumerate(labels):
        if label not in table.index:
            continue
        row, colour = table.loc[label], colours[label]
        axis.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.8)
        axis.plot(
            row["mean"],
            y,
            marker="o",
            markersize=5,
            markeredgecolor=colour,
            markerfacecolor=colour if row["above_low"] > 0 else "white",
        )
    axis.set_title(f"{attack.TITLE}\n{variant.replace('_', ' ')}")
    axis.set_xlabel(attack.UNIT, fontsize=8)
    axis.locator_params(axis="x", nbins=4)
