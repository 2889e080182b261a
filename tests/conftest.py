"""Fixtures that several test files share."""

from pathlib import Path

import pytest

from running import SMOKE, copy_project, snakemake, write_small


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
