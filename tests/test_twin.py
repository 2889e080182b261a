"""Twin: the pairing of sequences, the objective against slow loops, what a run makes of a model."""

import copy
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import smooth_l1_loss
from transformers import GPTNeoConfig, GPTNeoForCausalLM

from unlearning import unlearners
from unlearning.jobs.errors import InputError
from unlearning.memorization.forgetting import Band
from unlearning.memorization.rows import Ragged
from unlearning.memorization.scoring import score_tokens
from unlearning.unlearners import twin
from unlearning.unlearners.driver import StopRule, unlearn
from unlearning.unlearners.learner import Learner
from unlearning.unlearners.pairing import GAP, SUBSTITUTION, align, assign, shared_tokens
from unlearning.unlearners.readings import Reading
from unlearning.unlearners.request import Request

# --- pairing ------------------------------------------------------------------------------------


def some_rows(count: int, length: int, tokens: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, tokens, (count, length))


def test_shared_tokens_count_repeated_ones_as_often_as_in_both():
    left, right = some_rows(4, 9, 6, 0), some_rows(3, 9, 6, 1)
    slow = [[(Counter(a) & Counter(b)).total() for b in right.tolist()] for a in left.tolist()]
    assert shared_tokens(left, right).tolist() == slow


def test_each_sequence_has_a_twin_of_its_own_and_the_most_alike_pair_comes_first():
    likeness = np.array([[3, 5, 1], [4, 9, 2], [0, 8, 7]])
    assert assign(likeness).tolist() == [0, 1, 2]
    drawn = np.random.default_rng(0).integers(0, 30, (20, 25))
    assert len(set(assign(drawn).tolist())) == 20


def test_twins_are_shared_evenly_where_there_are_too_few():
    drawn = np.random.default_rng(0).integers(0, 30, (11, 4))
    assert sorted(Counter(assign(drawn).tolist()).values()) == [2, 3, 3, 3]


def best_score(left: list[int], right: list[int]) -> float:
    """The score of the best alignment, by plain recursion."""
    if not left or not right:
        return GAP * (len(left) + len(right))
    match = 1.0 if left[0] == right[0] else SUBSTITUTION
    return max(
        match + best_score(left[1:], right[1:]),
        GAP + best_score(left[1:], right),
        GAP + best_score(left, right[1:]),
    )


def test_an_alignment_reaches_the_best_score_there_is():
    left, right = some_rows(6, 6, 5, 2), some_rows(6, 6, 5, 3)
    partner, place = align(left, right)
    for a, b, partners, places in zip(left, right, partner, place, strict=True):
        assert (np.diff(places) >= 0).all()
        matched = [(i, j) for i, j in enumerate(partners) if j >= 0]
        assert all(a[i] == b[j] and places[i] == j for i, j in matched)
        assert all(x[1] < y[1] for x, y in pairwise(matched))
        # between two matches only substitutions and gaps are left
        score, before = 0.0, (-1, -1)
        for here in [*matched, (len(a), len(b))]:
            skipped = here[0] - before[0] - 1, here[1] - before[1] - 1
            score += SUBSTITUTION * min(skipped) + GAP * abs(skipped[0] - skipped[1])
            score += here[0] < len(a)
            before = here
        assert score == pytest.approx(best_score(a.tolist(), b.tolist()))


def test_tokens_that_align_are_the_form_and_both_have_as_much_of_it():
    left = np.array([[7, 1, 2, 3, 9, 4]])
    right = np.array([[1, 2, 8, 8, 3, 4]])
    content, twin_content = twin.contents(left, right)
    assert content.tolist() == [[True, False, False, False, True, False]]
    assert twin_content.tolist() == [[False, False, True, True, False, False]]
    ours, theirs = twin.contents(some_rows(9, 12, 8, 4), some_rows(9, 12, 8, 5))
    np.testing.assert_array_equal(ours.sum(axis=1), theirs.sum(axis=1))


# --- the objective ------------------------------------------------------------------------------


def tiny_model(seed: int = 0) -> GPTNeoForCausalLM:
    torch.manual_seed(seed)
    config = GPTNeoConfig(
        vocab_size=40, hidden_size=16, num_layers=2, num_heads=2, window_size=4,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=16,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return GPTNeoForCausalLM(config).eval()


def request(forget: int = 5, unseen: int = 10, retain: int = 20, seed: int = 0) -> Request:
    rows = torch.randint(
        1, 40, (forget + unseen + retain, 12), generator=torch.Generator().manual_seed(3)
    )
    return Request(
        forget=rows[:forget],
        unseen=rows[forget : forget + unseen],
        retain=rows[forget + unseen :],
        threshold=-1.0,
        el_threshold=0.01,
        band=Band(0.0, 0.2),
        seed=seed,
    )


def test_scores_are_compared_as_multisets_in_form_and_content_apart():
    generator = torch.Generator().manual_seed(0)
    ours, theirs, key = (torch.randn(2, 3, 7, generator=generator) for _ in range(3))
    content, other = (torch.rand(3, 7, generator=generator) < 0.5 for _ in range(2))
    other = content[:, torch.randperm(7, generator=generator)]
    found = twin.mismatch(twin.in_order(ours, key, content), twin.in_order(theirs, theirs, other))
    for row in range(3):
        expected = 0.0
        for score in range(2):
            pairs = []
            for kind in (False, True):
                mine = [i for i in range(7) if bool(content[row, i]) is kind]
                mine.sort(key=lambda i: float(key[score, row, i]))
                target = sorted(
                    float(theirs[score, row, i]) for i in range(7) if bool(other[row, i]) is kind
                )
                pairs += [
                    (float(ours[score, row, i]), t) for i, t in zip(mine, target, strict=True)
                ]
            left, right = torch.tensor(pairs).T
            expected += float(smooth_l1_loss(left, right, beta=twin.HUBER))
        assert float(found[row]) == pytest.approx(expected, rel=1e-5)


def test_the_order_of_the_twin_s_tokens_does_not_matter():
    scores = torch.randn(4, 2, 9)
    shuffled = scores[:, :, torch.randperm(9)]
    form = torch.zeros(2, 9, dtype=torch.bool)
    same = twin.mismatch(
        twin.in_order(scores, scores, form), twin.in_order(shuffled, shuffled, form)
    )
    torch.testing.assert_close(same, torch.zeros(2))


def test_scores_are_those_of_the_logits():
    model, asked = tiny_model(), request()
    views = Learner(model, 1e-3, 4).read(Reading(asked.forget, twin.VIEWS))
    found = twin.scores_of(views)
    with torch.no_grad():
        table = model(asked.forget).logits[:, :-1].log_softmax(dim=-1)
    truth = asked.forget[:, 1:, None]
    log_p = table.gather(-1, truth)[..., 0]
    others = table.scatter(-1, truth, -torch.inf).amax(dim=-1)
    mean = (table.exp() * table).sum(dim=-1)
    deviation = ((table.exp() * table.square()).sum(dim=-1) - mean.square()).sqrt()
    slow = (log_p, log_p - others, (log_p - mean) / deviation, mean)
    for ours, plain, spread in zip(found, slow, twin.SPREADS, strict=True):
        torch.testing.assert_close(ours, plain / spread, rtol=1e-3, atol=1e-4)


def test_ease_asks_the_model_after_unseen_beginnings_only():
    model, asked = tiny_model(), request()
    forget, unseen = asked.forget.numpy(), asked.unseen.numpy()
    likeness = shared_tokens(forget, unseen)
    found = twin.ease(Learner(model, 1e-3, 4), asked.forget, asked.unseen, likeness)
    for row in range(len(forget)):
        near = sorted(range(len(unseen)), key=lambda u: -likeness[row, u])[: twin.NEIGHBOURS]
        for t in range(11):
            chances = []
            for u in near:
                _, place = align(forget[row : row + 1, 1:], unseen[u : u + 1, 1:])
                beginning = asked.unseen[u : u + 1, : min(int(place[0, t]), 10) + 1]
                with torch.no_grad():
                    p = model(beginning).logits[0, -1].softmax(dim=-1)
                chances.append(float(p[forget[row, t + 1]]))
            expected = np.log(np.mean(chances) + twin.RARE)
            assert float(found[row, t]) == pytest.approx(expected, rel=1e-4)


def test_the_multiplier_follows_the_gap_within_bounds():
    asked = request()
    learner = Learner(tiny_model(), 1e-3, 4)
    match = twin.Match(learner, asked, np.arange(10), dual=2.0)
    match.measure(learner)
    views = learner.read(Reading(asked.forget, twin.VIEWS))
    [pairs] = match.pairs
    gap = float(views.log_p.mean()) - pairs.level
    assert 0 < abs(gap) < twin.LARGEST_GAP
    match.objective(pairs)(views)
    assert match.multiplier == pytest.approx(2 * gap, rel=1e-4)
    pairs.level -= 5  # far better known than unseen ones
    match.objective(pairs)(views)
    assert match.multiplier == pytest.approx(2 * gap + 2 * twin.LARGEST_GAP, rel=1e-4)


def test_the_level_is_that_of_all_unseen_sequences_and_moves_with_the_twins():
    asked, model = request(), tiny_model()
    learner = Learner(model, 1e-2, 4)
    match = twin.Match(learner, asked, np.arange(5), dual=1.0)

    def log_p(rows: torch.Tensor) -> float:
        return -float(losses(model, rows).mean())

    match.measure(learner)
    [pairs] = match.pairs
    start = log_p(asked.unseen), log_p(pairs.twins)
    assert pairs.level == pytest.approx(start[0], rel=1e-5)
    learner.descend(pairs.twins)
    match.measure(learner)
    moved = log_p(pairs.twins) - start[1]
    assert abs(moved) > 0.01
    assert pairs.level == pytest.approx(start[0] + moved, rel=1e-5)


# --- several lengths ----------------------------------------------------------------------------


def ragged(rows: torch.Tensor, lengths: list[int]) -> Ragged:
    return Ragged(tuple(row[:length] for row, length in zip(rows, lengths, strict=True)))


def of_lengths(seed: int = 0, forget=(9, 12, 7, 9, 12), unseen=(12, 9, 10, 12, 7, 12, 11, 12)):
    """A request whose rows differ in length."""
    plain = request(forget=len(forget), unseen=len(unseen), seed=seed)
    return replace(
        plain,
        forget=ragged(plain.forget, list(forget)),
        unseen=ragged(plain.unseen, list(unseen)),
    )


def test_rows_of_one_length_are_the_same_steps_however_they_are_held():
    plain = request()
    listed = replace(plain, forget=ragged(plain.forget, [12] * 5), unseen=Ragged((*plain.unseen,)))
    models = [memorized(plain) for _ in range(2)]
    for model, asked in zip(models, (plain, listed), strict=True):
        run(model, asked, steps=7)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)


@given(st.lists(st.integers(5, 12), min_size=1, max_size=7), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_row_among_others_of_several_lengths_counts_as_it_does_alone(tokens, seed):
    asked = of_lengths(forget=tokens)
    learner = Learner(tiny_model(seed), 1e-3, 4)
    pool, _ = twin.halves(asked, np.random.default_rng(seed))
    match = twin.Match(learner, asked, pool, dual=0.0)
    match.measure(learner)
    assert [len(pairs.rows[0]) for pairs in match.pairs] == sorted(set(tokens))
    everything = sum(
        float(objective(learner.read(reading))) for reading, objective in match.terms()
    )
    alone = 0.0
    for pairs in match.pairs:
        length = pairs.rows.shape[1]
        fitting = torch.stack([row[:length] for row in asked.unseen.rows if len(row) >= length])
        for row, other in zip(pairs.rows, pairs.twins, strict=True):
            assert any(torch.equal(other, text[:length]) for text in asked.unseen[pool].rows)
            # its only unseen sequences are those that are long enough, its twin before the others
            first = torch.cat([other[None], fitting])
            single = replace(asked, forget=row[None], unseen=first)
            solo = twin.Match(learner, single, np.array([0]), dual=0.0)
            solo.pairs[0].ease = twin.ease(
                learner, row[None], fitting, shared_tokens(row[None].numpy(), fitting.numpy())
            ) / twin.SPREADS[0]  # fmt: skip
            solo.measure(learner)
            [(reading, objective)] = solo.terms()
            alone += float(objective(learner.read(reading)))
    assert everything == pytest.approx(alone, rel=1e-4)


def test_levels_are_those_of_unseen_sequences_cut_alike():
    asked = of_lengths()
    learner = Learner(tiny_model(), 1e-3, 4)
    match = twin.Match(learner, asked, np.arange(8), dual=1.0)
    match.measure(learner)
    for pairs in match.pairs:
        length = pairs.rows.shape[1]
        kept = torch.stack([row[:length] for row in asked.unseen.rows if len(row) >= length])
        assert pairs.level == pytest.approx(-losses(learner.model, kept).mean(), rel=1e-5)


def test_the_anchor_reads_rows_of_several_lengths_as_far_as_it_drew():
    asked = of_lengths()
    held = twin.Held(Learner(tiny_model(), 1e-3, 4), asked.unseen)
    readings = held.draw(np.random.default_rng(1), 5, 23)
    assert sum(len(reading.rows) for reading in readings) == 5
    assert sum(int(reading.at.sum()) for reading in readings) == 23
    chosen, _ = twin.draw(np.random.default_rng(1), twin.lengths(asked.unseen) - 1, 5, 23)
    drawn = {tuple(asked.unseen.rows[i].tolist()) for i in chosen}
    assert drawn == {tuple(row.tolist()) for reading in readings for row in reading.rows}
    for reading in readings:
        divergence = Learner(tiny_model(), 1e-3, 4).read(reading).divergence
        torch.testing.assert_close(divergence, torch.zeros_like(divergence), atol=1e-6, rtol=0)


def test_the_longest_unseen_sequence_is_a_twin_if_no_other_is_long_enough():
    asked = of_lengths(forget=(12, 7), unseen=(7, 7, 12, 7))
    for seed in range(10):
        pool, held = twin.halves(asked, np.random.default_rng(seed))
        assert sorted([*pool, *held]) == [0, 1, 2, 3]
        assert 2 in pool
        match = twin.Match(Learner(tiny_model(), 1e-3, 4), asked, pool, dual=1.0)
        assert torch.equal(match.pairs[1].twins[0], asked.unseen.rows[2])


def test_sequences_of_several_lengths_come_to_the_level_of_unseen_ones():
    unseen = [12, 9, 10, 12] * 10
    plain = request(unseen=40)
    asked = of_lengths(unseen=unseen)
    model = memorized(plain)
    before = np.mean([losses(model, row[None])[0] for row in asked.unseen.rows])
    gap = before - np.mean([losses(model, row[None])[0] for row in asked.forget.rows])
    assert gap > 1.5
    run(model, asked, steps=80, rate=2.0, anchor=200.0, dual=0.5)
    left = np.mean([losses(model, row[None])[0] for row in asked.unseen.rows])
    left -= np.mean([losses(model, row[None])[0] for row in asked.forget.rows])
    assert abs(left) < 0.15 * gap


def test_what_resists_relearning_comes_back_less():
    def returned(resist: float) -> float:
        asked = request(forget=8, unseen=40)
        model = memorized(asked)
        run(model, asked, steps=80, rate=2.0, anchor=200.0, dual=0.5, resist=resist)
        falls = []
        for half, rest in ((slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4))):
            relearned = copy.deepcopy(model)
            before = losses(relearned, asked.forget[rest]).mean()
            learner = Learner(relearned, 5e-3, 8)
            for _ in range(3):
                learner.descend(asked.forget[half])
            falls.append(before - losses(relearned, asked.forget[rest]).mean())
        return float(np.mean(falls))

    assert returned(3.0) < returned(0.0) - 0.05


# --- a run --------------------------------------------------------------------------------------


def memorized(asked: Request) -> GPTNeoForCausalLM:
    """A model that knows the forget set by heart."""
    model = tiny_model()
    learner = Learner(model, 1e-2, 8)
    for _ in range(60):
        learner.descend(asked.forget)
    assert score_tokens(model, asked.forget, moments=False).ma.mean() > 0.9
    return model


def run(model: GPTNeoForCausalLM, asked: Request, *, max_epochs=100, stop="none", **settings):
    return unlearn(
        model, asked, "twin", unlearners.settings_of("twin", "twin", settings), StopRule(stop),
        learning_rate=5e-3, micro_batch=8, max_epochs=max_epochs,
    )  # fmt: skip


def losses(model: GPTNeoForCausalLM, rows: torch.Tensor) -> np.ndarray:
    return score_tokens(model, rows, moments=False).loss


def test_forgotten_sequences_come_to_the_level_of_unseen_ones_which_stay_where_they_were():
    asked = request(unseen=40)
    model = memorized(asked)
    before = losses(model, asked.unseen).mean()
    gap = before - losses(model, asked.forget).mean()
    assert gap > 2
    run(model, asked, steps=80, rate=2.0, anchor=200.0, dual=0.5)
    after = losses(model, asked.unseen).mean()
    assert abs(after - losses(model, asked.forget).mean()) < 0.1 * gap
    assert abs(after - before) < 0.1 * gap


def test_without_the_anchor_unseen_sequences_drift():
    asked = request(unseen=40)
    held, loose = memorized(asked), memorized(asked)
    before = losses(held, asked.unseen).mean()
    run(held, asked, steps=40, rate=2.0, anchor=200.0)
    run(loose, asked, steps=40, rate=2.0, anchor=0.0)
    drift = [abs(losses(model, asked.unseen).mean() - before) for model in (held, loose)]
    assert drift[0] < 0.5 * drift[1]


def test_twins_are_measured_anew_as_the_model_moves(monkeypatch):
    asked, levels = request(), []
    plain = twin.Match.measure
    monkeypatch.setattr(
        twin.Match,
        "measure",
        lambda match, on: (plain(match, on), levels.append(match.pairs[0].level)),
    )
    run(memorized(asked), asked, steps=2 * twin.REFRESH + 1)
    assert len(set(levels)) == len(levels) == 3


def test_the_run_ends_after_its_steps_and_the_last_is_measured():
    asked = request()
    model = memorized(asked)
    outcome = run(model, asked, steps=3)
    assert (outcome.status, outcome.phases) == ("finished", ["matching"] * 3)
    last = outcome.history.query("epoch == 3")["loss"].to_numpy()
    np.testing.assert_array_equal(last, losses(model, asked.forget))
    assert run(memorized(asked), asked, steps=3, max_epochs=3).status == "finished"
    assert run(memorized(asked), asked, steps=3, max_epochs=2).status == "finished"
    cut = run(memorized(asked), asked, steps=3, max_epochs=2, stop="mean")
    assert (cut.status, len(cut.phases)) == ("cap", 2)


def test_where_no_rule_judges_every_fifth_epoch_is_measured_and_the_last():
    asked, epochs = request(), {}
    for rule in ("none", "mean"):
        outcome = run(memorized(asked), asked, steps=12, stop=rule)
        epochs[rule] = outcome.history["epoch"].unique().tolist()
    assert epochs == {"none": [0, 5, 10, 12], "mean": [*range(13)]}


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    models = [memorized(request()) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        run(model, request(seed=seed), steps=3)
    first, again, other = ([*model.parameters()] for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_micro_batches_do_not_change_the_steps():
    asked, models = request(), [memorized(request()) for _ in range(2)]
    settings = unlearners.settings_of("twin", "twin", {"steps": 3})
    for model, micro_batch in zip(models, (2, 100), strict=True):
        unlearn(
            model, asked, "twin", settings, StopRule("none"),
            learning_rate=1e-3, micro_batch=micro_batch, max_epochs=3,
        )  # fmt: skip
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_rate_rises_and_falls():
    rates = [twin.schedule(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[4] == 1
    assert all(a > b for a, b in pairwise(rates[5:]))
    assert rates[-1] == pytest.approx(twin.FINAL_RATE, abs=1e-3)
    assert twin.schedule(0, 1) == 1


def test_an_anchor_draws_rows_and_positions_among_them_as_far_as_there_are():
    sizes = np.array([11, 7] * 8)
    chosen, at = twin.draw(np.random.default_rng(0), sizes, 6, 20)
    assert len(set(chosen.tolist())) == 6
    assert [len(row) for row in at] == sizes[chosen].tolist()
    assert np.concatenate(at).sum() == 20
    few, at = twin.draw(np.random.default_rng(0), sizes[:4], 40, 600)
    assert sorted(few.tolist()) == [0, 1, 2, 3]
    assert np.concatenate(at).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"retain": torch.zeros(0, 12, dtype=torch.int64)}, "unlearning.retain above 0"),
        ({"unseen": None}, "fewer than two unseen"),
        ({"unseen": torch.ones(1, 12, dtype=torch.int64)}, "fewer than two unseen"),
        ({"unseen": torch.ones(4, 9, dtype=torch.int64)}, "has 12 tokens and no unseen one more"),
    ],
)
def test_a_request_that_lacks_something_is_refused(change, message):
    with pytest.raises(InputError, match=message) as caught:
        run(tiny_model(), replace(request(), **change))
    assert "\n" not in str(caught.value)
