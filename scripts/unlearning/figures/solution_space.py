"""The map: which method wins where."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from unlearning.analysis.strictest import shown
from unlearning.figures.style import BY_CONSTRUCTION, FigureJob, empty, grid, methods_in, palette
from unlearning.limits import above

WIDTH = 36
"""Characters that a line in a cell holds."""


def solution_space(results: dict[str, pd.DataFrame], settings: FigureJob) -> Figure:
    """One cell per model and forget size: winner, runner-up, how sure, and seconds per run.

    Full colour: the lead is sure. Hatched: it is not. Pale with a dashed edge: no method keeps the
    limits, and the two that exceed them least are named.

    Args:
        results: uses solution_space, candidates, cost.
        settings: order of models.
    """
    table = results["solution_space"]
    if not methods_in(results["candidates"]):
        return empty("no run of an unlearner came through")
    models, sizes = settings.model_order(table), sorted(table["forget_size"].unique())
    colours = palette(results["candidates"]["unlearner"])
    ranks = results["candidates"].set_index(["model", "forget_size", "rank"]).sort_index()
    seconds = results["cost"].query("metric == 'seconds'")
    seconds = seconds.set_index(["model", "forget_size", "unlearner"])["mean"]
    figure, axes = grid(1, 1, width=2.35 * len(sizes) + 1, height=1.5 * len(models) + 0.4)
    axis = axes[0][0]
    for _, row in table.iterrows():
        x, y = sizes.index(row["forget_size"]), models.index(row["model"])
        winner, sure = row["winner"], bool(row["sure_lead"])
        first = winner or row["nearest"]
        axis.add_patch(
            Rectangle(
                (x - 0.48, y - 0.46),
                0.96,
                0.92,
                facecolor=colours[first] if first else "white",
                edgecolor="white" if winner else "grey",
                alpha=(0.75 if sure else 0.4) if winner else 0.16,
                hatch="///" if winner and not sure else None,
                linestyle="-" if winner else "--",
                linewidth=1,
            )
        )
        cell = ranks.loc[(row["model"], row["forget_size"])]
        lines = _words(row, cell, seconds, settings)
        box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "linewidth": 0}
        box["alpha"] = 0.85 if winner else 0
        axis.text(x, y - 0.34, lines[0], ha="center", va="center", weight="bold", bbox=box)
        axis.text(
            x, y + 0.07, "\n".join(lines[1:]), ha="center", va="center", fontsize=7.5, bbox=box
        )
    axis.set(xlim=(-0.5, len(sizes) - 0.5), ylim=(-0.5, len(models) - 0.5))
    axis.invert_yaxis()
    axis.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axis.set_yticks(range(len(models)), models)
    axis.set_xlabel(
        "forget-set size [sequences]\nfull colour: sure lead; hatched: not sure; pale: no method"
        " keeps the privacy limits\n"
        "attack: the strictest, by name; floor: of a model that never saw the sequences\n"
        "times: one run of unlearning"
        + (f"\n{BY_CONSTRUCTION}" if table["by_construction"].astype(bool).any() else "")
    )
    axis.set_ylabel("model")
    axis.tick_params(length=0)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    return figure


def _words(row: pd.Series, cell: pd.DataFrame, seconds: pd.Series, settings: FigureJob) -> list:
    """What a cell says; `cell` are its candidates by rank."""

    def place(rank: int) -> str:
        label, excess = cell.loc[rank, "unlearner"], cell.loc[rank, "excess"]
        cost = seconds.get((row["model"], row["forget_size"], label), float("nan"))
        beyond = "" if cell.loc[rank, "safe"] else f", {excess:.1f} × limit"
        return f"{rank}. {settings.name(label)}{beyond}, {cost:.2g} s"

    if not row["winner"] and not row["nearest"]:
        return ["none is safe", "no run came through"]
    n = f", n = {int(row['n'])} {settings.repetitions}"
    if row["tied"]:
        sure = "tied" + n
    elif row["winner"]:
        lead = f" by {row['lead']:.3f}" if row["runner_up"] else ""
        sure = ("sure" if row["sure_lead"] else "not sure") + f"{lead}{n}"
    else:
        sure = ("sure" if row["sure_none"] else "not sure") + n
    dagger = "†" if row["by_construction"] else ""
    who = f"by {shown(row['strictest'])}" if row["strictest"] else ""
    beyond = above(row["floor"], settings.max_attack)
    return [
        settings.name(row["winner"]) if row["winner"] else "none is safe",
        *(place(rank) for rank in cell.index[:2]),
        f"of 1.: outliers {row['outliers']:.2f}{dagger}, attack {row['attack']:.2f}"
        + ("" if np.isnan(row["floor"]) else f" (floor {row['floor']:.2f})"),
        *textwrap.wrap(who, WIDTH),
        *(["the floor is above the limit too"] if beyond else []),
        f"utility {row['utility']:.2f}",
        sure,
    ]
