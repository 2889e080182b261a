"""Each unlearner against two steps written out by hand, and the driver that runs them."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from unlearning import unlearners
from unlearning.jobs.errors import InputError
from unlearning.memorization.forgetting import Band
from unlearning.memorization.scoring import score_tokens
from unlearning.models.offloading import OffloadedAdam
from unlearning.unlearners import learner as learner_module
from unlearning.unlearners.driver import StopRule, phase_lengths, unlearn
from unlearning.unlearners.learner import BETAS, Learner
from unlearning.unlearners.request import Request
from unlearning.unlearners.selective_gradient_ascent import select

RATE = 1e-3


def tiny_model(seed: int = 0) -> GPTNeoForCausalLM:
    torch.manual_seed(seed)
    config = GPTNeoConfig(
        vocab_size=40,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        max_position_embeddings=16,
        window_size=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPTNeoForCausalLM(config).eval()


def request(threshold: float = -1.0, band: Band = Band(0.0, 0.2), n: int = 5) -> Request:
    rows = torch.randint(1, 40, (n, 12), generator=torch.Generator().manual_seed(3))
    return Request(forget=rows, retain=rows[:0], threshold=threshold, el_threshold=0.01, band=band)


def adam(model: torch.nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.98))


def by_hand(model, optimizer, rows: torch.Tensor, sign: float) -> None:
    """One step on the mean token cross-entropy, through the library's own loss."""
    optimizer.zero_grad()
    (sign * model(rows, labels=rows).loss).backward()
    optimizer.step()


def run_steps(method: str, model, asked: Request, gs: list[np.ndarray], **settings) -> list[str]:
    """Drive a method with given measurements; the phases it went through."""
    learner = Learner(model, RATE, micro_batch=2)
    steps = unlearners.load(method).unlearn(
        learner, asked, unlearners.settings_of(method, "here", settings)
    )
    phases = [next(steps)]
    return phases + [steps.send(g) for g in gs]


def assert_same_weights(left, right) -> None:
    for a, b in zip(left.parameters(), right.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


G_HIGH = np.array([0.95, 0.60, 0.80, 0.10, 0.97])


def test_gradient_ascent_takes_two_steps_up_on_the_whole_set():
    ours, theirs, asked = tiny_model(), tiny_model(), request()
    assert run_steps("gradient_ascent", ours, asked, [G_HIGH, G_HIGH]) == [
        "before", "ascent", "ascent",
    ]  # fmt: skip
    optimizer = adam(theirs)
    by_hand(theirs, optimizer, asked.forget, -1)
    by_hand(theirs, optimizer, asked.forget, -1)
    assert_same_weights(ours, theirs)


def test_selective_gradient_ascent_selects_anew_before_each_step():
    ours, theirs, asked = tiny_model(), tiny_model(), request()
    second = np.array([0.3, 0.2, 0.6, 0.1, 0.4])  # all below gamma: only the worst is pushed
    run_steps("selective_gradient_ascent", ours, asked, [G_HIGH, second], gamma=0.7)
    optimizer = adam(theirs)
    by_hand(theirs, optimizer, asked.forget[[0, 2, 4]], -1)
    by_hand(theirs, optimizer, asked.forget[[2]], -1)
    assert_same_weights(ours, theirs)


def test_selective_gradient_ascent_takes_the_band_for_gamma_when_told_so():
    ours, theirs, asked = tiny_model(), tiny_model(), request(band=Band(0.0, 0.9))
    run_steps("selective_gradient_ascent", ours, asked, [G_HIGH], gamma=None)
    by_hand(theirs, adam(theirs), asked.forget[[0, 4]], -1)
    assert_same_weights(ours, theirs)


def edited(origin, tuned, k: float):
    """A model at theta_0 + k (theta_t - theta_0), through named parameters."""
    result, start, end = (
        copy.deepcopy(origin),
        *map(lambda m: dict(m.named_parameters()), (origin, tuned)),
    )
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            parameter.copy_(start[name] + k * (end[name] - start[name]))
    return result


def test_task_arithmetic_subtracts_the_vector_of_each_epoch():
    ours, theirs, asked = tiny_model(), tiny_model(), request()
    origin = tiny_model()
    phases = run_steps("task_arithmetic", ours, asked, [G_HIGH * 0.5] * 2, k=-3.0)
    assert phases == ["before", "arithmetic", "arithmetic"]
    optimizer = adam(theirs)
    by_hand(theirs, optimizer, asked.forget, 1)
    by_hand(theirs, optimizer, asked.forget, 1)
    assert_same_weights(ours, edited(origin, theirs, -3.0))


def test_task_arithmetic_ascends_first_where_the_mean_is_above_the_limit():
    ours, theirs, asked = tiny_model(), tiny_model(), request()
    known = np.full(5, 0.95)
    phases = run_steps("task_arithmetic", ours, asked, [known, known * 0.5])
    assert phases == ["before", "ascent", "arithmetic"]
    by_hand(theirs, adam(theirs), asked.forget, -1)
    origin = copy.deepcopy(theirs)
    by_hand(theirs, adam(theirs), asked.forget, 1)
    assert_same_weights(ours, edited(origin, theirs, -3.0))


def test_task_arithmetic_unlearning_edits_the_weights_that_selective_ascent_left():
    ours, theirs, asked = tiny_model(), tiny_model(), request()
    phases = run_steps("task_arithmetic_unlearning", ours, asked, [G_HIGH, G_HIGH * 0.5])
    assert phases == ["before", "ascent", "arithmetic"]
    by_hand(theirs, adam(theirs), asked.forget[[0, 2, 4]], -1)
    origin = copy.deepcopy(theirs)
    by_hand(theirs, adam(theirs), asked.forget, 1)
    assert_same_weights(ours, edited(origin, theirs, -1.0))


def test_arithmetic_then_ascent_pushes_the_outliers_that_the_edit_left():
    ours, theirs = tiny_model(), tiny_model()
    asked = request(threshold=0.4, band=Band(0.0, 0.5))
    left = np.array([0.1, 0.6, 0.2, 0.1, 0.1])
    phases = run_steps("task_arithmetic_then_ascent", ours, asked, [G_HIGH, left])
    assert phases == ["before", "arithmetic", "ascent"]
    origin = tiny_model()
    by_hand(theirs, adam(theirs), asked.forget, 1)
    start = edited(origin, theirs, -3.0)
    by_hand(start, adam(start), asked.forget[[1]], -1)
    assert_same_weights(ours, start)


def test_micro_batches_do_not_change_the_step():
    models = [tiny_model(), tiny_model()]
    for model, micro_batch in zip(models, (1, 100), strict=True):
        Learner(model, RATE, micro_batch).ascend(request().forget)
    assert_same_weights(*models)


def untied() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=False, **LARGE,
        )
    )  # fmt: skip


def capped() -> Gemma2ForCausalLM:
    """Its logits are not its head's: it takes the plain way."""
    return Gemma2ForCausalLM(
        Gemma2Config(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=4, final_logit_softcapping=0.5, **LARGE,
        )
    )  # fmt: skip


LARGE = {"vocab_size": 1000, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


@pytest.mark.parametrize("rows_per_slice", [1, 7, 10**6])
@pytest.mark.parametrize("make", [tiny_model, untied, capped])
def test_gradients_in_slices_are_those_of_the_library_s_loss(monkeypatch, make, rows_per_slice):
    monkeypatch.setattr(learner_module, "slice_rows", lambda *_: rows_per_slice)
    torch.manual_seed(1)
    ours, rows = make().eval(), request().forget
    theirs = copy.deepcopy(ours)
    seen = []
    monkeypatch.setattr(
        torch.optim.Adam, "step", lambda *_: seen.extend(p.grad.clone() for p in ours.parameters())
    )
    Learner(ours, RATE, micro_batch=3).ascend(rows)
    (-theirs(rows, labels=rows).loss).backward()
    for found, parameter in zip(seen, theirs.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-7)
    assert max(float(grad.abs().max()) for grad in seen) > 1e-3


def test_tied_weights_are_edited_once():
    model = tiny_model()
    learner = Learner(model, RATE, 4)
    learner.assign([2 * weight for weight in learner.weights()])
    torch.testing.assert_close(
        model.transformer.wte.weight, 2 * tiny_model().transformer.wte.weight
    )


@pytest.mark.parametrize(
    ("g", "gamma", "expected"),
    [
        ([0.1, 0.2, 0.3], 0.7, [2]),
        ([0.7, 0.69, 0.9], 0.7, [0, 2]),
        ([0.5, 0.5, 0.1], 0.7, [0]),  # of equals the first
    ],
)
def test_selection_always_holds_the_most_memorized(g, gamma, expected):
    assert select(np.array(g), gamma).tolist() == expected


def drive(asked: Request, stop: StopRule = StopRule(ngram=3), **options):
    defaults = {"learning_rate": 5e-3, "micro_batch": 8, "max_epochs": 30}
    model = options.pop("model", None) or tiny_model()
    settings = unlearners.settings_of("gradient_ascent", "ga", {})
    return model, unlearn(model, asked, "gradient_ascent", settings, stop, **defaults | options)


def memorized_model(asked: Request) -> GPTNeoForCausalLM:
    model = tiny_model()
    learner = Learner(model, 1e-2, 8)
    for _ in range(60):
        learner.descend(asked.forget)
    assert score_tokens(model, asked.forget, moments=False).ma.mean() > 0.9
    return model


def test_driver_stops_at_the_first_epoch_whose_mean_is_below_the_threshold():
    asked = request(threshold=0.4)
    model, outcome = drive(asked, model=memorized_model(asked))
    means = outcome.history.groupby("epoch")["ma"].mean()
    assert outcome.status == "stopped"
    assert (means.iloc[:-1] >= 0.4).all()
    assert means.iloc[-1] < 0.4
    assert len(outcome.phases) == means.index.max()
    last = outcome.history.query("epoch == epoch.max()")["ma"].to_numpy()
    np.testing.assert_array_equal(last, score_tokens(model, asked.forget, moments=False).ma)


def test_the_rule_each_leaves_no_sequence_above_the_band():
    asked = request(threshold=0.9, band=Band(0.0, 0.3))
    _, outcome = drive(asked, StopRule("each", ngram=3), model=memorized_model(asked))
    worst = outcome.history.groupby("epoch")["ma"].max()
    assert outcome.status == "stopped"
    assert (worst.iloc[:-1] > 0.3).all()
    assert worst.iloc[-1] <= 0.3


def test_extraction_likelihood_holds_the_run_up_only_when_asked_for():
    asked = request(threshold=2.0)  # MA always passes
    memorized = memorized_model(asked)
    _, without = drive(asked, model=copy.deepcopy(memorized))
    _, with_el = drive(asked, StopRule(metrics=("ma", "el"), ngram=3), model=memorized)
    assert without.status == "met_at_start"
    assert with_el.status == "stopped"
    assert len(with_el.phases) > 0


def test_extraction_likelihood_is_not_measured_while_accuracy_fails(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("EL was measured although MA had not passed")

    monkeypatch.setattr("unlearning.unlearners.driver.extraction_likelihood", refuse)
    asked = request(threshold=-1.0)
    _, outcome = drive(asked, StopRule(metrics=("ma", "el"), ngram=3), max_epochs=2)
    assert outcome.status == "cap"


def test_epoch_cap_is_a_result():
    _, outcome = drive(request(threshold=-1.0), max_epochs=3)
    assert outcome.status == "cap"
    assert outcome.history["epoch"].max() == 3
    assert len(outcome.history) == 4 * 5


def test_divergence_is_a_result_and_not_a_crash():
    _, outcome = drive(request(threshold=-1.0), learning_rate=1e30)
    assert outcome.status == "diverged"
    assert outcome.history["loss"].isna().any() or len(outcome.phases) > 0


def test_two_runs_give_the_same_bytes():
    asked = request(threshold=0.05)
    first, second = (drive(asked, max_epochs=4) for _ in range(2))
    assert first[1].history.equals(second[1].history)
    for a, b in zip(first[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(a, b)


def test_phases_are_counted_in_order():
    assert phase_lengths(["ascent", "ascent", "arithmetic"]) == "ascent 2, arithmetic 1"
    assert phase_lengths([]) == ""


@pytest.mark.parametrize("method", unlearners.names())
def test_every_method_runs_under_the_driver(method):
    plan, asked = unlearners.plan(method, {"method": method}), request(threshold=0.5)
    outcome = unlearn(
        tiny_model(), dataclasses.replace(asked, retain=asked.forget, unseen=asked.forget), method,
        plan.settings, StopRule(ngram=3), retain=plan.retain,
        learning_rate=RATE, micro_batch=4, max_epochs=2,
    )  # fmt: skip
    assert outcome.status in {"stopped", "met_at_start", "cap"}


def test_an_unknown_method_is_named_with_the_nearest_right_one():
    with pytest.raises(InputError, match="did you mean 'gradient_ascent'"):
        unlearners.load("gradient_ascnt")


def test_an_unknown_setting_is_named():
    with pytest.raises(InputError, match="unknown key 'gama'; did you mean 'gamma'"):
        unlearners.settings_of("selective_gradient_ascent", "sga", {"gama": 0.5})


# --- precision and memory -----------------------------------------------------------------------


def weights_after(**options) -> list[torch.Tensor]:
    """Three steps of ascent and what is left of the model."""
    model, asked = tiny_model(), request()
    learner = Learner(model, RATE, micro_batch=2, **options)
    for _ in range(3):
        learner.ascend(asked.forget)
    assert not model.training
    return learner.weights()


def test_recomputed_activations_change_nothing():
    for kept, recomputed in zip(weights_after(), weights_after(checkpointing=True), strict=True):
        torch.testing.assert_close(kept, recomputed, atol=1e-6, rtol=0)


def test_dropout_stays_off_when_activations_are_recomputed():
    config = copy.deepcopy(tiny_model().config)
    config.resid_dropout = config.attention_dropout = config.embed_dropout = 0.5
    torch.manual_seed(0)
    model = GPTNeoForCausalLM(config)
    learner = Learner(model, RATE, micro_batch=2, checkpointing=True)
    for _ in range(3):
        learner.ascend(request().forget)
    for plain, here in zip(weights_after(), learner.weights(), strict=True):
        torch.testing.assert_close(plain, here, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["gradient_ascent", "task_arithmetic"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_offloaded_moments_change_nothing(method, precision):
    """Bit for bit: where a number waits does not enter it."""
    models = tiny_model(), tiny_model()
    for model, offload in zip(models, ("none", "optimizer"), strict=True):
        unlearn(
            model,
            request(threshold=0.0),
            method,
            unlearners.settings_of(method, method, {}),
            StopRule(),
            learning_rate=RATE,
            micro_batch=2,
            max_epochs=3,
            precision=precision,
            offload=offload,
        )
    for plain, here, start in zip(*(m.parameters() for m in (*models, tiny_model())), strict=True):
        assert torch.equal(plain, here)
        assert not torch.equal(plain, start)


def test_offloaded_moments_are_torch_s():
    """The same state after steps with a gradient that is missing now and then."""
    torch.manual_seed(0)
    mine, theirs = ([torch.randn(3, 2), torch.randn(4)] for _ in range(2))
    for a, b in zip(mine, theirs, strict=True):
        a.copy_(b)
    optimizers = OffloadedAdam(mine, 0.1, BETAS), torch.optim.Adam(theirs, 0.1, BETAS)
    for step in range(5):
        for a, b in zip(mine, theirs, strict=True):
            a.grad = None if step == 2 and a.ndim == 1 else torch.randn_like(a)
            b.grad = a.grad
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a, b)
        for name, value in optimizers[1].state[b].items():
            assert torch.equal(optimizers[0].state[a][name], value), name


def test_half_precision_rounds_the_steps_and_keeps_float32_weights():
    full, half = weights_after(), weights_after(precision="bf16")
    assert {weight.dtype for weight in half} == {torch.float32}
    moved = [a - b for a, b in zip(full, (p for p in tiny_model().parameters()), strict=True)]
    other = [a - b for a, b in zip(half, (p for p in tiny_model().parameters()), strict=True)]
    step, rounded = torch.cat([m.flatten() for m in moved]), torch.cat([o.flatten() for o in other])
    assert not torch.equal(step, rounded)
    assert torch.cosine_similarity(step, rounded, dim=0) > 0.9
