"""Where the published data stand, and how each file is read.

With a mirror (a folder laid out as the keys of `SOURCES` say) no network is touched. Without one
every file comes from its source at a pinned revision. Nothing that is downloaded is executed.
"""

import hashlib
import io
import json
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from unlearning.jobs.errors import InputError
from unlearning.models.hub import asking

TIMEOUT = 60  # seconds without an answer


@dataclass(frozen=True)
class Hub:
    """A dataset on the Hugging Face hub."""

    repository: str
    config: str | None
    split: str
    revision: str

    def __str__(self) -> str:
        return f"huggingface.co/datasets/{self.repository} at {self.revision[:7]}"


@dataclass(frozen=True)
class Web:
    """Files of a public repository; where there are two, the second holds the ids to take."""

    urls: tuple[str, ...]

    def __str__(self) -> str:
        return self.urls[0]


def _github(repository: str, revision: str, *paths: str) -> Web:
    root = f"https://raw.githubusercontent.com/{repository}/{revision}"
    return Web(tuple(f"{root}/{path}" for path in paths))


def _jang(path: str) -> Web:
    return _github(
        "joeljang/knowledge-unlearning", "8b498b0a28cedd8bdb92d520f46d094b951c0a4d", path
    )


PARTS = ("preprefix", "prefix", "suffix")
MD5 = {
    "train": "6d85d7f2b48e34e6f96541a546a699bf",
    "val": "318d6f3d68dfd3497956a79678067c62",
}
ROWS = {"train": 15_000, "val": 1000}
_ARC = ("allenai/ai2_arc", "210d026faf9955653af8916fad021475a3f00453")

SOURCES: dict[str, Hub | Web] = {
    # the repository has no releases; the MD5 of its rows is what pins them
    **{
        f"extraction/train_{part}.npy": _github(
            "ethz-spylab/lm-extraction-benchmark-data", "main", f"datasets/train_{part}.npy"
        )
        for part in PARTS
    },
    **{
        f"extraction/val_{part}.npy": _github(
            "google-research/lm-extraction-benchmark",
            "e191cd813090137b53dc6f0543b2edfec6f89a44",
            f"datasets/val_{part}.npy",
        )
        for part in PARTS
    },
    "suite/lambada.jsonl": Hub(
        "EleutherAI/lambada_openai", "default", "test", "900124bf3b8235c6daf21033af9948b3f07346c4"
    ),
    "suite/piqa.jsonl": Hub(
        "baber/piqa", None, "validation", "142f6d7367fd9877f0fb3b5734ea6a545f54cdd1"
    ),
    "suite/hellaswag.jsonl": Hub(
        "Rowan/hellaswag", None, "validation", "218ec52e09a7e7462a5400043bb9a69a41d06b76"
    ),
    "suite/arc_easy.jsonl": Hub(_ARC[0], "ARC-Easy", "validation", _ARC[1]),
    "suite/arc_challenge.jsonl": Hub(_ARC[0], "ARC-Challenge", "validation", _ARC[1]),
    "suite/copa.jsonl": Hub(
        "aps/super_glue", "copa", "validation", "3de24cf8022e94f4ee4b9d55a6f539891524d646"
    ),
    "suite/winogrande.jsonl": Hub(
        "allenai/winogrande",
        "winogrande_s",
        "validation",
        "01e74176c63542e6b0bcb004dcdea22d94fb67b5",
    ),
    "suite/mathqa.jsonl": _github(
        "CFMoE/CFMoE.github.io",
        "a67b89a1831bbce10eabf03802b4c9054b02948a",
        "datasets/mathqa/test.json",
    ),
    "suite/pubmedqa.jsonl": _github(
        "pubmedqa/pubmedqa",
        "1cbae8e92f72f20c8d3747cbb3bf5bc53554d997",
        "data/ori_pqal.json",
        "data/test_ground_truth.json",
    ),
    **{
        f"suite/{name}.json": _jang(f"validation_data/{name}.json")
        for name in (
            "wizard_of_wikipedia",
            "empathetic_dialogues",
            "blended_skill_talk",
            "wizard_of_internet",
        )
    },
    "suite/pile.csv": _jang("validation_data/pile.csv"),
    "suite/wikitext.csv": _jang("validation_data/wikitext.csv"),
}
TOKENIZER = ("openai-community/gpt2", "607a30d783dfa663caf39e06633721c8d4cfcd7e")
# names of fields in a source -> names on the hub, where a source has its own
_RENAMED = {"mathqa": {"question": "Problem", "answer": "correct"}}


def read_matrix(part: str, mirror: Path | str | None) -> np.ndarray:
    """Token rows of the extraction challenge, GPT-2 vocabulary.

    Args:
        part: "train" (15,000 rows) or "val" (1,000 rows).
        mirror: folder to read from; None downloads.

    Returns:
        uint16 (rows, 200): 100 tokens before the prefix, 50 of prefix, 50 of suffix.

    Raises:
        InputError: a file is missing, is not an array of token ids, or is not the published one.
    """
    pieces = []
    for piece, width in zip(PARTS, (100, 50, 50), strict=True):
        name = f"extraction/{part}_{piece}.npy"
        content = _bytes(name, mirror)
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except ValueError:
            raise InputError(
                f"{_place(name, mirror)}: not a NumPy array; take it anew from {SOURCES[name]}"
            ) from None
        if array.dtype != np.uint16 or array.shape != (ROWS[part], width):
            raise InputError(
                f"{_place(name, mirror)}: {array.dtype} of shape {array.shape}, expected uint16 of"
                f" shape ({ROWS[part]}, {width}); take it anew from {SOURCES[name]}"
            )
        pieces.append(array)
    rows = np.concatenate(pieces, axis=1)
    found = hashlib.md5(rows.tobytes(), usedforsecurity=False).hexdigest()
    if found != MD5[part]:
        raise InputError(
            f"{_place(f'extraction/{part}_*.npy', mirror)}: the MD5 of the rows is {found},"
            f" published {MD5[part]}; take the files anew from {SOURCES[name]}"
        )
    return rows


def read_rows(task: str, mirror: Path | str | None) -> list[dict[str, Any]]:
    """The rows of a published task, in published order, with the fields of its hub dataset.

    Raises:
        InputError: there is no such task, or its file is missing or unreadable.
    """
    names = {Path(name).stem: name for name in SOURCES if name.startswith("suite/")}
    if task not in names:
        raise InputError(
            f"measurement.tasks: '{task}' is no published task; known: {', '.join(sorted(names))}"
        )
    name = names[task]
    source = SOURCES[name]
    if mirror is None and isinstance(source, Hub):
        return _from_hub(source)
    text = _bytes(name, mirror).decode("utf-8")
    try:
        return _parse(task, name, text, mirror)
    except InputError:  # a ValueError too
        raise
    except (ValueError, KeyError, AttributeError, TypeError):
        raise InputError(
            f"{_place(name, mirror)}: not in its published form; take it anew from {source}"
        ) from None


def read_tokenizer(mirror: Path | str | None) -> PreTrainedTokenizerBase:
    """GPT-2's tokenizer, which GPT-Neo shares and the challenge's rows are in."""
    if mirror is None:
        with asking(f"huggingface.co/{TOKENIZER[0]} at {TOKENIZER[1][:7]}", "a mirror"):
            return AutoTokenizer.from_pretrained(TOKENIZER[0], revision=TOKENIZER[1])
    folder = Path(mirror) / "gpt2-tokenizer"
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name}: not there; it is published at huggingface.co/{TOKENIZER[0]}"
            )
    return AutoTokenizer.from_pretrained(str(folder))


def _parse(task: str, name: str, text: str, mirror: Path | str | None) -> list[dict[str, Any]]:
    """Rows of a file; a mirror's JSON lines have the hub's fields already."""
    if name.endswith(".csv"):
        # some texts hold carriage returns
        table = pd.read_csv(io.StringIO(text, newline="\n"), lineterminator="\n")
        return [{"text": value} for value in table["text"].astype(str)]
    if name.endswith(".json"):
        return [{"text": turns} for turns in json.loads(text)["text"].values()]
    if mirror is not None:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    rows = json.loads(text)
    source = SOURCES[name]
    if len(source.urls) > 1:
        rows = [rows[key] for key in json.loads(_download(source.urls[1]))]
    renamed = _RENAMED.get(task, {})
    return [{renamed.get(key, key): value for key, value in row.items()} for row in rows]


def _bytes(name: str, mirror: Path | str | None) -> bytes:
    """The content of one file."""
    if mirror is None:
        return _download(SOURCES[name].urls[0])
    path = Path(mirror) / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); it is published at {SOURCES[name]}"
        ) from None


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            return answer.read()
    except (OSError, HTTPException) as error:  # the second if it breaks off in the middle
        raise InputError(
            f"{url}: cannot be downloaded ({error}); try again, or give a mirror"
        ) from None


def _from_hub(source: Hub) -> list[dict[str, Any]]:
    import datasets  # slow to import, and a mirror does without

    with asking(str(source), "a mirror"):
        table = datasets.load_dataset(
            source.repository, source.config, split=source.split, revision=source.revision
        )
    return table.to_list()


def _place(name: str, mirror: Path | str | None) -> str:
    return str(SOURCES.get(name, name)) if mirror is None else str(Path(mirror) / name)
