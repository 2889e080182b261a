"""The map: which method wins where."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from unlearning.figures.style import FigureJob, grid, palette
from unlearning.metrics import METHODS


def solution_space(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """One coloured cell per model and forget size with its winner.

    Full colour: the lead is sure. Hatched: tied, with whom is written below. White: no method is
    feasible, and the nearest is named.

    Args:
        results: uses solution_space.
        settings: order of models.
    """
    table = results["solution_space"]
    models, sizes = settings.model_order(table), sorted(table["forget_size"].unique())
    colours = palette({*METHODS, *table["winner"], *table["nearest"]} - {""})
    figure, axes = grid(1, 1, width=2.3 * len(sizes) + 1, height=1.05 * len(models) + 0.4)
    axis = axes[0][0]
    for _, row in table.iterrows():
        x, y = sizes.index(row["forget_size"]), models.index(row["model"])
        winner, sure = row["winner"], bool(row["sure_lead"])
        axis.add_patch(
            Rectangle(
                (x - 0.48, y - 0.46),
                0.96,
                0.92,
                facecolor=colours[winner] if winner else "white",
                edgecolor="white" if winner else "grey",
                alpha=0.75 if sure else 0.35,
                hatch=None if sure or not winner else "///",
                linewidth=1,
            )
        )
        lines = _words(row, settings)
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
        axis.text(x, y - 0.22, lines[0], ha="center", va="center", weight="bold", bbox=box)
        axis.text(x, y + 0.14, "\n".join(lines[1:]), ha="center", va="center", fontsize=7, bbox=box)
    axis.set(xlim=(-0.5, len(sizes) - 0.5), ylim=(-0.5, len(models) - 0.5))
    axis.invert_yaxis()
    axis.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axis.set_yticks(range(len(models)), models)
    axis.set_xlabel(
        "forget-set size [sequences]\nfull colour: sure lead; hatched: tied; white: no method"
        " keeps the privacy limits"
    )
    axis.set_ylabel("model")
    axis.tick_params(length=0)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    return figure


def _words(row: pd.Series, settings: FigureJob) -> list[str]:
    numbers = (
        f"utility {row['utility']:.2f}, outliers {row['outliers']:.2f},\n"
        f"attack {row['attack']:.2f}, n = {int(row['n'])}"
    )
    if not row["winner"]:
        if not row["nearest"]:
            return ["none feasible", "no run came through"]
        return ["none feasible", f"nearest: {settings.name(row['nearest'])}\n{numbers}"]
    if row["tied"]:
        rivals = [settings.name(label) for label in row["tied"].split(";")]
        tail = f"tied with {rivals[0]}" + (f" and {len(rivals) - 1} more" if rivals[1:] else "")
    elif row["runner_up"]:
        tail = f"before {settings.name(row['runner_up'])} by {row['lead']:.3f}"
    else:
        tail = "the only feasible one"
    return [settings.name(row["winner"]), f"{tail}\n{numbers}"]
