"""One look for all figures: colours, names, sizes, and files that come out the same every time."""

import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from unlearning.analysis.replicates import REPLICATE, replicated
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import replacing
from unlearning.names import METHODS, method_order, model_order
from unlearning.settings import settings_class
from unlearning.settings.analysis import FigureSettings, SolutionSettings

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (after the backend is chosen)

COLOURS = {
    "original": "#000000",
    "control": "#7F7F7F",
    "ga": "#D55E00",
    "sga": "#0072B2",
    "ta": "#E69F00",
    "tau": "#009E73",
    "sga_each": "#56B4E9",
    "ta_then_sga": "#CC79A7",
}
"""The Okabe-Ito colours, which stay apart for colour-blind readers."""
SPARE_COLOURS = ("#332288", "#882255", "#999933", "#44AA99", "#661100", "#AA4499", "#DDCC77")
"""For methods that are not registered, in the order of their labels (Tol's muted scheme)."""
MARKERS = {"ga": "o", "sga": "s", "ta": "D", "tau": "^", "sga_each": "P", "ta_then_sga": "X"}
SPARE_MARKERS = ("v", "<", ">", "p", "h", "*", "d")
BAND = "#DDDDDD"
FORMATS = ("svg", "png", "pdf")
PANEL = 2.3
"""Width of a panel in a grid, inches."""


@settings_class
class FigureJob(FigureSettings, SolutionSettings):
    """`FigureSettings`, the privacy limits of the map, and the order of the models."""

    models: tuple[str, ...] = ()
    """Display order, smallest first; models left out follow alphabetically."""

    replicated: bool = False
    """Whether the tables are over several replicates: then they are what n counts."""

    @property
    def repetitions(self) -> str:
        """What n counts within a cell, in a word."""
        return "replicates" if self.replicated else "draws"

    def name(self, label: str) -> str:
        """Display name of a method; its own label if it has none."""
        return self.names.get(label, METHODS.get(label, label))

    def model_order(self, table: pd.DataFrame) -> list[str]:
        """Models of a table in display order."""
        return model_order(table["model"], self.models)

    def shown_size(self, table: pd.DataFrame) -> int:
        """The forget size to show.

        Raises:
            InputError: the size asked for is not in the table.
        """
        sizes = sorted(table["forget_size"].unique())
        if self.forget_size is None:
            return int(sizes[len(sizes) // 2])
        if self.forget_size not in sizes:
            raise InputError(
                f"figures.forget_size: {self.forget_size} was not run;"
                f" choose one of {', '.join(map(str, sizes))}"
            )
        return self.forget_size

    def shown_seed(self, table: pd.DataFrame) -> int:
        """The forget-set draw to show.

        Raises:
            InputError: the draw asked for is not in the table.
        """
        seeds = sorted(table["seed"].unique())
        if self.seed is None:
            return int(seeds[0])
        if self.seed not in seeds:
            raise InputError(
                f"figures.seed: {self.seed} was not run; choose one of {', '.join(map(str, seeds))}"
            )
        return self.seed

    def shown_replicate(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of the replicate to show, as a table of one experiment.

        Raises:
            InputError: the replicate asked for is not in the table.
        """
        if not replicated(table):
            return table
        number = table[REPLICATE].min() if self.replicate is None else self.replicate
        own = table[table[REPLICATE] == number].drop(columns=REPLICATE)
        if own.empty:
            raise InputError(
                f"figures.replicate: {number} was not run; choose one of"
                f" {', '.join(map(str, sorted(table[REPLICATE].unique())))}"
            )
        return own.reset_index(drop=True)


def methods_in(table: pd.DataFrame) -> list[str]:
    """Unlearners of a table in display order, without the original and the control."""
    return [m for m in method_order(table["unlearner"]) if m not in ("original", "control")]


BY_CONSTRUCTION = "†: outliers by construction, the method's own stop rule looks at them"


def circular_in(candidates: pd.DataFrame) -> set[str]:
    """Methods whose outlier measure their own stop rule brings about, as candidates.csv says."""
    return set(candidates.loc[candidates["by_construction"].astype(bool), "unlearner"])


def _assign(labels: Iterable[str], known: dict, spare: Sequence[str]) -> dict[str, str]:
    others = sorted(set(labels) - set(known))
    if len(others) > len(spare) and spare[0].startswith("#"):
        spare = sns.husl_palette(len(others), l=0.5).as_hex()
    return known | {label: spare[i % len(spare)] for i, label in enumerate(others)}


def palette(labels: Iterable[str]) -> dict[str, str]:
    """A colour for every label: the registered one, or a spare one."""
    return _assign(labels, COLOURS, SPARE_COLOURS)


def markers(labels: Iterable[str]) -> dict[str, str]:
    """A marker for every method, so that colour is not the only cue."""
    return _assign(labels, MARKERS | {"original": "*", "control": "o"}, SPARE_MARKERS)


def grid(
    rows: int, columns: int, *, width: float = PANEL, height: float = 1.9, **options
) -> tuple[Figure, list[list[plt.Axes]]]:
    """A grid of panels in the project's style; axes as [row][column]."""
    sns.set_theme(
        context="paper",
        style="ticks",
        rc={
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.labelsize": 9,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "legend.fontsize": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.hashsalt": "unlearning",
            "pdf.fonttype": 42,
        },
    )
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(max(width * columns, 7.0), height * rows + 0.5),
        squeeze=False,
        layout="constrained",
        **options,
    )
    return figure, axes.tolist()


def method_legend(
    figure: Figure,
    labels: Sequence[str],
    settings: FigureJob,
    *,
    line: bool = False,
    daggers: Collection[str] = (),
) -> None:
    """One legend of the methods above the panels (below them is the note on what is shown).

    Args:
        figure: to put it on.
        labels: of the methods.
        settings: their names.
        line: lines instead of markers.
        daggers: labels of the methods that get a dagger.
    """
    colours, shapes = palette(labels), markers(labels)
    handles = [
        Line2D(
            [],
            [],
            color=colours[label],
            marker=None if line else shapes[label],
            linestyle="-" if line else "",
            linewidth=2,
            markersize=6,
            label=settings.name(label) + "†" * (label in daggers),
        )
        for label in labels
    ]
    columns = max(1, int(figure.get_figwidth() / 1.25))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=min(len(labels), columns),
        frameon=False,
    )


def empty(message: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure, axes = grid(1, 1, width=6)
    axes[0][0].text(0.5, 0.5, message, ha="center", va="center", wrap=True)
    axes[0][0].set_axis_off()
    return figure


def fit_notes(figure: Figure) -> None:
    """Break the lines of titles and notes that are wider than the figure, which has few panels."""
    for note in figure.texts:
        lines = []
        for line in note.get_text().split("\n"):
            note.set_text(line)
            share = note.get_window_extent().width / (0.97 * figure.bbox.width)
            lines += textwrap.wrap(line, int(len(line) / share)) if share > 1 else [line]
        note.set_text("\n".join(lines))


def compact(svg: str) -> str:
    """An SVG with coordinates in hundredths of a point, not millionths, and without indentation."""

    def rounded(coordinates: re.Match) -> str:
        return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", coordinates[0])

    return re.sub(r'(?<= [dxy]=")[^"]+', rounded, re.sub(r"\n +", "\n", svg))


def save(figure: Figure, folder: Path | str, name: str) -> list[Path]:
    """Write a figure as SVG, PNG and PDF, the same bytes each time, and close it."""
    stamps = {
        "svg": {"Date": None},
        "png": {"Software": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }
    fit_notes(figure)
    # places are found once, not once per format, which takes a third of the time
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    paths = []
    for kind in FORMATS:
        path = Path(folder) / f"{name}.{kind}"
        with replacing(path) as scratch:
            figure.savefig(scratch, format=kind, dpi=200, metadata=stamps[kind])
            if kind == "svg":  # pages and the report hold it whole
                scratch.write_text(compact(scratch.read_text()))
        paths.append(path)
    plt.close(figure)
    return paths
