"""Paired differences between proposals and baselines."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from unlearning.analysis.rows import ALL
from unlearning.figures.style import FigureJob, empty, grid, palette
from unlearning.names import METRICS


def gains(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """Forest plot of the pooled paired differences, one panel per metric.

    Filled: sure, as gains.csv says. Hollow square: by construction. Thin: Student's interval,
    thick: the bootstrap's.

    Args:
        results: uses gains.
        settings: metrics.
    """
    table = results["gains"]
    table = table[(table["model"] == ALL) & (table["forget_size"] == ALL)]
    metrics = [m for m in settings.gain_metrics if (table["metric"] == m).any()]
    if not metrics:
        return empty("no proposal was run beside a baseline")
    pairs = list(table[["baseline", "proposal"]].drop_duplicates().itertuples(index=False))
    pairs.sort(key=lambda pair: list(table["baseline"].unique()).index(pair.baseline))
    colours = palette(table["proposal"])
    figure, axes = grid(1, len(metrics), width=2.2, height=0.27 * len(pairs) + 0.9, sharey=True)
    for axis, metric in zip(axes[0], metrics, strict=True):
        axis.axvline(0, color="black", linewidth=0.8)
        for y, pair in enumerate(pairs):
            row = table[
                (table["metric"] == metric)
                & (table["proposal"] == pair.proposal)
                & (table["baseline"] == pair.baseline)
            ]
            if row.empty:
                continue
            row, colour = row.iloc[0], colours[pair.proposal]
            axis.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.2)
            axis.plot([row["boot_low"], row["boot_high"]], [y, y], color=colour, linewidth=3.2)
            axis.plot(
                row["mean"],
                y,
                marker="s" if row["by_construction"] else "o",
                markersize=6,
                markeredgecolor=colour,
                markerfacecolor=colour if row["sure"] else "white",
            )
        axis.locator_params(axis="x", nbins=4)
        reach = 1.08 * max(abs(np.array(axis.get_xlim())))
        axis.set_xlim(-reach, reach)
        better = METRICS[metric].better
        if better:
            left = better == "lower"
            axis.axvspan(*((-reach, 0) if left else (0, reach)), color="#EAF3EA", zorder=0, lw=0)
        axis.set_title(METRICS[metric].label, wrap=True)
        axis.set_xlabel(f"difference\n[{METRICS[metric].unit}]", fontsize=8)
    labels = [f"{settings.name(p.proposal)} − {settings.name(p.baseline)}" for p in pairs]
    axes[0][0].set_yticks(range(len(pairs)), labels)
    axes[0][0].set_ylim(len(pairs) - 0.5, -0.5)
    shown = table[table["metric"].isin(metrics)]
    n = " or ".join(str(value) for value in sorted(shown["n"].unique()))
    squares = ""
    if shown["by_construction"].astype(bool).any():
        squares = "\nSquare: by construction, one method's own stop rule looks at it; never sure"
    figure.supxlabel(
        f"n = {n} {shown['n_counts'].iloc[0]}.  Green side: better.  95 % intervals, thin:"
        " Student, thick: bootstrap.\nFilled: both exclude zero, and p is below 0.05 after Holm's"
        " correction over all pairs and headline metrics" + squares,
        fontsize=8,
    )
    return figure
