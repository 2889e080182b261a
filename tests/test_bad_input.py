"""Hundreds of wrong files, configs and model folders: one line each, no text, nothing written.

A generator damages what is right. Some damage is harmless; what counts is that nothing but an
`InputError` ever comes out, and that what cannot be used is never used.
"""

import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

import check as checking
import fetch_model
import prepare_own
from running import ROOT
from unlearning.data.corpus.tokens import train_tokenizer
from unlearning.jobs.errors import InputError
from unlearning.models.loading import load_model

SECRET = "zanzibar"
ODD = 'it\'s "my" Prüfung & mehr'
PARTS = ("forget", "unseen", "held_out")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A folder with files, a model and a config that are all right."""
    folder = tmp_path_factory.mktemp("good") / ODD
    folder.mkdir()
    rng = random.Random(0)
    for part in PARTS:
        rows = [
            {"id": f"{part}{i}", "text": f"{SECRET} {rng.randrange(10**12)} on {rng.random()}"}
            for i in range(6)
        ]
        write(folder / f"{part}.jsonl", rows)
        pd.DataFrame(rows).to_csv(folder / f"{part}.csv", index=False)
        pd.DataFrame(rows).to_parquet(folder / f"{part}.parquet")
    torch.manual_seed(0)
    size = {"n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 128, "eos_token_id": 0}
    GPT2LMHeadModel(GPT2Config(vocab_size=300, **size)).save_pretrained(folder / "model")
    train_tokenizer(["one two three"] * 9, 300).save_pretrained(folder / "model")
    encoder = {"vocab_size": 300, "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8}
    BertModel(BertConfig(num_attention_heads=1, **encoder)).save_pretrained(folder / "encoder")
    config = yaml.safe_load((ROOT / "config/custom.yaml").read_text())
    config["own"] |= {part: str(folder / f"{part}.jsonl") for part in ("forget", "unseen")}
    config["own"]["tasks"] = {"held_out": str(folder / "held_out.jsonl")}
    config["models"]["mine"]["folder"] = str(folder / "model")
    (folder / "custom.yaml").write_text(yaml.safe_dump(config))
    return folder


def write(path: Path, rows: list) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def config_in(folder: Path) -> dict:
    """The config of a copy of the good folder, its paths moved along."""
    config = yaml.safe_load((folder / "custom.yaml").read_text())
    own = config["own"]
    own |= {part: str(folder / Path(own[part]).name) for part in ("forget", "unseen")}
    own["tasks"] = {"held_out": str(folder / Path(own["tasks"]["held_out"]).name)}
    config["models"]["mine"]["folder"] = str(folder / "model")
    return config


def attempt(folder: Path, monkeypatch) -> str | None:
    """Look at a config, fetch its model and prepare its files; what was refused, or None.

    The model is loaded as well, the first thing that a job does with it.
    """
    written = folder / "results"
    try:
        config = checking.read_config(folder / "custom.yaml")
        list(checking.lines_of(config))
        own = config["own"] | config["forget_sets"] | {"kinds": config["measurement"]["tasks"]}
        for name, model in config["models"].items():
            given = {key: model[key] for key in ("hub", "revision", "folder")}
            words = ["--settings", json.dumps(given), "--output", str(written / name)]
            monkeypatch.setattr(sys, "argv", ["fetch_model", *words])
            fetch_model.main()
        outputs = ("sequences", "forget-sets", "corpus", "files")
        words = [w for name in outputs for w in (f"--{name}", str(written / "made" / name))]
        words += ["--models", *map(str, written.iterdir()), "--settings", json.dumps(own)]
        monkeypatch.setattr(sys, "argv", ["prepare_own", *words])
        prepare_own.main()
        load_model(written / next(iter(config["models"])), torch.device("cpu"))
    except InputError as error:
        return str(error)
    return None


def judged(message: str, folder: Path) -> None:
    """What every refusal keeps to."""
    assert "\n" not in message, message
    assert SECRET not in message, message
    assert len(message) < 8000, message
    assert not list(folder.glob("results/**/.*partial*")), message
    made = folder / "results/made"
    assert not made.exists() or len(list(made.iterdir())) in (0, 4), message


# --- what is done to a file ---------------------------------------------------------------------

Damage = Callable[[bytes, random.Random], bytes]

BYTES: dict[str, Damage] = {
    "cut": lambda content, rng: content[: rng.randrange(len(content))],
    "empty": lambda content, rng: b"",
    "blank": lambda content, rng: b" \n" * rng.randrange(1, 9),
    "flipped": lambda content, rng: _flipped(content, rng),
    "NUL": lambda content, rng: _inserted(content, b"\0", rng),
    "no UTF-8": lambda content, rng: _inserted(content, b"\xff\xc0", rng),
    "quote": lambda content, rng: _inserted(content, b'"', rng),
    "UTF-16": lambda content, rng: content.decode("utf-8", "replace").encode("utf-16"),
    "UTF-16 without mark": lambda content, rng: b"i\0d\0" + content,
    "twice": lambda content, rng: content + content,
    "reversed": lambda content, rng: content[::-1],
    "without line ends": lambda content, rng: content.replace(b"\n", b" "),
    "separators": lambda content, rng: content.replace(b",", b";"),
    "noise": lambda content, rng: rng.randbytes(rng.randrange(1, 400)),
}


def _flipped(content: bytes, rng: random.Random) -> bytes:
    flipped = bytearray(content)
    for _ in range(rng.randrange(1, 6)):
        flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return bytes(flipped)


def _inserted(content: bytes, piece: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + piece + content[place:]


VALUES = (
    None, True, 0, -1, 10**400, 1e308, float("nan"), float("inf"), "", " ", "\0", "\ud800",
    f"{SECRET}\ud800", [], [SECRET], {}, {"text": SECRET}, [1.5], [10**30], [-(10**30)],
    ["1"], [[1]], [None], "[1, 2", "x" * 5000, "a\nb", [0] * 5000, 2**63,
)  # fmt: skip


def with_value(path: Path, rng: random.Random) -> str:
    """One cell of a file of JSON lines gets a value that it should not have."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    row, value = rng.choice(rows), rng.choice(VALUES)
    column = rng.choice(("text", "id", "tokens", "Text", "TEXT"))
    if column == "tokens":
        row.pop("text")
    row[column] = value
    if rng.random() < 0.2:
        row["text"], row["id"] = row.get("id"), row.get("text")
    write(path, rows)
    return "value"


def with_structure(path: Path, rng: random.Random) -> str:
    """A line that is JSON and no row."""
    deep = "[" * 200_000
    line = rng.choice((SECRET, f'"{SECRET}"', f'["{SECRET}"]', "1", "null", deep, '{"text":', "{}"))
    lines = path.read_text().splitlines()
    lines.insert(rng.randrange(len(lines) + 1), line)
    path.write_text("\n".join(lines))
    return "structure"


def damaged_file(folder: Path, rng: random.Random) -> str:
    """Damage one of the user's files; what was done."""
    part = rng.choice(PARTS)
    ending = rng.choice(("jsonl", "csv", "parquet"))
    path = folder / f"{part}.{ending}"
    config = config_in(folder)
    if part == "held_out":
        config["own"]["tasks"]["held_out"] = str(path)
    else:
        config["own"][part] = str(path)
    (folder / "custom.yaml").write_text(yaml.safe_dump(config))
    if ending == "jsonl" and rng.random() < 0.6:
        return rng.choice((with_value, with_structure))(path, rng)
    if rng.random() < 0.05:
        path.unlink()
        path.mkdir()
        return "a folder"
    name = rng.choice(list(BYTES))
    path.write_bytes(BYTES[name](path.read_bytes(), rng))
    return name


# --- what is done to a config and to a model ----------------------------------------------------


def damaged_config(folder: Path, rng: random.Random) -> str:
    """Damage the config: a value, a key too many, a key too few, or the file itself."""
    config = config_in(folder)
    path = folder / "custom.yaml"
    kind = rng.choice(("value", "value", "value", "unknown", "missing", "bytes"))
    if kind == "bytes":
        content = yaml.safe_dump(config).encode()
        path.write_bytes(BYTES[rng.choice(list(BYTES))](content, rng))
        return "bytes"
    block = config
    while True:
        key = rng.choice(list(block))
        if not isinstance(block[key], dict) or not block[key] or rng.random() < 0.2:
            break
        block = block[key]
    if kind == "value":
        block[key] = rng.choice([value for value in VALUES if SECRET not in repr(value)])
    elif kind == "unknown":
        block[f"{key}x"] = block[key]
    else:
        del block[key]
    try:
        path.write_text(yaml.safe_dump(config), encoding="utf-8", errors="surrogatepass")
    except yaml.YAMLError:
        path.write_bytes(b"\xff")
    return kind


def damaged_model(folder: Path, rng: random.Random) -> str:
    """Damage the model's folder: a file, a value in its config, or what kind of model it is."""
    model = folder / "model"
    files = sorted(path for path in model.iterdir() if path.name != "generation_config.json")
    path = rng.choice(files)
    kind = rng.choice(("gone", "bytes", "bytes", "value", "value", "kind"))
    if kind == "gone":
        path.unlink()
    elif kind == "bytes":
        name = rng.choice([name for name in BYTES if name != "twice"])
        path.write_bytes(BYTES[name](path.read_bytes(), rng))
    elif kind == "value":
        path = model / rng.choice(("config.json", "tokenizer.json", "tokenizer_config.json"))
        values = json.loads(path.read_text())
        # sizes that are numbers would only make a larger model
        values[rng.choice(list(values))] = rng.choice((None, "nonsense", [], {}, -1, 1.5, ["x"]))
        path.write_text(json.dumps(values))
    else:
        change = rng.choice((only_a_pickle, an_adapter, an_encoder, a_shard_less))
        change(model, folder)
        return change.__name__
    return f"{kind} {path.name}"


def only_a_pickle(model: Path, folder: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def an_adapter(model: Path, folder: Path) -> None:
    (model / "model.safetensors").rename(model / "adapter_model.safetensors")
    (model / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def an_encoder(model: Path, folder: Path) -> None:
    for path in (folder / "encoder").iterdir():
        shutil.copy(path, model / path.name)


def a_shard_less(model: Path, folder: Path) -> None:
    index = {"weight_map": {"transformer.lost.weight": "model-00002-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))


# --- all of them --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "count", "least"),
    [(damaged_file, 280, 150), (damaged_config, 140, 60), (damaged_model, 120, 50)],
    ids=["files", "configs", "models"],
)
def test_whatever_is_damaged_is_refused_in_one_line(
    good, tmp_path, monkeypatch, capsys, damage, count, least
):
    refused: Counter[str] = Counter()
    for seed in range(count):
        folder = tmp_path / f"{ODD} {seed}"
        shutil.copytree(good, folder)
        monkeypatch.chdir(folder)
        (folder / "custom.yaml").write_text(yaml.safe_dump(config_in(folder)))
        done = damage(folder, random.Random(seed))
        try:
            message = attempt(folder, monkeypatch)
        except Exception as error:
            pytest.fail(f"seed {seed}, {done}: {type(error).__name__}: {error}")
        assert SECRET not in capsys.readouterr().out
        if message is not None:
            judged(message, folder)
            refused[done] += 1
        shutil.rmtree(folder)
    assert refused.total() >= least, refused


@pytest.mark.parametrize("change", [only_a_pickle, an_adapter, an_encoder, a_shard_less])
def test_what_is_no_model_is_refused(good, tmp_path, monkeypatch, change):
    folder = tmp_path / "copy"
    shutil.copytree(good, folder)
    (folder / "custom.yaml").write_text(yaml.safe_dump(config_in(folder)))
    change(folder / "model", folder)
    message = attempt(folder, monkeypatch)
    assert message is not None
    judged(message, folder)


def test_what_is_right_is_taken(good, tmp_path, monkeypatch):
    folder = tmp_path / ODD
    shutil.copytree(good, folder)
    (folder / "custom.yaml").write_text(yaml.safe_dump(config_in(folder)))
    assert attempt(folder, monkeypatch) is None
    assert len(list((folder / "results/made").iterdir())) == 4
