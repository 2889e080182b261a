"""Loading and saving causal language models: full precision, safetensors, nothing executed."""

import json
import resource
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from unlearning.jobs.errors import InputError, first_line
from unlearning.jobs.files import replacing
from unlearning.jobs.gpus import take

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

logging.set_verbosity_error()
logging.disable_progress_bar()


def device_for(gpus: int) -> torch.device:
    """The device of a job that was given so many GPUs: the CPU for none.

    The GPU is this job's own until the process ends (`unlearning.jobs.gpus`).

    Raises:
        InputError: a GPU is asked for and none can be seen.
    """
    if gpus == 0:
        return torch.device("cpu")
    take(gpus)
    if not torch.cuda.is_available():
        raise InputError(f"--gpus {gpus}: no GPU is visible; give 0 or run where there is one")
    return torch.device("cuda")


def load_model(
    folder: Path | str, device: torch.device, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A causal language model in evaluation mode.

    In float32 unless asked otherwise: single argmaxes decide memorization accuracy (in bfloat16
    it moves by a token a sequence), and the small updates of task arithmetic vanish in bfloat16.

    Raises:
        InputError: the folder holds no model with safetensors weights, or not all of its weights.
    """
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # the libraries raise whatever a wrong file leads them to
        raise InputError(
            f"{folder}: no model can be loaded ({first_line(error)});"
            " give a folder with config.json and model.safetensors"
        ) from None
    if found["missing_keys"]:  # the library would draw them at random
        raise InputError(
            f"{folder}: its weights lack {min(found['missing_keys'])}; give the whole model"
        )
    return model.to(device).eval()


def recast(folder: Path, precision: str) -> None:
    """Round the weights that stand in a folder, file by file, to "bfloat16", "float16", ..."""
    wanted = getattr(torch, precision)
    for path in sorted(folder.glob("*.safetensors")):
        weights = {
            name: tensor.to(wanted) if tensor.is_floating_point() else tensor
            for name, tensor in load_file(path).items()
        }
        with replacing(path) as scratch:  # the file may be linked elsewhere: never in place
            save_file(weights, scratch, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    with replacing(folder / "config.json") as scratch:
        text = json.dumps(config | {"dtype": precision}, indent=2)
        scratch.write_text(f"{text}\n", encoding="utf-8")


def load_tokenizer(folder: Path | str):
    """The tokenizer that stands beside a model's weights."""
    return AutoTokenizer.from_pretrained(str(folder))


def arithmetic() -> dict[str, str | int]:
    """What decides the last digits of a computation here, beside the versions of the packages.

    Sums in another order round differently: the order hangs on the number of threads and on the
    processor's instructions that torch uses ("DEFAULT", "AVX2", "AVX512").
    """
    return {
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far, MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
