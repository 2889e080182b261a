"""Attacks on scores, effects, and the most exposed: slow definitions and made-up truth."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import collect
from synthetic_results import Effect, Shape, make
from unlearning import attacks
from unlearning.analysis.attack_effects import (
    KEYS,
    METRICS,
    RUN_COLUMNS,
    WAY,
    division_error,
    effects,
    exposed,
    learned_success,
    resampled,
    scored,
    suite_table,
)
from unlearning.analysis.rows import ALL, TableJob
from unlearning.analysis.trust import SIGNS, area, trust_table
from unlearning.attacks import token_level_attacker
from unlearning.attacks.cross_fitting import folds_of, log_odds
from unlearning.attacks.learned_attacker import FEATURES
from unlearning.jobs.errors import InputError
from unlearning.settings.analysis import AttackSettings
from unlearning.statistics import mean_interval, paired_difference, resample_indices
from unlearning.statistics import resample_weights as weights_of

QUICK = AttackSettings(resamples=60)
BLOCKS = {name: None for name in attacks.names()}
SHAPE = Shape(
    models=("small", "large"),
    sizes=(8, 16),
    seeds=(0, 1),
    effects={
        "ga": Effect(0.15, 0.03, loss=5.0),  # over-forgotten
        "sga": Effect(0.80, 0.03, loss=1.0),  # still memorized
        "ta": Effect(0.39, 0.05, loss=3.2),  # like unseen text
    },
    items=5,
)


@pytest.fixture(scope="module")
def tables():
    return make(SHAPE)


@pytest.fixture(scope="module")
def rows(tables):
    scores = scored(tables["membership"], BLOCKS)
    return pd.concat([tables["values"], scores], ignore_index=True)


@pytest.fixture(scope="module")
def runs(rows):
    return effects(rows, QUICK)


def auc(runs: pd.DataFrame, attack: str, variant: str, measure: str) -> pd.Series:
    chosen = runs[(runs["attack"] == attack) & (runs["variant"] == variant)]
    chosen = chosen[(chosen["measure"] == measure) & (chosen["metric"] == "auc")]
    return chosen.groupby("unlearner")["value"].mean()


# --- the learned attacker -----------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 999),
    st.integers(2, 12),
    st.integers(4, 40),
    st.integers(1, 9),
    st.sampled_from([0.01, 1.0, 30.0]),
    st.sampled_from([0.0, 1.0, 8.0]),
)
def test_all_fits_at_once_are_scikit_learn_s_one_by_one(
    seed, members, others, features, penalty, gap
):
    rng = np.random.default_rng(seed)
    label = np.arange(members + others) < members
    x = rng.normal(size=(len(label), features)) * rng.uniform(0.1, 9, features) + 40
    x[label] += gap
    if features > 2:
        x[:, 0] = 3.7  # one that says nothing
        x[:, 1] = np.round(x[:, 2])  # and one that nearly repeats another
    fold = folds_of(label, 2, rng)
    known = np.stack([fold == 0, fold == 1, fold >= 0])
    found = log_odds(x, label, known, penalty)
    for odds, seen in zip(found, known, strict=True):
        slow = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=1 / penalty, class_weight="balanced", tol=1e-10, max_iter=10_000),
        ).fit(x[seen], label[seen])
        np.testing.assert_allclose(odds, slow.decision_function(x), atol=2e-3, rtol=2e-3)


@given(st.integers(2, 30), st.integers(2, 30), st.integers(2, 5), st.integers(0, 99))
def test_folds_hold_as_many_of_each_class_as_can_be(members, others, folds, seed):
    label = np.arange(members + others) < members
    fold = folds_of(label, folds, np.random.default_rng(seed))
    for group in (label, ~label):
        counts = np.bincount(fold[group], minlength=folds)
        assert counts.max() - counts.min() <= 1
        assert len(counts) == folds


def test_the_learned_attacker_finds_both_directions_and_nothing_in_nothing(runs):
    found = auc(runs, "learned_attacker", "black_box", "log_odds")
    assert found["ga"] > 0.95
    assert found["sga"] > 0.95
    assert found["original"] > 0.95
    assert 0.3 < found["control"] < 0.7
    null = auc(runs, "learned_attacker", "black_box_permuted", "log_odds")
    assert null.between(0.3, 0.7).all()
    # the documented caveat: against the original even the control gives itself away
    assert auc(runs, "learned_attacker", "with_original", "log_odds")["control"] > 0.9


def test_the_interval_contains_how_far_the_divisions_alone_move_the_result(tables):
    """The jackknife over one seed's divisions against many seeds' results, and the quadrature."""
    run = (tables["membership"][["model", "forget_size", "seed"]] == ["small", 16, 0]).all(axis=1)
    table = tables["membership"][run & tables["membership"]["unlearner"].isin(["ta", "original"])]
    scores = [
        scored(table, {"learned_attacker": {"repeats": 6, "permuted": False, "seed": seed}})
        for seed in range(30)
    ]
    scores = [part[part["unlearner"] == "ta"] for part in scores]
    scores = [part[part["variant"] == "black_box"] for part in scores]
    areas, errors = [], []
    for part in scores:
        sides = [part[part["split"] == split] for split in ("forget", "unseen")]
        np.testing.assert_allclose(
            sides[0]["value"], np.stack([*sides[0]["draws"]]).mean(axis=1), atol=1e-5
        )
        draws = [np.stack([*side["draws"]]).astype(float) for side in sides]
        labels = np.repeat([1, 0], [len(side) for side in sides])
        areas.append(roc_auc_score(labels, np.concatenate([s["value"] for s in sides])))
        errors.append(division_error(*draws)[METRICS.index("auc")])
        left_out = [
            roc_auc_score(
                labels, np.concatenate([np.delete(d, r, axis=1).mean(axis=1) for d in draws])
            )
            for r in range(6)
        ]
        assert errors[-1] == pytest.approx(np.sqrt(5 * np.var(left_out)), abs=1e-9)
    caused = np.std(areas, ddof=1)
    assert caused > 0.005
    assert 0.6 < np.sqrt(np.mean(np.square(errors))) / caused < 1.7
    whole = effects(scores[0], QUICK).set_index("metric").loc["auc"]
    own = effects(scores[0].drop(columns="draws"), QUICK).set_index("metric").loc["auc"]
    assert whole["value"] == own["value"]
    for end in ("low", "high"):
        expected = np.hypot(own[end] - own["value"], 1.959964 * errors[0])
        assert abs(whole[end] - whole["value"]) == pytest.approx(expected, abs=1e-6)


def test_members_on_both_sides_of_the_unseen_are_found():
    """Half still memorized, half over-forgotten: no direction of any score tells them apart."""
    effect = {"ta": SHAPE.effects["ta"]}
    table = make(Shape(models=("small",), sizes=(16,), seeds=(0,), effects=effect, items=2))
    table = table["membership"].copy()
    rng = np.random.default_rng(4)
    members = (table["split"] == "forget").to_numpy()
    for name in FEATURES:
        table[name] = rng.normal(size=len(table))
    side = 6.0 * np.where(np.arange(members.sum()) % 2, 1, -1)
    table.loc[members, "loss"] = side + rng.normal(size=members.sum())
    found = effects(scored(table, {"learned_attacker": None}), QUICK)
    assert auc(found, "learned_attacker", "black_box", "log_odds").min() > 0.95


def test_an_unnatural_shape_of_the_tokens_is_found_where_every_average_is_as_unseen():
    effect = {"ta": SHAPE.effects["ta"]}
    table = make(Shape(models=("small",), sizes=(16,), seeds=(0, 1, 2, 3), effects=effect, items=2))
    table = table["membership"].copy()
    rng = np.random.default_rng(4)
    for name in token_level_attacker.FEATURES:
        table[name] = rng.normal(size=len(table))
    unnatural = (table["split"] == "forget") & (table["unlearner"] == "ta")
    table.loc[unnatural, ["log_prob_min", "log_prob_q10"]] -= 3.0
    table.loc[unnatural, ["log_prob_q90", "entropy"]] += 3.0
    blocks = {"learned_attacker": None, "token_level_attacker": None}
    found = effects(scored(table, blocks), QUICK)
    averages = auc(found, "learned_attacker", "black_box", "log_odds")
    shapes = auc(found, "token_level_attacker", "black_box", "log_odds")
    assert 0.25 < averages["ta"] < 0.75
    assert shapes["ta"] > 0.95
    assert 0.25 < shapes["control"] < 0.75
    assert 0.25 < auc(found, "token_level_attacker", "black_box_permuted", "log_odds")["ta"] < 0.75


def test_every_score_that_a_learned_attacker_looks_at_is_collected():
    assert set(token_level_attacker.FEATURES) <= set(collect.MEMBERSHIP)


def test_a_sequence_is_judged_by_fits_that_have_not_seen_it():
    """A feature that is noise but different for each sequence must not be learned by heart."""
    rng = np.random.default_rng(3)
    effect = {"ta": SHAPE.effects["ta"]}
    table = make(Shape(models=("small",), sizes=(12,), seeds=(0,), effects=effect, items=2))
    table = table["membership"].copy()
    for name in FEATURES:
        table[name] = rng.normal(size=len(table))
    options = {"learned_attacker": {"penalty": 1e-3, "permuted": False}}
    found = auc(effects(scored(table, options), QUICK), "learned_attacker", "black_box", "log_odds")
    assert found.between(0.15, 0.85).all()


def test_too_few_members_for_the_folds_gives_nan(tables):
    one = tables["membership"]
    first = one[one["split"] == "forget"].drop_duplicates(KEYS)
    one = pd.concat([first, one[one["split"] != "forget"]])
    found = scored(one, {"learned_attacker": None})
    assert found["value"].isna().all()
    assert effects(found, QUICK)["value"].isna().all()


def test_a_missing_feature_is_named(tables):
    with pytest.raises(InputError, match="no column 'suffix_loss'"):
        scored(tables["membership"].drop(columns="suffix_loss"), {"learned_attacker": None})


def test_what_unseen_sequences_lack_is_no_feature_and_no_reason(tables, rows):
    """EL on one side alone must neither mark the other as unknown nor expose the control."""
    raw = tables["membership"]
    lacking = raw.assign(el=raw["el"].where(raw["split"] == "forget"))
    constant = raw.assign(el=0.5)  # a feature that does not vary says nothing
    block = {"learned_attacker": None}
    found, expected = scored(lacking, block), scored(constant, block)
    assert found["value"].notna().all()
    np.testing.assert_allclose(found["value"], expected["value"], atol=1e-6)
    before_alone = lacking.assign(
        el=raw["el"].where((raw["half"] != "attack") & (raw["unlearner"] == "control"))
    )
    assert "el" not in set(exposed(before_alone, rows, tables["thresholds"], QUICK)["score"])


def test_the_same_seed_gives_the_same_and_another_does_not(tables):
    first, again, other = (
        scored(tables["membership"], {"learned_attacker": {"seed": seed}}) for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert (first["value"] != other["value"]).any()


# --- reference calibration ----------------------------------------------------------------------


def test_calibrated_losses_are_differences_and_ratios_to_the_reference(tables):
    found = scored(tables["membership"], {"reference_calibrated": None})
    raw = tables["membership"].set_index([*KEYS, "sequence_id"])["loss"]
    key = ("large", 16, "ga", 1)
    threshold = tables["membership"]
    threshold = threshold[(threshold["half"] == "threshold") & (threshold["seed"] == 1)]
    run = found[(found[KEYS] == list(key)).all(axis=1)]
    for (variant, name), part in run.groupby(["variant", "measure"]):
        sign = 1 if variant == "control" else -1

        def score(sequence, sign=sign, name=name, variant=variant):
            own = raw[(*key, sequence)]
            other = raw[("large", 16, variant, 1, sequence)]
            return sign * (np.log(other / own) if "ratio" in name else other - own)

        reference = [score(s) for s in threshold["sequence_id"].unique()]
        for row in part.itertuples():
            expected = score(row.sequence_id)
            if name.endswith("two_sided"):
                expected = abs(expected - np.median(reference))
            assert row.value == pytest.approx(expected)
    assert set(run["variant"]) == {"control", "original"}


def test_a_run_without_control_is_calibrated_by_the_original_alone(tables):
    alone = tables["membership"].query("unlearner != 'control'")
    found = scored(alone, {"reference_calibrated": None})
    assert set(found["variant"]) == {"original"}
    assert scored(alone, {"reference_calibrated": {"references": ["control"]}}).empty


# --- the Gaussian around a reference --------------------------------------------------------------


def test_deviations_from_a_reference_are_those_of_the_unseen_written_out(tables):
    found = scored(tables["membership"], {"reference_gaussian": None})
    key, raw = ("large", 16, "ga", 1), tables["membership"].groupby(KEYS)
    run = raw.get_group(key).set_index("sequence_id")
    control = raw.get_group(("large", 16, "control", 1)).set_index("sequence_id").loc[run.index]
    names = ["loss", "ma", "min_k"]
    apart = (run[names] - control[names]) * [-1, 1, 1]
    fixed = apart[run["half"] == "threshold"]
    centred = apart - fixed.mean()
    expected = {name: centred[name] / fixed[name].std() for name in names}
    expected |= {f"{name}_two_sided": expected[name].abs() for name in names}
    inverse = np.linalg.inv(fixed.cov())
    expected["joint"] = centred.apply(lambda row: np.sqrt(row @ inverse @ row), axis=1)
    mine = found[(found[KEYS] == list(key)).all(axis=1)]
    assert set(mine["measure"]) == set(expected)
    for measure, part in mine.groupby("measure"):
        part = part.set_index("sequence_id")["value"]
        np.testing.assert_allclose(part, expected[measure][part.index], rtol=1e-3, atol=1e-4)


def test_a_reference_shows_what_hides_among_unlike_sequences():
    """Sequences differ by 3, the forgotten ones by 1 from what a reference makes of them."""
    rng = np.random.default_rng(0)
    n, shift, noise = 400, 1.0, 0.4
    hard = rng.normal(0, 3, (n, 1))
    part = np.repeat(["forget", "unseen"], [n // 4, 3 * n // 4])
    half = np.where(part == "forget", "", np.tile(["threshold", "attack"], n // 2))
    table = pd.DataFrame(
        {"model": "m", "forget_size": n // 4, "seed": 0, "sequence_id": np.arange(n).astype(str)}
    ).assign(split=part, half=half)
    names = ["loss", "ma", "min_k"]
    rows = []
    for label, change in (("ga", shift), ("twin", 0.0), ("control", 0.0)):
        values = hard + rng.normal(0, noise, (n, 3))
        values[part == "forget"] += change * np.array([1, -1, -1])
        rows.append(table.assign(unlearner=label, **dict(zip(names, values.T, strict=True))))
    membership = pd.concat(rows, ignore_index=True)
    runs = effects(
        scored(membership, {"reference_gaussian": None}).assign(attack="reference_gaussian"), QUICK
    )
    of = runs[runs["metric"] == "auc"].set_index(["unlearner", "measure"])["value"]
    single = norm.cdf(shift / noise / np.sqrt(2) / np.sqrt(2))
    assert 1 - of["ga", "loss"] == pytest.approx(single, abs=0.04)
    assert of["ga", "joint"] > single
    assert of["twin", "joint"] == pytest.approx(0.5, abs=0.08)
    for measure in ("joint", *names):
        assert of["control", measure] == 0.5
    assert roc_auc_score(part == "forget", rows[0]["loss"]) < 0.65


def test_without_a_control_there_is_no_reference(tables):
    alone = tables["membership"].query("unlearner != 'control'")
    assert scored(alone, {"reference_gaussian": None}).empty


# --- effects --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.lists(st.integers(0, 5), min_size=1, max_size=9),
    st.integers(0, 99),
)
def test_every_resample_equals_the_definition_on_the_same_indices(inside, outside, seed):
    inside, outside = np.array(inside, float), np.array(outside, float)
    rng = np.random.default_rng(seed)
    mine, theirs = (resample_indices(len(group), 6, rng) for group in (inside, outside))
    found = resampled(inside, outside, weights_of(mine), weights_of(theirs))
    for i in range(6):
        a, b = inside[mine[i]], outside[theirs[i]]
        area = roc_auc_score(np.r_[np.ones(len(a)), np.zeros(len(b))], np.r_[a, b])
        expected = [area, a.mean(), b.mean(), a.mean() - b.mean()]
        np.testing.assert_allclose(found[:, i], expected, atol=1e-12)


def test_effects_are_those_of_the_rows(rows, runs):
    assert list(runs) == RUN_COLUMNS
    assert (runs["low"] <= runs["value"] + 1e-9).mean() > 0.98
    for _, row in runs.sample(40, random_state=1).iterrows():
        part = rows[(rows[[*KEYS, *WAY]] == row[[*KEYS, *WAY]]).all(axis=1)]
        a, b = (part.loc[part["split"] == s, "value"].to_numpy(float) for s in ("forget", "unseen"))
        area = roc_auc_score(np.r_[np.ones(len(a)), np.zeros(len(b))], np.r_[a, b])
        expected = [area, a.mean(), b.mean(), a.mean() - b.mean()]
        assert row["value"] == pytest.approx(expected[METRICS.index(row["metric"])])
        assert (row["members"], row["non_members"]) == (len(a), len(b))


def test_intervals_are_near_those_of_an_independent_bootstrap(rows):
    part = rows[(rows["attack"] == "relearning") & (rows["unlearner"] == "sga")]
    part = part[(part["model"] == "small") & (part["forget_size"] == 16) & (part["seed"] == 0)]
    found = effects(part, AttackSettings(resamples=2000)).set_index("metric")
    rng = np.random.default_rng(7)
    a, b = (part.loc[part["split"] == s, "value"].to_numpy(float) for s in ("forget", "unseen"))
    samples = [rng.choice(a, len(a)).mean() - rng.choice(b, len(b)).mean() for _ in range(2000)]
    expected = np.quantile(samples, [0.025, 0.975])
    width = expected[1] - expected[0]
    got = found.loc["difference", ["low", "high"]].to_numpy(float)
    np.testing.assert_allclose(got, expected, atol=0.1 * width)


def test_a_run_does_not_depend_on_the_others(rows, runs):
    alone = effects(rows[rows["unlearner"] == "sga"], QUICK)
    kept = runs[runs["unlearner"] == "sga"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, kept)


def test_a_diverged_run_has_nan_effects_and_no_exposed_sequence(tables, rows):
    lost = rows.assign(value=rows["value"].where(rows["unlearner"] != "ga"))
    found = effects(lost, QUICK)
    mine = found[found["unlearner"] == "ga"]
    assert mine[["value", "low", "high"]].isna().all(axis=None)
    assert (mine["members"] == 0).all()
    assert found.loc[found["unlearner"] != "ga", "value"].notna().all()
    membership = tables["membership"].copy()
    numbers = membership.select_dtypes("number").columns.difference(KEYS)
    membership[numbers] = membership[numbers].astype(float)
    membership.loc[membership["unlearner"] == "ga", numbers] = np.nan
    listed = exposed(membership, lost, tables["thresholds"], QUICK)
    assert "ga" not in set(listed["unlearner"])


def test_without_attacks_there_are_empty_tables(tables):
    nothing = effects(scored(tables["membership"], {}), QUICK)
    assert nothing.empty
    assert suite_table(nothing, TableJob()).empty


# --- tables ---------------------------------------------------------------------------------------


def test_the_table_holds_student_intervals_over_draws_and_over_cells(runs):
    table = suite_table(runs, TableJob(models=("small", "large")))
    where = {"attack": "relearning", "measure": "ma_rise", "metric": "difference"}
    some = runs[(runs[list(where)] == list(where.values())).all(axis=1)]
    table = table[(table[list(where)] == list(where.values())).all(axis=1)]
    draws = some[(some["model"] == "large") & (some["forget_size"] == 8)]
    draws = draws.pivot(index="seed", columns="unlearner", values="value")
    row = table[(table["model"] == "large") & (table["forget_size"] == 8)]
    row = row.set_index("unlearner").loc["sga"]
    expected = mean_interval(draws["sga"])
    above = paired_difference(draws["sga"], draws["control"])
    control = mean_interval(draws["control"])
    assert row[["mean", "low", "high"]].tolist() == pytest.approx(
        [expected.mean, expected.low, expected.high]
    )
    assert row[["control", "control_low", "control_high"]].tolist() == pytest.approx(
        [control.mean, control.low, control.high]
    )
    assert row[["above_control", "above_low", "above_high"]].tolist() == pytest.approx(
        [above.mean, above.low, above.high]
    )
    assert row["n"] == 2
    cells = some[some["unlearner"] == "sga"].groupby(["model", "forget_size"])["value"].mean()
    pooled = table[table["model"] == ALL].set_index("unlearner").loc["sga"]
    expected = mean_interval(cells)
    assert pooled[["mean", "low", "high"]].tolist() == pytest.approx(
        [expected.mean, expected.low, expected.high]
    )
    assert pooled["n"] == 4
    assert "cells" in pooled["n_counts"]


def test_the_learned_attacker_stands_beside_the_single_scores(runs):
    found = learned_success(runs)
    assert {"learned_black_box", "learned_with_original"} <= set(found["score"])
    assert set(found["metric"]) == {"auc"}
    row = found[(found["score"] == "learned_black_box") & (found["unlearner"] == "sga")].iloc[0]
    assert row["value"] > 0.9


# --- trust in the measures ------------------------------------------------------------------------


def test_a_measure_is_trusted_as_far_as_it_was_made_to_be():
    """Two models; one score tells them apart, one by half, one not; relearning brings a quarter."""
    rng = np.random.default_rng(0)
    keys = {"model": "small", "forget_size": 8, "seed": 0, "split": "forget", "half": ""}
    names = [f"p{i}" for i in range(8)]
    parts = []
    for unlearner, gap in (("original", 0.4), ("control", 0.0), ("ga", 0.1)):
        part = pd.DataFrame({"sequence_id": names, "unlearner": unlearner, **keys})
        for name in SIGNS:
            part[name] = rng.normal(size=8)
        part["ma"] = 0.4 + gap + np.linspace(0, 0.1, 8)
        part["loss"] = 3.0 - 5 * gap + np.linspace(0, 0.1, 8)
        part["el"] = np.where(np.arange(8) < 4, gap, 0.0)
        part["entropy"] = 2.0
        parts.append(part)
    membership = pd.concat(parts, ignore_index=True)
    rises = {"original": 0.5, "control": 0.02, "ga": 0.12}
    moved = [
        {"sequence_id": name, "unlearner": label, "attack": "relearning", "variant": "3_steps"}
        | {"measure": measure, "value": rise, **keys}
        for label, rise in rises.items()
        for measure in ("ma_rise", "loss_fall")
        for name in names
    ]
    likelier = [
        {"sequence_id": name, "unlearner": label, "attack": "neighbour", "variant": "own_rewrites"}
        | {"measure": "excess", "value": value + i / 100, **keys}
        for label, value in (("original", 2.0), ("control", 0.0))
        for i, name in enumerate(names)
    ]
    table = trust_table(membership, pd.DataFrame(moved + likelier), TableJob())
    table = table.set_index(["attack", "score"])
    faithful = table["faithfulness"]
    assert faithful["", "ma"] == faithful["", "loss"] == faithful["neighbour", "excess"] == 1
    assert faithful["", "el"] == 0.75  # half of the sequences are told, the others are ties
    assert faithful["", "entropy"] == 0.5
    assert faithful.is_monotonic_decreasing
    assert table.loc[("", "ma"), "relearning"] == pytest.approx(0.1 / 0.4)
    assert table.loc[("", "loss"), "relearning"] == pytest.approx(0.1 / 2.0)
    assert table["quantization"].isna().all()
    assert table.loc[("neighbour", "excess"), "relearning_n":].isna().all()
    alone = membership[membership["unlearner"] != "control"]
    assert trust_table(alone, pd.DataFrame(moved), TableJob()).empty


def test_the_area_of_trust_is_scikit_learn_s(tables):
    run = tables["membership"].query("model == 'small' and forget_size == 16 and seed == 0")
    run = run[run["split"] == "forget"]
    saw, never = (run.loc[run["unlearner"] == u, "ma"] for u in ("original", "control"))
    labels = np.repeat([1, 0], [len(saw), len(never)])
    assert area(saw.to_numpy(), never.to_numpy()) == pytest.approx(
        roc_auc_score(labels, np.concatenate([saw, never]))
    )


# --- the most exposed -----------------------------------------------------------------------------


def test_the_most_exposed_are_named_with_the_true_reason(tables, rows):
    """One sequence each is made to stand out in one way, all others are like unseen ones."""
    key = {"model": "large", "forget_size": 8, "unlearner": "ta", "seed": 0}
    membership, values = tables["membership"].copy(), rows.copy()
    run = (membership[list(key)] == list(key.values())).all(axis=1)
    forget = run & (membership["split"] == "forget")
    a, b, c, *rest = membership.loc[forget, "sequence_id"]
    quiet = membership[run & (membership["half"] == "threshold")]
    scores = ["ma", "el", "loss", "min_k", "min_k_plus_plus"]
    membership[scores] = membership[scores].astype(float)
    for name in scores:
        membership.loc[forget, name] = quiet[name].median()
    own = (values[list(key)] == list(key.values())).all(axis=1) & (values["split"] == "forget")
    for way, part in values[own].groupby(WAY):
        other = values[(values[list(key)] == list(key.values())).all(axis=1)]
        other = other[(other[WAY] == list(way)).all(axis=1) & (other["split"] == "unseen")]
        values.loc[part.index, "value"] = other["value"].median()
    membership.loc[forget & (membership["sequence_id"] == a), "loss"] = 30.0
    relearned = own & (values["attack"] == "relearning") & (values["measure"] == "ma_rise")
    values.loc[relearned & (values["sequence_id"] == b), "value"] = 5.0
    back = own & (values["attack"] == "quantization") & (values["measure"] == "ma_rise")
    values.loc[back & (values["sequence_id"] == c), "value"] = 1.0
    values.loc[relearned & (values["sequence_id"] == c), "value"] = 0.4
    table = exposed(membership, values, tables["thresholds"], AttackSettings(exposed=4))
    mine = table[(table[list(key)] == list(key.values())).all(axis=1)].set_index("sequence_id")
    assert set(mine.index[:3]) == {a, b, c}
    assert mine.loc[a, "why"] == "over-forgotten"
    assert mine.loc[b, "why"] == "relearned"
    assert mine.loc[c, "why"] == "comes back when quantized"
    assert mine.loc[c, "also"] == "relearned"
    assert mine.loc[a, "also"] == ""
    assert mine.loc[a, "loss"] == 30.0
    assert mine["rank"].tolist() == [1, 2, 3, 4]
    assert mine["exposure"].iloc[3] < 1e-9
    assert mine.index[3] == min(rest)


def test_exposure_by_a_score_is_the_distance_in_standard_deviations(tables):
    nothing = pd.DataFrame(columns=[*KEYS, *WAY, "sequence_id", "split", "value"])
    table = exposed(tables["membership"], nothing, tables["thresholds"], AttackSettings(exposed=3))
    assert (table.groupby(KEYS).size() == 3).all()
    key = {"model": "small", "forget_size": 8, "unlearner": "ga", "seed": 1}
    run = tables["membership"]
    run = run[(run[list(key)] == list(key.values())).all(axis=1)]
    unseen = run[run["half"] == "threshold"]
    best = {
        row["sequence_id"]: max(
            abs(row[s] - unseen[s].median()) / unseen[s].std()
            for s in ("ma", "el", "loss", "min_k", "min_k_plus_plus")
        )
        for _, row in run[run["split"] == "forget"].iterrows()
    }
    mine = table[(table[list(key)] == list(key.values())).all(axis=1)]
    expected = sorted(best, key=lambda name: -best[name])[:3]
    assert mine["sequence_id"].tolist() == expected
    assert mine["exposure"].tolist() == pytest.approx([best[name] for name in expected])
    assert set(mine["why"]) == {"over-forgotten"}


def test_reasons_belong_to_measures_that_exist(rows):
    for name in attacks.names():
        attack = attacks.load(name)
        assert attack.TITLE
        assert attack.HEADLINE[1] in METRICS
        known = set(rows.loc[rows["attack"] == name, "measure"])
        if known:
            assert set(attack.REASONS) | {attack.HEADLINE[0]} <= known
