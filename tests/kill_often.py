"""Kill a run at random moments, many times, and see whether anything is lost or done twice.

    python tests/kill_often.py --kills 20

Runs the smoke experiment twice, in throw-away folders: undisturbed, and hit by `kill -9` at random
moments. A hit takes the whole process group, Snakemake alone (its jobs go on without it), or one
job. Then compares the results.
"""

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from running import SMOKE, copy_project, environment, same_results, snakemake

KINDS = ("group", "snakemake", "job")
SCRIPT = re.compile(r"scripts/(\w+)\.py$")


@dataclass
class Hits:
    """What was killed, and how often each job was reported as finished over all runs."""

    kinds: Counter = field(default_factory=Counter)
    scripts: Counter = field(default_factory=Counter)
    finished: Counter = field(default_factory=Counter)
    runs: int = 0


def run_with_kills(folder: Path, config: str, kills: int, seed: int) -> Hits:
    """Run the workflow in a copy of the project to its end, through so many kills.

    Raises:
        RuntimeError: the run ended before all kills, or the last run failed.
    """
    generator = np.random.default_rng(seed)
    hits = Hits()
    process, output = start(folder, config, hits)
    while hits.kinds.total() < kills:
        if not wait_for_moment(process, output, generator):
            # a light job has no second try: it was reported, and the next run goes on
            process, output = next_run(process, output, folder, config, hits)
            continue
        kind = str(generator.choice(KINDS))
        jobs = jobs_of(process.pid)
        if kind == "job" and not jobs:
            continue
        hits.kinds[kind] += 1
        if kind == "job":
            victim = sorted(jobs)[generator.integers(len(jobs))]
            hits.scripts[jobs[victim]] += 1
            end(os.kill, victim)
        else:
            hits.scripts.update(jobs.values())
            end(os.killpg if kind == "group" else os.kill, process.pid)
            process, output = next_run(process, output, folder, config, hits)
    while process.wait() != 0:
        process, output = next_run(process, output, folder, config, hits)
    hits.finished.update(finished_in(output.read_text()))
    return hits


def next_run(process, output, folder, config, hits) -> tuple[subprocess.Popen, Path]:
    """Note what a run that was cut had finished, and start the next one.

    Raises:
        RuntimeError: it was not cut but done, or it did nothing and failed.
    """
    if process.wait() == 0:
        raise RuntimeError(f"done after {hits.kinds.total()} kills: ask for fewer")
    finished = finished_in(output.read_text())
    if process.returncode > 0 and not finished and hits.runs > 3 * hits.kinds.total() + 3:
        raise RuntimeError(output.read_text()[-3000:])
    hits.finished.update(finished)
    return start(folder, config, hits)


def start(folder: Path, config: str, hits: Hits) -> tuple[subprocess.Popen, Path]:
    """Start the workflow; what it prints goes to a file of its own."""
    hits.runs += 1
    output = folder / f"output-{hits.runs}.txt"
    with output.open("w") as stream:
        process = subprocess.Popen(
            ["snakemake", "--configfile", config],
            cwd=folder,
            env=environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, output


def wait_for_moment(process: subprocess.Popen, output: Path, generator) -> bool:
    """Wait until a job runs, often until one more has finished, then a random while.

    Returns whether the run is still under way.
    """
    done = len(finished_in(output.read_text()))
    enough = done + int(generator.random() < 0.6)
    while process.poll() is None:
        if jobs_of(process.pid) and len(finished_in(output.read_text())) >= enough:
            break
        time.sleep(0.1)
    time.sleep(generator.uniform(0, 6))
    return process.poll() is None


def jobs_of(snakemake_pid: int) -> dict[int, str]:
    """Process number -> script of every job in Snakemake's process group."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text().split("\0")
            group = os.getpgid(int(folder.name))
        except (OSError, ValueError):
            continue
        script = SCRIPT.search(command[1]) if len(command) > 1 else None
        if group == snakemake_pid and script:
            found[int(folder.name)] = script[1]
    return found


def end(kill, pid: int) -> None:
    """Kill by number; it may be gone by itself."""
    with contextlib.suppress(ProcessLookupError):
        kill(pid, signal.SIGKILL)


def finished_in(output: str) -> list[str]:
    """Rule and wildcards of every job that one run's output reports as finished."""
    names = {}
    for block in re.split(r"^\[", output, flags=re.MULTILINE):
        rule = re.search(r"^(?:local)?rule (\w+):", block, re.MULTILINE)
        number = re.search(r"^    jobid: (\d+)", block, re.MULTILINE)
        if rule and number:
            wildcards = re.search(r"^    wildcards: (.*)", block, re.MULTILINE)
            names[number[1]] = f"{rule[1]} {wildcards[1] if wildcards else ''}".strip()
    return [names[n] for n in re.findall(r"^Finished jobid: (\d+)", output, re.MULTILINE)]


def leftovers(results: Path) -> list[Path]:
    """Half-written files and files of the side folders that are still there."""
    partial = [path for path in results.rglob("*") if ".partial-" in path.name]
    partial += results.glob("*/*.work")
    return partial + [path for path in (results / ".work").rglob("*") if path.is_file()]


def main() -> None:
    """Run undisturbed, run with kills, compare, print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        hit, calm = copy_project(Path(scratch, "hit")), copy_project(Path(scratch, "calm"))
        hits = run_with_kills(hit, SMOKE, arguments.kills, arguments.seed)
        done = snakemake(calm, "--configfile", SMOKE)
        assert done.returncode == 0, done.stdout[-3000:]
        same_results(calm / "results/smoke", hit / "results/smoke")
        twice = {job: times for job, times in hits.finished.items() if times > 1}
        print(f"killed: {dict(hits.kinds)}; jobs at work then: {dict(hits.scripts)}")
        print(f"{hits.runs} starts, {len(hits.finished)} jobs finished, finished twice: {twice}")
        print(f"left behind: {len(leftovers(hit / 'results/smoke'))} files; results equal")
        sys.exit(bool(twice or leftovers(hit / "results/smoke")))


if __name__ == "__main__":
    main()
