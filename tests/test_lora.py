"""Adapters: nothing moves but them, they really move, and merged they compute the same."""

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from unlearning import unlearners
from unlearning.jobs.errors import InputError
from unlearning.memorization.forgetting import Band
from unlearning.memorization.scoring import score_tokens
from unlearning.models.lora import attach, save_merged
from unlearning.settings.unlearning import LoraSettings
from unlearning.unlearners.driver import StopRule, unlearn
from unlearning.unlearners.learner import Learner
from unlearning.unlearners.request import Request

SETTINGS = LoraSettings(rank=4, alpha=8)
ROWS = torch.randint(0, 90, (6, 20), generator=torch.Generator().manual_seed(1))


def neo() -> GPTNeoForCausalLM:
    config = GPTNeoConfig(
        vocab_size=90, hidden_size=32, num_layers=2, num_heads=2, max_position_embeddings=32,
        attention_types=[[["global", "local"], 1]], window_size=8,
    )  # fmt: skip
    return GPTNeoForCausalLM(config)


def gpt2() -> GPT2LMHeadModel:
    return GPT2LMHeadModel(GPT2Config(vocab_size=90, n_embd=32, n_layer=2, n_head=2))


def llama() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=90, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@pytest.fixture(params=[neo, gpt2, llama], ids=lambda make: make.__name__)
def model(request):
    torch.manual_seed(0)
    return request.param().eval()


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(ROWS).logits


def test_a_fresh_adapter_changes_nothing_and_is_drawn_by_the_seed(model):
    before = logits(model)
    state = torch.get_rng_state()
    adapter = attach(model, SETTINGS, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits(model), before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    first = {n: p.clone() for n, p in adapter.named_parameters() if "lora_A" in n}
    again = attach(type(model)(model.config), SETTINGS, seed=3)
    assert all(torch.equal(p, first[n]) for n, p in again.named_parameters() if n in first)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_the_adapter_moves_and_it_does(model, checkpointing):
    attach(model, SETTINGS, seed=0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    learner = Learner(model, 0.01, 4, checkpointing=checkpointing)
    for _ in range(2):  # A has no gradient while B is zero
        learner.descend(ROWS)
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == ("lora_" in name), name


def test_checkpointing_gives_the_same_steps(model):
    made = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        other = type(model)(model.config).eval()
        other.load_state_dict(model.state_dict())
        attach(other, SETTINGS, seed=0)
        learner = Learner(other, 0.01, 4, checkpointing=checkpointing)
        for _ in range(3):
            learner.descend(ROWS)
        made.append(logits(other))
    torch.testing.assert_close(made[0], made[1], rtol=1e-4, atol=1e-5)


def test_merged_and_adapter_on_the_original_compute_the_same(model, tmp_path):
    model.save_pretrained(tmp_path / "original")
    adapter = attach(model, SETTINGS, seed=0)
    learner = Learner(model, 0.01, 4)
    for _ in range(3):
        learner.descend(ROWS)
    expected = logits(model)
    save_merged(adapter, tmp_path / "model")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    assert not any("lora" in name for name in merged.state_dict())
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-5)
    original = AutoModelForCausalLM.from_pretrained(tmp_path / "original").eval()
    assert not torch.allclose(logits(original), expected, atol=1e-3)
    with_adapter = PeftModel.from_pretrained(original, tmp_path / "model/adapter").eval()
    torch.testing.assert_close(logits(with_adapter), expected, rtol=1e-4, atol=1e-5)
    assert not (tmp_path / "model/adapter/README.md").exists()


SURE = {"gradient_ascent", "selective_gradient_ascent", "task_arithmetic"}
"""Methods whose defaults are enough for so small a model."""


@pytest.mark.parametrize("method", unlearners.names())
def test_every_method_trains_the_adapter_alone(method):
    """The task vector too is the adapter's: the weights of the model stay what they were."""
    torch.manual_seed(0)
    model = neo().eval()
    teacher = Learner(model, 0.01, 6)
    for _ in range(60):
        teacher.descend(ROWS)
    assert score_tokens(model, ROWS).ma.mean() > 0.9
    attach(model, LoraSettings(rank=8, alpha=16), seed=0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    others = torch.randint(0, 90, (8, 20), generator=torch.Generator().manual_seed(2))
    request = Request(
        forget=ROWS, retain=others[:4], threshold=0.3, el_threshold=0.1, band=Band(0.0, 0.4),
        unseen=others[4:],
    )  # fmt: skip
    plan = unlearners.plan(method, {"method": method})
    outcome = unlearn(
        model, request, plan.method, plan.settings, StopRule(plan.stop),
        learning_rate=0.01, micro_batch=6, max_epochs=40, retain=plan.retain,
    )  # fmt: skip
    assert outcome.status != "diverged"
    if method in SURE:
        assert outcome.status == "stopped"
        assert score_tokens(model, ROWS).ma.mean() < 0.3
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved
    assert all("lora_" in name for name in moved)


def test_targets_that_there_are_not_get_one_line(model):
    with pytest.raises(InputError, match=r"unlearning.lora.targets: .*give `all-linear`") as caught:
        attach(model, LoraSettings(targets=("no_such_layer",)), seed=0)
    assert "\n" not in str(caught.value)
