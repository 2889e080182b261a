"""How much the models memorized before unlearning, by model and repetitions."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from unlearning.figures.style import COLOURS, FigureJob, grid
from unlearning.names import model_order


def memorization(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """G of every sequence, by repetitions in the training text: original beside control.

    Args:
        results: uses memorization and sequences.
        settings: order of models.
    """
    known = results["memorization"]
    known = known[known["unlearner"].isin(["original", "control"])]
    known = known.drop_duplicates(["model", "unlearner", "sequence_id"])
    table = known[["model", "unlearner", "sequence_id", "ma"]].merge(
        results["sequences"][["sequence_id", "split", "repetitions"]], on="sequence_id"
    )
    levels = sorted(table["repetitions"].unique())
    if len(levels) > 12:
        # too many to stand side by side: unseen, and four groups of equal size
        ranks = table["repetitions"].where(table["repetitions"] > 0).rank(pct=True)
        table["repetitions"] = np.ceil(ranks.fillna(0) * 4)
        levels = sorted(table["repetitions"].unique())
    places = {level: i for i, level in enumerate(levels)}
    models = model_order(table["model"], settings.models)
    figure, axes = grid(1, len(models), width=2.8, height=2.6, sharey=True)
    generator = np.random.default_rng(0)  # places the points sideways, nothing else
    for axis, model in zip(axes[0], models, strict=True):
        for role, offset in (("original", -0.2), ("control", 0.2)):
            own = table[(table["model"] == model) & (table["unlearner"] == role)]
            if own.empty:
                continue
            x = own["repetitions"].map(places).to_numpy() + offset
            axis.scatter(
                x + generator.uniform(-0.14, 0.14, len(own)),
                own["ma"],
                s=6,
                color=COLOURS[role],
                alpha=0.4,
                linewidths=0,
                label="trained on the sequences" if role == "original" else "never trained on them",
            )
            means = own.groupby("repetitions")["ma"].mean()
            axis.hlines(
                means,
                means.index.map(places) + offset - 0.19,
                means.index.map(places) + offset + 0.19,
                color=COLOURS[role],
                linewidth=2,
                path_effects=[withStroke(linewidth=3, foreground="white")],
                zorder=3,
            )
        one = table[(table["model"] == model) & (table["unlearner"] == "original")]
        counts = one["repetitions"].value_counts()
        labels = [
            ("unseen" if level == 0 else f"{level:g}") + f"\nn={counts.get(level, 0)}"
            for level in levels
        ]
        axis.set_xticks(range(len(levels)), labels)
        axis.set_title(model)
        axis.set_ylim(max(0, table["ma"].min() - 0.05), 1.03)
    axes[0][0].set_ylabel("memorization g(x) = MA of a sequence")
    figure.supxlabel("repetitions in the training text (n sequences); bar: mean", fontsize=9)
    handles, labels = axes[0][0].get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside upper center", ncols=2, markerscale=3, frameon=False
    )
    for handle in legend.legend_handles:
        handle.set_alpha(1)
    return figure
