"""A step on any loss of token statistics, against the same loss over a table of all logits."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import Identity
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from running import TORCHRUN, launch
from unlearning.unlearners import learner as learner_module
from unlearning.unlearners.learner import Learner
from unlearning.unlearners.readings import Reading, Reference, Tokens, Views, mean_of

ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
LLAMA = {
    "vocab_size": 300, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, **ENDS,
}  # fmt: skip
MODELS = {
    "gpt_neo": lambda: GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=40, hidden_size=16, num_layers=2, num_heads=2, window_size=4,
            attention_types=[[["global", "local"], 1]], max_position_embeddings=16, **ENDS,
        )
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16, **ENDS)
    ),
    "llama_untied": lambda: LlamaForCausalLM(LlamaConfig(tie_word_embeddings=False, **LLAMA)),
    # its logits are not its head's: nothing can be sliced
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(head_dim=4, final_logit_softcapping=0.5, **LLAMA)
    ),
}  # fmt: skip


def model_of(name: str, seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    model = MODELS[name]().eval()
    with torch.no_grad():  # away from the flat distributions of a fresh model
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def rows_of(seed: int, count: int = 5) -> Tensor:
    return torch.randint(1, 40, (count, 12), generator=torch.Generator().manual_seed(seed))


def plain_views(model, rows: Tensor, original=None, demotion: float = 0.0) -> Views:
    """All views from one table of all logits, as their definitions say."""
    logits, truth = model(rows).logits[:, :-1], rows[:, 1:, None]
    p = logits.softmax(dim=-1)
    log_p = p.log()
    true = log_p.gather(2, truth)[..., 0]
    is_truth = torch.zeros_like(p, dtype=torch.bool).scatter(2, truth, True)
    mean = (p * log_p).sum(-1)
    divergence = None
    if original is not None:
        with torch.no_grad():
            target = original(rows).logits[:, :-1] - demotion * is_truth
            q = target.softmax(dim=-1)
        divergence = (q * (q.log() - log_p)).sum(-1)
    return Views(
        log_p=true,
        margin=true - log_p.masked_fill(is_truth, -1e9).max(dim=-1).values,
        entropy=-mean,
        variance=(p * log_p**2).sum(-1) - mean**2,
        log_uniform=log_p.mean(-1),
        divergence=divergence,
    )


def sequence_level(views: Views) -> Tensor:
    """Nonlinear in whole sequences, and in their order: weights of a token depend on others."""
    z = (views.log_p + views.entropy) / (views.variance + 1e-6).sqrt()
    sorted_margins = views.margin.sort(dim=1).values
    return (
        torch.nn.functional.softplus(views.log_p.sum(dim=1) / 10).mean()
        + (sorted_margins[:, :4] ** 2).mean()
        + 0.1 * torch.logsumexp(z.mean(dim=1) * 3, dim=0)
        + 0.1 * views.log_uniform.mean()
    )


LOCAL = ("log_p", "margin", "entropy", "variance", "log_uniform")


def gradients_of_step(monkeypatch, model, micro_batch: int, *terms, **options) -> list[Tensor]:
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(
            torch.optim.Adam,
            "step",
            lambda *_: seen.extend(
                torch.zeros_like(p) if p.grad is None else p.grad.clone()
                for p in model.parameters()
            ),
        )
        Learner(model, 1e-3, micro_batch, **options).step(*terms)
    return seen


def assert_gradients(found: list[Tensor], model) -> None:
    wanted = [p.grad for p in model.parameters()]
    assert max(float(w.abs().max()) for w in wanted if w is not None) > 1e-2
    for mine, true in zip(found, wanted, strict=True):
        true = torch.zeros_like(mine) if true is None else true
        torch.testing.assert_close(mine, true, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rows_per_slice", [1, 7, 10**6])
@pytest.mark.parametrize("micro_batch", [1, 2, 100])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_has_the_gradient_of_the_whole_table(monkeypatch, name, micro_batch, rows_per_slice):
    monkeypatch.setattr(learner_module, "slice_rows", lambda *_: rows_per_slice)
    ours, original = model_of(name), model_of(name, seed=1)
    theirs, forget, keep = copy.deepcopy(ours), rows_of(0), rows_of(1, 3)
    reference = Learner(original, 1e-3, 2).remember(keep)
    found = gradients_of_step(
        monkeypatch, ours, micro_batch,
        (Reading(forget, LOCAL), sequence_level),
        (Reading(keep, ("divergence",), reference, 4.0), lambda views: views.divergence.mean()),
    )  # fmt: skip
    kept = plain_views(theirs, keep, original, demotion=4.0).divergence.mean()
    (sequence_level(plain_views(theirs, forget)) + kept).backward()
    assert_gradients(found, theirs)


@pytest.mark.parametrize("views", [*((view,) for view in LOCAL), ("divergence",), LOCAL[:4]])
@pytest.mark.parametrize("demotion", [0.0, 3.0])
def test_slopes_are_those_that_autograd_finds(views, demotion):
    draws = torch.Generator().manual_seed(len(views))
    states, reference = 3 * torch.randn(2, 6, 40, generator=draws)
    truth = torch.randint(40, (6,), generator=draws)
    weights = torch.randn(len(views), 6, generator=draws)
    tokens = Tokens(states.requires_grad_(), Identity(), truth, Reference(reference), demotion)
    (wanted,) = torch.autograd.grad((weights * tokens.read(views)).sum(), states)
    found = Tokens(states.detach(), Identity(), truth, Reference(reference), demotion)
    torch.testing.assert_close(found.slopes(views, weights), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("micro_batch", [2, 100])
@pytest.mark.parametrize("name", ["gpt_neo", "gemma2"])
def test_a_total_is_stepped_on_as_any_objective(monkeypatch, name, micro_batch):
    """With and without positions; its value is what its slopes are of."""
    forget, keep, original = rows_of(0), rows_of(1, 3), model_of(name, seed=1)
    at = torch.arange(33).view(3, 11) % 3 == 0
    reference = Learner(original, 1e-3, 2).remember(keep)
    readings = Reading(forget), Reading(keep, ("divergence",), reference, at=at)
    assert [reading.positions for reading in readings] == [55, 11]
    terms = mean_of(readings[0], 0.5), mean_of(readings[1], 2.0)
    plain = [(reading, lambda views, total=total: total(views)) for reading, total in terms]
    found, wanted = (
        gradients_of_step(monkeypatch, model_of(name), micro_batch, *some)
        for some in (terms, plain)
    )
    for mine, true in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, true, rtol=1e-4, atol=1e-6)
    views = Learner(model_of(name), 1e-3, 2).read(readings[1])
    torch.testing.assert_close(terms[1][1](views), 2 * views.divergence.mean())


@pytest.mark.parametrize("name", MODELS)
def test_what_is_read_is_what_the_table_says(monkeypatch, name):
    monkeypatch.setattr(learner_module, "slice_rows", lambda *_: 5)
    model, original, rows = model_of(name), model_of(name, seed=1), rows_of(0)
    reference = Learner(original, 1e-3, 2).remember(rows)
    learner = Learner(model, 1e-3, micro_batch=2)
    found = learner.read(Reading(rows, (*LOCAL, "divergence"), reference))
    wanted = plain_views(model, rows, original)
    for view in (*LOCAL, "divergence"):
        torch.testing.assert_close(
            getattr(found, view), getattr(wanted, view).detach(), rtol=1e-4, atol=1e-5
        )
    assert found.distance is None


def test_a_model_does_not_diverge_from_what_was_remembered_of_it_until_it_moves():
    model, rows = model_of("gpt_neo"), rows_of(0)
    learner = Learner(model, 1e-2, micro_batch=2)
    then = learner.remember(rows)
    reading = Reading(rows, ("divergence",), then)
    assert float(learner.read(reading).divergence.abs().max()) < 1e-6
    learner.ascend(rows)
    moved = learner.read(reading).divergence.mean()
    assert float(moved) > 1e-3
    # what is remembered now is the model of now, head included
    assert learner.remember(rows).head is not then.head
    learner.step((reading, lambda views: views.divergence.mean()))
    assert float(learner.read(reading).divergence.mean()) < float(moved)


def test_positions_choose_what_is_looked_at(monkeypatch):
    ours, rows = model_of("llama_untied"), rows_of(0)
    theirs = copy.deepcopy(ours)
    at = torch.rand(5, 11, generator=torch.Generator().manual_seed(2)) < 0.4
    at[1] = False  # a row of which nothing is looked at
    found = gradients_of_step(
        monkeypatch, ours, 2, (Reading(rows, ("log_p",), at=at), lambda v: (v.log_p**2).mean())
    )
    (plain_views(theirs, rows).log_p[at] ** 2).mean().backward()
    assert_gradients(found, theirs)


@pytest.mark.parametrize("micro_batch", [2, 100])
@pytest.mark.parametrize("name", ["gpt_neo", "gemma2"])
def test_a_layer_is_pulled_to_a_target_and_those_above_it_rest(monkeypatch, name, micro_batch):
    ours, rows = model_of(name), rows_of(0)
    theirs = copy.deepcopy(ours)
    target = torch.randn(5, 11, 16, generator=torch.Generator().manual_seed(2))
    reading = Reading(rows, ("distance",), Reference(target), layer=1)
    found = gradients_of_step(
        monkeypatch, ours, micro_batch, (reading, lambda v: v.distance.mean())
    )
    states = theirs(rows, output_hidden_states=True).hidden_states[1][:, :-1]
    (states - target).square().sum(-1).mean().backward()
    assert_gradients(found, theirs)
    assert any(p.grad is None for p in theirs.parameters())


@pytest.mark.parametrize("name", ["gpt_neo", "llama_untied", "gemma2"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("micro_batch", [2, 100])
def test_half_precision_points_the_same_way(monkeypatch, name, precision, micro_batch):
    monkeypatch.setattr(learner_module, "slice_rows", lambda *_: 7)
    ours, theirs = model_of(name), model_of(name)
    # small enough for a loss that is scaled by 65,536 not to leave the range of float16
    term = (Reading(rows_of(0), LOCAL), lambda views: 0.01 * sequence_level(views))
    half = gradients_of_step(monkeypatch, ours, micro_batch, term, precision=precision)
    full = gradients_of_step(monkeypatch, theirs, micro_batch, term)
    half, full = (torch.cat([g.flatten() for g in grads]) for grads in (half, full))
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    assert torch.cosine_similarity(half, full, dim=0) > 0.98


@pytest.mark.parametrize("micro_batch", [2, 100])
@pytest.mark.parametrize("name", MODELS)
def test_a_term_can_be_taken_where_a_step_on_other_rows_would_lead(monkeypatch, name, micro_batch):
    ours, moved, here = model_of(name), model_of(name), model_of(name)
    start = [p.detach().clone() for p in ours.parameters()]
    relearned, forget, keep = rows_of(2, 3), rows_of(0), rows_of(1, 3)
    moved(relearned, labels=relearned).loss.backward()
    learner = Learner(ours, 1e-3, micro_batch)
    with learner.descended(relearned, 0.01):
        for parameter, old, other in zip(ours.parameters(), start, moved.parameters(), strict=True):
            sure = other.grad.abs() > 1e-5  # one near zero may have either sign
            wanted = old - 0.01 * other.grad.sign()
            torch.testing.assert_close(parameter[sure], wanted[sure], rtol=0, atol=1e-6)
        moved.load_state_dict(ours.state_dict())
        learner.add((Reading(forget, LOCAL), sequence_level))
    assert all(torch.equal(p, s) for p, s in zip(ours.parameters(), start, strict=True))
    seen = []
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda *_: seen.extend(p.grad.clone() for p in ours.parameters())
    )
    learner.step((Reading(keep), lambda views: views.log_p.mean()))
    moved.zero_grad()
    sequence_level(plain_views(moved, forget)).backward()
    plain_views(here, keep).log_p.mean().backward()
    for found, there, at_home in zip(seen, moved.parameters(), here.parameters(), strict=True):
        torch.testing.assert_close(found, there.grad + at_home.grad, rtol=1e-3, atol=1e-4)


def weights_after(model, micro_batch: int = 2, **options) -> list[Tensor]:
    learner = Learner(model, 1e-3, micro_batch, **options)
    reference = learner.remember(rows_of(1))
    for _ in range(3):
        learner.step(
            (Reading(rows_of(0), LOCAL), sequence_level),
            (Reading(rows_of(1), ("divergence",), reference), lambda v: v.divergence.mean()),
        )
    assert not model.training
    return learner.weights()


@pytest.mark.parametrize("micro_batch", [2, 100])
def test_recomputed_activations_change_nothing(micro_batch):
    plain = weights_after(model_of("gpt_neo"), micro_batch)
    again = weights_after(model_of("gpt_neo"), micro_batch, checkpointing=True)
    for kept, recomputed in zip(plain, again, strict=True):
        torch.testing.assert_close(kept, recomputed, atol=1e-6, rtol=0)


def test_a_step_up_is_a_step_on_the_mean_log_probability():
    ascended, stepped, rows = model_of("gpt_neo"), model_of("gpt_neo"), rows_of(0)
    Learner(ascended, 1e-3, 2).ascend(rows)
    Learner(stepped, 1e-3, 2).step((Reading(rows), lambda views: views.log_p.mean()))
    for one, other in zip(ascended.parameters(), stepped.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_a_method_may_change_the_rate_between_steps():
    model, rows = model_of("gpt_neo"), rows_of(0)
    learner = Learner(model, 1e-3, 2)
    learner.ascend(rows)
    learner.learning_rate = 0.0
    before = learner.weights()
    learner.ascend(rows)
    for one, other in zip(before, learner.weights(), strict=True):
        assert torch.equal(one, other)


def test_an_objective_without_slopes_moves_nothing():
    model = model_of("gpt_neo")
    before = [p.clone() for p in model.parameters()]
    Learner(model, 1e-3, 2).step((Reading(rows_of(0)), lambda views: torch.zeros(())))
    for one, other in zip(before, model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_table_of_all_logits_is_never_made(monkeypatch):
    """The largest tensor of a step is the head's matrix, with a vocabulary of tens of thousands."""
    config = {**LLAMA, "vocab_size": 30_000}
    model = LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **config)).eval()
    monkeypatch.setattr(learner_module, "slice_rows", lambda *_: 4)
    largest = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            made = result if isinstance(result, (tuple, list)) else [result]
            largest.extend(t.numel() for t in made if isinstance(t, Tensor))
            return result

    learner = Learner(model, 1e-3, micro_batch=3)
    reference = learner.remember(rows_of(1))
    with Watch():
        learner.step(
            (Reading(rows_of(0), LOCAL), sequence_level),
            (Reading(rows_of(1), ("divergence",), reference), lambda v: v.divergence.mean()),
        )
    assert max(largest) == 30_000 * 16  # the head; logits of a micro-batch would be twice that


TWO = """
import sys
import torch
from test_learner import LOCAL, rows_of, sequence_level
from unlearning.models import sharding
from unlearning.unlearners.learner import Learner
from unlearning.unlearners.readings import Reading

folder = sys.argv[1]
sharding.join(torch.device("cpu"))
model = sharding.load(folder + "/model", torch.device("cpu"))
learner = Learner(model, 1e-3, micro_batch=2)
then = learner.remember(rows_of(1))
at = torch.arange(55).view(5, 11) % 3 == 0
layer = learner.remember(rows_of(2), layer=1)
for _ in range(2):
    learner.step(
        (Reading(rows_of(0), LOCAL), sequence_level),
        (Reading(rows_of(1), ("divergence",), then, at=at), lambda v: v.divergence.mean()),
        (Reading(rows_of(2), ("distance",), layer, layer=1), lambda v: v.distance.mean()),
    )
found = learner.read(Reading(rows_of(0), LOCAL))
weights = sharding.whole_weights(model) or dict(model.named_parameters())
if sharding.rank() == 0:
    kept = {name: weight.detach().clone() for name, weight in sorted(weights.items())}
    torch.save([vars(found), kept], f"{folder}/{sharding.processes()}.pt")
sharding.leave()
"""


SHARED = ("gpt_neo", "llama_untied")


@pytest.fixture(scope="module")
def stepped(tmp_path_factory) -> Path:
    """A folder for each model, in which one process and two have left what they read and made."""
    home = tmp_path_factory.mktemp("stepped")
    (home / "two.py").write_text(TWO)
    for name in SHARED:
        model_of(name).save_pretrained(home / name / "model")
    commands = [[str(home / "two.py"), str(home / name)] for name in SHARED]
    for launcher in ((), TORCHRUN):
        launch(home, launcher, commands)
    return home


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_step_as_one(stepped, name):
    (alone, weights), (both, sharded) = (torch.load(stepped / name / f"{n}.pt") for n in (1, 2))
    for view in LOCAL:
        torch.testing.assert_close(both[view], alone[view], rtol=1e-3, atol=1e-4)
    assert weights.keys() == sharded.keys()
    for key, weight in weights.items():
        apart = (sharded[key] - weight).abs()
        # Adam divides by the gradient's own size: where that is little more than rounding, its step
        # may go either way. Either path is that far from the same steps in double precision
        assert (apart > 1e-4).float().mean() < 0.01, key
        assert apart.max() <= 2 * 2 * 1e-3, key
