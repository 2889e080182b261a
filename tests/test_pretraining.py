"""Pretraining: learns, repeats itself byte for byte, and survives a kill."""

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from unlearning.data.corpus import generate
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import write_parquet
from unlearning.models import pretraining
from unlearning.models.pretraining import pretrain, training_rows
from unlearning.settings import build
from unlearning.settings.corpus import CorpusSettings
from unlearning.settings.pretraining import PretrainingSettings

SCRIPTS = Path(__file__).parents[1] / "scripts"
TINY = PretrainingSettings(hidden_size=16, layers=2, heads=2, window=8, batch_size=4)


class Vocabulary:
    """All that pretraining asks of a tokenizer."""

    eos_token_id = 0

    def __len__(self):
        return 50


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).integers(0, 50, size=(80, 16)).astype(np.uint16)


def weights(model):
    return {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}


@contextmanager
def killed_after(steps):
    """Let a training die once so many steps are done; yields the list of those done."""
    real, done = pretraining._train_step, []

    def step(*arguments):
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining, "_train_step", step)
        yield done


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_seed_same_bytes_and_another_seed_another_model(rows, tmp_path, precision):
    chosen = replace(TINY, precision=precision)
    first, again, other = (
        weights(pretrain(rows, chosen, seed, Vocabulary(), tmp_path)) for seed in (3, 3, 4)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kills", [(1,), (7, 6), (19,)])
def test_a_killed_training_goes_on_to_the_same_bytes(rows, tmp_path, kills, precision):
    chosen = replace(TINY, precision=precision)
    undisturbed = weights(pretrain(rows, chosen, 0, Vocabulary(), tmp_path / "a"))
    work = tmp_path / "b"
    for kill in kills:
        with killed_after(kill), pytest.raises(KeyboardInterrupt):
            pretrain(rows, chosen, 0, Vocabulary(), work, checkpoint_seconds=0)
    assert (work / "checkpoint.safetensors").exists()
    with killed_after(1000) as done:
        resumed = pretrain(rows, chosen, 0, Vocabulary(), work, checkpoint_seconds=0)
    assert len(done) == 20 - sum(kills)  # resumed, not begun again
    assert weights(resumed) == undisturbed
    assert not work.exists()


@pytest.mark.parametrize("change", ["rows", "settings", "seed"])
def test_a_stale_checkpoint_is_not_used(rows, tmp_path, change):
    with killed_after(5), pytest.raises(KeyboardInterrupt):
        pretrain(rows, TINY, 0, Vocabulary(), tmp_path / "work", checkpoint_seconds=0)
    call = {"rows": rows, "settings": TINY, "seed": 0}
    changed = {"rows": rows[::-1], "settings": replace(TINY, learning_rate=1e-3), "seed": 1}
    call[change] = changed[change]
    resumed = pretrain(**call, tokenizer=Vocabulary(), work=tmp_path / "work")
    fresh = pretrain(**call, tokenizer=Vocabulary(), work=tmp_path / "other")
    assert weights(resumed) == weights(fresh)


def test_a_damaged_checkpoint_is_not_used(rows, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (work / "checkpoint.safetensors").write_bytes(b"half a file")
    assert weights(pretrain(rows, TINY, 0, Vocabulary(), work)) == weights(
        pretrain(rows, TINY, 0, Vocabulary(), tmp_path / "other")
    )


def test_the_side_folder_keeps_what_is_not_ours(rows, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / ".checkpoint.safetensors.partial-1.safetensors").write_bytes(b"left by a kill")
    pretrain(rows, TINY, 0, Vocabulary(), tmp_path, checkpoint_seconds=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_callers_random_state_is_left_alone(rows, tmp_path):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    pretrain(rows, TINY, 0, Vocabulary(), tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_step_equals_the_textbook(rows):
    """Mean token loss, clipped gradient, AdamW: against the model's own loss and plain formulas."""
    chosen = replace(TINY, precision="fp32", clip=0.05)
    batch = torch.from_numpy(rows[:4].astype(np.int64))
    model = pretraining._new_model(chosen, 16, Vocabulary(), 0)
    reference = pretraining._new_model(chosen, 16, Vocabulary(), 0)
    optimizer = pretraining._new_optimizer(model, chosen)
    loss = pretraining._train_step(model, optimizer, batch, chosen)

    expected = reference(batch, labels=batch).loss
    expected.backward()
    assert torch.allclose(loss, expected, atol=1e-6)
    norm = torch.sqrt(sum((p.grad**2).sum() for p in reference.parameters()))
    assert norm > chosen.clip
    for updated, start in zip(model.parameters(), reference.parameters(), strict=True):
        gradient = start.grad * chosen.clip / norm
        decay = chosen.learning_rate * (chosen.weight_decay if start.ndim > 1 else 0)
        # First step of Adam: both moments, corrected for their start, are the gradient's own.
        step = chosen.learning_rate * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(updated, start * (1 - decay) - step, atol=2e-5)


@given(steps=st.integers(1, 500), warmup=st.floats(0, 1), final=st.floats(0, 1))
def test_learning_rate_rises_then_falls_within_its_bounds(steps, warmup, final):
    chosen = replace(TINY, warmup_share=warmup, final_share=final)
    rates = [pretraining._learning_rate(step, steps, chosen) for step in range(steps)]
    top = chosen.learning_rate
    assert all(0 < rate <= top * (1 + 1e-9) for rate in rates) or final == 0
    peak = max(1, round(warmup * steps)) - 1
    assert np.all(np.diff(rates[: peak + 1]) >= 0)
    assert np.all(np.diff(rates[peak:]) <= 1e-12)
    assert rates[min(peak, steps - 1)] == pytest.approx(top)


def planted_table():
    return pd.DataFrame(
        {"sequence_id": ["a", "b"], "repetitions": [1, 3], "tokens": [[1] * 4, [2] * 4]}
    )


def test_training_rows_repeat_the_planted_sequences():
    background = np.zeros((2, 4), dtype=np.uint16)
    assert training_rows(background, planted_table())[:, 0].tolist() == [0, 0, 1, 2, 2, 2]
    assert training_rows(background).tolist() == background.tolist()


def test_training_rows_refuse_another_length():
    with pytest.raises(InputError, match="sequence a has 4 tokens"):
        training_rows(np.zeros((2, 5), dtype=np.uint16), planted_table())


def test_bad_rows_are_refused(rows, tmp_path):
    with pytest.raises(InputError, match="batch of 4"):
        pretrain(rows[:3], TINY, 0, Vocabulary(), tmp_path)
    with pytest.raises(InputError, match="outside the tokenizer's 50"):
        pretrain(rows + 1, TINY, 0, Vocabulary(), tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"layers": 3}, "layers"),
        ({"heads": 3}, "heads"),
        ({"precision": "int4"}, "precision"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"warmup_share": 2.0}, "warmup_share"),
    ],
)
def test_bad_settings_are_refused_by_name(change, named):
    with pytest.raises(InputError, match=named):
        build(change, PretrainingSettings, "here")


def accuracy(model, tokens):
    """Memorization accuracy, one position at a time."""
    with torch.no_grad():
        predicted = model(torch.from_numpy(tokens.astype(np.int64))).logits[:, :-1].argmax(-1)
    return float((predicted.numpy() == tokens[:, 1:]).mean())


def test_planted_sequences_are_memorized_and_only_they(tmp_path):
    corpus = generate(
        CorpusSettings(
            vocabulary=600,
            background_tokens=30_000,
            planted=12,
            unseen=24,
            repetitions=(30,),
            repetition_weights=(1.0,),
            people=8,
            towns=8,
            items=4,
        )
    )
    planted = corpus.sequences[corpus.sequences["split"] == "planted"]
    unseen = corpus.sequences[corpus.sequences["split"] == "unseen"]
    chosen = PretrainingSettings(hidden_size=64, layers=2, batch_size=8, learning_rate=5e-3)
    tokens = {
        name: np.stack(table["tokens"].to_list())
        for name, table in (("planted", planted), ("unseen", unseen))
    }
    model, control = (
        pretrain(training_rows(corpus.background, part), chosen, 0, corpus.tokenizer, tmp_path)
        for part in (planted, None)
    )
    assert not model.training
    assert accuracy(model, tokens["planted"]) > accuracy(model, tokens["unseen"]) + 0.2
    assert abs(accuracy(control, tokens["planted"]) - accuracy(control, tokens["unseen"])) < 0.06


def test_the_script_killed_and_run_again_gives_the_library_s_bytes(tmp_path):
    """End to end, with a real SIGKILL as soon as the first checkpoint is there."""
    corpus = generate(
        CorpusSettings(
            vocabulary=400,
            background_tokens=48_000,
            planted=6,
            unseen=6,
            people=8,
            towns=8,
            items=4,
        )
    )
    corpus.save(tmp_path / "corpus")
    write_parquet(corpus.sequences, tmp_path / "sequences.parquet")
    chosen = {"hidden_size": 32, "layers": 2, "heads": 2, "batch_size": 4}
    command = [
        *(sys.executable, SCRIPTS / "pretrain.py", "--settings", json.dumps(chosen)),
        *("--sequences", tmp_path / "sequences.parquet", "--corpus", tmp_path / "corpus"),
        *("--seed", "0", "--work", tmp_path / "work", "--output", tmp_path / "model"),
        *("--checkpoint-seconds", "0.1"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "work" / "checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoint.exists()
    assert not (tmp_path / "model").exists()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert not checkpoint.parent.exists()

    planted = corpus.sequences[corpus.sequences["split"] == "planted"]
    rows = training_rows(corpus.background, planted)
    settings = PretrainingSettings(**chosen)
    model = pretrain(rows, settings, 0, corpus.tokenizer, tmp_path / "side")
    model.save_pretrained(tmp_path / "undisturbed")
    for name in ("model.safetensors", "config.json"):
        undisturbed = (tmp_path / "undisturbed" / name).read_bytes()
        assert (tmp_path / "model" / name).read_bytes() == undisturbed, name
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert loaded.config.hidden_size == 32
