"""What all rules share: the checked config, the cells of the experiment, names of results."""

import atexit
import functools
import gc
import hashlib
import itertools
import json
import os
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir, "scripts")))

from unlearning import attacks, unlearners
from unlearning.configuration import check, of_replicate, source_of
from unlearning.jobs.digests import digest_of_files
from unlearning.jobs.errors import InputError
from unlearning.jobs.failures import causes
from unlearning.jobs.files import replacing
from unlearning.jobs.gpus import JOBS_PER_GPU
from unlearning.jobs.locks import hold
from unlearning.jobs.sources import digests, sources
from unlearning.models.files import WANTED

try:
    CONFIG = check(config)
except InputError as error:
    raise WorkflowError(str(error)) from None

if set("{}") & set(str(workflow.basedir)):
    raise WorkflowError(
        f"the project stands in {workflow.basedir}, whose braces the workflow engine takes for"
        " wildcards; rename that folder"
    )

# planning makes millions of objects and hardly any rubbish: to look for it often takes a tenth of
# the time
gc.set_threshold(200_000, 50, 100)

# by the environment, since it reaches every job and is no part of what a result depends on
os.environ[JOBS_PER_GPU] = str(CONFIG["jobs"]["per_gpu"])


report: "../report/workflow.rst"


# a file of rules has its name
SOURCE = source_of(CONFIG)
RESULTS = f"results/{CONFIG['run']}"
LOGS = f"logs/{CONFIG['run']}"
# a replicate is an experiment of its own up to `collect`; where there are several, each has its
# folders, and where there is one the wildcard is not there
REPLICATES = CONFIG["replicates"]
REPLICATE = f"{os.sep}replicate-{{replicate}}" if len(REPLICATES) > 1 else ""
HOME = f"{RESULTS}{REPLICATE}"
MODELS = list(CONFIG["models"])
# trained here from scratch, so that a control can be trained too; the others are fetched
TRAINED = [name for name, model in CONFIG["models"].items() if model["pretraining"]]
FETCHED = [name for name in MODELS if name not in TRAINED]
# whose control is a model from elsewhere
GIVEN_CONTROL = [name for name, model in CONFIG["models"].items() if model["control"]]

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
# models trained anew for an attacker of each sequence, and the tables that are made of them
SHADOWS = [
    f"{model}/{shadow}"
    for model in (CONFIG["shadows"] or {"models": []})["models"]
    for shadow in range(CONFIG["shadows"]["count"])
]
ULIRA = [f"{RESULTS}/tables/{table}.csv" for table in ("ulira", "exposure") if SHADOWS]


def of_all(path, **wildcards):
    """A file of every replicate, for each of the wildcards' values."""
    return expand(f"{HOME}/{path}", replicate=REPLICATES, **wildcards)


def one_of(names):
    """A pattern that matches just these names, and nothing where there is none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    replicate=r"\d+",
    model=one_of(MODELS),
    # not every name: the pattern is matched for each file of each job
    batch=r"[\w.-]+",
    shadow=r"\d+",


def script(name):
    """Path of an entry point."""
    return os.path.relpath(Path(workflow.basedir, "scripts", name))


# the suite's task definitions, read by the evaluation engine beside its code
ENGINE = tuple(sorted(Path(workflow.basedir, "scripts/unlearning/evaluation").rglob("*.yaml")))


@functools.cache  # thousands of jobs ask for the same few
def code(name, modules=(), beside=()):
    """A list of a script's source files, itself among them: an edit of any reruns the rule.

    One file with their digests, as old as the newest of them, instead of the files themselves:
    with some thirty inputs more, a plan of many jobs takes three times the time and memory.

    Args:
        name: of the script.
        modules: what it loads by name.
        beside: other files of the project that it reads.
    """
    paths = [*sources(name, modules), *beside]
    # a batch may name more modules than a file name holds
    batch = hashlib.sha256(repr(modules).encode()).hexdigest()[:8]
    listing = Path(f".snakemake/code/{name}-{batch}.txt")
    # a job on a cluster reads this file anew, perhaps after an edit: what the run was planned with
    # stays as it is, for the jobs beside it as well
    if listing.exists() and not workflow.is_main_process:
        return str(listing)
    text = digests(paths, workflow.basedir)
    if not listing.exists() or listing.read_text() != text:
        with replacing(listing) as scratch:
            scratch.write_text(text)
    newest = max(path.stat().st_mtime_ns for path in paths)
    os.utime(listing, ns=(newest, newest))
    return str(listing)


# one 2.7B checkpoint is 10 GB and a sweep has hundreds: they are kept only where asked for
CHECKPOINTS = (lambda path: path) if CONFIG["jobs"]["keep_checkpoints"] else temp
# unlearned models to keep, with a card each
KEPT = of_all("kept/{job}", job=UNLEARNED if CONFIG["jobs"]["keep_checkpoints"] else [])


def as_json(**values):
    """Settings as one command-line argument, keys in stable order."""
    return sys.intern(json.dumps(values, sort_keys=True))


def number_of(wildcards):
    """Number of the replicate that a job belongs to."""
    return int(wildcards.get("replicate", REPLICATES[0]))


@functools.cache
def replicate_config(number):
    """The checked config of one replicate, with the seeds of its own."""
    return of_replicate(CONFIG, number)


def folder_of(wildcards, output):
    """Folder of a job's first output, for scripts that write several files into one."""
    return os.path.dirname(output[0])


def retries(count):
    """How often a job is tried again.

    By the run's own process alone: on a cluster a job is a Snakemake too, and with a rule's retries
    it would try again by itself, inside the same allocation, with the memory that was too little.
    """
    return count if workflow.is_main_process else 0


def tried(command):
    """A command that is tried again, unless a wrong input has ended it: more memory mends none.

    The engine looks at no exit code and removes the log before it tries again, so the log is put
    aside, and the second try ends with it at once.
    """
    again = "if [ -e {log}.wrong ]; then mv {log}.wrong {log}; exit 2; fi; "
    # a bar of progress may stand before the line
    wrong = "tr '\\r' '\\n' < {log} | grep '^error: ' > /dev/null"
    aside = f" || {{{{ code=$?; if {wrong}; then cp {{log}} {{log}}.wrong; fi; exit $code; }}}}"
    return again + command + aside


def forget_tries():
    """Remove what `tried` has put aside in a run that was killed: its inputs may be mended by now."""
    for path in Path(LOGS).rglob("*.wrong"):
        path.unlink()


def grown(amount):
    """Memory or time that grows with each retry: a job may have been killed for want of either."""
    return lambda wildcards, attempt: amount * attempt


def memory_of(wildcards, attempt):
    """Memory of a job on a model, MB."""
    return CONFIG["models"][wildcards.model]["memory_mb"] * attempt


def minutes_of(wildcards, attempt):
    """Time of a job on a model."""
    return CONFIG["models"][wildcards.model]["minutes"] * attempt


def spread(command):
    """A command of a script that can spread a model: a process for each GPU that was granted.

    The shell looks at their number: a param that asks for it has the resources of each planned job
    worked out.
    """
    several = "torchrun --standalone --nproc-per-node {resources.gpu}"
    return f"$([ {{resources.gpu}} -gt 1 ] && echo {several} || echo python) {command}"


def home_of(wildcards):
    """The folder of a replicate. What is read of it made a job's inputs, and makes them anew."""
    return sys.intern(HOME.format(**dict(wildcards.items())))


def control_of(wildcards):
    """The folder of a model's control: trained here beside it, or given."""
    has_one = wildcards.model in TRAINED + GIVEN_CONTROL
    return f"{HOME}/controls/{{model}}".format(**dict(wildcards.items())) if has_one else []


def place_of(wildcards):
    """Where a model or its control is fetched from."""
    model = CONFIG["models"][wildcards.model]
    place = model["control"] if wildcards.role == "controls" else model
    return {key: place[key] for key in ("hub", "revision", "folder", "gguf")}


def contents_of(place):
    """Digest of the user's own model files; None for a model of the hub."""
    if place["gguf"] is not None:
        return contents_of_files([place["gguf"]])
    if place["folder"] is None:
        return None
    folder = Path(place["folder"])
    files = [file for pattern in WANTED for file in folder.glob(pattern) if file.is_file()]
    return contents_of_files(files)


def contents_of_files(paths):
    """Digest of files of the user's."""
    return digest_of_files(map(Path, paths), Path(".snakemake/digests.json"))


def control_option(wildcards):
    """The control as an argument of a script. Its folder stands before any unlearned model does."""
    folder = control_of(wildcards)
    return f"--control {folder}" if folder else ""


def origin_of(model):
    """Where an original model comes from, in words."""
    if model["hub"]:
        return f"{model['hub']} at {model['revision']}"
    return model["folder"] or model["gguf"] or "trained from scratch in this run"


def larger_first(wildcards):
    """Priority of a model's jobs: models are listed by size, and long jobs should start first."""
    return MODELS.index(wildcards.model)


def methods_of(labels):
    """Library files of some unlearners: an edited one reruns its own jobs only."""
    return unlearners.modules(CONFIG["unlearners"][label]["method"] for label in labels)


# listed here and not while jobs are planned: the engine looks into a folder once, and what is written
# there later is missing to it
UNLEARN_CODE = {
    batch: code("unlearn.py", methods_of({label for _, label, _ in cells}))
    for batch, cells in BATCHES.items()
}


# attacks of the suite that work on models; the others work on scores, in the analysis
MODEL_ATTACKS = {name: block for name, block in CONFIG["attacks"].items() if attacks.on_model(name)}


# grids of the tuning; a tuned label's jobs wait for what is chosen from its own. Of several
# replicates the first is tuned on, for all
GRIDS = sorted({*(CONFIG["tuning"] or {}).get("grids", ())} & {*CONFIG["unlearners"]})
TUNED_ON = (CONFIG["tuning"] or {}).get("models") or MODELS
TUNED = [label for label, block in CONFIG["unlearners"].items() if block.get("settings") == "tuned"]
TUNING_HOME = expand(HOME, replicate=REPLICATES[0])[0]
TUNING_TABLE = f"{RESULTS}/tables/tuning.csv"


def chosen_of(label):
    """The file with the settings that were chosen for a label."""
    return f"{RESULTS}/tuning/chosen/{label}.json"


def chosen_settings(wildcards):
    """The files with the chosen settings of a batch's tuned unlearners."""
    labels = {label for _, label, _ in BATCHES[wildcards.batch]}
    return [chosen_of(label) for label in TUNED if label in labels]


def tuned_option(wildcards):
    """Those files as an argument of a script."""
    files = chosen_settings(wildcards)
    return f"--tuned {' '.join(files)}" if files else ""


def tuning_table(wildcards):
    """The table of all points, where there are grids."""
    if not GRIDS:
        raise WorkflowError("config: no `tuning`, so there is nothing to tune; give its grids")
    return TUNING_TABLE


def tuning_settings(wildcards):
    """Settings of the tuning of one unlearner on one model."""
    label, tuning = wildcards.unlearner, CONFIG["tuning"]
    return as_json(
        label=label,
        block=CONFIG["unlearners"][label],
        grid=tuning["grids"][label],
        sizes=tuning["sizes"],
        seeds=tuning["seeds"],
        unlearning=CONFIG["unlearning"] | CONFIG["models"][wildcards.model]["unlearning"],
        measurement=CONFIG["measurement"],
    )


def target_settings(wildcards):
    """Settings of the attacks on one model; those that train take its learning rate."""
    shared = CONFIG["unlearning"] | CONFIG["models"][wildcards.model]["unlearning"]
    return {
        "attacks": {
            name: replicate_config(number_of(wildcards))["attacks"][name] for name in MODEL_ATTACKS
        },
        "suffix": CONFIG["measurement"]["extraction_suffix"],
        "learning_rate": shared["learning_rate"],
        "micro_batch": shared["micro_batch"],
        "offload": shared["offload"],
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


def tell_causes(log):
    """Say at the very end why a run failed: the engine's own output is long."""
    text = "".join(Path(path).read_text() for path in ([log] if isinstance(log, str) else log))
    for cause in causes(text):
        atexit.register(print, cause, file=sys.stderr, flush=True)


def hold_folder():
    """Refuse a second run in this folder.

    The profile switches Snakemake's own lock off: after a kill it stays behind and the next run
    has to be unlocked by hand. This one ends with the process, however that ends.
    """
    if hold(".snakemake/running", wait=False) is None:
        raise WorkflowError("another run is at work in this folder; wait for it, or stop it")
