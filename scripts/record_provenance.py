"""Record what results were made with: config, files, models, code, versions, machine, costs."""

import argparse
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import pandas as pd

from unlearning.jobs.console import run
from unlearning.jobs.digests import digest_of
from unlearning.jobs.files import write_json

PACKAGES = (
    "torch", "transformers", "tokenizers", "safetensors", "lm-eval", "datasets", "numpy", "pandas",
    "scipy", "scikit-learn", "statsmodels", "snakemake",
)  # fmt: skip
# what jobs computed with: name here -> column of the table of runs
ARITHMETIC = {"devices": "device", "instructions": "instructions", "threads": "threads"}


def git(*arguments: str) -> str | None:
    """What a git command prints in this project's folder; None where there is no git."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def is_changed() -> bool | None:
    """Whether tracked code differs from the commit; None where there is no git.

    A config and data that the user has put beside the code are named by themselves.
    """
    status = git("status", "--short", "--untracked-files=no", "--", ":/")
    return None if status is None else bool(status)


def model_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a model folder, by name."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file())
    return {path.name: digest_of(path) for path in files if not path.name.startswith(".")}


def versions() -> dict[str, str | None]:
    """Installed version of each package that results can depend on."""

    def version(name: str) -> str | None:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return None

    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def job_costs(folder: Path) -> list[dict[str, object]]:
    """Wall seconds and peak memory of every job, from the workflow engine's benchmark files."""
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        table = pd.read_csv(path, sep="\t", na_values="-").iloc[0]
        memory = None if pd.isna(table["max_rss"]) else float(table["max_rss"])
        job = str(path.relative_to(folder).with_suffix(""))
        rows.append({"job": job, "seconds": float(table["s"]), "peak_memory_mib": memory})
    return rows


def name_of(folder: Path) -> str:
    """A model's name, with its replicate where there are several."""
    whole = folder.parent.parent.name
    return f"{whole}/{folder.name}" if whole.startswith("replicate-") else folder.name


def main() -> None:
    """Write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, required=True, help="table of runs")
    parser.add_argument("--benchmarks", type=Path, required=True, help="folder of job benchmarks")
    parser.add_argument("--config", required=True, help="the checked config, JSON")
    parser.add_argument("--files", type=Path, help="the user's files, JSON, where there are some")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="model folders")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    runs = pd.read_parquet(arguments.runs)
    jobs = job_costs(arguments.benchmarks)
    write_json(
        {
            "config": json.loads(arguments.config),
            "files": json.loads(arguments.files.read_text()) if arguments.files else {},
            "models": {name_of(folder): model_files(folder) for folder in arguments.models},
            "git": {"commit": git("rev-parse", "HEAD"), "changed": is_changed()},
            "versions": versions(),
            "machine": {
                "system": platform.platform(),
                "processor": platform.machine(),
                "cores": os.cpu_count(),
                # together with the versions these decide the results to the last digit
                **{
                    name: sorted(runs[column].unique().tolist())
                    for name, column in ARITHMETIC.items()
                },
            },
            "dtype": sorted(runs["dtype"].unique()),
            "runs": {
                "count": len(runs),
                "status": runs["status"].value_counts().sort_index().to_dict(),
                "seconds": float(runs["seconds"].sum()),
            },
            "jobs": jobs,
            "peak_memory_mib": max((job["peak_memory_mib"] or 0.0 for job in jobs), default=None),
        },
        arguments.output,
    )


if __name__ == "__main__":
    run(main)
