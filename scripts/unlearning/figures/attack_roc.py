"""ROC curves of the membership attack."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from unlearning.attacks.membership import finite, roc_points, split_run, with_scores
from unlearning.figures.style import FigureJob, grid, method_legend, palette
from unlearning.names import method_order

RATES = np.linspace(0, 1, 201)


def attack_roc(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """ROC of the loss attack per model: one-sided above, two-sided below; one forget size.

    A curve is the mean over draws of the true positive rate at each false positive rate.

    Args:
        results: uses membership.
        settings: order of models, forget size.
    """
    size = settings.shown_size(results["membership"])
    table = with_scores(results["membership"][results["membership"]["forget_size"] == size])
    models, labels = settings.model_order(table), method_order(table["unlearner"])
    colours = palette(labels)
    figure, axes = grid(2, len(models), width=2.4, height=2.3, sharex=True, sharey=True)
    counts = set()
    for column, model in enumerate(models):
        for label in labels:
            own = table[(table["model"] == model) & (table["unlearner"] == label)]
            curves: dict[int, list[np.ndarray]] = {0: [], 1: []}
            for _, run in own.groupby("seed"):
                inside, outside, fixed = (finite(part["loss"]) for part in split_run(run))
                if not len(inside) or not len(outside) or not len(fixed):
                    continue
                counts.add((len(inside), len(outside)))
                centre = np.median(fixed)
                for side, (a, b) in enumerate(
                    ((inside, outside), (np.abs(inside - centre), np.abs(outside - centre)))
                ):
                    curves[side].append(_true_at(*roc_points(a, b)))
            for side, found in curves.items():
                if found:
                    axes[side][column].plot(
                        RATES,
                        np.mean(found, axis=0),
                        color=colours[label],
                        linewidth=1.5,
                        linestyle="--" if label in ("original", "control") else "-",
                    )
        axes[0][column].set_title(model)
    for row, name in zip(axes, ("one-sided", "two-sided"), strict=True):
        row[0].set_ylabel(f"loss, {name}\ntrue positive rate")
        for axis in row:
            axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
            axis.set_aspect("equal")
            axis.set(xlim=(0, 1), ylim=(0, 1.01), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    n = " or ".join(f"{a} unlearned against {b} unseen" for a, b in sorted(counts))
    draws = table["seed"].nunique()
    figure.supxlabel(
        f"false positive rate\n{n or 'no finite scores'}\nmean of {draws} draws; dotted: chance",
        fontsize=8,
    )
    method_legend(figure, labels, settings, line=True)
    return figure


def _true_at(false: np.ndarray, true: np.ndarray) -> np.ndarray:
    """True positive rate of the last threshold within each false positive rate (a step curve)."""
    return true[np.searchsorted(false, RATES + 1e-9, side="right") - 1]
