"""Privacy against utility of every method."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from unlearning.figures.style import FigureJob, grid, markers, method_legend, palette
from unlearning.metrics import METRICS, method_order

PRIVACY = ("outliers_calibrated_rate", "attack_auc_worst")
UTILITY = "utility_accuracy"


def privacy_utility(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Utility over privacy: models across; outliers above, attack below; sizes by marker size.

    Bars are 95 % intervals over draws, cut at the axes.

    Args:
        results: uses main.
        settings: order of models.
    """
    table = results["main"]
    table = table[table["metric"].isin([*PRIVACY, UTILITY])]
    table = table.set_index(["model", "forget_size", "unlearner", "metric"]).sort_index()
    keys = table.index.droplevel("metric").unique()
    models = settings.model_order(results["main"])
    labels = method_order(keys.get_level_values("unlearner"))
    sizes = sorted(keys.get_level_values("forget_size").unique())
    areas = {size: 16 + 34 * i for i, size in enumerate(sizes)}
    colours, shapes = palette(labels), markers(labels)
    figure, axes = grid(2, len(models), width=2.7, height=2.3, sharex="row", sharey="col")
    for model, size, label in keys:
        column = models.index(model)
        for row, privacy in enumerate(PRIVACY):
            try:
                x = table.loc[(model, size, label, privacy)]
                y = table.loc[(model, size, label, UTILITY)]
            except KeyError:
                continue
            axis = axes[row][column]
            style = {"color": colours[label], "zorder": 3 if label in shapes else 2}
            axis.plot([x["low"], x["high"]], [y["mean"]] * 2, alpha=0.25, lw=0.9, **style)
            axis.plot([x["mean"]] * 2, [y["low"], y["high"]], alpha=0.25, lw=0.9, **style)
            axis.scatter(x["mean"], y["mean"], s=areas[size], marker=shapes[label], **style)
    means = table["mean"].unstack("metric")
    for column, model in enumerate(models):
        own = means.loc[model, UTILITY].dropna()
        if len(own):
            margin = max(0.02, 0.12 * (own.max() - own.min()))
            axes[0][column].set_ylim(own.min() - margin, min(1.02, own.max() + margin))
        axes[0][column].set_title(model)
    for row, privacy in zip(axes, PRIVACY, strict=True):
        for axis in row:
            axis.set_xlabel(f"{METRICS[privacy].label} [{METRICS[privacy].unit}]", fontsize=8)
        row[0].set_ylabel(f"{METRICS[UTILITY].label}\n(better: up and left)")
        row[0].set_xlim((-0.03, 1.03) if privacy == PRIVACY[0] else (0.4, 1.03))
    n = results["main"].loc[results["main"]["metric"] == UTILITY, "n"].max()
    figure.supxlabel(f"mean over n = {n} draws; faint bars: 95 % intervals", fontsize=8)
    handles = [
        Line2D([], [], color="grey", marker="o", ls="", markersize=areas[s] ** 0.5, label=str(s))
        for s in sizes
    ]
    axes[0][-1].legend(
        handles=handles,
        title="forget size",
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
    )
    method_legend(figure, labels, settings)
    return figure
