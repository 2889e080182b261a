"""Fixtures that several test files share."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from running import ROOT, SMOKE, analyse, copy_project, snakemake, write_small
from synthetic_results import EFFECTS, Effect, Shape, make, write
from unlearning.figures import FIGURES

ROWS = ("sequences", "memorization", "membership", "history")
TABLES = (
    "per_run", "gains", "utility", "solution_space", "candidates", "cost", "attack_suite",
    "trust",
)  # fmt: skip


def pytest_collection_modifyitems(items) -> None:
    """Files with slow tests first, so that none is left for the end, when one process is alone.

    From the last to the first: the one that makes the shared runs, test_workflow, is the first, and
    those that read them come when they are made.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path in slow, item.path), reverse=True)


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Make a folder once for all test processes of a session: the first to ask makes it."""
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent  # what all workers have in common

    def folder_of(name: str, make: Callable[[Path], None]) -> Path:
        with (home / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (made := home / f"{name}.made").exists():
                shutil.rmtree(home / name, ignore_errors=True)  # left by one that failed
                make(home / name)
                made.touch()
        return home / name

    return folder_of


@pytest.fixture(scope="session")
def trained(once) -> Path:
    """A folder in which workflows leave the models that they train, for others to take."""
    return once("trained", Path.mkdir)


@pytest.fixture(scope="session")
def smoke(once, trained) -> Path:
    """A copy of the project in which the smoke experiment has run; one file's tests edit it."""

    def run(folder: Path) -> None:
        done = snakemake(copy_project(folder), "--configfile", SMOKE, trained=trained)
        assert done.returncode == 0, done.stdout[-5000:]

    return once("smoke", run)


@pytest.fixture(scope="session")
def small(once, smoke, trained) -> Path:
    """A copy of the project in which the small experiment has run, as far as its verdicts.

    All its cells are one job; its models are those of the smoke experiment. To be read alone.
    """

    def run(folder: Path) -> None:
        config = write_small(copy_project(folder), [])
        targets = ("results/small/claims.json", "results/small/kept/tiny/all")
        done = snakemake(folder, *targets, "--configfile", config, trained=trained, warm=True)
        assert done.returncode == 0, done.stdout[-5000:]

    return once("small", run)


@pytest.fixture(scope="session")
def drawn_from() -> dict[str, str]:
    """What the figures are drawn from: name -> path below the results."""
    return (
        {name: f"{name}.parquet" for name in ROWS}
        | {name: f"tables/{name}.csv" for name in TABLES}
        | {"thresholds": "thresholds.csv"}
    )


@pytest.fixture(scope="session")
def analysis(tmp_path_factory, drawn_from) -> Path:
    """Results of the whole analysis of made-up rows, made by its entry points without torch.

    "mine" is a user's own method, "lost" one that diverged.
    """
    home = tmp_path_factory.mktemp("results")
    effects = {name: EFFECTS[name] for name in ("ga", "sga")}
    effects |= {"mine": Effect(0.4, 0.02), "lost": Effect(0.4, 0.1, diverged=(0, 1))}
    shape = Shape(models=("small",), effects=effects, seeds=(0, 1), sizes=(4, 8), items=10)
    paths = write(home, make(shape))
    models = json.dumps({"models": ["small"]})
    attacks = {"relearning": {}, "quantization": {}, "learned_attacker": {"repeats": 2}}
    analyse(
        "analyse_attacks",
        **{name: paths[name] for name in ("membership", "values", "thresholds")},
        settings=json.dumps({"attacks": attacks, "analysis": {"resamples": 10}}),
        output=home,
    )
    names = ("sequences", "memorization", "membership", "utility", "runs", "thresholds")
    analyse(
        "make_tables",
        **{name: paths[name] for name in names},
        attack_runs=home / "attack_runs.parquet",
        attack_effects=home / "attack_effects.parquet",
        settings=models,
        output=home / "tables",
    )
    judged = ("per_run", "original", "gains", "solution_space")
    judged = {name: home / f"tables/{name}.csv" for name in judged}
    judged["redrawn"] = home / "tables/redrawn.parquet"
    analyse("judge_claims", **judged, settings=models, output=home)
    analyse(
        "draw_figures",
        **{name: home / path for name, path in drawn_from.items()},
        settings=models,
        output=home / "figures",
    )
    analyse(
        "render_pages",
        tables=sorted((home / "tables").glob("*.csv")),
        claims=home / "claims.json",
        figures=[home / f"figures/{name}.svg" for name in FIGURES],
        captions=captions(home / "captions"),
        settings=json.dumps({"kinds": {name: "Map" for name in FIGURES}}),
        pages=home / "pages",
        report=home / "index.html",
    )
    return home


def captions(folder: Path) -> Path:
    """The project's captions, and one for the table that has no page in the workflow."""
    folder.mkdir()
    for path in (ROOT / "report").glob("*.rst"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "table_per_run.rst").write_text("Values of runs.")
    return folder
