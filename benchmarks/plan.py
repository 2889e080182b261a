"""What an experiment costs, before anything starts: jobs, hours, memory, disk, downloads.

Floating-point operations of each stage follow from the config and the models' sizes; seconds follow
from them and from rates that `benchmarks/rates.py` measured; rates of a machine "(assumed)" are
guesses until a measurement takes their place. The number of epochs and of tokens that are decoded
is not known beforehand; what is assumed stands beside the figures.
"""

import argparse
import functools
import itertools
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

from unlearning import attacks, unlearners
from unlearning.configuration import check, source_of, tuning_runs
from unlearning.data.own.entries import read_entries
from unlearning.data.own.files import read_rows
from unlearning.jobs.console import run
from unlearning.jobs.errors import InputError
from unlearning.models.files import parameters_of as stored_parameters
from unlearning.settings.shadows import ShadowSettings
from unlearning.unlearners.grid import at_point, points_of

EPOCHS = 12  # published runs of gradient ascent stop after 8 to 17, the demo's after 6 to 14
HELD_EPOCHS = 90  # ascent held to the original on other text: the study's took 18 to 150, mean 88
STEP, TERM = 3, 4  # forward passes that a step costs on what is forgotten, and on text to keep
JUDGED_ROWS = 128  # of ordinary text, on which a trial of the tuning is judged
ANALYSED = {"analyse_attacks": 0.12, "make_tables": 0.04, "draw_figures": 0.15}
"""CPU seconds for each run of an unlearner, as in the demo."""
CHARACTERS = 4  # of a text in one token
DECODED = 0.5  # share of a sequence's prefixes that leave the text, at a memorization of 0.5
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
PARTS = ("forget", "unseen", "retained")
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
NONE = Work(0.0, 0.0, 0.0)


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


def stages_of(config: dict[str, Any], name: str, parameters: int) -> dict[str, Work]:
    """Rule -> its work on one model, over all jobs of a run."""
    model, sets = config["models"][name], config["forget_sets"]
    pool, shadows = len(lengths_of(config, "forget")), config["shadows"]
    plans = [unlearners.plan(label, block) for label, block in config["unlearners"].items()]
    roles = 2 if model["pretraining"] or model["control"] else 1  # the control is treated alike
    anew = {n: block for n, block in config["attacks"].items() if is_per_forget_set(n)}
    once = {n: block for n, block in config["attacks"].items() if n not in anew}
    stages = {
        "measure_original": measuring_work(config, parameters) * roles,
        "attack_original": attack_work(config | {"attacks": once}, parameters, pool) * roles,
    }
    if model["pretraining"]:  # the control lacks the pool
        trained, control = (training_work(config, parameters, share) for share in (1, 0))
        stages["pretrain"] = trained + control
    for size, _ in itertools.product(sets["sizes"], sets["seeds"]):
        again = attack_work(config | {"attacks": anew}, parameters, size)
        stages["attack_original"] += again * roles
        for plan in plans:
            cell = {
                "unlearn": unlearning_work(config, name, parameters, plan, size),
                "measure_unlearned": measuring_work(config, parameters, size),
                "attack_unlearned": attack_work(config, parameters, size),
            }
            stages |= {stage: stages.get(stage, NONE) + work for stage, work in cell.items()}
    if shadows and name in shadows["models"]:
        stages["train_shadow"] = training_work(config, parameters, 0.5) * shadows["count"]
        # all sequences as trained, once more for the thresholds, and after each method
        each = scoring_work(config, parameters) * (2 + len(plans))
        size = ShadowSettings(**shadows).forgotten(pool)
        for plan in plans:
            each += unlearning_work(config, name, parameters, plan, size)
        stages["unlearn_shadow"] = each * shadows["count"]
    stages = {stage: work * len(config["replicates"]) for stage, work in stages.items()}
    for plan, size in trials_of(config, name):  # on one replicate
        trial = unlearning_work(config, name, parameters, plan, size)
        trial += scoring_work(config, parameters, JUDGED_ROWS) * 2  # before and after
        stages["tune_unlearner"] = stages.get("tune_unlearner", NONE) + trial
    return stages


def training_work(config: dict[str, Any], parameters: int, share: float) -> Work:
    """The work of training a model from scratch on a share of the sequences that are planted."""
    source = config[source_of(config)]
    planted = lengths_of(config, "forget")
    if config["challenge"]:
        planted = planted + lengths_of(config, "retained")
    text = source.get("background_tokens") or source["background_rows"] * source["sequence_length"]
    weights = source.get("repetition_weights") or [1.0] * len(source["repetitions"])
    often = zip(source["repetitions"], weights, strict=True)
    times = sum(count * weight for count, weight in often) / sum(weights)
    return Work(6 * (text + share * times * sum(planted)) * parameters, 0.0, 0.0)


def unlearning_work(
    config: dict[str, Any], name: str, parameters: int, plan: unlearners.Plan, size: int
) -> Work:
    """The work of one run: one forget set of `size`, one block of unlearners.

    What a step costs is said by the method's file, see `unlearning.unlearners`. Memorization is
    measured before the first step and after each; where no rule judges, at every fifth epoch.
    """
    shared = config["unlearning"] | config["models"][name]["unlearning"]
    module, pool = unlearners.load(plan.method), lengths_of(config, "forget")
    # which of the pool are drawn is not asked: a set is taken to be like the pool
    forgotten, longest = size * sum(pool) / len(pool), max(pool)
    limit = shared["max_epochs"]
    ends = getattr(module, "ENDS", False) and plan.stop == "none"
    held = plan.retain is not None and plan.retain.kind == "kl"
    usual = HELD_EPOCHS if held else EPOCHS
    epochs = plan.settings.steps if ends else min(usual, limit)
    beside = sum(getattr(plan.settings, key) for key in getattr(module, "ROWS_BESIDE", ()))
    compared = beside > 0 or held  # with the original
    beside += plan.retain.batch if plan.retain else 0
    again = 1 if shared["checkpointing"] else 0
    step = (getattr(module, "PASSES", STEP) + again) * forgotten
    step += (TERM + again) * beside * longest
    measured = epochs // unlearners.SELDOM if ends else epochs
    read = (measured + 1 + ends) * forgotten + (shared["retain"] * longest if compared else 0)
    decoded = 0.0
    if "el" in shared["stop_metrics"]:  # once: at epochs alone that pass on memorization
        decoded = size * decoded_tokens(config, pool) / len(pool)
    return Work(2 * parameters * epochs * step, 2 * parameters * read, 2 * parameters * decoded)


def scoring_work(config: dict[str, Any], parameters: int, others: int = 0) -> Work:
    """The work of one pass over all sequences, and over so many rows of other text."""
    lengths = [length for part in PARTS for length in lengths_of(config, part)]
    return Work(0.0, 2 * parameters * (sum(lengths) + others * max(lengths)), 0.0)


def measuring_work(config: dict[str, Any], parameters: int, size: int | None = None) -> Work:
    """The work of measuring one model: unlearned on a forget set of `size`, or an original."""
    source, measurement = config[source_of(config)], config["measurement"]
    limit = measurement["limit"] or sys.maxsize
    pool, unseen, retained = (lengths_of(config, part) for part in PARTS)
    mean, own = sum(pool) / len(pool), source.get("tasks", {})
    tokens, decoded, choices = sum(unseen), 0.0, 0
    for task, kind in measurement["tasks"].items():
        items, each = SUITE.get(task, (source.get("items") or count_of(own.get(task)), 60))
        choices += min(items, limit) * each
        decoded += min(items, limit) * 32 if kind == "dialogue" else 0
    if size is None:
        tokens += sum(pool) + sum(retained[:limit])
        asked = ("forget" in measurement["el"]) * decoded_tokens(config, pool)
        thresholds = decoded_tokens(config, unseen) / 2
    else:
        kept = [mean] * (len(pool) - size) + retained
        tokens += size * mean + sum(kept[:limit])
        asked = ("forget" in measurement["el"]) * size * decoded_tokens(config, pool) / len(pool)
        thresholds = 0.0
    if "unseen" in measurement["el"]:
        thresholds = decoded_tokens(config, unseen)
    return Work(
        0.0, 2 * parameters * (tokens + choices), 2 * parameters * (decoded + asked + thresholds)
    )


def decoded_tokens(config: dict[str, Any], lengths: list[int]) -> float:
    """About how many the extraction likelihood of sequences of these lengths decodes."""
    ngram = config["measurement"]["ngram"]
    # what cannot complete an n-gram any more is dropped
    return sum((n - min(ngram, n // 2)) ** 2 for n in lengths) * DECODED / 2


def is_per_forget_set(attack: str) -> bool:
    """Whether the outcome of an attack depends on what is in the forget set."""
    return getattr(attacks.load(attack), "PER_FORGET_SET", False)


def attack_work(config: dict[str, Any], parameters: int, size: int) -> Work:
    """The work of the suite's attacks on one model with a forget set of `size`.

    A masked model's rewriting is not counted: its size is not known.
    """
    suffix = config["measurement"]["extraction_suffix"]
    pool, unseen = (lengths_of(config, part) for part in ("forget", "unseen"))
    forgotten, others = size * sum(pool) / len(pool), sum(unseen) / 2  # the "attack" half
    tokens, rows = forgotten + others, size + len(unseen) / 2
    trained = 0.0
    # the sequences as they are, on which most attacks look
    read = tokens if any(map(attacks.on_model, config["attacks"])) else 0.0
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


def trials_of(config: dict[str, Any], name: str) -> list[tuple[unlearners.Plan, int]]:
    """The runs by which settings are tuned on one model: what each unlearns with, and how many."""
    tuning = config["tuning"]
    if not tuning_runs(config) or name not in (tuning["models"] or config["models"]):
        return []
    points = [
        unlearners.plan(label, at_point(label, config["unlearners"][label], point))
        for label, grid in tuning["grids"].items()
        if label in config["unlearners"]
        for point in points_of(grid)
    ]
    return [*itertools.product(points, tuning["sizes"])] * len(tuning["seeds"])


@functools.cache
def _lengths_in(path: str, part: str) -> tuple[int, ...]:
    contents = [entry.content for entry in read_entries(part, path).rows]
    return tuple(len(c) // CHARACTERS + 1 if isinstance(c, str) else len(c) for c in contents)


def lengths_of(config: dict[str, Any], part: str) -> list[int]:
    """About how many tokens each sequence of a part has; windows change their sum little.

    The challenge's pool is what its forget sets hold, taken to have none in common.
    """
    source, sets = config[source_of(config)], config["forget_sets"]
    given = source.get(part)
    if isinstance(given, str):
        lengths = [*_lengths_in(given, part)]
    else:
        drawn = max(sets["sizes"]) * len(sets["seeds"])
        count = source.get("planted", drawn) if part == "forget" else given or 0
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
    return {rule: int(count) for rule, count in found if rule not in ("all", "total")}


def told(seconds: float) -> str:
    """A time in the unit that suits it; none where nothing is counted."""
    if not seconds:
        return "-"
    return f"{seconds / 60:,.1f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"


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
    if not arguments.no_probe:
        machines.append({"machine": THIS})
    jobs = job_counts(arguments.configfile)

    print(f"Plan of {arguments.configfile}")
    # what models trained here have: of others the size is known otherwise
    vocabulary = (config["corpus"] or config["challenge"] or {}).get("vocabulary") or 50_257
    cells = len(config["unlearners"]) * len(config["replicates"])
    cells *= len(config["forget_sets"]["sizes"]) * len(config["forget_sets"]["seeds"])
    seconds = {machine["machine"]: dict.fromkeys(jobs, 0.0) for machine in machines}
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
        stages = stages_of(config, name, count)
        for machine in machines:
            here = machine["machine"] == THIS
            few = 16 if model["pretraining"] else 2
            rates = probed(shape_of(model), longest, vocabulary, few) if here else machine
            taken = {stage: work.seconds(rates) for stage, work in stages.items()}
            print(f"  {machine['machine']:26} {told(sum(taken.values()))}")
            for stage in jobs:
                seconds[machine["machine"]][stage] += taken.get(stage, 0.0)
    if THIS in seconds:
        starting = start_seconds()
        for stage, number in jobs.items():
            seconds[THIS][stage] += starting * number
            seconds[THIS][stage] += ANALYSED.get(stage, 0.0) * cells * len(config["models"])

    print(
        f"\nAssumed: {EPOCHS} epochs a run without an end of its own, {HELD_EPOCHS} where its steps"
        f" are held to the original (retain: kl), at most {config['unlearning']['max_epochs']};"
        " and the rates where it says so. To measure yours:"
        "\n  python benchmarks/rates.py --device cuda --json benchmarks/rates.json"
    )
    print(f"\n{'stage':20} {'jobs':>6}" + "".join(f"{name:>22}" for name in seconds))
    for stage, number in jobs.items():
        columns = "".join(f"{told(by_stage[stage]):>22}" for by_stage in seconds.values())
        print(f"{stage:20} {number:6}{columns}")
    columns = "".join(f"{told(sum(by_stage.values())):>22}" for by_stage in seconds.values())
    print(f"{'one job at a time':20} {sum(jobs.values()):6}{columns}")
    if config["challenge"] and not config["challenge"]["mirror"]:
        print(f"download of data: about {sum(DOWNLOAD_MB.values())} MB")


if __name__ == "__main__":
    run(main)
