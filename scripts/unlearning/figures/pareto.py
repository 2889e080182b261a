"""Privacy against utility: who is on the front of each cell."""

import pandas as pd
from matplotlib.figure import Figure

from unlearning.analysis.replicates import CELL_KEYS, REPLICATE, replicated, units
from unlearning.figures.style import (
    BY_CONSTRUCTION,
    FigureJob,
    circular_in,
    empty,
    grid,
    markers,
    method_legend,
    methods_in,
    palette,
)
from unlearning.names import METRICS, method_order


def pareto_outliers(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Utility against the share of outliers; see `_fronts`."""
    return _fronts(results, settings, "outliers", settings.outlier_metric, settings.max_outliers)


def pareto_attack(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Utility against the success of the worst attack; see `_fronts`."""
    return _fronts(results, settings, "attack", settings.attack_metric, settings.max_attack)


def _fronts(
    results: dict[str, pd.DataFrame], settings: FigureJob, measure: str, metric: str, limit: float
) -> Figure:
    """One panel per cell: means large, what they are of small, the Pareto front as a line.

    Args:
        results: uses candidates and per_run.
        settings: order of models, the rule.
        measure: "outliers" or "attack", the columns of candidates.
        metric: the same measure in per_run.
        limit: its limit.
    """
    table = results["candidates"]
    if not methods_in(table):
        return empty("no run of an unlearner came through")
    runs = results["per_run"]
    runs = runs[runs["metric"].isin([metric, settings.utility_metric])]
    keys = [*CELL_KEYS, "unlearner"]
    repeated = units(runs, [*keys, "metric"]).pivot(
        index=[*keys, REPLICATE if replicated(runs) else "seed"], columns="metric", values="value"
    ).dropna()  # fmt: skip
    labels = method_order(repeated.index.get_level_values("unlearner"))
    colours, shapes = palette(labels), markers(labels)
    models, sizes = settings.model_order(table), sorted(table["forget_size"].unique())
    figure, axes = grid(len(models), len(sizes), width=2.75, height=1.9, sharex=True, sharey="row")
    for row, model in zip(axes, models, strict=True):
        for axis, size in zip(row, sizes, strict=True):
            axis.axvline(limit, color="grey", linewidth=1, linestyle="--", zorder=1)
            for label in labels:
                try:
                    own = repeated.loc[(model, size, label)]
                except KeyError:
                    continue
                style = {"color": colours[label], "marker": shapes[label], "linewidths": 0}
                x, y = own[metric], own[settings.utility_metric]
                if label in ("original", "control"):  # one model each: draws share its utility
                    axis.scatter(x.mean(), y.mean(), s=55, zorder=3, **style)
                    continue
                axis.scatter(x, y, s=9, alpha=0.5, zorder=2, **style)
                axis.scatter(x.mean(), y.mean(), s=48, zorder=4, **style)
            cell = table[(table["model"] == model) & (table["forget_size"] == size)]
            front = cell[cell[f"pareto_{measure}"].astype(bool)].sort_values(measure)
            axis.plot(
                front[measure], front["utility"],
                color="black", linewidth=1, zorder=3, drawstyle="steps-post",
            )  # fmt: skip
            names = [settings.name(m).removesuffix(" (ours)") for m in front["unlearner"]]
            axis.set_title("front: " + (", ".join(names) or "nobody"), fontsize=8)
        if METRICS[settings.utility_metric].better == "lower":
            row[0].invert_yaxis()  # up is better, whatever is measured
        row[0].set_ylabel(f"{model}\n{METRICS[settings.utility_metric].label}")
    for axis, size in zip(axes[0], sizes, strict=True):
        axis.set_title(f"{size} sequences\n{axis.get_title()}", fontsize=8)
    circular = circular_in(table) if measure == "outliers" else set()
    note = f"\n{BY_CONSTRUCTION}" if circular else ""
    n = repeated.groupby(level=keys).size().max()
    figure.supxlabel(
        f"{METRICS[metric].label} [{METRICS[metric].unit}]; better: up and left; dashed: the limit"
        f" ({limit:g})\nlarge: mean over n = {n} {settings.repetitions}, small: each of them; line:"
        f" Pareto front of the means, from private to useful{note}",
        fontsize=9,
    )
    method_legend(figure, labels, settings, daggers=circular)
    return figure
