"""The field's methods: at each of two steps, the gradient of the published loss written out."""

import numpy as np
import pytest
import torch
from torch import Tensor

from test_learner import model_of, rows_of
from unlearning import unlearners
from unlearning.jobs.errors import InputError
from unlearning.memorization.forgetting import Band
from unlearning.settings.unlearning import RetainSettings
from unlearning.unlearners import npo
from unlearning.unlearners.driver import StopRule, unlearn
from unlearning.unlearners.learner import Learner
from unlearning.unlearners.readings import Reading, Views
from unlearning.unlearners.request import Request
from unlearning.unlearners.retain import draw, retaining


def request(**changes) -> Request:
    values = {
        "forget": rows_of(0), "retain": rows_of(1, 7), "unseen": rows_of(2, 4), "seed": 5,
        "threshold": -1.0, "el_threshold": 0.0, "band": Band(0.0, 0.5),
    }  # fmt: skip
    return Request(**values | changes)


def steps_of(monkeypatch, method: str, asked: Request, retain=None, steps: int = 2, **settings):
    """The weights before each step, and the gradients that Adam was given: [(weights, grads)]."""
    model = model_of("gpt_neo")
    learner = Learner(model, 1e-3, micro_batch=2)
    seen, adam_step = [], torch.optim.Adam.step

    def step(self):
        state = {name: p.detach().clone() for name, p in model.named_parameters()}
        grads = {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in model.named_parameters()
        }
        seen.append((state, grads))
        adam_step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    if retain is not None:
        learner.every_step = retaining(learner, asked, retain)
    run = unlearners.load(method).unlearn(
        learner, asked, unlearners.settings_of(method, "here", settings)
    )
    next(run)
    for _ in range(steps):
        run.send(np.linspace(0.1, 0.9, len(asked.forget)))
    return seen


def assert_gradient_of(loss, seen) -> None:
    """The gradients are those of `loss(model, step)` at the weights of each step."""
    for step, (state, grads) in enumerate(seen):
        model = model_of("gpt_neo")
        model.load_state_dict(state, strict=False)
        model.tie_weights()
        loss(model, step).backward()
        largest = 0.0
        for name, parameter in model.named_parameters():
            true = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(grads[name], true, rtol=1e-3, atol=2e-5, msg=name)
            largest = max(largest, float(true.abs().max()))
        assert largest > 1e-3


def logits_of(model, rows: Tensor) -> Tensor:
    return model(rows).logits[:, :-1]


def token_losses(model, rows: Tensor) -> Tensor:
    """(N, T-1), -log p of the true tokens."""
    logits = logits_of(model, rows)
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none"
    )
    return losses.view(len(rows), -1)


@torch.no_grad()
def original_losses(rows: Tensor) -> Tensor:
    return token_losses(model_of("gpt_neo"), rows)


def one_hot(rows: Tensor, vocabulary: int = 40) -> Tensor:
    return torch.nn.functional.one_hot(rows[:, 1:], vocabulary).float()


@pytest.mark.parametrize(("beta_tokens", "beta"), [(None, 0.1), (50, 0.1 * 50 / 11)])
def test_npo(monkeypatch, beta_tokens, beta):
    asked = request()
    before = original_losses(asked.forget).sum(1)

    def loss(model, step):
        rise = token_losses(model, asked.forget).sum(1) - before
        # -(2/b) log 1/(1 + exp(-b rise))
        return (2 / beta * torch.log1p(torch.exp(-beta * rise))).mean()

    assert_gradient_of(loss, steps_of(monkeypatch, "npo", asked, beta_tokens=beta_tokens))


@pytest.mark.parametrize("length", [10, 50, 200])
def test_npo_lets_go_at_the_same_rise_per_token_whatever_the_length(length):
    settings = unlearners.settings_of("npo", "npo", {})
    log_p = torch.full((2, length), -1.25, requires_grad=True)
    loss = npo.objective(torch.full((2, length), -1.0), settings.scaled(length))
    loss(Views(log_p=log_p)).backward()
    # of a push of 1 on a token of each of two sequences, at a rise of 0.25 nats per token
    np.testing.assert_allclose(log_p.grad * 2, 2 / (1 + np.exp(1.25)), rtol=1e-5)


@pytest.mark.parametrize("delta", [0.0, 1.5, None])
def test_simnpo(monkeypatch, delta):
    asked = request()
    at = float(original_losses(asked.unseen).mean()) if delta is None else delta

    def loss(model, step):
        mean = token_losses(model, asked.forget).mean(1)
        return (2 / 0.7 * torch.log1p(torch.exp(-0.7 * (mean - at)))).mean()

    assert_gradient_of(loss, steps_of(monkeypatch, "simnpo", asked, beta=0.7, delta=delta))


def test_simnpo_says_what_it_lacks():
    settings = unlearners.settings_of("simnpo", "simnpo", {"delta": None})
    learner = Learner(model_of("gpt_neo"), 1e-3, 2)
    run = unlearners.load("simnpo").unlearn(learner, request(unseen=None), settings)
    with pytest.raises(InputError, match="simnpo: delta: null needs unseen sequences"):
        next(run)


def test_undial(monkeypatch):
    asked = request()
    with torch.no_grad():
        demoted = logits_of(model_of("gpt_neo"), asked.forget) - 4 * one_hot(asked.forget)
    target = demoted.softmax(-1)

    def loss(model, step):
        return -(target * logits_of(model, asked.forget).log_softmax(-1)).sum(-1).mean()

    assert_gradient_of(loss, steps_of(monkeypatch, "undial", asked, beta=4.0))


def test_inverted_hinge(monkeypatch):
    asked = request()

    def loss(model, step):
        p, true = logits_of(model, asked.forget).softmax(-1), one_hot(asked.forget)
        return (1 + (p * true).sum(-1) - (p * (1 - true)).max(-1).values).mean()

    assert_gradient_of(loss, steps_of(monkeypatch, "inverted_hinge", asked))


@pytest.mark.parametrize(("saturation", "importance", "scale"), [(1, 0, 100), (5, 1, 1e5)])
def test_weighted_gradient_ascent(monkeypatch, saturation, importance, scale):
    asked = request()

    def loss(model, step):
        losses = token_losses(model, asked.forget)
        p = (-losses).exp().detach()
        return -(p**saturation * (1 - p) ** importance * losses).mean() * scale

    seen = steps_of(
        monkeypatch, "weighted_gradient_ascent", asked, saturation=saturation, importance=importance
    )
    # small weights make small gradients: both are scaled up
    seen = [(state, {name: scale * g for name, g in grads.items()}) for state, grads in seen]
    assert_gradient_of(loss, seen)


def test_max_entropy(monkeypatch):
    asked = request()

    def loss(model, step):
        log_p = logits_of(model, asked.forget).log_softmax(-1)
        uniform = torch.full_like(log_p, 1 / 40)
        return (uniform * (uniform.log() - log_p)).sum(-1).mean()

    assert_gradient_of(loss, steps_of(monkeypatch, "max_entropy", asked))


def test_balanced_ascent_weighs_sequences_by_what_is_still_known(monkeypatch):
    asked = request()

    def loss(model, step):
        known = -token_losses(model, asked.forget).mean(1)
        weights = (known.detach() / 0.5).softmax(0)
        return (weights * known).sum()

    seen = steps_of(monkeypatch, "balanced_gradient_ascent", asked, temperature=0.5)
    assert_gradient_of(loss, seen)


def test_misdirection(monkeypatch):
    asked = request()
    batches = [next(drawn) for drawn in [draw(asked, 3)] for _ in range(2)]

    def states(model, rows):
        return model(rows, output_hidden_states=True).hidden_states[1][:, :-1]

    with torch.no_grad():
        original = model_of("gpt_neo")
        length = 2.5 * states(original, asked.forget).norm(dim=-1).mean()
        kept = states(original, asked.retain)
    u = torch.from_numpy(np.random.default_rng(5).random(16)).float()
    u = u / u.norm()
    assert (u >= 0).all()

    def loss(model, step):
        led = (states(model, asked.forget) - length * u).square().sum(-1).mean()
        rows = batches[step]
        return led + 3 * (states(model, asked.retain[rows]) - kept[rows]).square().sum(-1).mean()

    seen = steps_of(monkeypatch, "rmu", asked, layer=1, length=2.5, alpha=3.0, batch=3)
    assert_gradient_of(loss, seen)
    assert float(seen[0][1]["transformer.h.1.attn.attention.q_proj.weight"].abs().max()) == 0


def test_misdirection_names_a_layer_that_is_not_there():
    settings = unlearners.settings_of("rmu", "rmu", {"layer": 3})
    learner = Learner(model_of("gpt_neo"), 1e-3, 2)
    with pytest.raises(InputError, match="rmu: layer: 3 is above the model's 2 layers"):
        next(unlearners.load("rmu").unlearn(learner, request(), settings))


@pytest.mark.parametrize("kind", ["nll", "kl"])
def test_any_method_may_hold_on_to_text_to_keep(monkeypatch, kind):
    """GradDiff and its KL form; the second step's term is on the next batch."""
    asked, retain = request(), RetainSettings(kind=kind, weight=0.7, batch=3)
    batches = [next(drawn) for drawn in [draw(asked, 3)] for _ in range(2)]

    def loss(model, step):
        rows = asked.retain[batches[step]]
        up = -token_losses(model, asked.forget).mean()
        if kind == "nll":
            return up + 0.7 * token_losses(model, rows).mean()
        with torch.no_grad():
            target = logits_of(model_of("gpt_neo"), rows).log_softmax(-1)
        log_p = logits_of(model, rows).log_softmax(-1)
        return up + 0.7 * (target.exp() * (target - log_p)).sum(-1).mean()

    assert_gradient_of(loss, steps_of(monkeypatch, "gradient_difference", asked, retain))


def test_selective_ascent_with_a_term_to_keep(monkeypatch):
    asked, retain = request(), RetainSettings(kind="nll", weight=2.0, batch=7)

    def loss(model, step):
        chosen = asked.forget[[3, 4]]  # g of 0.7 and 0.9
        return -token_losses(model, chosen).mean() + 2 * token_losses(model, asked.retain).mean()

    seen = steps_of(monkeypatch, "selective_gradient_ascent", asked, retain, gamma=0.6)
    assert_gradient_of(loss, seen)


def test_rows_to_keep_are_gone_through_in_an_order_of_the_seed():
    batches = draw(request(), 3)
    passes = [torch.cat([next(batches) for _ in range(3)]) for _ in range(2)]
    for one in passes:
        assert sorted(one.tolist()) == list(range(7))
    assert passes[0].tolist() != passes[1].tolist()
    assert next(draw(request(), 7)).tolist() == passes[0].tolist()
    assert next(draw(request(seed=6), 7)).tolist() != passes[0].tolist()


def test_a_run_with_a_term_to_keep_gives_the_same_bytes_again():
    weights = []
    for _ in range(2):
        model = model_of("gpt_neo")
        unlearn(
            model, request(), "npo", unlearners.settings_of("npo", "npo", {}), StopRule(ngram=3),
            learning_rate=1e-3, micro_batch=2, max_epochs=3, retain=RetainSettings(batch=2),
        )  # fmt: skip
        weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


def test_a_term_to_keep_keeps():
    """Divergence from the original on held text, with the term and without, after equal steps."""
    found = {}
    for retain in (None, RetainSettings(kind="kl", weight=5.0)):
        model, asked = model_of("gpt_neo"), request()
        then = Learner(model_of("gpt_neo"), 1e-3, 4).remember(asked.retain)
        unlearn(
            model, asked, "gradient_ascent", None, StopRule(ngram=3),
            learning_rate=1e-3, micro_batch=4, max_epochs=10, retain=retain,
        )  # fmt: skip
        reading = Reading(asked.retain, ("divergence",), then)
        found[retain] = float(Learner(model, 1e-3, 4).read(reading).divergence.mean())
    with_term, without = found.pop(retain), found.pop(None)
    assert with_term < 0.5 * without


def test_a_request_without_text_to_keep_is_named():
    with pytest.raises(InputError, match="retain: a method trains on text to keep"):
        unlearn(
            model_of("gpt_neo"), request(retain=rows_of(1)[:0]), "gradient_ascent", None,
            StopRule(ngram=3), learning_rate=1e-3, micro_batch=2, max_epochs=1,
            retain=RetainSettings(),
        )  # fmt: skip


# --- blocks of the config -----------------------------------------------------------------------


def test_a_block_says_what_all_methods_share_and_the_rest_is_the_method_s():
    plan = unlearners.plan(
        "sga_kl",
        {
            "method": "selective_gradient_ascent", "stop": "each", "gamma": 0.5,
            "learning_rate": 1e-4, "retain": {"kind": "kl", "weight": 3.0},
        },
    )  # fmt: skip
    assert (plan.stop, plan.learning_rate, plan.settings.gamma) == ("each", 1e-4, 0.5)
    assert plan.retain == RetainSettings(kind="kl", weight=3.0, batch=32)
    assert plan.needs_retain


@pytest.mark.parametrize(
    ("block", "retain", "needed"),
    [
        ({"method": "npo"}, RetainSettings(kind="nll"), True),
        ({"method": "npo", "retain": None}, None, False),
        ({"method": "gradient_ascent"}, None, False),
        ({"method": "rmu"}, None, True),
    ],
)
def test_the_published_term_holds_unless_the_config_says_otherwise(block, retain, needed):
    plan = unlearners.plan("here", block)
    assert (plan.retain, plan.needs_retain) == (retain, needed)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"method": "npo", "retain": {"kind": "mse"}}, "unlearners.x: retain.kind: input should"),
        ({"method": "npo", "retain": {"wieght": 1}}, "unlearners.x: unknown key 'retain.wieght'"),
        ({"method": "npo", "learning_rate": 0}, "unlearners.x: learning_rate: input should be gr"),
        (
            {"method": "task_arithmetic", "retain": {"kind": "nll"}},
            "unlearners.x.retain.kind: 'nll' does not go with task_arithmetic; choose kl",
        ),
        ({"stop": "mean"}, "unlearners.x: key 'method' is missing"),
    ],
)
def test_a_wrong_block_is_named(block, message):
    with pytest.raises(InputError, match=message):
        unlearners.plan("x", block)
