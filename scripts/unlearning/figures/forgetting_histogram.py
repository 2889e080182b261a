"""Memorization of the forget set before and after, per method."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unlearning.figures.style import (
    BAND,
    BY_CONSTRUCTION,
    FigureJob,
    circular_in,
    empty,
    grid,
    methods_in,
    palette,
)
from unlearning.memorization.forgetting import thresholds_of


def forgetting_histogram(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Distribution of g over the forget set, models down, methods across, one forget size.

    Draws are laid on top of one another; a diverged run is left out.

    Args:
        results: uses memorization, thresholds and, for who stops by the band, candidates.
        settings: order of models, forget size.
    """
    table = results["memorization"]
    table = table[(table["split"] == "forget") & table["ma"].notna()]
    methods = methods_in(table)
    if not methods:
        return empty("no run of an unlearner came through")
    size = settings.shown_size(table)
    table = table[table["forget_size"] == size]
    models, colours = settings.model_order(table), palette(methods)
    circular = circular_in(results["candidates"])
    figure, axes = grid(len(models), len(methods), width=1.6, height=1.6, sharex=True, sharey="row")
    edges = np.linspace(0, 1, 21)
    for row, model in zip(axes, models, strict=True):
        own = table[table["model"] == model]
        before = own[own["unlearner"] == "original"]
        limits = thresholds_of(results["thresholds"], model)
        for axis, method in zip(row, methods, strict=True):
            after = own[own["unlearner"] == method]
            # the same draws on both sides, so that the areas can be compared
            same = before[before["seed"].isin(after["seed"])]
            axis.axvspan(limits.calibrated.low, limits.calibrated.high, color=BAND, lw=0)
            axis.hist(same["ma"], edges, histtype="step", color="black", linewidth=1)
            axis.hist(after["ma"], edges, color=colours[method], alpha=0.85)
            axis.axvline(limits.ma_mean, color="black", linestyle=":", linewidth=1)
            outside = limits.calibrated.outside(after["ma"].to_numpy()).sum()
            axis.text(
                0.98,
                0.97,
                f"{outside} of {len(after)}\noutside" if len(after) else "no run",
                transform=axis.transAxes,
                ha="right",
                va="top",
                fontsize=7,
            )
            axis.set_xlim(0, 1)
        row[0].set_ylabel(f"{model}\nsequences")
        row[0].yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        row[0].set_ylim(0, 1.35 * row[0].get_ylim()[1])  # room for the counts
    for axis, method in zip(axes[0], methods, strict=True):
        axis.set_title(settings.name(method) + "†" * (method in circular))
    figure.supxlabel(
        "memorization g(x) = MA.  Outline: before, filled: after unlearning"
        f" {size} sequences (draws summed).\n"
        "Grey: calibrated band of unseen sequences, dotted: forgetting threshold (their mean)"
        + (f"\n{BY_CONSTRUCTION}" if circular else ""),
        fontsize=9,
    )
    return figure
