"""The whole config as settings classes: what a file in config/ may say, with types and defaults.

config/schema.json is made from these classes (`make schema`), and a test holds the two equal.
Nothing here imports torch: the config is checked whenever Snakemake starts.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from unlearning import attacks, unlearners
from unlearning.data.challenge.tasks import KINDS
from unlearning.data.own.entries import check_files
from unlearning.jobs.errors import InputError, nearest
from unlearning.models.files import check_complete, tensors_of
from unlearning.names import TASK_KINDS
from unlearning.settings import Name, build, settings_class
from unlearning.settings.analysis import (
    AttackSettings,
    ClaimRules,
    FigureSettings,
    SolutionSettings,
    TableSettings,
)
from unlearning.settings.challenge import ChallengeSettings
from unlearning.settings.corpus import CorpusSettings
from unlearning.settings.measurement import MeasurementSettings
from unlearning.settings.own import OwnSettings
from unlearning.settings.pretraining import PretrainingSettings
from unlearning.settings.shadows import ShadowSettings
from unlearning.settings.tuning import TuningSettings
from unlearning.settings.unlearning import UnlearningSettings
from unlearning.unlearners.grid import at_point, points_of

# the blocks that say where sequences come from; a config has one of them
SOURCES = ("corpus", "challenge", "own")
STRIDE = 1000
"""What lies between the seeds of one replicate and those of the next."""
# keys of earlier versions -> what they are called now
RENAMED = {"attack": "attack_analysis"}


@settings_class
class ControlSettings:
    """A model that never saw the sequences: one place that it comes from."""

    hub: str | None = None
    """Its name on the Hugging Face hub; it needs a `revision`."""

    revision: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")
    """Its commit."""

    folder: str | None = None
    """A folder with it."""

    gguf: str | None = None
    """A GGUF file with it."""


@settings_class
class ModelSettings:
    """One model of the experiment: trained here, from the hub, or from a folder."""

    pretraining: PretrainingSettings | None = None
    """A GPT-Neo trained here from scratch: its size and its training."""

    hub: str | None = None
    """The name of a causal language model on the Hugging Face hub; it needs a `revision`."""

    revision: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")
    """The commit of the hub model: all 40 digits, as names and tags can move."""

    folder: str | None = None
    """A folder with a causal language model: config.json, safetensors weights, tokenizer."""

    gguf: str | None = None
    """A GGUF file that holds a causal language model with its tokenizer; it is unpacked once, to
    float32 weights."""

    control: ControlSettings | None = None
    """A model of the same tokenizer that never saw the sequences, such as an earlier checkpoint or
    one trained without them: every comparison with a control is then made. A model trained here
    gets one of its own."""

    parameters: int | None = Field(default=None, gt=0, le=10**15)
    """How many it has: what a plan of the costs is made from when its weights are not at hand."""

    gpus: int = Field(default=1, ge=1)
    """GPUs that its unlearning is spread over, where so many are granted."""

    memory_mb: int = Field(default=2000, gt=0)
    """Memory that a job on it asks for, MB; a retry asks for as much again."""

    minutes: int = Field(default=60, gt=0)
    """Time that a job on it asks for; a retry asks for as much again."""

    unlearning: dict[str, Any] = Field(default_factory=dict)
    """Keys of the top-level block `unlearning` that are different for this model."""


@settings_class
class ForgetSetSettings:
    """The forget sets: one for each size and seed, nested within a seed."""

    sizes: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)] | None = None
    """Numbers of sequences to forget; null is one set of the whole pool."""

    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    """One draw from the planted pool each: the repetitions that intervals are taken over."""


@settings_class
class ForgettingSettings:
    """When a sequence counts as forgotten."""

    band_quantiles: tuple[float, float] = (0.01, 0.99)
    """Ends of the calibrated acceptable band, as quantiles of unseen sequences' g. Where these are
    too few for that (below 58 with 0.01 and 0.99), an end is a limit of prediction, farther out."""


@settings_class
class JobSettings:
    """How the experiment is cut into jobs; the results are the same however it is cut."""

    split_by: tuple[Literal["forget_size", "unlearner", "seed"], ...] = ("unlearner",)
    """One job for each model and each value on these axes. Loading a library takes seconds, so
    few full jobs suit small models; a big model on a cluster wants all three axes."""

    keep_checkpoints: bool = False
    """Keep the unlearned models in results/<run>/kept/: a folder each, with a model card that says
    what was unlearned, how, and what the attack still finds."""

    kept_precision: Literal["original", "float32"] = "original"
    """Of the weights in kept/: the original model's own, for which memorization is then measured
    again, or the float32 that unlearning computes in."""

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

    replicates: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    """Numbers of the replicates. Each is a whole experiment of its own: another generated world,
    sequences, tokenizer, training, controls, forget sets, unseen halves. Where there are two or
    more, they are what n counts. Only `corpus` can be made anew."""

    corpus: CorpusSettings | None = None
    """Generated text and sequences; needs models trained here. Give this, `challenge` or `own`."""

    challenge: ChallengeSettings | None = None
    """The real sequences of the Training Data Extraction Challenge."""

    own: OwnSettings | None = None
    """Files with your own sequences, for models that know them."""

    models: dict[Name, ModelSettings] = Field(min_length=1)
    """The models, from small to large."""

    forget_sets: ForgetSetSettings
    """What is to be forgotten."""

    forgetting: ForgettingSettings = ForgettingSettings()
    """When it counts as forgotten."""

    unlearning: UnlearningSettings = UnlearningSettings()
    """What all unlearners share."""

    unlearners: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    """Label -> `method` (a file in scripts/unlearning/unlearners/), `stop` ("mean", "each", or
    "none" for methods with an end of their own, which is their default) and the method's own
    settings. One method may stand under several labels; `settings: tuned` takes what the tuning
    chooses. None at all is an audit of the models as they are: which sequences does each know, and
    how surely?"""

    tuning: TuningSettings | None = None
    """The grids that settings of unlearners are chosen from, all by one criterion; only for labels
    with `settings: tuned`, or when `snakemake tune` asks for them."""

    measurement: MeasurementSettings
    """What is measured of each model."""

    attack_analysis: AttackSettings = AttackSettings()
    """How success is told, for all attacks."""

    attacks: dict[Name, dict[str, Any] | None] = Field(
        default_factory=lambda: dict.fromkeys(attacks.names(), None)
    )
    """The attacks: name of an attack (a file in scripts/unlearning/attacks/) -> its own
    settings; empty for its defaults. Without this block all attacks run with their defaults."""

    shadows: ShadowSettings | None = None
    """Models trained anew on random halves of the planted sequences and made to forget some, for an
    attacker who knows of each single sequence what training and unlearning do to it (U-LiRA). None
    without this block. For models trained here."""

    tables: TableSettings = TableSettings()
    """What the tables compare."""

    solution_space: SolutionSettings = SolutionSettings()
    """The rule by which the map names a winner."""

    claims: ClaimRules = ClaimRules()
    """The rules by which the paper's claims are judged."""

    figures: FigureSettings = FigureSettings()
    """What the figures show."""

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
    for old, new in RENAMED.items():
        if old in values:
            raise InputError(f"config: key '{old}' is called '{new}' now; rename it")
    config = build(values, Config, "config")
    length = _check_source(config)
    _check_tasks(config)
    _check_attackers(config)
    for name, model in config.models.items():
        _check_model(f"config: models.{name}", model, config)
    pool = _pool_of(config)
    sizes = _check_forget_sets(config, pool)
    if config.shadows is not None:
        _check_shadows(config, pool)
    lists = [sizes, config.forget_sets.seeds, config.jobs.split_by, config.replicates]
    for block in [*lists, config.shadows.models if config.shadows else ()]:
        if len(set(block)) < len(block):
            raise InputError(f"config: {list(block)} names something twice; remove one")
    for key in ("ngram", "extraction_suffix"):
        if length is not None and getattr(config.measurement, key) >= length:
            raise InputError(
                f"config: measurement.{key}: {getattr(config.measurement, key)} does not fit into"
                f" sequences of {length} tokens; lower it"
            )
    for label, block in config.unlearners.items():
        plan = unlearners.plan(label, block)
        block.setdefault("stop", plan.stop)
        if plan.needs_retain:
            _check_retain(label, config)
        if plan.all_weights:
            _check_weights(label, config)
    _check_tuning(config, pool)
    plain = TypeAdapter(Config).dump_python(config, mode="json")
    plain["forget_sets"]["sizes"] = list(sizes)
    for name, block in plain["attacks"].items():
        checked = attacks.settings_of(name, block)
        plain["attacks"][name] = TypeAdapter(type(checked)).dump_python(checked, mode="json")
    for name, model in plain["models"].items():
        build(plain["unlearning"] | model["unlearning"], UnlearningSettings, f"models.{name}")
    return plain


def of_replicate(config: dict[str, Any], number: int) -> dict[str, Any]:
    """The config of one replicate: the seeds of what is made, raised by `STRIDE` a replicate.

    Raised are the seeds of the corpus (world, text, sequences and how often each is planted, unseen
    halves), of the training, and of the attacks on models. The draws of forget sets keep theirs, a
    key of all tables: they order the ids of a pool whose sequences are others. Replicate 0 is the
    config as it stands.

    Args:
        config: as `check` returns it.
        number: of the replicate.
    """
    shift = STRIDE * number

    def raised(block: dict[str, Any]) -> dict[str, Any]:
        return block | {"seed": block["seed"] + shift} if "seed" in block else block

    made = raised(config) | {
        "attacks": {name: raised(block) for name, block in config["attacks"].items()}
    }
    return made | {"corpus": raised(config["corpus"])} if config["corpus"] else made


def source_of(config: dict[str, Any]) -> str:
    """The block of a checked config that says where sequences come from, one of `SOURCES`."""
    return next(name for name in SOURCES if config[name])


def _check_source(config: Config) -> int | None:
    """The length of a sequence; None where each has its own."""
    given = [name for name in SOURCES if getattr(config, name) is not None]
    if len(given) != 1:
        raise InputError(
            f"config: has {' and '.join(given) or 'no source of sequences'}; give one of"
            f" {', '.join(SOURCES)}"
        )
    if config.corpus is None and config.replicates != (0,):
        raise InputError(
            f"config: replicates: {list(config.replicates)}, but only a generated corpus can be"
            f" made anew, not `{given[0]}`; leave the key out, here forget_sets.seeds repeat"
        )
    if len(config.replicates) > 1 and not config.unlearners:
        raise InputError(
            f"config: replicates: {list(config.replicates)}, but without unlearners a run is the"
            " audit of one list, and each replicate has a list of its own; give one replicate"
        )
    if config.own is None:
        return getattr(config, given[0]).sequence_length
    for key, path in config.own.files().items():
        if not os.path.isfile(path):  # False too for what cannot be a name
            raise InputError(
                f"config: own.{key}: no file {path}; paths are from the folder that the run is"
                " started in"
            )
    return None


def _pool_of(config: Config) -> int | None:
    """How many sequences may be forgotten; None where that is not known yet."""
    if config.own is None:
        return config.corpus.planted if config.corpus else None
    rows = check_files(config.own, config.measurement.tasks)
    if config.own.window is None and config.own.too_short == "refuse":
        return rows
    if config.forget_sets.sizes is not None:
        return None  # held to the sequences when these are made
    folder = next((model.folder for model in config.models.values() if model.folder), None)
    if folder is None:
        raise InputError(
            "config: forget_sets.sizes: null is all sequences of the file, and with `window` or"
            " `too_short: drop` only the tokenizer of a model in a `folder` can count them; give"
            " sizes"
        )
    from unlearning.data.own.parts import pool_of  # slow to import, and others do without

    return pool_of(config.own, Path(folder))


def _check_forget_sets(config: Config, pool: int | None) -> tuple[int, ...]:
    """The sizes of the forget sets; `pool` sequences may be forgotten, None is not known."""
    sizes, seeds = config.forget_sets.sizes, config.forget_sets.seeds
    if pool is None:
        if sizes is None:
            raise InputError("config: forget_sets.sizes: give some; null is for pools of your own")
        return sizes
    sizes = (pool,) if sizes is None else sizes
    if max(sizes) > pool:
        raise InputError(
            f"config: forget_sets.sizes: {max(sizes)} is larger than the pool of {pool} sequences"
            f" ({config.own.forget if config.own else 'corpus.planted'}); lower it or give more"
        )
    if max(sizes) == pool and len(seeds) > 1:
        raise InputError(
            f"config: forget_sets: a set of all {pool} sequences is the same for every seed; give"
            " one seed, or smaller sizes"
        )
    return sizes


def _check_shadows(config: Config, pool: int | None) -> None:
    """Shadows are of models that can be trained anew, and there is something that they forget."""
    for name in config.shadows.models:
        if name not in config.models:
            raise InputError(
                f"config: shadows.models: there is no model '{name}';"
                f" {nearest(name, config.models)}"
            )
        if config.models[name].pretraining is None:
            raise InputError(
                f"config: shadows.models: '{name}' is not trained here, and a shadow is the same"
                " model trained anew; name models with `pretraining`, or leave the block out"
            )
    if not config.unlearners:
        raise InputError(
            "config: shadows: there is no unlearner whose work could be attacked; give `unlearners`"
            " or leave the block out"
        )
    if pool is not None:  # else held to the sequences when these are made
        config.shadows.forgotten(pool)


def _check_tuning(config: Config, pool: int | None) -> None:
    """Tuned labels have a grid; grids are equally large, and no set of theirs is reported."""
    tuning = config.tuning
    grids = tuning.grids if tuning else {}
    for label, block in config.unlearners.items():
        if block.get("settings") == "tuned" and label not in grids:
            raise InputError(
                f"config: unlearners.{label}.settings: 'tuned', and tuning.grids has no '{label}';"
                " add its grid"
            )
    # a method that was left out may keep its grid
    grids = {label: grid for label, grid in grids.items() if label in config.unlearners}
    if not grids:
        return
    both = sorted(set(tuning.seeds) & set(config.forget_sets.seeds))
    if both:
        raise InputError(
            f"config: tuning.seeds: {both[0]} is in forget_sets.seeds too, and what tunes a method"
            " is never what reports it; choose another"
        )
    if pool is not None and max(tuning.sizes) >= pool:
        raise InputError(
            f"config: tuning.sizes: {max(tuning.sizes)} takes the whole pool of {pool} sequences,"
            " or more, whatever the seed; lower it, or leave out `tuning`"
        )
    for model in tuning.models or ():
        if model not in config.models:
            raise InputError(
                f"config: tuning.models: there is no model '{model}';"
                f" {nearest(model, config.models)}"
            )
    for name in ("sizes", "seeds", "models"):
        listed = getattr(tuning, name) or ()
        if len(set(listed)) < len(listed):
            raise InputError(f"config: tuning.{name}: {list(listed)} has one twice; remove one")
    counts = grid_points(grids)
    for label, grid in grids.items():
        if counts[label] != max(counts.values()):
            raise InputError(
                f"config: tuning.grids.{label}: has {counts[label]} points and another grid"
                f" {max(counts.values())}; give all equally many, so that no method is tuned harder"
            )
        made = [at_point(label, config.unlearners[label], point) for point in points_of(grid)]
        if any(made.index(block) < i for i, block in enumerate(made)):
            raise InputError(f"config: tuning.grids.{label}: has a point twice; remove one")
        for block in made:
            unlearners.plan(label, block)


def grid_points(grids: dict[str, dict[str, Any]]) -> dict[str, int]:
    """Label -> number of points of its grid."""
    return {label: len(points_of(grid)) for label, grid in grids.items()}


def tuning_runs(config: dict[str, Any]) -> int:
    """Runs of unlearners that tuning takes, over all models; 0 where no label is tuned.

    Args:
        config: as `check` returns it.
    """
    tuning = config["tuning"]
    if not any(block.get("settings") == "tuned" for block in config["unlearners"].values()):
        return 0
    sets = len(tuning["sizes"]) * len(tuning["seeds"])
    counts = grid_points(tuning["grids"])
    points = sum(count for label, count in counts.items() if label in config["unlearners"])
    return len(tuning["models"] or config["models"]) * sets * points


def _check_retain(label: str, config: Config) -> None:
    """There are rows to retain for a method that trains on some, on every model."""
    shared = config.unlearning.retain
    if config.own is not None and config.own.background is None:
        key = "own.background"
    elif config.challenge and not (
        config.challenge.background_share or config.challenge.background_rows
    ):
        key = "challenge.background_share"
    elif not all(model.unlearning.get("retain", shared) for model in config.models.values()):
        key = "unlearning.retain"
    else:
        return
    raise InputError(
        f"config: unlearners.{label}: trains on text to keep, and there is none; give {key}, or"
        " leave out the method, or its term on such text (retain: null)"
    )


def _check_weights(label: str, config: Config) -> None:
    """A method that changes all weights is not given a low-rank adapter instead, on any model."""
    shared = config.unlearning.lora
    for name, model in config.models.items():
        if model.unlearning.get("lora", shared):
            raise InputError(
                f"config: unlearners.{label}: changes all weights of a model, and {name} is given a"
                " low-rank adapter to train; leave out the method, or unlearning.lora"
            )


def _check_tasks(config: Config) -> None:
    """Hold the tasks to what there is, and the rule of the map to the tasks."""
    tasks = config.measurement.tasks
    own = config.own.tasks if config.own else {}
    for name in own:
        if name in KINDS:
            raise InputError(f"config: own.tasks.{name}: a published task is called so; rename it")
        if name not in tasks:
            raise InputError(
                f"config: own.tasks.{name}: is not under measurement.tasks; name it there with its"
                " kind"
            )
    if config.corpus is None:
        for task, kind in tasks.items():
            if task not in own and KINDS.get(task) != kind:
                known = ", ".join(f"{name}: {kind}" for name, kind in KINDS.items())
                raise InputError(
                    f"config: measurement.tasks: '{task}: {kind}' is no published task"
                    f"{' nor one of own.tasks' if config.own else ''}; known: {known}"
                )
    metric = config.solution_space.utility_metric
    kinds = TASK_KINDS | {"utility_accuracy": config.tables.accuracy_kinds}
    kinds["perplexity"] = kinds["nats_per_token"]
    if metric in kinds and not set(kinds[metric]) & set(tasks.values()):
        raise InputError(
            f"config: solution_space.utility_metric: '{metric}' is measured by tasks of kind"
            f" {' or '.join(kinds[metric])}, and measurement.tasks has none; add one, or choose"
            " another metric (nats_per_token for perplexity)"
        )


def _check_attackers(config: Config) -> None:
    """Who judges whether a method is safe must be an attack that runs."""
    known = [attacks.BASIC, *config.attacks]
    for name in config.solution_space.attackers or ():
        if name not in known:
            raise InputError(
                f"config: solution_space.attackers: '{name}' is no attack of this run;"
                f" {nearest(name, known)}"
            )
    if config.solution_space.attackers == ():
        raise InputError(
            "config: solution_space.attackers: nobody is named; name an attack, or give null for"
            " all that run"
        )


def _check_model(where: str, model: ModelSettings, config: Config) -> None:
    """A model comes from one place, and reads the tokens that there are."""
    given = [
        key for key in ("pretraining", "hub", "folder", "gguf") if getattr(model, key) is not None
    ]
    if len(given) != 1:
        raise InputError(
            f"{where}: has {' and '.join(given) or 'no origin'};"
            " give one of pretraining, hub, folder, gguf"
        )
    _check_place(where, model)
    if model.control is not None:
        if model.pretraining is not None:
            raise InputError(
                f"{where}: control: a model trained here gets one of its own; leave it out"
            )
        places = [key for key in ("hub", "folder", "gguf") if getattr(model.control, key)]
        if len(places) != 1:
            raise InputError(
                f"{where}.control: has {' and '.join(places) or 'no origin'}; give one of hub,"
                " folder, gguf"
            )
        _check_place(f"{where}.control", model.control)
    if config.own is not None and model.pretraining is not None:
        raise InputError(
            f"{where}: pretraining: own sequences come without text to train on, and are for models"
            " that know them; give hub, folder or gguf"
        )
    trained_tokenizer = config.corpus is not None or (
        config.challenge is not None and config.challenge.vocabulary is not None
    )
    if trained_tokenizer and model.pretraining is None:
        raise InputError(
            f"{where}: {given[0]}: a model from elsewhere does not know the tokenizer that this run"
            " trains; give `pretraining`, or a challenge without `vocabulary`"
        )


def _check_place(where: str, place: ModelSettings | ControlSettings) -> None:
    """What a model is fetched from is there, whole as far as its heads say, or has a commit."""
    if place.folder is not None:
        if not os.path.isdir(place.folder):  # which takes any text for a name
            raise InputError(
                f"{where}: folder: no folder {place.folder}; paths are from the folder that the"
                " run is started in"
            )
        check_complete(Path(place.folder), f"{where}: {place.folder}")
        tensors_of(Path(place.folder))
    if place.gguf is not None and not os.path.isfile(place.gguf):
        raise InputError(
            f"{where}: gguf: no file {place.gguf}; paths are from the folder that the run is"
            " started in"
        )
    if (place.hub is None) != (place.revision is None):
        raise InputError(f"{where}: hub and revision belong together; give the commit of the model")


def schema() -> str:
    """The JSON schema of a config file, for editors and for config/schema.json."""
    return json.dumps(TypeAdapter(Config).json_schema(), indent=2) + "\n"
