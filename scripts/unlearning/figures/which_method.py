"""Which method should I use? Every method in every cell, with its price, on one page."""

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from unlearning.analysis.gains import pooled_difference
from unlearning.analysis.solution_space import DRIFT, excess_of, summary
from unlearning.figures.style import (
    BY_CONSTRUCTION,
    FigureJob,
    circular_in,
    empty,
    grid,
    markers,
    methods_in,
    palette,
)
from unlearning.limits import at_most
from unlearning.names import METRICS
from unlearning.statistics import Interval, mean_interval

SAFE = "#B7E1CD"
LOST = 1e3
"""Stands for the infinite excess of a method with a diverged run."""


def which_method(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Methods down, best first; cells of the map across; then the change of utility, and seconds.

    A number is how far the method is from safe: the largest of its privacy measures in units of
    the limit, 1 at the limit. Green: safe. Framed: the map's winner, or the nearest where none is.

    Args:
        results: uses candidates, per_run, cost.
        settings: order of models, the rule.
    """
    table = results["candidates"].copy()
    methods = methods_in(table)
    if not methods:
        return empty("no run of an unlearner came through")
    table["excess"] = table["excess"].clip(upper=LOST)
    control = _control(results["per_run"], settings)
    order = table.groupby("unlearner").agg({"safe": "sum", "excess": "mean"}).loc[methods]
    methods = list(order.sort_values(["safe", "excess"], ascending=[False, True]).index)
    models, sizes = settings.model_order(table), sorted(table["forget_size"].unique())
    cells = [(model, size) for model in models for size in sizes]
    field_width = max(0.62 * len(cells), 2.2)  # of few cells, room for the words below
    figure, ((field, change, time),) = grid(
        1,
        3,
        width=(field_width + 5.4) / 3,
        height=0.42 * (len(methods) + len(control.index.unique("unlearner"))) + 1.1,
        gridspec_kw={"width_ratios": [field_width, 1.9, 1.9]},
        sharey=True,
    )
    values = table.set_index(["unlearner", "model", "forget_size"])["excess"]
    values = pd.concat([values, control]).unstack("unlearner").reindex(cells).T
    values = values.reindex([*methods, *control.index.unique("unlearner")])
    chosen = table[table["rank"] == 1].set_index(["model", "forget_size"])["unlearner"]
    _field(field, values, chosen)
    gap = len(sizes)
    for number, model in enumerate(models):
        if number:
            field.axvline(number * gap - 0.5, color="black", linewidth=1.2)
        field.text(number * gap + (gap - 1) / 2, -0.65, model, ha="center", va="bottom")
    field.set_xticks(range(len(cells)), [str(size) for _, size in cells])
    field.set_xlabel(
        "forget-set size [sequences]\nnumber: the larger privacy measure,\nin units of its limit"
    )
    field.axhline(len(methods) - 0.5, color="black", linewidth=1.2)
    circular = circular_in(table)
    names = [settings.name(label) + "†" * (label in circular) for label in values.index]
    field.set_yticks(range(len(values)), names)
    field.set_ylim(len(values) - 0.5, -0.6)
    _strip(change, methods, [_change(results["per_run"], m, settings) for m in methods])
    metric = METRICS[settings.utility_metric]
    change.axvline(0, color="black", linewidth=0.8)
    change.set_xlabel(f"change of {metric.label}\nagainst the original\n[{metric.unit}]")
    seconds = results["cost"].query("metric == 'seconds'")
    _strip(
        time, methods, [mean_interval(seconds.query("unlearner == @m")["mean"]) for m in methods]
    )
    time.set_xlim(left=0)
    time.set_xlabel("time of one run\nof unlearning\n[seconds]")
    n = _change(results["per_run"], methods[0], settings).n
    figure.suptitle(summary(results["solution_space"], settings.name), fontsize=10, ha="center")
    bottom = "; bottom row: perfect forgetting" if "control" in values.index else ""
    figure.supxlabel(
        f"framed: the map's choice; green: keeps the limits ({_limits(settings)}){bottom}.\n"
        f"Numbers are of means over {settings.repetitions}; right: mean and 95 % interval over"
        f" n = {n} {'replicates' if settings.replicated else 'cells'}"
        + (f"\n{BY_CONSTRUCTION}" if circular else ""),
        fontsize=8,
    )
    return figure


def _limits(settings: FigureJob) -> str:
    return (
        f"{METRICS[settings.outlier_metric].label} ≤ {settings.max_outliers:g},"
        f" {METRICS[settings.attack_metric].label} ≤ {settings.max_attack:g}"
        + (
            ""
            if settings.max_drift is None
            else f", {METRICS[DRIFT].label} ≤ {settings.max_drift:g}"
        )
    )


def _control(runs: pd.DataFrame, settings: FigureJob) -> pd.Series:
    """The same number for the model that never saw the sequences: what perfect forgetting has."""
    own = runs[runs["unlearner"] == "control"]
    keys = ["unlearner", "model", "forget_size"]
    means = own.pivot_table(index=keys, columns="metric", values="value", aggfunc="mean")
    found = [
        excess_of(row[settings.outlier_metric], row[settings.attack_metric], row[DRIFT], settings)
        for _, row in means.iterrows()
    ]
    index = means.index if len(means) else pd.MultiIndex.from_arrays([[], [], []], names=keys)
    return pd.Series(found, index=index, dtype=float)


def _field(axis: Axes, values: pd.DataFrame, chosen: pd.Series) -> None:
    """The coloured cells with their numbers.

    Args:
        axis: to draw on.
        values: excess, labels down, cells (model, forget size) across.
        chosen: the first by the rule, by cell.
    """
    shown = values[values < LOST].to_numpy()
    norm = LogNorm(1, max(np.nanmax(shown, initial=2.0), 2.0))
    colours = colormaps["Oranges"](0.8 * norm(values.clip(1, norm.vmax).to_numpy()))
    for y, (label, row) in enumerate(values.iterrows()):
        for x, (cell, value) in enumerate(row.items()):
            unknown, lost, safe = np.isnan(value), value >= LOST, at_most(value, 1)
            colour = "white" if unknown else SAFE if safe else "#BBBBBB" if lost else colours[y, x]
            axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, linewidth=0))
            first = chosen.get(cell) == label and not lost
            axis.text(
                x,
                y,
                "–" if unknown else "lost" if lost else f"{value:.1f}",
                ha="center",
                va="center",
                weight="bold" if first else "normal",
            )
            if first:
                frame = Rectangle((x - 0.44, y - 0.42), 0.88, 0.84, fill=False, edgecolor="black")
                frame.set_linewidth(1.8)
                axis.add_patch(frame)
    axis.set_xlim(-0.5, values.shape[1] - 0.5)
    axis.tick_params(length=0)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)


def _change(runs: pd.DataFrame, method: str, settings: FigureJob) -> Interval:
    """Change of the utility metric against the original model, pooled over cells."""
    return pooled_difference(runs, settings.utility_metric, method, "original")


def _strip(axis: Axes, methods: list[str], intervals: list[Interval]) -> None:
    """One mean with its interval per method."""
    colours, shapes = palette(methods), markers(methods)
    for y, (method, interval) in enumerate(zip(methods, intervals, strict=True)):
        axis.plot([interval.low, interval.high], [y, y], color=colours[method], linewidth=1.6)
        axis.plot(interval.mean, y, marker=shapes[method], color=colours[method], markersize=7)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.locator_params(axis="x", nbins=4)
