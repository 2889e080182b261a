"""How each sequence's memorization falls during unlearning."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from unlearning.figures.style import BAND, FigureJob, empty, grid, methods_in, palette
from unlearning.memorization.forgetting import thresholds_of


def trajectories(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """G of single sequences after each epoch: models down, methods across; one draw of one size.

    Args:
        results: uses history and thresholds.
        settings: order of models, forget size, draw.
    """
    table = results["history"]
    table = table[table["ma"].notna()]
    methods = methods_in(table)
    if not methods:
        return empty("no run of an unlearner left a history")
    size, seed = settings.shown_size(table), settings.shown_seed(table)
    table = table[(table["forget_size"] == size) & (table["seed"] == seed)]
    models, colours = settings.model_order(table), palette(methods)
    figure, axes = grid(len(models), len(methods), width=1.6, height=1.6, sharey=True)
    for row, model in zip(axes, models, strict=True):
        limits = thresholds_of(results["thresholds"], model)
        for axis, method in zip(row, methods, strict=True):
            run = table[(table["model"] == model) & (table["unlearner"] == method)]
            axis.axhspan(limits.calibrated.low, limits.calibrated.high, color=BAND, lw=0)
            axis.axhline(limits.ma_mean, color="black", linestyle=":", linewidth=1)
            wide = run.pivot(index="epoch", columns="sequence_id", values="ma")
            if len(wide):
                axis.plot(wide.index, wide, color=colours[method], linewidth=0.6, alpha=0.5)
                axis.plot(wide.index, wide.mean(axis=1), color="black", linewidth=1.8)
            axis.set_ylim(0, 1.02)
            axis.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        row[0].set_ylabel(f"{model}\ng(x) = MA")
    for axis, method in zip(axes[0], methods, strict=True):
        axis.set_title(settings.name(method))
    figure.supxlabel(
        f"epoch (one optimizer step).  Thin: each of {size} sequences (draw {seed}), black: their"
        " mean.\nGrey: calibrated band of unseen sequences, dotted: forgetting threshold",
        fontsize=9,
    )
    return figure
