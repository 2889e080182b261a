"""Running the workflow in a copy of the project, and single scripts in processes of their own."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
PARTS = ("Snakefile", "rules", "scripts", "config", "envs", "profiles", "report", "tests/config")
SMOKE = "tests/config/smoke.yaml"
# each kind: of all sequences, of a forget set, made of others' rows
SMALL_ATTACKS = ("reference_calibrated", "sampling", "relearning", "token_level_attacker")
WITHOUT_TORCH = """
import runpy, sys
class Refuse:
    def find_spec(name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers"):
            raise ImportError(f"the analysis must not import {name}")
sys.meta_path.insert(0, Refuse)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
# scripts one after the other: processes of one launcher can meet only once, so they part at the end
IN_TURN = """
import json, runpy, sys
from torch import distributed
part, distributed.destroy_process_group = distributed.destroy_process_group, lambda group=None: None
for command in json.load(open(sys.argv[1])):
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
if distributed.is_initialized():
    part()
"""


def copy_project(folder: Path) -> Path:
    """What the workflow needs, in a folder of its own, so that a test may edit it."""
    for part in PARTS:
        source, target = ROOT / part, folder / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def write_small(folder: Path, split_by: list[str], **blocks: object) -> str:
    """Write the smoke config cut down to one forget size, two unlearners, few attacks; its path.

    Args:
        folder: of a copy of the project.
        split_by: what cuts cells into jobs.
        blocks: of the config, others than the smoke config's.
    """
    config = yaml.safe_load((folder / SMOKE).read_text()) | {"run": "small"} | blocks
    config["forget_sets"] = {"sizes": [4], "seeds": [0, 1]}
    config["unlearners"] = {label: config["unlearners"][label] for label in ("ga", "sga")}
    config["attacks"] = {name: config["attacks"][name] for name in SMALL_ATTACKS}
    config["jobs"] = {"split_by": split_by, "keep_checkpoints": True}
    name = f"{config['run']}.yaml"
    (folder / name).write_text(yaml.safe_dump(config))
    return name


def same_results(left: Path, right: Path) -> None:
    """Every table of both runs has the same bytes; wall times aside, which stand apart."""
    names = sorted(path.name for path in (left / "tables").glob("*.csv"))
    assert names == sorted(path.name for path in (right / "tables").glob("*.csv"))
    assert len(names) > 5
    for name in set(names) - {"cost.csv"}:
        assert (left / "tables" / name).read_bytes() == (right / "tables" / name).read_bytes(), name
    names = ("memorization", "history", "utility", "membership", "attack_values", "attack_runs")
    for name in (*names, "attack_score_values", "attack_effects"):
        mine, theirs = (pd.read_parquet(run / f"{name}.parquet") for run in (left, right))
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)
    assert (left / "claims.json").read_bytes() == (right / "claims.json").read_bytes()


def environment(*first: Path) -> dict[str, str]:
    """Ours, with this interpreter's programs first, as the rules start `python`."""
    folders = [*first, Path(sys.executable).parent, os.environ["PATH"]]
    return os.environ | {"PATH": ":".join(map(str, folders))}


@cache
def warm_python() -> dict[str, str]:
    """What makes `python` the double that forks jobs; the process they come from ends with ours."""
    folder = Path(tempfile.mkdtemp(prefix="warm-"))
    double = ROOT / "tests/doubles/warm"
    server = subprocess.Popen(
        [sys.executable, double / "server.py", folder / "door"],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    atexit.register(shutil.rmtree, folder)
    atexit.register(server.kill)
    while not (folder / "door").exists():
        assert server.poll() is None, "it could not load what jobs import"
        time.sleep(0.1)
    return environment(double) | {"WARM_PYTHON": str(folder / "door")}


def snakemake(
    folder: Path, *arguments: str, trained: Path | None = None, warm: bool = False
) -> subprocess.CompletedProcess:
    """Run Snakemake to its end in a copy of the project.

    Args:
        folder: the copy.
        arguments: Snakemake's.
        trained: folder of trained models, which runs share; none: each trains its own.
        warm: fork the jobs on models from a process that has loaded torch. The smoke experiment
            starts each of them as users do.
    """
    shared = {} if trained is None else {"SNAKEMAKE_OUTPUT_CACHE": str(trained)}
    return subprocess.run(
        ["snakemake", *arguments, *(("--cache", "pretrain") if shared else ())],
        cwd=folder,
        env=(warm_python() if warm else environment()) | shared,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def analyse(script: str, **options: object) -> None:
    """Run a script of the analysis to its end, in a process that cannot import torch."""
    words = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, f"scripts/{script}.py", *words],
        cwd=ROOT,
        env=environment() | {"PYTHONPATH": str(ROOT / "scripts")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]


def launch(folder: Path, launcher: tuple[str, ...], commands: list[list[str]]) -> None:
    """Run scripts one after the other in each of a launcher's processes; of none, in one alone."""
    (folder / "in_turn.py").write_text(IN_TURN)
    (folder / "commands.json").write_text(json.dumps(commands))
    module = ("-m", *launcher) if launcher else ()
    paths = {"PYTHONPATH": f"{ROOT / 'scripts'}:{ROOT / 'tests'}"}
    done = subprocess.run(
        [sys.executable, *module, folder / "in_turn.py", folder / "commands.json"],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | paths,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
