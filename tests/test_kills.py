"""A run that is killed at random moments gives what an undisturbed one gives."""

from pathlib import Path

import pandas as pd
import pytest

from kill_often import leftovers, run_with_kills
from running import copy_project, snakemake, write_small
from unlearning.analysis.replicates import POOLED, REPLICATE, REPLICATES

TABLES = ("memorization", "membership", "utility", "history", "attack_values")


def contents(folder: Path) -> dict[str, bytes]:
    """Tables and verdicts of a run."""
    paths = (*sorted((folder / "tables").glob("*.csv")), folder / "claims.json")
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.slow
def test_two_replicates_run_to_the_end_through_kills(small, tmp_path):
    """Kill everything, Snakemake alone or one job; `kill_often` does more.

    The first replicate is the small experiment, which has run alone. What is made of both
    replicates' rows is made of them once more, undisturbed.
    """
    folder = copy_project(tmp_path)
    config = write_small(folder, [], run="two", replicates=[0, 1])
    hits = run_with_kills(folder, config, kills=6, seed=5)
    assert max(hits.finished.values()) == 1
    two, one = folder / "results/two", small / "results/small"
    assert [path for n in (0, 1) for path in leftovers(two / f"replicate-{n}")] == []
    weights = "models/tiny/model.safetensors"
    first, second = ((two / f"replicate-{n}" / weights).read_bytes() for n in (0, 1))
    assert first == (one / weights).read_bytes()
    assert first != second
    for name in TABLES:
        table = pd.read_parquet(two / f"{name}.parquet")
        assert set(table[REPLICATE]) == {0, 1}
        own = table[table[REPLICATE] == 0].drop(columns=REPLICATE).reset_index(drop=True)
        alone = pd.read_parquet(one / f"{name}.parquet")
        pd.testing.assert_frame_equal(own, alone, check_exact=True)
    gains = pd.read_csv(two / "tables/gains.csv")
    assert (gains["n"] <= 2).all()
    assert set(gains["n_counts"]) == {POOLED, REPLICATES}
    assert "n counts replicates" in (two / "claims.md").read_text()
    assert (two / "index.html").is_file()
    assert "Nothing to be done" in snakemake(folder, "--configfile", config, "-n").stdout
    made = contents(two)
    assert len(made) > 5
    words = ("--forcerun", "collect", "--configfile", config)
    done = snakemake(folder, "results/two/claims.json", *words)
    assert done.returncode == 0, done.stdout[-3000:]
    assert contents(two) == made
