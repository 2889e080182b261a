"""Shrink and perturb: what the noise does to the weights, what training brings back."""

import copy

import numpy as np
import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from unlearning import unlearners
from unlearning.memorization.forgetting import Band
from unlearning.memorization.scoring import score_tokens
from unlearning.unlearners.driver import StopRule, unlearn
from unlearning.unlearners.learner import Learner
from unlearning.unlearners.request import Request


def model_of(seed: int = 0) -> GPTNeoForCausalLM:
    torch.manual_seed(seed)
    return GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=40, hidden_size=32, num_layers=2, num_heads=2, window_size=8,
            attention_types=[[["global", "local"], 1]], max_position_embeddings=16,
            bos_token_id=0, eos_token_id=0,
        )
    ).eval()  # fmt: skip


def rows(count: int, seed: int) -> torch.Tensor:
    return torch.randint(1, 40, (count, 12), generator=torch.Generator().manual_seed(seed))


def request(forget: torch.Tensor, retain: torch.Tensor, seed: int = 0) -> Request:
    return Request(forget, retain, -1.0, 0.01, Band(0.0, 0.2), seed=seed)


def run(model: GPTNeoForCausalLM, asked: Request, **settings):
    block = unlearners.settings_of("shrink_and_perturb", "it", settings)
    return unlearn(
        model, asked, "shrink_and_perturb", block, StopRule("none"),
        learning_rate=1e-3, micro_batch=8, max_epochs=1,
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_matrices_are_mixed_with_noise_of_their_spread_and_vectors_stay(share):
    model = model_of()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    Learner(model, 1e-3, 8).perturb(share, seed=5)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        expected = before[name]
        if expected.ndim == 2:
            noise = torch.randn(expected.shape, generator=generator)
            expected = (1 - share) * expected + share * expected.std() * noise
            assert float(parameter.detach().std()) == pytest.approx(
                float(before[name].std()) * ((1 - share) ** 2 + share**2) ** 0.5, rel=0.1
            )
        torch.testing.assert_close(parameter.detach(), expected, msg=name)


@pytest.fixture(scope="module")
def memorized() -> tuple[GPTNeoForCausalLM, torch.Tensor, torch.Tensor]:
    """A model that recites 6 rows to forget and 12 to keep."""
    model, forget, keep = model_of(), rows(6, 1), rows(12, 2)
    learner = Learner(model, 5e-3, 18)
    for _ in range(150):
        learner.descend(torch.cat([forget, keep]))
    assert score_tokens(model, torch.cat([forget, keep]), moments=False).ma.min() > 0.9
    return model, forget, keep


def test_what_the_text_to_keep_does_not_hold_is_gone_and_what_it_holds_is_learned(memorized):
    original, forget, keep = memorized
    model = copy.deepcopy(original)
    outcome = run(model, request(forget, keep), steps=200, rows=12, rate=5.0)
    assert (outcome.status, set(outcome.phases)) == ("finished", {"training"})
    scores = score_tokens(model, torch.cat([forget, keep, rows(40, 3)]), moments=False)
    forgotten, kept, unseen = np.split(scores.ma, [6, 18])
    assert kept.mean() > 0.9
    assert forgotten.mean() < unseen.mean() + 0.1
    assert outcome.history.query("epoch == 0")["ma"].min() > 0.9


def test_less_noise_leaves_more(memorized):
    original, forget, keep = memorized
    left = []
    for noise in (0.1, 0.5, 0.9):
        model = copy.deepcopy(original)
        run(model, request(forget, keep), noise=noise, steps=10, rows=12)
        left.append(float(score_tokens(model, forget, moments=False).loss.mean()))
    assert left[0] < left[1] < left[2]


def test_no_sequence_to_be_forgotten_is_looked_at(memorized):
    original, forget, keep = memorized
    models = [copy.deepcopy(original) for _ in range(3)]
    for model, some, seed in zip(models, (forget, rows(3, 9), forget), (0, 0, 1), strict=True):
        run(model, request(some, keep, seed), steps=5, rows=4)
    first, other, reseeded = ([*model.parameters()] for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, reseeded, strict=True))
