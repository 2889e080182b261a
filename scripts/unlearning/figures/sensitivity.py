"""What the map would say under other privacy limits."""

from itertools import pairwise

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from unlearning.analysis.solution_space import winner_under
from unlearning.figures.style import FigureJob, empty, grid, methods_in, palette
from unlearning.names import METRICS


def sensitivity(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """The winner of each cell for every pair of limits: strict below left, loose above right.

    Exact: the winner can only change where a limit passes a method's own value.

    Args:
        results: uses candidates.
        settings: order of models, the rule.
    """
    table = results["candidates"]
    methods = methods_in(table)
    if not methods:
        return empty("no run of an unlearner came through")
    colours = palette(methods)
    models, sizes = settings.model_order(table), sorted(table["forget_size"].unique())
    figure, axes = grid(len(models), len(sizes), width=2.4, height=1.75, sharex=True, sharey=True)
    right = max(1.0, settings.max_outliers)
    bottom, top = min(0.5, settings.max_attack), max(1.0, settings.max_attack)
    better = METRICS[settings.utility_metric].better
    seen = set()
    for row, model in zip(axes, models, strict=True):
        for axis, size in zip(row, sizes, strict=True):
            cell = table[(table["model"] == model) & (table["forget_size"] == size)]
            for x, x_next in pairwise(_edges(cell["outliers"], 0.0, right)):
                for y, y_next in pairwise(_edges(cell["attack"], bottom, top)):
                    winner = winner_under(cell, x, y, better)
                    if winner:
                        seen.add(winner)
                        axis.add_patch(
                            Rectangle(
                                (x, y), x_next - x, y_next - y, color=colours[winner], linewidth=0
                            )
                        )
            axis.set_facecolor("#EEEEEE")
            axis.plot(
                settings.max_outliers, settings.max_attack, "*", color="black",
                markersize=11, markeredgecolor="white", clip_on=False,
            )  # fmt: skip
            axis.set(xlim=(0, right), ylim=(bottom, top))
            axis.locator_params(nbins=5)
        row[0].set_ylabel(f"{model}\nattack limit")
    for axis, size in zip(axes[0], sizes, strict=True):
        axis.set_title(f"{size} sequences")
    outliers, attack = METRICS[settings.outlier_metric], METRICS[settings.attack_metric]
    figure.supxlabel(
        f"largest acceptable mean of {outliers.label} [{outliers.unit}];"
        f" up: of {attack.label} [{attack.unit}]",
        fontsize=9,
    )
    handles = [Patch(color=colours[m], label=settings.name(m)) for m in methods if m in seen]
    handles.append(Patch(color="#EEEEEE", label="none is safe"))
    handles.append(Line2D([], [], marker="*", ls="", color="black", ms=9, label="limits as set"))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _edges(values: pd.Series, low: float, high: float) -> list[float]:
    """Where the winner can change: the methods' own values within the axis, and its ends."""
    inside = values[(values > low) & (values < high)]
    return [low, *sorted(inside.unique()), high]
