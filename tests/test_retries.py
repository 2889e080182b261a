"""A job that was killed is tried again with more memory; one whose input is wrong is not."""

import shutil

import pytest
import yaml

from running import SMOKE, copy_project, snakemake

STUB = '''"""What a run of training leaves behind, and how it ends."""

import sys
from pathlib import Path

with Path("tries").open("a") as file:
    file.write("x")
{end}
'''
ENDS = {
    "wrong input": 'print("50%|##\\rerror: config: no such thing"); sys.exit(2)',
    "a child's wrong input": 'print("error: config: no such thing"); sys.exit(1)',
    "out of memory": 'print("RuntimeError: CUDA error: out of memory"); sys.exit(1)',
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
}
TARGET = "results/smoke/models/tiny"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project with what training reads, and no more than that."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    config = yaml.safe_load((folder / SMOKE).read_text())
    config["models"]["tiny"]["memory_mb"] = 700
    (folder / "smoke.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(folder, "results/smoke/sequences.parquet", "--configfile", "smoke.yaml")
    assert done.returncode == 0, done.stdout[-3000:]
    return folder


def run(project, end: str):
    """Train by a script that ends so: the engine's words, and how often it was started."""
    (project / "tries").write_text("")
    (project / "scripts/pretrain.py").write_text(STUB.format(end=end))
    done = snakemake(project, TARGET, "--configfile", "smoke.yaml")
    return done, len((project / "tries").read_text())


@pytest.mark.parametrize("kind", ENDS)
def test_what_more_memory_cannot_mend_is_not_tried_again(project, kind):
    done, tries = run(project, ENDS[kind])
    assert done.returncode == 1
    assert tries == (1 if "wrong" in kind else 2)
    assert "mem_mb=1400" in done.stdout  # the engine tries either way
    last = done.stdout.splitlines()[-1]
    log = "logs/smoke/pretrain/models/tiny.log"
    if "wrong" in kind:
        assert last == f"pretrain: error: config: no such thing ({log})"
    else:
        assert last.startswith("pretrain: ")
        assert "no such thing" not in last


def test_a_new_run_asks_the_job_anew(project):
    run(project, ENDS["wrong input"])
    log = project / "logs/smoke/pretrain/models/tiny.log"
    shutil.copy(log, f"{log}.wrong")  # as a run leaves it that was killed before the second try
    done, tries = run(project, ENDS["killed"])
    assert (done.returncode, tries) == (1, 2)
    assert "no such thing" not in done.stdout
