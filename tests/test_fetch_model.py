"""Models from a folder or the hub: only safetensors, never code, and clear words when it fails."""

import json
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

import fetch_model
import keep_models
from unlearning.data.corpus.tokens import train_tokenizer
from unlearning.jobs.cells import Cell
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import link
from unlearning.memorization.rows import rows_of
from unlearning.memorization.scoring import ma_and_loss
from unlearning.models.files import precision_of
from unlearning.models.loading import load_model

SCRIPT = Path(__file__).parents[1] / "scripts/fetch_model.py"


def fetch(target: Path, **settings) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, SCRIPT, "--settings", json.dumps(settings), "--output", target],
        capture_output=True,
        text=True,
    )


@pytest.fixture
def folder(tmp_path):
    tokenizer = train_tokenizer(["one two three"] * 9, 300)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_embd=8, n_layer=1, n_head=1))
    model.save_pretrained(tmp_path / "given")
    tokenizer.save_pretrained(tmp_path / "given")
    return tmp_path / "given"


def test_a_folder_is_taken_without_what_could_be_executed(folder, tmp_path):
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit")
    done = fetch(tmp_path / "model", folder=str(folder))
    assert done.returncode == 0, done.stderr
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"pytorch_model.bin", "modeling.py"}
    given, taken = (AutoModelForCausalLM.from_pretrained(f) for f in (folder, tmp_path / "model"))
    for one, other in zip(given.parameters(), taken.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_what_a_folder_lacks_is_named_and_nothing_is_written(folder, tmp_path, missing):
    for path in folder.glob(missing.replace("tokenizer.json", "tokenizer*.json")):
        path.unlink()
    done = fetch(tmp_path / "model", folder=str(folder))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(folder) in done.stderr
    assert missing.rsplit(".")[-1] in done.stderr
    assert not (tmp_path / "model").exists()


def test_the_taken_files_share_nothing_with_the_user_s(folder, tmp_path):
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert fetch(tmp_path / "model", folder=str(folder)).returncode == 0
    for taken in (tmp_path / "model").iterdir():
        assert taken.stat().st_ino != (folder / taken.name).stat().st_ino
        assert taken.read_bytes() == (folder / taken.name).read_bytes()
    assert (tmp_path / "model/chat_template.jinja").exists()


def test_what_is_kept_is_rounded_to_the_original_s_precision_and_measured_again(folder, tmp_path):
    sequences = pd.DataFrame({"sequence_id": ["a", "b"], "tokens": [[*range(9)], [*range(20)]]})
    sets = pd.DataFrame(
        {"forget_size": 2, "seed": 0, "position": [0, 1], "sequence_id": ["a", "b"]}
    )
    sequences.to_parquet(tmp_path / "sequences.parquet")
    sets.to_parquet(tmp_path / "sets.parquet")
    model = load_model(folder, torch.device("cpu"))
    original = tmp_path / "original"
    model.to(torch.bfloat16).save_pretrained(original)
    assert (precision_of(folder), precision_of(original)) == ("float32", "bfloat16")
    linked = tmp_path / "kept"
    shutil.copytree(folder, linked, copy_function=link)
    before = (folder / "model.safetensors").read_bytes()
    paths = Namespace(
        sequences=tmp_path / "sequences.parquet", forget_sets=tmp_path / "sets.parquet"
    )
    text = keep_models.rounded(linked, precision_of(original), Cell(2, "ga", 0), paths)
    assert (folder / "model.safetensors").read_bytes() == before  # it was a link
    assert precision_of(linked) == "bfloat16"
    assert (linked / "model.safetensors").stat().st_size < 0.6 * len(before)
    kept = load_model(linked, torch.device("cpu"))
    for mine, theirs in zip(kept.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs.float())
    assert json.loads((linked / "config.json").read_text())["dtype"] == "bfloat16"
    ma, _ = ma_and_loss(kept, rows_of(sequences))
    written = json.loads((linked / "kept.json").read_text())
    assert written == {"precision": "bfloat16", "mean_ma": ma.mean(), "max_ma": ma.max()}
    assert f"highest {ma.max():.3f}" in text


def test_a_folder_that_is_not_there_is_named(tmp_path):
    done = fetch(tmp_path / "model", folder=str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert f"error: {tmp_path / 'nowhere'}: no such folder" in done.stderr


def test_weights_that_are_cut_short_or_incomplete_are_named(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="given: no model can be loaded"):
        load_model(folder, torch.device("cpu"))
    weights = {name: value for name, value in load(whole).items() if "c_fc.weight" not in name}
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(InputError, match="given: its weights lack transformer.h.0.mlp.c_fc.weight"):
        load_model(folder, torch.device("cpu"))
    path.write_bytes(whole)
    assert load_model(folder, torch.device("cpu")).num_parameters() > 0


def test_the_hub_is_asked_for_one_commit_and_no_pickles(monkeypatch, folder, tmp_path):
    asked = {}

    def snapshot_download(name, **options):
        asked.update(options, name=name)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    fetch_model.download("a/b", "0" * 40, tmp_path / "model")
    assert (asked["name"], asked["revision"]) == ("a/b", "0" * 40)
    assert not [pattern for pattern in asked["allow_patterns"] if pattern.endswith((".bin", ".py"))]
    assert (tmp_path / "model/model.safetensors").exists()


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError("no network\nat all")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(InputError, match="a/b at 0000.*no network.*models.<name>.folder"):
        fetch_model.download("a/b", "0" * 40, tmp_path / "model")
