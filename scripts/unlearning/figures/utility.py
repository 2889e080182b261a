"""What unlearning costs, task by task."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from unlearning.analysis.replicates import REPLICATES
from unlearning.analysis.rows import DRAWS
from unlearning.figures.style import (
    FigureJob,
    empty,
    grid,
    markers,
    method_legend,
    methods_in,
    palette,
)
from unlearning.statistics import Interval, mean_interval

UPRIGHT = 6  # tasks in a panel; the names of more would run into each other


def utility(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Change of every task against the original model, pooled over forget sizes.

    Models down; accuracy and F1 tasks on the left, text (log-perplexity, up is worse) on the right.
    A bar is the 95 % interval over forget sizes, each the mean over its draws; with one forget size
    it is the interval over its draws. Of several replicates: one forget size, over replicates.

    Args:
        results: uses utility (the table of averages).
        settings: order of models.
    """
    table = results["utility"]
    methods = methods_in(table)
    if not methods:
        return empty("no run of an unlearner came through")
    if settings.replicated:  # of which each cell has its interval, and sizes share them
        table = table[table["forget_size"] == settings.shown_size(table)]
    table = _pooled(table[table["unlearner"].isin(methods)])
    if settings.replicated:
        table["n_counts"] = f"{REPLICATES}; {settings.shown_size(results['utility'])} sequences"
    models, colours, shapes = settings.model_order(table), palette(methods), markers(methods)
    text = table["metric"] == "nats_per_token"
    groups = [g for g in (table[~text], table[text]) if len(g)]
    tasks = [list(g["task"].unique()) for g in groups]
    slanted = any(len(names) > UPRIGHT for names in tasks)
    figure, axes = grid(
        len(models),
        len(groups),
        width=8.0 / len(groups),
        height=1.8 + slanted * 1.2 / len(models),  # the names stand below the last row alone
        sharex="col",
        sharey="col",
        gridspec_kw={"width_ratios": [max(len(t), 1) + 0.3 for t in tasks]},
    )
    for row, model in zip(axes, models, strict=True):
        for axis, group, names in zip(row, groups, tasks, strict=True):
            own = group[group["model"] == model]
            axis.axhline(0, color="black", linewidth=0.8)
            for i, method in enumerate(methods):
                part = own[own["unlearner"] == method].set_index("task").reindex(names)
                x = np.arange(len(names)) + (i - (len(methods) - 1) / 2) * 0.8 / len(methods)
                axis.vlines(x, part["low"], part["high"], color=colours[method], lw=1.2)
                axis.scatter(x, part["mean"], s=18, color=colours[method], marker=shapes[method])
            for edge in range(1, len(names)):
                axis.axvline(edge - 0.5, color="#CCCCCC", linewidth=0.6)
            axis.set_xlim(-0.5, len(names) - 0.5)
        is_text = groups[0]["metric"].iloc[0] == "nats_per_token"
        row[0].set_ylabel(f"{model}\nchange, " + ("nats/token" if is_text else "accuracy or F1"))
        if len(row) > 1:
            row[1].set_ylabel("change, nats/token")
    for axis, group, names in zip(axes[-1], groups, tasks, strict=True):
        items = group.drop_duplicates("task").set_index("task")["items"]
        many = len(names) > UPRIGHT
        words = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if many else {}
        between = ", " if many else "\n"
        axis.set_xticks(
            range(len(names)),
            [f"{name}{between}{items[name]} items" for name in names],
            fontsize=7,
            **words,
        )
    for axis, group in zip(axes[0], groups, strict=True):
        is_text = group["metric"].iloc[0] == "nats_per_token"
        axis.set_title("log-perplexity\n(up is worse)" if is_text else "tasks\n(down is worse)")
    figure.supxlabel(
        "mean change against the original model; bars: 95 % intervals over n ="
        f" {table['n'].max()} {table['n_counts'].iloc[0]}",
        fontsize=8,
    )
    # one odd interval must not squeeze every other one flat
    for column, group in enumerate(groups):
        means = group["mean"].dropna()
        if len(means):
            reach = max(0.02, 1.6 * means.abs().max())
            low, high = axes[0][column].get_ylim()
            axes[0][column].set_ylim(max(low, -reach), min(high, reach))
    method_legend(figure, methods, settings)
    return figure


def _pooled(table: pd.DataFrame) -> pd.DataFrame:
    """One row per model, method and task: the mean change over forget sizes and its interval."""
    keys = ["model", "unlearner", "task", "metric"]
    several = table["forget_size"].nunique() > 1
    rows = []
    for key, group in table.groupby(keys, sort=False):
        first = group.iloc[0]
        change = Interval(first["change"], first["change_low"], first["change_high"], first["n"])
        if several:
            change = mean_interval(group["change"])
        rows.append((*key, first["items"], change.mean, change.low, change.high, change.n))
    pooled = pd.DataFrame(rows, columns=[*keys, "items", "mean", "low", "high", "n"])
    return pooled.assign(
        n_counts="forget sizes, each the mean over its draws" if several else DRAWS
    )
