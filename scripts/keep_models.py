"""Keep the unlearned models of a batch: a model folder each, with tokenizer and model card."""

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd

from unlearning.analysis.rows import KEYS
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import add_paths, run
from unlearning.jobs.files import link, remove, replacing, weights_of, write_json
from unlearning.models.cards import Facts, card
from unlearning.settings import read_settings, settings_class
from unlearning.settings.analysis import SolutionSettings
from unlearning.settings.unlearning import LoraSettings

INPUTS = {
    "checkpoints": "folder of models",
    "tokenizer": "folder of the original",
    "runs": "runs of this batch",
    "sequences": "table of sequences",
    "memorization": "table of memorization, for losses",
    "per_run": "table per_run.csv",
    "exposed": "attack_exposed.csv",
}


@settings_class
class Settings:
    """What the cards say beside the results."""

    unlearners: dict[str, dict[str, object]]
    """Label -> block of the config."""

    origin: str
    """Where the original model comes from."""

    hub: str | None = None
    """Its name on the hub."""

    rule: SolutionSettings = SolutionSettings()
    """The limits."""

    limit: int | None = None
    """`measurement.limit`, of a trial."""

    lora: LoraSettings | None = None
    """Whether adapters were trained, and what is kept of them."""


def main() -> None:
    """Link weights and tokenizer, write the cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_paths(parser, **INPUTS, output="folder of models to write")
    parser.add_argument("--files", type=Path, help="the user's files, JSON, where there are some")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    per_run, exposed = pd.read_csv(arguments.per_run), pd.read_csv(arguments.exposed)
    memorization = pd.read_parquet(arguments.memorization)
    tokens = pd.read_parquet(arguments.sequences).set_index("sequence_id")["tokens"]
    files = json.loads(arguments.files.read_text(encoding="utf-8")) if arguments.files else {}
    original = weights_of(arguments.tokenizer)
    with replacing(arguments.output) as scratch:
        for _, row in pd.read_parquet(arguments.runs).iterrows():
            cell = row[KEYS].to_dict()
            name = Cell(*(cell[key] for key in Cell._fields)).name
            folder = scratch / name
            take(arguments.checkpoints / name, arguments.tokenizer, folder, settings)
            scores = memorization[cell_of(memorization, cell, ("original", cell["unlearner"]))]
            forget = scores[scores["split"] == "forget"]
            lengths = tokens[forget["sequence_id"].unique()].map(len)
            before, after = (
                values_of(per_run[cell_of(per_run, cell, (label,))])
                | losses_of(scores[scores["unlearner"] == label])
                for label in ("original", cell["unlearner"])
            )
            facts = Facts(
                cell=cell,
                run=row,
                block=settings.unlearners[cell["unlearner"]],
                origin=settings.origin,
                before=before,
                after=after,
                exposed=exposed[cell_of(exposed, cell, (cell["unlearner"],))],
                rule=settings.rule,
                lengths=(int(lengths.min()), int(lengths.max())),
                unseen=scores.loc[scores["split"] == "unseen", "sequence_id"].nunique(),
                trial=settings.limit,
                hub=settings.hub,
                digests={f"the original's {file}": digest for file, digest in original.items()}
                | {f"this {file}": digest for file, digest in weights_of(folder).items()}
                | {f"the file `{key}`": file["sha256"] for key, file in files.items()},
                adapter=(folder / "adapter_config.json").exists(),
            )
            (folder / "README.md").write_text(card(facts), encoding="utf-8")


def take(checkpoint: Path, tokenizer: Path, folder: Path, settings: Settings) -> None:
    """The files of one model: weights, or the adapter alone, and the original's tokenizer."""
    alone = settings.lora is not None and settings.lora.kept == "adapter"
    shutil.copytree(checkpoint / "adapter" if alone else checkpoint, folder, copy_function=link)
    for table in folder.glob("*.parquet"):
        table.unlink()
    for config in folder.rglob("adapter_config.json"):
        values = json.loads(config.read_text(encoding="utf-8"))
        remove(config)  # a link to the checkpoint's
        write_json(values | {"base_model_name_or_path": settings.hub or settings.origin}, config)
    for file in tokenizer.iterdir():
        weights = file.name.endswith((".safetensors", ".safetensors.index.json"))
        skipped = weights or (alone and file.name in ("config.json", "generation_config.json"))
        if file.is_file() and not skipped and not (folder / file.name).exists():
            shutil.copy(file, folder / file.name)


def cell_of(table: pd.DataFrame, cell: dict[str, object], labels: tuple[str, ...]) -> pd.Series:
    """Which rows belong to a cell, for these unlearners."""
    same = [table[key] == cell[key] for key in KEYS if key != "unlearner"]
    return same[0] & same[1] & same[2] & table["unlearner"].isin(labels)


def values_of(rows: pd.DataFrame) -> dict[str, float]:
    """Metric -> value of one run."""
    return rows.set_index("metric")["value"].to_dict()


def losses_of(scores: pd.DataFrame) -> dict[str, float]:
    """The mean loss on what was to be retained, nats per token; nothing where there is none."""
    retained = scores.loc[scores["split"] == "retained", "loss"]
    return {"retained_loss": float(retained.mean())} if len(retained) else {}


if __name__ == "__main__":
    run(main)
