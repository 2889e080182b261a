"""Every figure is drawn, the same bytes each time; and the entry points from end to end."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text

from running import analyse
from unlearning.analysis.attack_effects import ROW_COLUMNS
from unlearning.analysis.rows import read_rows, read_table
from unlearning.figures import FIGURES, FigureJob, save
from unlearning.figures.style import (
    COLOURS,
    SPARE_COLOURS,
    compact,
    fit_notes,
    grid,
    markers,
    palette,
)
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import write_parquet
from unlearning.names import method_name

MODELS = '{"models": ["small"]}'


@pytest.fixture(scope="module")
def results(analysis, drawn_from):
    return {
        name: (read_rows if path.endswith("parquet") else read_table)(analysis / path)
        for name, path in drawn_from.items()
    }


def test_without_attacks_the_suite_s_files_are_there_and_its_figure_says_so(analysis, tmp_path):
    write_parquet(pd.DataFrame(columns=ROW_COLUMNS), tmp_path / "attack_values.parquet")
    analyse(
        "analyse_attacks",
        membership=analysis / "membership.parquet",
        values=tmp_path / "attack_values.parquet",
        thresholds=analysis / "thresholds.csv",
        settings='{"attacks": {}}',
        output=tmp_path,
    )
    table = read_table(tmp_path / "tables" / "attack_suite.csv")
    assert table.empty
    assert len(pd.read_csv(tmp_path / "attack_exposed.csv")) > 0
    figure = FIGURES["attack_suite"]({"attack_suite": table}, FigureJob())
    assert "no attack" in figure.axes[0].texts[0].get_text()


def test_the_analysis_writes_its_files(analysis):
    made = {path.name for path in analysis.rglob("*") if path.is_file()}
    assert {"attack_runs.parquet", "attack_exposed.csv", "claims.json", "claims.md"} <= made
    tables = [
        "per_run",
        "main",
        "outliers",
        "attack",
        "utility",
        "gains",
        "solution_space",
        "candidates",
        "original",
        "cost",
        "attack_suite",
    ]
    assert {f"{name}.csv" for name in tables} <= made


def test_a_second_run_makes_the_same_tables(analysis, tmp_path):
    names = ("sequences", "memorization", "membership", "utility", "runs", "attack_runs")
    analyse(
        "make_tables",
        **{name: analysis / f"{name}.parquet" for name in names},
        attack_effects=analysis / "attack_effects.parquet",
        thresholds=analysis / "thresholds.csv",
        settings=MODELS,
        output=tmp_path,
    )
    written = sorted(tmp_path.glob("*.csv"))
    assert len(written) == 10
    for path in written:
        assert path.read_bytes() == (analysis / "tables" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_the_same_bytes_each_time(name, results, analysis, tmp_path):
    """Drawn here, and by the entry point in another process."""
    paths = save(FIGURES[name](results, FigureJob(models=("small",))), tmp_path, name)
    assert [path.suffix for path in paths] == [".svg", ".png", ".pdf"]
    for path in paths:
        assert path.read_bytes() == (analysis / "figures" / path.name).read_bytes(), path.name
        assert path.stat().st_size > 2000


def test_the_figure_of_trust_says_what_its_intervals_are_over(results):
    job = FigureJob(models=("small",))
    for settings, counted in ((job, "1 models"), (replace(job, replicated=True), "1 replicates")):
        figure = FIGURES["trust"](results, settings)
        assert figure.get_supxlabel().startswith(f"n = {counted}")
        plt.close(figure)


def test_a_compact_svg_keeps_every_coordinate_to_a_hundredth_of_a_point(tmp_path):
    """Held against matplotlib's own file, number by number."""
    figure, axes = grid(1, 1)
    axes[0][0].plot([0, 1 / 3, 1], [1 / 7, 2 / 3, -1 / 9], marker="o", label="a line")
    figure.savefig(tmp_path / "own.svg", metadata={"Date": None})
    own = (tmp_path / "own.svg").read_text()
    svg = compact(own)
    numbers, words = r"-?\d+\.?\d*(?:e-?\d+)?", r"\s+"
    assert re.sub(words, "", re.sub(numbers, "#", svg)) == re.sub(
        words, "", re.sub(numbers, "#", own)
    )
    expected, found = (np.array(re.findall(numbers, text), float) for text in (own, svg))
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.005 + 1e-9)
    np.testing.assert_array_equal(  # a scale is no coordinate
        *(re.findall(r'transform="[^"]*"', text) for text in (svg, own))
    )
    assert len(svg) < 0.95 * len(own)


def test_figures_can_be_drawn_one_by_one(analysis, drawn_from, tmp_path):
    paths = {name: analysis / path for name, path in drawn_from.items()}
    analyse("draw_figures", **paths, only="gains", settings=MODELS, output=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gains.pdf",
        "gains.png",
        "gains.svg",
    ]


def test_the_analysis_is_tested_where_torch_is_refused(tmp_path):
    """What `analyse` promises: a script that needs torch fails there."""
    with pytest.raises(AssertionError, match="must not import torch"):
        analyse("unlearn", help=[])


def test_without_a_run_that_came_through_figures_say_so(results):
    """An experiment in which every run of an unlearner is missing still draws."""
    bare = {
        name: table[table["unlearner"].isin(["original", "control"])]
        if "unlearner" in table
        else table
        for name, table in results.items()
    }
    for name in ("which_method", "solution_space", "sensitivity", "pareto_attack", "utility"):
        figure = FIGURES[name](bare, FigureJob())
        assert "no run of an unlearner came through" in figure.axes[0].texts[0].get_text()


def test_figures_speak_of_a_control_only_where_there_is_one(results):
    bare = {
        name: table[table["unlearner"] != "control"] if "unlearner" in table else table
        for name, table in results.items()
    }
    for name, word in (
        ("which_method", "bottom row"),
        ("attack_suite", "surely above the control"),
    ):
        assert word in FIGURES[name](results, FigureJob())._supxlabel.get_text()
        assert word not in FIGURES[name](bare, FigureJob())._supxlabel.get_text()


CIRCULAR = ("gains", "pareto_outliers", "which_method", "solution_space", "forgetting_histogram")


@pytest.mark.parametrize("name", CIRCULAR)
def test_what_is_so_by_construction_is_marked(name, results):
    marked = {
        table: rows.assign(by_construction=True) if "by_construction" in rows else rows
        for table, rows in results.items()
    }

    def words(tables: dict) -> str:
        figure = FIGURES[name](tables, FigureJob())
        found = " ".join(text.get_text() for text in figure.findobj(Text))
        plt.close(figure)
        return found

    assert "by construction" in words(marked)
    assert "by construction" not in words(results)


@pytest.mark.parametrize("count", [3, 13])
def test_names_of_tasks_do_not_run_into_each_other(results, count):
    """As many tasks as the published suite has, with names as long."""
    table = results["utility"]
    task = table[table["task"] == "place"]
    several = [task.assign(task=f"published_task_{i:02d}") for i in range(count)]
    text = table[table["metric"] == "nats_per_token"]
    figure = FIGURES["utility"]({"utility": pd.concat([*several, text])}, FigureJob())
    figure.canvas.draw()
    labels = [label for label in figure.axes[-2].get_xticklabels() if "published" in str(label)]
    assert len(labels) == count
    angle = np.deg2rad(labels[0].get_rotation())
    ends = [label.get_transform().transform(label.get_position()) for label in labels]
    step = ends[1][0] - ends[0][0]
    if angle:  # side by side if their lines are further apart than a line is high
        assert step * np.sin(angle) > labels[0].get_fontsize() * figure.dpi / 72
    else:
        assert max(label.get_window_extent().width for label in labels) < step


def test_methods_keep_their_colour_and_new_ones_get_their_own():
    labels = ["ga", "mine", "yours", "sga"]
    found = palette(labels)
    assert found["ga"] == COLOURS["ga"]
    assert palette(["mine", "yours"])["mine"] == found["mine"]
    assert len(set(found.values())) == len(found)
    assert found["mine"] in SPARE_COLOURS
    assert markers(labels)["mine"] != markers(labels)["yours"]
    many = palette([f"method {i:02d}" for i in range(30)])
    assert len(set(many.values())) == len(COLOURS) + 30
    assert method_name("mine") == "mine"


@pytest.mark.parametrize("panels", [1, 4])
def test_long_notes_stay_within_a_figure_of_few_panels(panels):
    figure, _ = grid(1, panels)
    words = "one word after another " * 8
    notes = [figure.suptitle(words), figure.supxlabel(f"short\n{words}", fontsize=9)]
    fit_notes(figure)
    for note in notes:
        assert note.get_window_extent().width <= figure.bbox.width
    assert notes[0].get_text().split() == words.split()
    assert notes[1].get_text().startswith("short\none word")


def test_display_names_can_be_given():
    job = FigureJob(names={"mine": "My method"})
    assert [job.name(label) for label in ("mine", "ga", "else")] == ["My method", "GA", "else"]


def test_a_size_or_draw_that_was_not_run_is_named(results):
    with pytest.raises(InputError, match="forget_size: 5 was not run; choose one of 4, 8"):
        FIGURES["trajectories"](results, FigureJob(forget_size=5))
    with pytest.raises(InputError, match="seed: 9 was not run; choose one of 0, 1"):
        FIGURES["trajectories"](results, FigureJob(seed=9))
