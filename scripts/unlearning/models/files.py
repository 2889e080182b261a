"""The files of a model folder, without loading anything: what is taken, what the headers say."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unlearning.jobs.errors import InputError

WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""What a causal language model and its tokenizer are made of; no pickles, no code."""

NEEDED = ("config.json", "*.safetensors", "tokenizer*.json")
LONGEST_HEADER = 10**8  # bytes; the format's own limit


def check_complete(folder: Path, source: str) -> None:
    """Hold a folder to what is needed.

    Raises:
        InputError: something is missing, or only an adapter is there; `source` is what the message
            calls the folder.
    """
    if (folder / "adapter_config.json").exists():
        raise InputError(
            f"{source}: holds an adapter, which is no model by itself; merge it into its model and"
            " give that"
        )
    for needed in NEEDED:
        if not any(folder.glob(needed)):
            raise InputError(
                f"{source}: has no {needed}; only models with safetensors weights and their"
                " tokenizer beside them are taken"
            )


def tensors_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Name of each tensor in a model folder -> "dtype" and "shape", from the files' headers.

    Raises:
        InputError: a file of weights is cut or none, or one that the index lists is missing.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            found |= dict(_header(path))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise InputError(
                f"{path}: its weights are cut or no safetensors; copy the file again"
            ) from None
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            listed = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{index}: is no list of weights; copy the file again") from None
        if listed - set(found):
            raise InputError(
                f"{folder}: lacks {len(listed - set(found))} of the {len(listed)} weights that"
                f" {index.name} lists; copy the missing files"
            )
    return found


def _header(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What stands in one file; a ValueError where the file does not hold what it says."""
    with path.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if size > LONGEST_HEADER:
            raise ValueError(size)
        header = json.loads(stream.read(size))
    end = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            end = max(end, int(tensor["data_offsets"][1]))
            yield name, {"dtype": str(tensor["dtype"]), "shape": [int(n) for n in tensor["shape"]]}
    if path.stat().st_size != 8 + size + end:
        raise ValueError(end)


def count_of(shape: list[int]) -> int:
    """Numbers in a tensor."""
    count = 1
    for side in shape:
        count *= side
    return count


def parameters_of(folder: Path) -> int:
    """How many parameters a folder's weights hold, a tied head counted once or twice as stored."""
    return sum(count_of(tensor["shape"]) for tensor in tensors_of(folder).values())


def precision_of(folder: Path) -> str:
    """The precision that most of a folder's weights are stored in, as "float32" or "bfloat16"."""
    names = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    sizes: Counter[str] = Counter()
    for tensor in tensors_of(folder).values():
        if tensor["dtype"] in names:
            sizes[names[tensor["dtype"]]] += count_of(tensor["shape"])
    return sizes.most_common(1)[0][0] if sizes else "float32"
