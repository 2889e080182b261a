"""Fixtures that several test files share."""

import json
from pathlib import Path

import pytest

from running import ROOT, SMOKE, analyse, copy_project, snakemake, write_small
from synthetic_results import EFFECTS, Effect, Shape, make, write
from unlearning.figures import FIGURES

ROWS = ("sequences", "memorization", "membership", "history")
TABLES = (
    "per_run", "gains", "utility", "solution_space", "candidates", "cost", "attack_suite",
)  # fmt: skip


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """A copy of the project in which the smoke experiment has run undisturbed."""
    folder = copy_project(tmp_path_factory.mktemp("smoke"))
    done = snakemake(folder, "--configfile", SMOKE)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Path:
    """A copy of the project in which the small experiment has run, all its cells in one job."""
    folder = copy_project(tmp_path_factory.mktemp("small"))
    done = snakemake(folder, "--configfile", write_small(folder, []))
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


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
    attacks = {"relearning": {}, "quantization": {}, "learned_attacker": {"repeats": 1}}
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
