"""The whole config as settings classes: what a file in config/ may say, with types and defaults.

config/schema.json is made from these classes (`make schema`), and a test holds the two equal.
Nothing here imports torch: the config is checked whenever Snakemake starts.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, TypeAdapter

from unlearning import unlearners
from unlearning.errors import InputError
from unlearning.settings import build, settings_class
from unlearning.settings.analysis import AttackSettings, ClaimRules, SolutionSettings, TableSettings
from unlearning.settings.corpus import CorpusSettings
from unlearning.settings.measurement import MeasurementSettings
from unlearning.settings.pretraining import PretrainingSettings
from unlearning.settings.unlearning import UnlearningSettings

# names become parts of file names and of the engine's wildcards
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$")]


@settings_class
class ModelSettings:
    """One model of the experiment."""

    pretraining: PretrainingSettings
    """Its size and its training."""

    unlearning: dict[str, Any] = Field(default_factory=dict)
    """Keys of the top-level block `unlearning` that are different for this model."""


@settings_class
class ForgetSetSettings:
    """The forget sets: one for each size and seed, nested within a seed."""

    sizes: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)
    """Numbers of sequences to forget."""

    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    """One draw from the planted pool each: the repetitions that intervals are taken over."""


@settings_class
class ForgettingSettings:
    """When a sequence counts as forgotten."""

    band_quantiles: tuple[float, float] = (0.01, 0.99)
    """Ends of the calibrated acceptable band, as quantiles of unseen sequences' g."""


@settings_class
class JobSettings:
    """How the experiment is cut into jobs; the results are the same however it is cut."""

    split_by: tuple[Literal["forget_size", "unlearner", "seed"], ...] = ("unlearner",)
    """One job for each model and each value on these axes. Loading a library takes seconds, so
    few full jobs suit small models; a big model on a cluster wants all three axes."""

    keep_checkpoints: bool = False
    """Keep the unlearned models under results/<run>/unlearned/ after they are evaluated."""

    per_gpu: int = Field(default=1, gt=0)
    """How many jobs of this machine may compute on one GPU at a time. Where it is more than 1,
    give Snakemake `--resources gpu=` as many times the number of GPUs."""


@settings_class
class Config:
    """An experiment."""

    run: Name
    """Results are written to results/<run>/."""

    seed: int = Field(default=0, ge=0)
    """Seeds the training of the models."""

    corpus: CorpusSettings
    """The generated corpus."""

    models: dict[Name, ModelSettings] = Field(min_length=1)
    """The models, from small to large."""

    forget_sets: ForgetSetSettings
    """What is to be forgotten."""

    forgetting: ForgettingSettings = ForgettingSettings()
    """When it counts as forgotten."""

    unlearning: UnlearningSettings = UnlearningSettings()
    """What all unlearners share."""

    unlearners: dict[Name, dict[str, Any]] = Field(min_length=1)
    """Label -> `method` (a file in scripts/unlearning/unlearners/), `stop` ("mean" or "each") and
    the method's own settings. One method may stand under several labels."""

    measurement: MeasurementSettings
    """What is measured of each model."""

    attack: AttackSettings = AttackSettings()
    """The privacy attack."""

    tables: TableSettings = TableSettings()
    """What the tables compare."""

    solution_space: SolutionSettings = SolutionSettings()
    """The rule by which the map names a winner."""

    claims: ClaimRules = ClaimRules()
    """The rules by which the paper's claims are judged."""

    jobs: JobSettings = JobSettings()
    """How the experiment is cut into jobs."""


def check(values: dict[str, Any]) -> dict[str, Any]:
    """Check a config and fill in the defaults.

    Args:
        values: the config as read from YAML.

    Returns:
        Plain values (numbers, strings, lists, dicts), complete.

    Raises:
        InputError: one line that names the first key that is wrong and what to do.
    """
    config = build(values, Config, "config")
    for block in (config.forget_sets.sizes, config.forget_sets.seeds, config.jobs.split_by):
        if len(set(block)) < len(block):
            raise InputError(f"config: {list(block)} names something twice; remove one")
    if max(config.forget_sets.sizes) > config.corpus.planted:
        raise InputError(
            f"config: forget_sets.sizes: {max(config.forget_sets.sizes)} is larger than the pool"
            f" of {config.corpus.planted} sequences (corpus.planted); lower it or plant more"
        )
    length = config.corpus.sequence_length
    for key in ("ngram", "extraction_suffix"):
        if getattr(config.measurement, key) >= length:
            raise InputError(
                f"config: measurement.{key}: {getattr(config.measurement, key)} does not fit into"
                f" sequences of {length} tokens (corpus.sequence_length); lower it"
            )
    for label, block in config.unlearners.items():
        own = {key: value for key, value in block.items() if key not in ("method", "stop")}
        if "method" not in block:
            raise InputError(f"config: unlearners.{label}: key 'method' is missing; add it")
        if block.setdefault("stop", "mean") not in ("mean", "each"):
            raise InputError(
                f"config: unlearners.{label}.stop: '{block['stop']}' is no stop rule;"
                " choose 'mean' or 'each'"
            )
        unlearners.settings_of(block["method"], label, own)
    plain = TypeAdapter(Config).dump_python(config, mode="json")
    for name, model in plain["models"].items():
        build(plain["unlearning"] | model["unlearning"], UnlearningSettings, f"models.{name}")
    return plain


def schema() -> str:
    """The JSON schema of a config file, for editors and for config/schema.json."""
    return json.dumps(TypeAdapter(Config).json_schema(), indent=2) + "\n"
