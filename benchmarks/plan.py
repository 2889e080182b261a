"""What an experiment costs, before anything starts: jobs, hours, memory, disk, downloads.

Floating-point operations follow from the config and the models' sizes; seconds follow from them
and from rates that `benchmarks/rates.py` measured; rates of a machine "(assumed)" are guesses until
a measurement takes their place. The number of epochs and of tokens that are decoded is not known
beforehand; what is assumed stands beside the figures.
"""

import argparse
import functools
import json
import re
import resource
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from unlearning.configuration import check, source_of
from unlearning.data.own.entries import read_entries
from unlearning.data.own.files import read_rows
from unlearning.jobs.console import run
from unlearning.jobs.errors import InputError
from unlearning.models.files import parameters_of as stored_parameters

EPOCHS = 20  # published runs of gradient ascent stop after 8 to 17
CHARACTERS = 4  # of a text in one token
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
THIS = "this CPU, one thread"  # measured now
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

    def __add__(self, other: "Work") -> "Work":
        """Both."""
        return Work(*(getattr(self, kind) + getattr(other, kind) for kind in KINDS))

    def __mul__(self, times: float) -> "Work":
        """So many times."""
        return Work(*(getattr(self, kind) * times for kind in KINDS))

    def seconds(self, rates: dict[str, float]) -> float:
        """On a machine with these rates, 10^12 operations a second."""
        return sum(getattr(self, kind) / (rates[kind] * 1e12) for kind in KINDS)


KINDS = tuple(field.name for field in fields(Work))


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
        count = stored_parameters(Path(model["folder"]))
        if count:
            return count
    raise InputError(f"models.{name}: its size is not known; give `parameters`")


def work_of(config: dict[str, Any], parameters: int, size: int) -> Work:
    """The work of one cell: one forget set of `size`, one method."""
    source, measurement = config[source_of(config)], config["measurement"]
    limit = measurement["limit"] or sys.maxsize
    pool, unseen, retained = (lengths_of(config, part) for part in PARTS)
    retained = retained[:limit]
    # which of the pool are drawn is not asked: a set is taken to be like the pool
    forgotten = size * sum(pool) / len(pool)
    own = source.get("tasks", {})
    forward = 2 * parameters
    step = 5 if config["unlearning"]["checkpointing"] else 3
    tokens = choices = replies = 0
    for task, kind in measurement["tasks"].items():
        items, each = SUITE.get(task, (source.get("items") or count_of(own.get(task)), 60))
        items = min(items, limit)
        choices += items * each
        replies += items * 32 if kind == "dialogue" else 0
    tokens += forgotten + sum(unseen) + sum(retained) + choices

    def decoding(lengths: list[int]) -> float:
        return sum(max(0, n - measurement["ngram"]) * n for n in lengths) * DECODED / 2

    decoded = size * decoding(pool) / len(pool) + replies
    if "unseen" in measurement["el"]:
        decoded += decoding(unseen)
    return Work(
        steps=EPOCHS * forgotten * step * forward,
        passes=(EPOCHS * forgotten + tokens) * forward,
        decoding=decoded * forward,
    )


def attack_work(config: dict[str, Any], parameters: int, size: int) -> Work:
    """The work of the suite's attacks on one model with a forget set of `size`.

    A masked model's rewriting is not counted: its size is not known.
    """
    suffix = config["measurement"]["extraction_suffix"]
    pool, unseen = (lengths_of(config, part) for part in ("forget", "unseen"))
    forgotten, others = size * sum(pool) / len(pool), sum(unseen) / 2  # the "attack" half
    tokens, rows = forgotten + others, size + len(unseen) / 2
    read = trained = 0.0
    for name, block in config["attacks"].items():
        if name == "neighbour":
            read += (1 + block["rewrites"]) * tokens
        elif name == "prefix_perturbation":
            short = min(tokens, rows * (block["context"] + suffix))
            each = {"truncated": short, "intact": 0}  # intact ones are scored anyway
            chance = block["draws"] * tokens
            read += sum(each.get(variant, chance) for variant in block["variants"])
        elif name == "quantization":
            read += len(block["schemes"]) * tokens
        elif name == "sampling":
            read += tokens
        elif name == "relearning":
            folds, steps = min(block["folds"], size), block["steps"]
            if "own" in block["texts"]:
                trained += max(steps) * (folds - 1) * forgotten
                read += len(steps) * (forgotten + folds * others)
            other_texts = len(set(block["texts"]) - {"own"})
            trained += other_texts * max(steps) * forgotten * (folds - 1) / folds
            read += other_texts * len(steps) * tokens
        elif name == "gradient_norm":
            # the gradients of what goes into the matrices alone; of both unseen halves
            trained += 2 * (tokens + others) / 3
        elif name in ("reference_observer", "zlib_calibrated"):
            read += others  # the other unseen half
    return Work(steps=6 * trained * parameters, passes=2 * read * parameters, decoding=0.0)


def original_work(config: dict[str, Any], name: str, parameters: int) -> Work:
    """The work before unlearning: training, measuring and attacking original and control."""
    source, model = config[source_of(config)], config["models"][name]
    sizes = config["forget_sets"]["sizes"]
    pool = source.get("planted") or count_of(source.get("forget")) or max(sizes)
    measured = work_of(config, parameters, pool)
    work = Work(0.0, measured.passes, measured.decoding) + attack_work(config, parameters, pool)
    relearning = {"attacks": {k: v for k, v in config["attacks"].items() if k == "relearning"}}
    for size in sizes:  # what hangs on the forget set is attacked for each
        again = attack_work(config | relearning, parameters, size)
        work += again * len(config["forget_sets"]["seeds"])
    if not model["pretraining"]:
        return work * (2 if model["control"] else 1)
    length = source["sequence_length"]
    text = source.get("background_tokens") or source["background_rows"] * length
    weights = source.get("repetition_weights") or [1.0] * len(source["repetitions"])
    often = zip(source["repetitions"], weights, strict=True)
    planted = pool * length * sum(times * weight for times, weight in often) / sum(weights)
    training = Work(6 * (2 * text + planted) * parameters, 0.0, 0.0)  # the control lacks the pool
    return work * 2 + training


PARTS = ("forget", "unseen", "retained")


@functools.cache
def _lengths_in(path: str, part: str) -> tuple[int, ...]:
    contents = [entry.content for entry in read_entries(part, path).rows]
    return tuple(len(c) // CHARACTERS + 1 if isinstance(c, str) else len(c) for c in contents)


def lengths_of(config: dict[str, Any], part: str) -> list[int]:
    """About how many tokens each sequence of a part has; windows change their sum little.

    Of a pool that is not known a single one stands for all.
    """
    source = config[source_of(config)]
    given = source.get(part)
    if isinstance(given, str):
        lengths = [*_lengths_in(given, part)]
    else:
        count = source.get("planted", 1) if part == "forget" else given or 0
        lengths = [source.get("sequence_length", 0)] * count
    limit = config["measurement"]["limit"]
    return lengths[: 2 * limit] if limit and part == "unseen" and not config["corpus"] else lengths


def shape_of(model: dict[str, Any]) -> tuple[int, int, int]:
    """Width, layers and heads to measure a model's rates with.

    A model trained here has its own, any other those of GPT-Neo 125M: larger ones reach about the
    same rate.
    """
    size = model["pretraining"]
    return (size["hidden_size"], size["layers"], size["heads"]) if size else (768, 12, 12)


@functools.cache  # several models may be measured in one shape
def probed(
    shape: tuple[int, int, int], length: int, vocabulary: int, sequences: int
) -> dict[str, float]:
    """The rates of this machine's CPU, one thread: 10^12 operations a second of each kind of work.

    Args:
        shape: see `shape_of`.
        length: tokens of a sequence.
        vocabulary: tokens there are.
        sequences: so many at a time.
    """
    import torch

    import rates

    torch.set_num_threads(1)
    sizes = dict(zip(("hidden_size", "num_layers", "num_heads"), shape, strict=True))
    learner = rates.Learner(rates.random_model(sizes, "cpu", vocabulary), 1e-9, 8)
    measured = rates.measure(learner, torch.randint(vocabulary, (sequences, length)))
    return {kind: done / taken / 1e12 for kind, (taken, done, _) in measured.items()}


def start_seconds() -> float:
    """CPU seconds that a job's process takes before its work: Python and the libraries."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    imports = (
        "import unlearning.evaluation, unlearning.attacks.target, unlearning.unlearners.driver"
    )
    scripts = Path(__file__).resolve().parents[1] / "scripts"
    subprocess.run([sys.executable, "-c", imports], cwd=scripts, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def count_of(rows: int | str | None) -> int:
    """How many there are: a number, or the rows of a file."""
    return len(read_rows(rows)) if isinstance(rows, str) else rows or 0


def memory_mb(parameters: int, config: dict[str, Any]) -> dict[str, float]:
    """Bytes that weights, gradients, Adam and task vectors take on the device, in MB (10^6 bytes).

    Activations come on top: they depend on `micro_batch` and `checkpointing`.
    """
    weights = 4 * parameters / 1e6
    lora = config["unlearning"]["lora"]
    trained = 4 * adapter_parameters(parameters, lora["rank"]) / 1e6 if lora else weights
    if config["unlearning"]["offload"] == "optimizer":
        return {"weights": weights, "gradients": trained} | ({"adapter": trained} if lora else {})
    vectors = any(
        block["method"].startswith("task_arithmetic") for block in config["unlearners"].values()
    )
    return {
        "weights": weights,
        "gradients": trained,
        "Adam": 2 * trained,
        "task vector": 2 * trained if vectors else 0.0,
    } | ({"adapter": trained} if lora else {})


def adapter_parameters(parameters: int, rank: int) -> float:
    """About how many an adapter of all linear layers has, for a transformer of usual proportions.

    A block of width d has 12 d^2 parameters in its matrices, and an adapter 18 d rank of them; d is
    taken from the size, as if there were d / 64 blocks.
    """
    width = (parameters * 64 / 12) ** (1 / 3)
    return parameters * 1.5 * rank / width


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
    parser.add_argument(
        "--no-probe", action="store_true", help="do not measure this machine, half a minute"
    )
    arguments = parser.parse_args()
    config = check(yaml.safe_load(arguments.configfile.read_text(encoding="utf-8")))
    machines = json.loads(arguments.rates.read_text(encoding="utf-8"))

    print(f"Plan of {arguments.configfile}\n")
    print("jobs")
    jobs = job_counts(arguments.configfile)
    for rule, count in jobs.items():
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
    if not arguments.no_probe:
        machines.append({"machine": THIS})
    total = dict.fromkeys((machine["machine"] for machine in machines), 0.0)
    longest = max(lengths_of(config, "forget"))
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
        work = original_work(config, name, count)
        for size in sizes:
            work += (work_of(config, count, size) + attack_work(config, count, size)) * each
        for machine in machines:
            here = machine["machine"] == THIS
            few = 16 if model["pretraining"] else 2
            rates = probed(shape_of(model), longest, vocabulary, few) if here else machine
            hours = work.seconds(rates) / 3600
            total[machine["machine"]] += hours
            print(f"  {machine['machine']:26} {hours:,.2f} hours")
    if THIS in total:
        starting = start_seconds() * jobs["total"] / 3600
        total[THIS] += starting
        print(f"\nstarting the jobs' processes here: {starting:,.2f} hours")
    print("\ntotal, one job at a time")
    for machine, hours in total.items():
        print(f"  {machine:28}{hours:,.2f} hours")
    if config["challenge"] and not config["challenge"]["mirror"]:
        print(f"  download of data      about {sum(DOWNLOAD_MB.values())} MB")


if __name__ == "__main__":
    run(main)
