"""The environments of envs/, made for real but for conda itself, whose place a stand-in takes."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from running import ROOT, copy_project, environment, write_small
from test_project import LOCK, pins

PIP = (sys.executable, "-m", "pip")
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


def pip_section(path: Path) -> dict[str, str]:
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    return pins(next(entry["pip"] for entry in dependencies if isinstance(entry, dict)))


def needs(names) -> set[str]:
    """Names of packages and of all that they need here, as far as the lock holds it."""
    found, waiting = set(), [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found or name not in LOCK:
            continue
        found.add(name)
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_pins_all_that_its_packages_need(path):
    """Otherwise conda would take the newest of a dependency, and the plain venv the lock's."""
    section = pip_section(path)
    assert needs(section) - set(section) == set()


@pytest.mark.slow
def test_snakemake_makes_and_enters_both_environments(small, tmp_path):
    """Two light jobs, one in each environment: the bytes and versions of the plain venv."""
    folder = copy_project(tmp_path)
    target = "results/small/forget_sets.parquet"
    command = ["snakemake", target, "--configfile", write_small(folder, []), "--sdm", "conda"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(ROOT / "tests/doubles/conda/bin"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    for name in ("sequences.parquet", "forget_sets.parquet"):
        left, right = (run / "results/small" / name for run in (small, folder))
        assert left.read_bytes() == right.read_bytes()
    made = [path.with_suffix("") for path in folder.glob(".snakemake/conda/*.activations")]
    assert len(made) == len(ENVIRONMENTS) == 2
    for prefix in made:
        listed = subprocess.run(
            [*PIP, "--python", prefix / "bin/python", "list", "--format", "json"],
            capture_output=True,
            check=True,
        )
        installed = {
            canonicalize_name(package["name"]): re.sub(r"\+cpu$", "", package["version"])
            for package in json.loads(listed.stdout)
        }
        assert len(installed) > 10
        assert {name: LOCK.get(name, version) for name, version in installed.items()} == installed
