"""What all rules share: the checked config, the cells of the experiment, names of results."""

import fcntl
import itertools
import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir, "scripts")))

from unlearning import attacks
from unlearning.configuration import check
from unlearning.errors import InputError
from unlearning.sources import sources

try:
    CONFIG = check(config)
except InputError as error:
    raise WorkflowError(str(error)) from None


report: "../report/workflow.rst"


RESULTS = f"results/{CONFIG['run']}"
LOGS = f"logs/{CONFIG['run']}"
MODELS = list(CONFIG["models"])
# trained here from scratch, so that a control can be trained too; the others are fetched
TRAINED = [name for name, model in CONFIG["models"].items() if model["pretraining"]]
FETCHED = [name for name in MODELS if name not in TRAINED]

# a cell is one run of one unlearner: (forget size, label, seed); a job does a batch of them.
# Sorted, so that the order of blocks in a config file makes no difference to any job.
CELLS = sorted(
    itertools.product(
        CONFIG["forget_sets"]["sizes"],
        CONFIG["unlearners"],
        CONFIG["forget_sets"]["seeds"],
    )
)
AXES = ("forget_size", "unlearner", "seed")


def batch_of(cell):
    """Name of the job that a cell belongs to: its values on the axes that jobs are split by."""
    values = dict(zip(AXES, cell))
    return "-".join(str(values[axis]) for axis in CONFIG["jobs"]["split_by"]) or "all"


BATCHES = {}
for cell in CELLS:
    BATCHES.setdefault(batch_of(cell), []).append(cell)

UNLEARNED = [f"{model}/{batch}" for model in MODELS for batch in BATCHES]


def one_of(names):
    """A pattern that matches just these names, and nothing where there is none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    model=one_of(MODELS),
    batch=one_of(BATCHES),


def code(name, modules=()):
    """Every library file that a script imports: an edit of any reruns the rule."""
    found = sources(name, tuple(modules))
    return [os.path.relpath(path) for path in found if path.name != name]


def script(name):
    """Path of an entry point."""
    return os.path.relpath(Path(workflow.basedir, "scripts", name))


# the suite's task definitions, read by the evaluation engine beside its code
ENGINE = [
    os.path.relpath(path)
    for path in sorted(Path(workflow.basedir, "scripts/unlearning/evaluation").rglob("*.yaml"))
]

# unlearned models to keep, with a card each
KEPT = [f"{RESULTS}/kept/{job}" for job in UNLEARNED if CONFIG["jobs"]["keep_checkpoints"]]


def as_json(**values):
    """Settings as one command-line argument, keys in stable order."""
    return json.dumps(values, sort_keys=True)


def folder_of(wildcards, output):
    """Folder of a job's first output, for scripts that write several files into one."""
    return os.path.dirname(output[0])


def grown(megabytes):
    """Memory that grows with each retry."""
    return lambda wildcards, attempt: megabytes * attempt


def control_of(wildcards):
    """The folder of a model's control: only what is trained here has one."""
    return f"{RESULTS}/controls/{wildcards.model}" if wildcards.model in TRAINED else []


def origin_of(model):
    """Where an original model comes from, in words."""
    if model["hub"]:
        return f"{model['hub']} at {model['revision']}"
    return model["folder"] or "trained from scratch in this run"


def larger_first(wildcards):
    """Priority of a model's jobs: models are listed by size, and long jobs should start first."""
    return MODELS.index(wildcards.model)


def methods_of(wildcards):
    """Library files of the unlearners in a batch: an edited one reruns its own jobs only."""
    labels = {label for _, label, _ in BATCHES[wildcards.batch]}
    methods = {CONFIG["unlearners"][label]["method"] for label in labels}
    return [f"unlearning.unlearners.{method}" for method in sorted(methods)]


# attacks of the suite that work on models; the others work on scores, in the analysis
PROBES = {name: block for name, block in CONFIG["attacks"].items() if attacks.probing(name)}


def attack_files(names):
    """Modules of attacks: an edited one reruns what uses it."""
    return [f"unlearning.attacks.{name}" for name in sorted(names)]


def probe_settings(wildcards):
    """Settings of the probing attacks on one model; those that train take its learning rate."""
    shared = CONFIG["unlearning"] | CONFIG["models"][wildcards.model]["unlearning"]
    return {
        "attacks": PROBES,
        "suffix": CONFIG["measurement"]["extraction_suffix"],
        "learning_rate": shared["learning_rate"],
        "micro_batch": shared["micro_batch"],
    }


def unlearning_settings(wildcards):
    """Settings of a batch, the model's own learning rate included."""
    cells = BATCHES[wildcards.batch]
    shared = CONFIG["unlearning"] | CONFIG["models"][wildcards.model]["unlearning"]
    return as_json(
        **shared,
        cells=cells,
        unlearners={label: CONFIG["unlearners"][label] for _, label, _ in cells},
        ngram=CONFIG["measurement"]["ngram"],
    )


def hold_folder():
    """Refuse a second run in this folder.

    The profile switches Snakemake's own lock off: after a kill it stays behind and the next run
    has to be unlocked by hand. This one ends with the process, however that ends.
    """
    hold_folder.file = open(".snakemake/running", "w")
    try:
        fcntl.flock(hold_folder.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WorkflowError("another run is at work in this folder; wait for it, or stop it")
