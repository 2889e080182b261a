"""Every figure is drawn, the same bytes each time; and the entry points from end to end."""

import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from synthetic_results import EFFECTS, Effect, Shape, make, write
from unlearning.attack_suite import ROW_COLUMNS
from unlearning.errors import InputError
from unlearning.figures import FIGURES, FigureJob, save
from unlearning.figures.style import COLOURS, SPARE_COLOURS, markers, palette
from unlearning.files import write_parquet
from unlearning.metrics import method_name
from unlearning.tables import read_rows, read_table

SCRIPTS = Path(__file__).parents[1] / "scripts"
MODELS = '{"models": ["small"]}'


def call(monkeypatch, script: str, **options) -> None:
    """Run an entry point in this process, as the command line would."""
    words = [f"{script}.py"]
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of the whole analysis, made by its entry points; "mine" is a user's own method."""
    home = tmp_path_factory.mktemp("results")
    effects = {name: EFFECTS[name] for name in ("ga", "sga")}
    effects |= {"mine": Effect(0.4, 0.02), "lost": Effect(0.4, 0.1, diverged=(0, 1))}
    shape = Shape(models=("small",), effects=effects, seeds=(0, 1), sizes=(4, 8), items=10)
    paths = write(home, make(shape))
    with pytest.MonkeyPatch.context() as patch:
        call(
            patch,
            "attack",
            membership=paths["membership"],
            settings='{"resamples": 10}',
            output=home,
        )
        blocks = '{"relearning": {}, "quantization": {}, "learned_attacker": {"repeats": 1}}'
        call(
            patch,
            "attack_suite",
            **{name: paths[name] for name in ("membership", "probes", "thresholds")},
            settings=f'{{"attacks": {blocks}, "attack": {{"resamples": 10}}}}',
            output=home,
        )
        names = ("sequences", "memorization", "membership", "utility", "runs", "thresholds")
        call(
            patch,
            "make_tables",
            **{name: paths[name] for name in names},
            attack_runs=home / "attack_runs.parquet",
            suite_runs=home / "attack_suite_runs.parquet",
            settings=MODELS,
            output=home / "tables",
        )
        tables = ("per_run", "original", "gains", "solution_space")
        call(
            patch,
            "judge_claims",
            **{name: home / "tables" / f"{name}.csv" for name in tables},
            settings=MODELS,
            output=home,
        )
    return home


def options_of_figures(folder: Path) -> dict[str, Path]:
    rows = ("sequences", "memorization", "membership", "history")
    tables = ("main", "gains", "utility", "solution_space", "attack_suite")
    return (
        {name: folder / f"{name}.parquet" for name in rows}
        | {name: folder / "tables" / f"{name}.csv" for name in tables}
        | {"thresholds": folder / "thresholds.csv"}
    )


@pytest.fixture(scope="module")
def results(folder):
    return {
        name: (read_rows if path.suffix == ".parquet" else read_table)(path)
        for name, path in options_of_figures(folder).items()
    }


def test_without_attacks_the_suite_s_files_are_there_and_its_figure_says_so(
    folder, tmp_path, monkeypatch
):
    write_parquet(pd.DataFrame(columns=ROW_COLUMNS), tmp_path / "probes.parquet")
    call(
        monkeypatch,
        "attack_suite",
        membership=folder / "membership.parquet",
        probes=tmp_path / "probes.parquet",
        thresholds=folder / "thresholds.csv",
        settings='{"attacks": {}}',
        output=tmp_path,
    )
    table = read_table(tmp_path / "tables" / "attack_suite.csv")
    assert table.empty
    assert len(pd.read_csv(tmp_path / "attack_exposed.csv")) > 0
    figure = FIGURES["attack_suite"]({"attack_suite": table}, FigureJob())
    assert "no attack" in figure.axes[0].texts[0].get_text()


def test_the_analysis_writes_its_files(folder):
    made = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"attack_runs.parquet", "attack_exposed.csv", "claims.json", "claims.md"} <= made
    tables = [
        "per_run",
        "main",
        "outliers",
        "attack",
        "utility",
        "gains",
        "solution_space",
        "original",
        "cost",
        "attack_suite",
    ]
    assert {f"{name}.csv" for name in tables} <= made


def test_a_second_run_makes_the_same_tables(folder, tmp_path, monkeypatch):
    names = ("sequences", "memorization", "membership", "utility", "runs", "attack_runs")
    call(
        monkeypatch,
        "make_tables",
        **{name: folder / f"{name}.parquet" for name in names},
        suite_runs=folder / "attack_suite_runs.parquet",
        thresholds=folder / "thresholds.csv",
        settings=MODELS,
        output=tmp_path,
    )
    written = sorted(tmp_path.glob("*.csv"))
    assert len(written) == 9
    for path in written:
        assert path.read_bytes() == (folder / "tables" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_the_same_bytes_each_time(name, results, tmp_path):
    job = FigureJob(models=("small",))
    written = []
    for attempt in ("first", "second"):
        paths = save(FIGURES[name](results, job), tmp_path / attempt, name)
        assert [path.suffix for path in paths] == [".svg", ".png", ".pdf"]
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
    assert min(map(len, written[0])) > 2000


def test_figures_are_drawn_by_their_entry_point(folder, tmp_path, monkeypatch):
    options = options_of_figures(folder)
    call(monkeypatch, "draw_figures", **options, only="gains", settings=MODELS, output=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "gains.pdf",
        "gains.png",
        "gains.svg",
    ]


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


def test_display_names_can_be_given():
    job = FigureJob(names={"mine": "My method"})
    assert [job.name(label) for label in ("mine", "ga", "else")] == ["My method", "GA", "else"]


def test_a_size_or_draw_that_was_not_run_is_named(results):
    with pytest.raises(InputError, match="forget_size: 5 was not run; choose one of 4, 8"):
        FIGURES["trajectories"](results, FigureJob(forget_size=5))
    with pytest.raises(InputError, match="seed: 9 was not run; choose one of 0, 1"):
        FIGURES["trajectories"](results, FigureJob(seed=9))


def test_the_analysis_imports_no_torch():
    code = (
        "import sys; import unlearning.figures, unlearning.claims, unlearning.attack_suite;"
        " sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, check=False).returncode == 0
