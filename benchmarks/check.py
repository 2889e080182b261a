"""What would a run do with these files, and what can it decide? Reads them, loads no weights.

Everything that is wrong with config, files and model folders is said here, a line a cause, before
anything is computed: rows and their lengths, what is dropped, windowed or cut, what parts share,
tokens that a model lacks, memory, time, and how sure a run with so many sequences can be.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import plan
from unlearning.configuration import check
from unlearning.jobs.console import run
from unlearning.jobs.errors import InputError, first_line
from unlearning.settings import build
from unlearning.settings.own import OwnSettings

CERTAIN = 1.96  # standard errors of a 95 % interval


def read_config(path: Path) -> dict[str, Any]:
    """A config file, checked.

    Raises:
        InputError: it cannot be read, is no YAML, or says something that cannot be.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a config") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = getattr(error, "problem", None) or type(error).__name__
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise InputError(f"{path}: is no YAML ({problem}{line}); mend it") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no keys; copy config/custom.yaml and fill it in")
    return check(values)


def folders_of(config: dict[str, Any]) -> dict[str, Path]:
    """Where each model's tokenizer can be read: its folder, or where a run has fetched it."""
    fetched = Path("results", config["run"], "models")
    folders = {
        name: Path(model["folder"] or fetched / name) for name, model in config["models"].items()
    }
    return {name: folder for name, folder in folders.items() if os.path.isdir(folder)}


def lines_of(config: dict[str, Any]) -> Iterator[str]:
    """The report, line by line.

    Raises:
        InputError: see `unlearning.data.own.parts.prepare`.
    """
    settings = build(config["own"], OwnSettings, "config: own")
    folders = folders_of(config)
    if not folders:
        yield (
            "No model is here yet, so lengths are not known; rows by themselves are in order."
            " Fetch it: snakemake --configfile CONFIG --until fetch_model"
        )
        return
    yield from _sequences(config, settings, folders)
    yield from _costs(config)


def _sequences(
    config: dict[str, Any], settings: OwnSettings, folders: dict[str, Path]
) -> Iterator[str]:
    """What is read of the files, and what so much can decide."""
    # slow to import: what is wrong with a config is said without waiting for them
    from unlearning.data.corpus.tokens import APART
    from unlearning.data.own import parts as own
    from unlearning.data.own.entries import read_own_items

    reader = own.reader_of(folders, settings.bos)
    parts = own.read_parts(settings, reader)
    limit = config["measurement"]["limit"]
    unseen, cut, short = own.draw_unseen(parts, settings.seed, limit)
    own.check_apart(parts, parts["forget"].tokens | unseen)
    items = {
        task: read_own_items(config["measurement"]["tasks"][task], path)
        for task, path in settings.tasks.items()
    }
    own.check_items(items, reader)

    for part, found in parts.items():
        lengths = sorted(len(row) for row in found.tokens.values())
        told = [f"{count} {what}" for what, count in found.counts.items() if count]
        yield (
            f"own.{part}: {', '.join(told)}; {len(lengths)} sequences of {lengths[0]} to"
            f" {lengths[-1]} tokens, median {lengths[len(lengths) // 2]}"
        )
    for task, found in items.items():
        yield f"own.tasks.{task}: {len(found)} items"
    yield "No sequence stands twice, in one file or in two."
    akin = own.akin(parts)
    yield (
        f"Overlap: {akin} unseen sequences share {APART} tokens in a row with a known one"
        + ("; thresholds are too lax where these are many: choose others" if akin else "")
    )
    yield (
        f"Like with like: {cut} unseen sequences are cut to the lengths of the forget pool,"
        f" {short} are much shorter than they should be" + ("; give longer ones" if short else "")
    )
    context = "any number of" if reader.context is None else f"up to {reader.context}"
    begin = "" if reader.bos is None else f", each begun by token {reader.bos} (not scored)"
    yield (
        f"Vocabulary: {reader.vocabulary} tokens in the models, {len(reader.tokenizer)} in the"
        f" tokenizer; {context} tokens at once{begin}"
    )
    yield from _lengths_that_do_not_fit(config, parts["forget"].tokens.values())
    yield from _decided(config, len(unseen))


def _lengths_that_do_not_fit(config: dict[str, Any], rows: Any) -> Iterator[str]:
    """Where a measure asks for more than half of a sequence, half is taken."""
    for key in ("ngram", "extraction_suffix"):
        asked = config["measurement"][key]
        count = sum(len(row) < 2 * asked for row in rows)
        if count:
            yield (
                f"measurement.{key}: {count} sequences have fewer than 2 x {asked} tokens; half of"
                " each is meant there"
            )


def _decided(config: dict[str, Any], unseen: int) -> Iterator[str]:
    """What a run with so many sequences can and cannot decide."""
    from unlearning.memorization.forgetting import about_band

    sizes, seeds = config["forget_sets"]["sizes"], config["forget_sets"]["seeds"]
    threshold, attack = unseen // 2, unseen - unseen // 2
    yield f"Unseen sequences: {threshold} set thresholds and band, {attack} are the non-members."
    yield f"  {about_band(threshold, tuple(config['forgetting']['band_quantiles']))}"
    if attack < 100:
        yield f"  A false positive rate of 1 % asks for 100 non-members: with {attack} it is 0 %"
    for size in sizes:
        error = math.sqrt((size + attack + 1) / (12 * size * attack))
        yield (
            f"Forget sets of {size}: an AUC of a membership attack within {CERTAIN * error:.2f} of"
            " 0.5 is chance"
        )
    if len(seeds) == 1:
        yield (
            "One draw: no interval over draws, and no method is surely better than another; smaller"
            " `sizes` with several `seeds` give both"
        )
    else:
        yield f"{len(seeds)} draws: intervals over them, as wide as so few are"


def _costs(config: dict[str, Any]) -> Iterator[str]:
    """Memory and time, as `make plan` counts them."""
    machines = json.loads(Path(plan.__file__).with_name("rates.json").read_text(encoding="utf-8"))
    for name, model in config["models"].items():
        try:
            count = plan.parameters_of(name, model, 0)
        except InputError as error:
            yield first_line(error)
            continue
        memory = sum(plan.memory_mb(count, config).values()) / 1e3
        yield (
            f"{name}: {count / 1e6:,.1f} million parameters, {memory:.2f} GB to unlearn and"
            " activations"
        )
        work = sum(plan.stages_of(config, name, count).values(), plan.NONE)
        for machine in machines:
            hours = work.seconds({kind: machine[kind] for kind in plan.KINDS}) / 3600
            yield f"  {machine['machine']}: {hours:,.1f} hours, attacks included"


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--configfile", type=Path, required=True)
    arguments = parser.parse_args()
    config = read_config(arguments.configfile)
    if not config["own"]:
        print(f"{arguments.configfile}: in order; it has no files of your own to look at")
        return
    lines = list(lines_of(config))  # all or nothing
    print(f"{arguments.configfile}: in order\n" + "\n".join(lines))


if __name__ == "__main__":
    run(main)
