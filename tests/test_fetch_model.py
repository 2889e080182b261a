"""Models from a folder or the hub: only safetensors, never code, and clear words when it fails."""

import json
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import gguf
import pandas as pd
import pytest
import torch
from safetensors.torch import load, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

import fetch_model
import keep_models
from unlearning.data.corpus.tokens import train_tokenizer
from unlearning.jobs.cells import Cell
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import link
from unlearning.memorization.rows import rows_of
from unlearning.memorization.scoring import ma_and_loss
from unlearning.models.files import precision_of
from unlearning.models.loading import load_model, load_tokenizer

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


# --- GGUF -------------------------------------------------------------------------------------


def write_gguf(path: Path, model: LlamaForCausalLM, tokenizer) -> None:
    """A float32 GGUF file of a Llama, written by the format's own library."""
    config = model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    file = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([1] * len(vocabulary))
    writer.add_token_merges([" ".join(pair) for pair in file["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        rows = tensor.detach()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        for part, count in heads.items():  # the format interleaves the halves of a rotation
            if part in name:
                rows = rows.reshape(count, 2, -1, rows.shape[-1]).swapaxes(1, 2).reshape(rows.shape)
        stem, _, ending = name.rpartition(".")
        writer.add_tensor(f"{names.get_name(stem)}.{ending}", rows.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_becomes_the_model_that_was_written(tmp_path):
    tokenizer = train_tokenizer(["one two three"] * 9, 300)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        )
    ).eval()  # fmt: skip
    write_gguf(tmp_path / "model.gguf", model, tokenizer)
    done = fetch(tmp_path / "model", gguf=str(tmp_path / "model.gguf"))
    assert done.returncode == 0, done.stderr
    taken = load_model(tmp_path / "model", torch.device("cpu"))
    rows = torch.tensor([tokenizer("one two three one")["input_ids"]])
    with torch.no_grad():
        torch.testing.assert_close(taken(rows).logits, model(rows).logits, rtol=1e-4, atol=1e-5)
    own = load_tokenizer(tmp_path / "model")
    assert own("one two three one")["input_ids"] == rows[0].tolist()


@pytest.mark.parametrize(("content", "message"), [(None, "no such file"), (b"GG", "as GGUF")])
def test_a_broken_gguf_file_gets_one_line(tmp_path, content, message):
    if content is not None:
        (tmp_path / "model.gguf").write_bytes(content)
    done = fetch(tmp_path / "model", gguf=str(tmp_path / "model.gguf"))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert not (tmp_path / "model").exists()
