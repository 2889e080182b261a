"""Atomic writing, finished parts, and the sources of a script."""

import socket
import subprocess
import sys
import time

import pandas as pd
import pytest

from unlearning.jobs.files import replacing, write_csv, write_json, write_parquet
from unlearning.jobs.parts import Parts, fingerprint
from unlearning.jobs.sources import SCRIPTS, digests, sources


def test_a_failed_write_leaves_the_old_file_and_no_scratch(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half_and_fail():
        with replacing(path) as scratch:
            scratch.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half_and_fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_removed_and_a_living_one_s_is_not(tmp_path):
    path = tmp_path / "a.txt"
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()  # its number is free again
    host = socket.gethostname()
    names = [
        f".a.txt.partial-{where}.txt" for where in (f"{host}-{process.pid}", f"{host}-1", "x-1")
    ]
    for name in names:
        (tmp_path / name).touch()
    with replacing(path) as scratch:
        scratch.write_text("new")
    assert {left.name for left in tmp_path.iterdir()} == {"a.txt", *names[1:]}


# a job: works alone in a side folder for a while; two at a time would find the other's file
ALONE = """
import sys, time
sys.path.insert(0, "scripts")
from pathlib import Path
from unlearning.jobs.locks import work_alone

folder = Path(sys.argv[1])
work_alone(folder / "work")
(folder / "here").touch(exist_ok=False)
time.sleep(0.2)
(folder / "here").unlink()
"""


def test_jobs_with_one_side_folder_work_one_after_the_other(tmp_path):
    command = [sys.executable, "-c", ALONE, str(tmp_path)]
    jobs = [subprocess.Popen(command, cwd=SCRIPTS.parent) for _ in range(6)]
    assert [job.wait(120) for job in jobs] == [0] * 6
    assert list(tmp_path.iterdir()) == []


def test_a_killed_job_s_side_folder_is_free(tmp_path):
    program = ALONE.replace("0.2", "60")
    job = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=SCRIPTS.parent)
    while not (tmp_path / "here").exists():
        assert job.poll() is None
        time.sleep(0.05)
    job.kill()
    job.wait()
    (tmp_path / "here").unlink()
    subprocess.run([sys.executable, "-c", ALONE, str(tmp_path)], cwd=SCRIPTS.parent, check=True)
    assert list(tmp_path.iterdir()) == []


def test_digests_follow_content_and_name(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    before = digests([tmp_path / "a", tmp_path / "b"], tmp_path)
    first, second = before.splitlines()
    assert first.split("  ")[0] == second.split("  ")[0]
    assert first.split("  ")[1] == "a"
    (tmp_path / "b").write_text("2")
    assert digests([tmp_path / "a", tmp_path / "b"], tmp_path) != before


def test_a_folder_is_replaced_whole(tmp_path):
    for content in ("first", "second"):
        with replacing(tmp_path / "folder") as scratch:
            scratch.mkdir()
            (scratch / content).touch()
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["second"]


def test_the_same_table_gives_the_same_bytes(tmp_path):
    table = pd.DataFrame({"a": [1, 2], "b": [0.1, 1 / 3]})
    for write, name in ((write_parquet, "t.parquet"), (write_csv, "t.csv")):
        write(table, tmp_path / name)
        first = (tmp_path / name).read_bytes()
        write(table, tmp_path / name)
        assert (tmp_path / name).read_bytes() == first


def test_nan_never_reaches_a_json_file(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_follows_settings_and_contents(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("1")
    before = fingerprint({"x": 1}, [tmp_path / "in"])
    assert fingerprint({"x": 1}, [tmp_path / "in"]) == before
    assert fingerprint({"x": 2}, [tmp_path / "in"]) != before
    (tmp_path / "in" / "a").write_text("2")
    assert fingerprint({"x": 1}, [tmp_path / "in"]) != before


def test_parts_survive_a_restart_but_not_a_change(tmp_path):
    Parts(tmp_path / "work", "a" * 64).path("one").touch()
    assert Parts(tmp_path / "work", "a" * 64).has("one")
    changed = Parts(tmp_path / "work", "b" * 64)
    assert not changed.has("one")
    changed.close()
    assert not (tmp_path / "work").exists()


def test_sources_reach_what_is_imported_and_nothing_else():
    files = {str(path.relative_to(SCRIPTS)) for path in sources("draw_forget_sets.py")}
    assert {
        "draw_forget_sets.py",
        "unlearning/data/sequences.py",
        "unlearning/jobs/errors.py",
    } <= files
    assert "unlearning/unlearners/learner.py" not in files


def test_an_unlearner_is_a_source_only_of_its_own_jobs():
    module = "unlearning.unlearners.task_arithmetic_unlearning"
    files = {path.stem for path in sources("unlearn.py", (module,))}
    assert {"task_arithmetic_unlearning", "task_arithmetic", "selective_gradient_ascent"} <= files
    assert "gradient_ascent" not in files
