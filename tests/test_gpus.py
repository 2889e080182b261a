"""One GPU for each job: locks between processes, no GPU needed."""

import os
import subprocess
import sys
import textwrap
import time

import pytest

from running import ROOT
from unlearning.jobs import gpus
from unlearning.jobs.errors import InputError
from unlearning.jobs.gpus import acquire, jobs_per_gpu, visible
from unlearning.jobs.locks import hold, release

# a job: takes GPUs, notes each as busy, works a little, notes it as free
JOB = """
import sys, time
sys.path.insert(0, "scripts")
from pathlib import Path
from unlearning.jobs.gpus import acquire

folder, number, share = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
devices, _ = acquire(sys.argv[4].split(","), number, share, folder)
with (folder / "notes").open("a") as notes:
    print("+", *devices, file=notes, flush=True)
    time.sleep(0.1)
    print("-", *devices, file=notes, flush=True)
"""


def start(folder, number, share, devices):
    arguments = [str(folder), str(number), str(share), ",".join(devices)]
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(JOB), *arguments], cwd=ROOT)


def busiest(folder) -> dict[str, int]:
    """Most jobs at a time on each device."""
    now, most = {}, {}
    for line in (folder / "notes").read_text().splitlines():
        sign, *devices = line.split()
        for device in devices:
            now[device] = now.get(device, 0) + (1 if sign == "+" else -1)
            most[device] = max(most.get(device, 0), now[device])
    assert set(now.values()) == {0}
    return most


@pytest.mark.parametrize(
    ("jobs", "number", "share", "devices"),
    [(6, 1, 1, 2), (4, 2, 1, 3), (6, 1, 2, 2), (3, 1, 1, 1)],
)
def test_no_device_has_more_jobs_than_allowed(tmp_path, jobs, number, share, devices):
    names = [f"GPU-{i}" for i in range(devices)]
    started = [start(tmp_path, number, share, names) for _ in range(jobs)]
    assert [process.wait(60) for process in started] == [0] * jobs
    most = busiest(tmp_path)
    assert set(most) <= set(names)
    assert max(most.values()) <= share
    assert sum(line.startswith("+") for line in (tmp_path / "notes").open()) == jobs


def test_idle_devices_come_before_shared_ones(tmp_path):
    held = [acquire(["a", "b"], 1, 2, tmp_path)[0] for _ in range(4)]
    assert held == [("a",), ("b",), ("a",), ("b",)]


def test_several_devices_of_one_job_are_different_and_in_order(tmp_path):
    acquire(["a", "b", "c"], 1, 1, tmp_path)
    assert acquire(["a", "b", "c"], 2, 1, tmp_path)[0] == ("b", "c")


def test_a_killed_job_gives_its_device_back(tmp_path):
    program = JOB.replace("time.sleep(0.1)", "time.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), "1", "1", "a"], cwd=ROOT
    )
    while not (tmp_path / "notes").exists() or not (tmp_path / "notes").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    assert hold(tmp_path / "gpu-a.0.lock", wait=False) is None
    process.kill()
    process.wait()
    assert acquire(["a"], 1, 1, tmp_path)[0] == ("a",)


def test_a_waiting_job_holds_no_part_of_what_it_needs(tmp_path):
    _, (handle,) = acquire(["a"], 1, 1, tmp_path)
    waiting = start(tmp_path, 2, 1, ["a", "b"])
    time.sleep(2)
    assert waiting.poll() is None
    # b is free but for the instants in which the waiting job tries
    assert acquire(["b"], 1, 1, tmp_path)[0] == ("b",)
    waiting.kill()
    waiting.wait()
    release(handle)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with two GPUs, as its driver lists them."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '0, GPU-x\\n1, GPU-y\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that what `take` sets is undone
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    gpus.take.cache_clear()
    yield
    gpus.take.cache_clear()


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [(None, ["GPU-x", "GPU-y"]), ("1", ["GPU-y"]), ("GPU-x", ["GPU-x"]), ("", [])],
)
def test_the_allowed_devices_are_named_by_uuid(machine, monkeypatch, allowed, expected):
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert visible() == expected


def test_a_job_sees_its_own_device_alone_and_takes_it_once(machine):
    assert gpus.take(1) == gpus.take(1) == ("GPU-x",)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-x"


def test_more_devices_than_there_are_is_an_error(machine):
    with pytest.raises(InputError, match="--gpus 3: only 2 visible here"):
        gpus.take(3)


def test_without_a_driver_nothing_is_held(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible() == []


@pytest.mark.parametrize("text", ["0", "-1", "two", ""])
def test_a_wrong_number_of_jobs_per_gpu_is_an_error(monkeypatch, text):
    monkeypatch.setenv(gpus.JOBS_PER_GPU, text)
    with pytest.raises(InputError, match="is no positive number"):
        jobs_per_gpu()
