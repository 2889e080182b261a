"""Keep the unlearned models of a batch: a model folder each, with tokenizer and model card.

Unlearning computes in float32. What is kept has the precision of the original, and where that is
another one, memorization is measured again on what is kept: rounding may bring some of it back.
"""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Literal

import pandas as pd

from unlearning.analysis.replicates import REPLICATE
from unlearning.analysis.rows import KEYS
from unlearning.analysis.strictest import shown
from unlearning.data.sequences import forget_set
from unlearning.jobs.cells import Cell
from unlearning.jobs.console import add_paths, add_threads, add_tuned, limit_threads, run
from unlearning.jobs.digests import weights_of
from unlearning.jobs.files import link, remove, replacing, write_json
from unlearning.models.cards import Facts, card
from unlearning.models.files import precision_of
from unlearning.settings import read_settings, settings_class
from unlearning.settings.analysis import SolutionSettings
from unlearning.settings.unlearning import LoraSettings
from unlearning.unlearners.grid import with_chosen

INPUTS = {
    "checkpoints": "folder of models",
    "tokenizer": "folder of the original",
    "runs": "runs of this batch",
    "sequences": "table of sequences",
    "forget_sets": "table of forget sets",
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

    precision: Literal["original", "float32"]
    """Of the weights that are kept."""

    @property
    def adapter_alone(self) -> bool:
        """Whether no weights of the model are kept."""
        return self.lora is not None and self.lora.kept == "adapter"


def main() -> None:
    """Link or round the weights, copy the tokenizer, write the cards."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_paths(parser, **INPUTS, output="folder of models to write")
    parser.add_argument("--files", type=Path, help="the user's files, JSON, where there are some")
    add_tuned(parser)
    add_threads(parser)
    parser.add_argument("--replicate", type=int, help="that they are of, where there are several")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    settings = read_settings(arguments.settings, Settings)
    blocks = with_chosen(settings.unlearners, arguments.tuned)
    per_run, exposed = pd.read_csv(arguments.per_run), pd.read_csv(arguments.exposed)
    memorization = pd.read_parquet(arguments.memorization)
    if arguments.replicate is not None:
        per_run, exposed, memorization = (
            table[table[REPLICATE] == arguments.replicate]
            for table in (per_run, exposed, memorization)
        )
    tokens = pd.read_parquet(arguments.sequences).set_index("sequence_id")["tokens"]
    files = json.loads(arguments.files.read_text(encoding="utf-8")) if arguments.files else {}
    original = weights_of(arguments.tokenizer)
    precision = "float32"
    if settings.precision == "original" and not settings.adapter_alone:
        precision = precision_of(arguments.tokenizer)
    with replacing(arguments.output) as scratch:
        for _, row in pd.read_parquet(arguments.runs).iterrows():
            cell = row[KEYS].to_dict()
            made = Cell(*(cell[key] for key in Cell._fields))
            name = made.name
            folder = scratch / name
            take(arguments.checkpoints / name, arguments.tokenizer, folder, settings)
            # before the digests are taken
            after_rounding = (
                "" if precision == "float32" else rounded(folder, precision, made, arguments)
            )
            scores = memorization[cell_of(memorization, cell, ("original", cell["unlearner"]))]
            forget = scores[scores["split"] == "forget"]
            lengths = tokens[forget["sequence_id"].unique()].map(len)
            before, after = (
                values_of(per_run[cell_of(per_run, cell, (label,))])
                | losses_of(scores[scores["unlearner"] == label])
                for label in ("original", cell["unlearner"])
            )
            own = per_run[cell_of(per_run, cell, (cell["unlearner"],))]
            strictest = own.loc[own["metric"] == settings.rule.attack_metric, "attacker"].dropna()
            facts = Facts(
                cell=cell,
                run=row,
                block=blocks[cell["unlearner"]],
                origin=settings.origin,
                before=before,
                after=after,
                exposed=exposed[cell_of(exposed, cell, (cell["unlearner"],))],
                rule=settings.rule,
                strictest=shown("".join(strictest)),
                floor=values_of(per_run[cell_of(per_run, cell, ("control",))]),
                lengths=(int(lengths.min()), int(lengths.max())),
                unseen=scores.loc[scores["split"] == "unseen", "sequence_id"].nunique(),
                trial=settings.limit,
                hub=settings.hub,
                digests={f"the original's {file}": digest for file, digest in original.items()}
                | {f"this {file}": digest for file, digest in weights_of(folder).items()}
                | {f"the file `{key}`": file["sha256"] for key, file in files.items()},
                adapter=(folder / "adapter_config.json").exists(),
            )
            (folder / "README.md").write_text(card(facts) + after_rounding, encoding="utf-8")


def take(checkpoint: Path, tokenizer: Path, folder: Path, settings: Settings) -> None:
    """The files of one model: weights, or the adapter alone, and the original's tokenizer."""
    alone = settings.adapter_alone
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


def rounded(folder: Path, precision: str, cell: Cell, arguments: argparse.Namespace) -> str:
    """Round the weights of a folder; what the card says of them then."""
    import torch  # slow to import, and float32 does without

    from unlearning.memorization.rows import rows_of
    from unlearning.memorization.scoring import ma_and_loss
    from unlearning.models.loading import load_model, recast

    recast(folder, precision)
    sequences = pd.read_parquet(arguments.sequences).set_index("sequence_id")
    ids = forget_set(pd.read_parquet(arguments.forget_sets), cell.forget_size, cell.seed)
    ma, _ = ma_and_loss(load_model(folder, torch.device("cpu")), rows_of(sequences.loc[ids]))
    measured = {"precision": precision, "mean_ma": float(ma.mean()), "max_ma": float(ma.max())}
    write_json({key: none_if_nan(value) for key, value in measured.items()}, folder / "kept.json")
    return (
        f"\nStored as {precision}, as the original is. Measured again after rounding: mean"
        f" memorization accuracy of the forget set {ma.mean():.3f}, highest {ma.max():.3f}.\n"
    )


def none_if_nan(value: object) -> object:
    """What JSON can hold; a diverged model has no number."""
    return None if isinstance(value, float) and math.isnan(value) else value


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
