"""What an experiment costs, before anything starts: jobs, hours, memory, disk, downloads.

Floating-point operations follow from the config and the models' sizes; seconds follow from them
and from rates that `benchmarks/rates.py` measured; rates of a machine "(assumed)" are guesses until
a measurement takes their place. The number of epochs and of tokens that are decoded is not known
beforehand; what is assumed stands beside the figures.
"""

import argparse
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from unlearning.configuration import check, source_of
from unlearning.data.own.files import read_rows
from unlearning.jobs.console import run
from unlearning.jobs.errors import InputError

EPOCHS = 20  # published runs of gradient ascent stop after 8 to 17
DECODED = 0.7  # share of a sequence's prefixes that leave the text at a memorization of 0.3
# published task -> items (of dialogues and pieces: about, by the size of their files) and tokens an
# item of GPT-2's tokenizer, all choices and the reply included, as counted on samples
SUITE = {
    "lambada": (5153, 84), "piqa": (1838, 64), "hellaswag": (10_042, 174),
    "arc_easy": (570, 108), "arc_challenge": (299, 136), "copa": (100, 30),
    "winogrande": (1267, 44), "mathqa": (2985, 206), "pubmedqa": (500, 1014),
    "wizard_of_wikipedia": (970, 232), "empathetic_dialogues": (1340, 110),
    "blended_skill_talk": (1000, 289), "wizard_of_internet": (520, 313),
    "pile": (1500, 200), "wikitext": (500, 490),
}  # fmt: skip
DOWNLOAD_MB = {"challenge": 8, "suite": 60}


@dataclass(frozen=True)
class Work:
    """What one cell of the experiment asks of a model with N parameters.

    A forward pass costs 2 N operations a token, a backward pass twice that.
    """

    steps: float
    """Operations of training steps."""

    passes: float
    """Operations of passes over whole sequences: memorization, choices, perplexity."""

    decoding: float
    """Operations of decoding token by token: extraction likelihood, dialogue."""

    def seconds(self, rates: dict[str, float]) -> float:
        """On a machine with these rates, 10^12 operations a second."""
        return sum(
            getattr(self, kind) / (rates[kind] * 1e12) for kind in rates if kind != "machine"
        )


def parameters_of(name: str, model: dict[str, Any], vocabulary: int) -> int:
    """Parameters of a model, from what the config says or from the weights' own header.

    Raises:
        InputError: neither says it.
    """
    if model["parameters"]:
        return model["parameters"]
    if model["pretraining"]:
        size = model["pretraining"]
        width = size["hidden_size"]
        return size["layers"] * (12 * width**2 + 13 * width) + vocabulary * width
    if model["folder"]:
        files = sorted(Path(model["folder"]).glob("*.safetensors"))
        if files:
            return sum(file.stat().st_size for file in files) // 4
    raise InputError(f"models.{name}: its size is not known; give `parameters`")


def work_of(config: dict[str, Any], parameters: int, size: int) -> Work:
    """The work of one cell: one forget set of `size`, one method."""
    source = config[source_of(config)]
    length, measurement = source["sequence_length"], config["measurement"]
    limit = measurement["limit"] or sys.maxsize
    unseen, retained = (count_of(source.get(part)) for part in ("unseen", "retained"))
    retained = min(retained, limit)
    if not config["corpus"]:
        unseen = min(unseen, 2 * limit)
    own = source.get("tasks", {})
    forward = 2 * parameters
    step = 5 if config["unlearning"]["checkpointing"] else 3
    tokens = choices = replies = 0
    for task, kind in measurement["tasks"].items():
        items, each = SUITE.get(task, (source.get("items") or count_of(own.get(task)), 60))
        items = min(items, limit)
        choices += items * each
        replies += items * 32 if kind == "dialogue" else 0
    tokens += (size + unseen + retained) * length + choices
    decoded = (size + unseen) * DECODED * (length - measurement["ngram"]) * length / 2 + replies
    return Work(
        steps=EPOCHS * size * length * step * forward,
        passes=(EPOCHS * size * length + tokens) * forward,
        decoding=decoded * forward,
    )


def count_of(rows: int | str | None) -> int:
    """How many there are: a number, or the rows of a file."""
    return len(read_rows(rows)) if isinstance(rows, str) else rows or 0


def memory_mb(parameters: int, config: dict[str, Any]) -> dict[str, float]:
    """Bytes that weights, gradients, Adam and task vectors take, in MB (10^6 bytes).

    Activations come on top: they depend on `micro_batch` and `checkpointing`.
    """
    weights = 4 * parameters / 1e6
    vectors = any(
        block["method"].startswith("task_arithmetic") for block in config["unlearners"].values()
    )
    return {
        "weights": weights,
        "gradients": weights,
        "Adam": 2 * weights,
        "task vector": 2 * weights if vectors else 0.0,
    }


def job_counts(configfile: Path) -> dict[str, int]:
    """Jobs per rule, from Snakemake's own dry run.

    Raises:
        InputError: the dry run fails.
    """
    done = subprocess.run(
        [
            "snakemake",
            "--configfile",
            str(configfile),
            "--dry-run",
            "--quiet",
            "rules",
            "--forceall",
        ],
        capture_output=True,
        text=True,
    )
    found = re.findall(r"^(\w+)\s+(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    if done.returncode or not found:
        raise InputError(f"{configfile}: the dry run fails; see `snakemake -n`")
    return {rule: int(count) for rule, count in found}


def main() -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--configfile", type=Path, required=True)
    parser.add_argument(
        "--rates",
        type=Path,
        default=Path(__file__).with_name("rates.json"),
        help="measured rates, JSON of rates.py",
    )
    arguments = parser.parse_args()
    config = check(yaml.safe_load(arguments.configfile.read_text(encoding="utf-8")))
    machines = json.loads(arguments.rates.read_text(encoding="utf-8"))

    print(f"Plan of {arguments.configfile}\n")
    print("jobs")
    for rule, count in job_counts(arguments.configfile).items():
        print(f"  {rule:20} {count:6}")
    # what models trained here have: of others the size is known otherwise
    vocabulary = (config["corpus"] or config["challenge"] or {}).get("vocabulary") or 50_257
    sizes, seeds = config["forget_sets"]["sizes"], config["forget_sets"]["seeds"]
    each = len(config["unlearners"]) * len(seeds) * len(config["replicates"])
    cells = each * len(sizes)
    print(
        f"\nAssumed: {EPOCHS} epochs a run, and the rates where it says so. To measure yours:"
        "\n  python benchmarks/rates.py --device cuda --json benchmarks/rates.json"
    )
    total = dict.fromkeys((machine["machine"] for machine in machines), 0.0)
    for name, model in config["models"].items():
        count = parameters_of(name, model, vocabulary)
        parts = memory_mb(count, config)
        print(f"\n{name}: {count / 1e6:,.1f} million parameters, {cells} cells")
        listed = ", ".join(f"{part} {size / 1e3:.2f}" for part, size in parts.items())
        print(
            f"  memory of unlearning  {sum(parts.values()) / 1e3:.2f} GB and activations ({listed})"
        )
        kept = cells if config["jobs"]["keep_checkpoints"] else 1
        disk = (len(config["replicates"]) + kept) * parts["weights"] / 1e3
        print(f"  disk                  {disk:.1f} GB of weights")
        if model["hub"]:
            print(f"  download              {parts['weights'] / 1e3:.1f} GB from {model['hub']}")
        for machine in machines:
            rates = {key: machine[key] for key in ("steps", "passes", "decoding")}
            hours = each * sum(work_of(config, count, size).seconds(rates) for size in sizes) / 3600
            total[machine["machine"]] += hours
            print(f"  {machine['machine']:21} {hours:,.1f} hours")
    print("\ntotal, one job at a time, without loading, attacks and training of originals")
    for machine, hours in total.items():
        print(f"  {machine:22}{hours:,.1f} hours")
    if config["challenge"] and not config["challenge"]["mirror"]:
        print(f"  download of data      about {sum(DOWNLOAD_MB.values())} MB")


if __name__ == "__main__":
    run(main)
