"""The experiment cut into jobs of any size, and run by SLURM itself: the same results."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

import slurm_cluster
from running import (
    ROOT,
    SMOKE,
    copy_project,
    environment,
    same_results,
    snakemake,
    write_small,
)
from slurm_cluster import wait_for

PATIENCE = 900  # seconds; a busy machine is no failure
GPU_RULES = {
    "pretrain": 2, "measure_original": 1, "attack_original": 1,
    "unlearn": 2, "measure_unlearned": 2, "attack_unlearned": 2,
}  # fmt: skip
CPU_RULES = dict.fromkeys(
    ("make_corpus", "collect", "analyse_attacks", "make_tables", "draw_figures"), 1
)


@pytest.mark.slow
def test_one_job_per_cell_gives_the_tables_of_one_job_for_all(small, trained, tmp_path):
    folder = copy_project(tmp_path)
    config = write_small(folder, ["forget_size", "unlearner", "seed"])
    target = "results/small/claims.json"
    done = snakemake(folder, target, "--configfile", config, trained=trained, warm=True)
    assert done.returncode == 0, done.stdout[-5000:]
    assert done.stdout.count("rule unlearn:") == 4
    same_results(small / "results/small", folder / "results/small")


@pytest.fixture
def failing(tmp_path) -> Callable[..., int]:
    """How often a job that fails is tried by a Snakemake with such options."""
    folder = copy_project(tmp_path)
    (folder / "scripts/pretrain.py").write_text(
        "import unlearning.jobs.files\nopen('tries', 'a').write('x')\nraise SystemExit(1)"
    )
    (folder / "results/smoke/corpus").mkdir(parents=True)
    (folder / "results/smoke/sequences.parquet").touch()

    def tries(*arguments: str) -> int:
        (folder / "tries").write_text("")
        options = ["--configfile", SMOKE, "--allowed-rules", "pretrain", "--cores", "1"]
        done = snakemake(folder, *options, *arguments)
        assert done.returncode != 0
        assert "Error in rule pretrain" in done.stdout, done.stdout
        return len((folder / "tries").read_text())

    return tries


INSIDE = (
    *("--mode", "remote", "--force", "--retries", "0", "--nolock", "--ignore-incomplete"),
    *("--target-jobs", "pretrain:role=models,model=tiny"),
)
"""What a job of a cluster calls Snakemake with, in its own allocation."""


def test_a_job_is_tried_again_by_the_run_and_not_inside_its_own_allocation(failing):
    assert failing("results/smoke/models/tiny") == 2
    assert failing(*INSIDE) == 1


def test_an_edit_during_a_run_leaves_what_the_run_was_planned_with(failing, tmp_path):
    failing("results/smoke/models/tiny")
    listing = next((tmp_path / ".snakemake/code").glob("pretrain.py-*.txt"))
    planned = listing.read_text(), listing.stat().st_mtime_ns
    with (tmp_path / "scripts/unlearning/jobs/files.py").open("a") as source:
        source.write("# edited\n")
    failing(*INSIDE)
    assert (listing.read_text(), listing.stat().st_mtime_ns) == planned
    failing("results/smoke/models/tiny")  # the next run sees it
    assert listing.read_text() != planned[0]


# --- SLURM ------------------------------------------------------------------------------------


@dataclass
class Run:
    """The workflow under way on the cluster, in a copy of the project."""

    folder: Path
    process: subprocess.Popen

    @property
    def output(self) -> str:
        """What Snakemake printed so far."""
        return (self.folder / "output.txt").read_text()

    def wait_for(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for something that happens while the workflow is under way."""
        ended = lambda: self.process.poll() is not None  # noqa: E731
        wait_for(lambda: condition() or ended(), what, PATIENCE, pause=0.5)
        assert condition(), self.output[-5000:]

    def open_gate(self, script: str) -> None:
        """Let the jobs of a script go on."""
        (self.folder / f"double/hold-{script}").unlink()

    def jobs(self, cluster: slurm_cluster.Cluster, rule: str) -> list[dict[str, str]]:
        """The rule's jobs as SLURM knows them, in the order of submission."""
        return [
            job
            for job in cluster.jobs()
            if job["WorkDir"] == str(self.folder)
            and job["Comment"].removeprefix("rule_").split("_wildcards_")[0] == rule
        ]


def start(folder: Path, gates: list[str], *arguments: str) -> Run:
    """Start the workflow as the README says; it asks for its jobs oftener than clusters like."""
    copy_project(folder)
    config = write_small(folder, ["seed"])
    (folder / "double").mkdir()
    command = [sys.executable, ROOT / "tests/doubles/prompt_snakemake.py", "--configfile", config]
    command += ["--workflow-profile", "profiles/slurm", "--latency-wait", "5"]
    doubles = {"DOUBLE": str(folder / "double"), "DOUBLE_PYTHON": sys.executable}
    for gate in gates:
        (folder / f"double/hold-{gate}").touch()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=environment(ROOT / "tests/doubles/gpu") | doubles,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Run(folder, process)


def in_state(jobs: list[dict[str, str]], state: str) -> list[str]:
    return [job["JobId"] for job in jobs if job["JobState"] == state]


@dataclass(frozen=True)
class Evidence:
    """What SLURM and Snakemake said about two runs, and a local run to compare with."""

    local: Path
    whole: Run
    cut: Run
    jobs: dict[str, list[dict[str, str]]]
    corpus_jobs: list[dict[str, str]]
    waiting: list[dict[str, str]]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory, request) -> Evidence:
    """Two runs side by side: one that finishes though its jobs are hit, one that cannot."""
    if why := slurm_cluster.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("slurm")
    runs = []
    with slurm_cluster.cluster(folder / "cluster") as cluster:
        try:
            runs.append(whole := start(folder / "whole", ["unlearn.py"]))
            runs.append(
                cut := start(
                    folder / "cut",
                    ["make_corpus.py"],
                    *("results/small/sequences.parquet", "--set-resources"),
                    "make_corpus:runtime=attempt**6",  # one minute, then an hour
                )
            )
            # the local run, in the time that these two take
            local = request.getfixturevalue("small")

            # one unlearning job is cancelled; the node is drained and lets the other one finish
            unlearn = partial(whole.jobs, cluster, "unlearn")
            whole.wait_for("two jobs", lambda: len(in_state(unlearn(), "RUNNING")) == 2)
            cluster.run("scancel", unlearn()[0]["JobId"])
            cluster.node("drain")
            whole.open_gate("unlearn.py")
            whole.wait_for("a second try", lambda: len(unlearn()) == 3)
            whole.wait_for("a finished job", lambda: in_state(unlearn(), "COMPLETED"))
            waiting = unlearn()[2:]
            cluster.node("resume")

            # the other run's job passes its limit; its second try is cancelled
            corpus = partial(cut.jobs, cluster, "make_corpus")
            cut.wait_for("a second try", lambda: len(corpus()) == 2)
            cut.wait_for("a job", lambda: in_state(corpus(), "RUNNING"))
            cluster.run("scancel", corpus()[1]["JobId"])
            for run in runs:
                run.process.wait(timeout=PATIENCE)
            jobs = {rule: whole.jobs(cluster, rule) for rule in GPU_RULES | CPU_RULES}
            yield Evidence(local, whole, cut, jobs, corpus(), waiting)
        finally:
            for run in runs:
                run.process.kill()
                run.process.wait()


@pytest.mark.slow
@pytest.mark.slurm
def test_slurm_gives_the_results_of_a_local_run(slurm):
    assert slurm.whole.process.returncode == 0, slurm.whole.output[-5000:]
    same_results(slurm.local / "results/small", slurm.whole.folder / "results/small")


@pytest.mark.slow
@pytest.mark.slurm
def test_every_heavy_job_goes_through_sbatch_with_its_resources(slurm):
    finished = {
        rule: [job for job in jobs if job["JobState"] == "COMPLETED"]
        for rule, jobs in slurm.jobs.items()
    }
    assert {rule: len(jobs) for rule, jobs in finished.items()} == GPU_RULES | CPU_RULES
    for rule, jobs in slurm.jobs.items():
        for attempt, job in enumerate(jobs if rule == "unlearn" else [], start=1):
            growth = 2 if attempt == 3 else 1
            assert job["MinMemoryNode"] == f"{2000 * growth}M"
            assert job["TimeLimit"] == f"0{growth}:00:00"
        for job in jobs:
            assert job["NumCPUs"] == ("2" if rule == "draw_figures" else "1")
            assert job["Partition"] == ("gpu" if rule in GPU_RULES else "cpu")
            assert job.get("TresPerJob") == ("gres:gpu:1" if rule in GPU_RULES else None)


@pytest.mark.slow
@pytest.mark.slurm
def test_slurm_gives_each_job_a_gpu_of_its_own(slurm):
    notes = [line.split() for line in (slurm.whole.folder / "double/notes").open()]
    scripts = Counter(script.removesuffix(".py") for script, _, _ in notes)
    # the cancelled job got a GPU and was held before it could note which
    assert scripts == GPU_RULES
    assert {device for _, device, _ in notes} <= {"0", "1"}
    assert {state for _, _, state in notes} == {"alone"}


@pytest.mark.slow
@pytest.mark.slurm
def test_a_cancelled_job_is_tried_again_and_waits_for_a_drained_node(slurm):
    assert sorted(job["JobState"] for job in slurm.jobs["unlearn"]) == [
        "CANCELLED",
        "COMPLETED",
        "COMPLETED",
    ]
    assert [job["JobState"] for job in slurm.waiting] == ["PENDING"]


@pytest.mark.slow
@pytest.mark.slurm
def test_a_job_over_its_limit_gets_more_time_and_is_reported_when_that_fails(slurm):
    assert slurm.cut.process.returncode != 0
    assert [job["JobState"] for job in slurm.corpus_jobs] == ["TIMEOUT", "CANCELLED"]
    assert [job["TimeLimit"] for job in slurm.corpus_jobs] == ["00:01:00", "01:04:00"]
    assert [job["MinMemoryNode"] for job in slurm.corpus_jobs] == ["2000M", "4000M"]
    assert "log: logs/small/make_corpus.log" in slurm.cut.output
    # where a job is reported failed, not where it is submitted
    own = re.findall(r"(/\S+/logs/slurm/rule_make_corpus/\S+\.log) \(check", slurm.cut.output)
    assert len(set(own)) == 2
    assert not list((slurm.cut.folder / "results/small").rglob("*.parquet"))
