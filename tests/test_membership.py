"""The vectorised attack against sklearn on every single resample, and its conventions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from synthetic_results import Effect, Shape, make
from unlearning.attacks.membership import (
    BLACK_BOX,
    METRICS,
    SCORES,
    attack_all,
    attack_metrics,
    attack_run,
    on_both_sides,
    roc_points,
    with_scores,
)
from unlearning.jobs.errors import InputError
from unlearning.settings.analysis import AttackSettings
from unlearning.statistics import percentile_interval, resample_indices, resample_weights

QUICK = AttackSettings(resamples=50)
SHAPE = Shape(models=("small",), sizes=(12,), seeds=(0,))


def slow_metrics(members: np.ndarray, non_members: np.ndarray) -> dict[str, float]:
    """The definition, on one sample, by sklearn."""
    labels = np.r_[np.ones(len(members)), np.zeros(len(non_members))]
    scores = np.r_[members, non_members]
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    return {
        "auc": roc_auc_score(labels, scores),
        "tpr_at_1": max(true[false <= 0.01 + 1e-12]),
        "tpr_at_5": max(true[false <= 0.05 + 1e-12]),
        "balanced_accuracy": max((true + 1 - false) / 2),
    }


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=12),
    st.lists(st.integers(0, 8), min_size=1, max_size=40),
    st.integers(0, 9),
)
def test_every_resample_equals_sklearn_on_the_same_indices(members, non_members, seed):
    # few distinct values, so that ties within and across the groups are the rule
    members, non_members = np.array(members) / 8, np.array(non_members) / 8
    rng = np.random.default_rng(seed)
    inside = resample_indices(len(members), 10, rng)
    outside = resample_indices(len(non_members), 10, rng)
    found = attack_metrics(
        members, non_members, resample_weights(inside), resample_weights(outside)
    )
    for i in range(10):
        expected = slow_metrics(members[inside[i]], non_members[outside[i]])
        for metric in METRICS:
            assert found[metric][i] == pytest.approx(expected[metric], abs=1e-12)


@pytest.fixture(scope="module")
def results():
    return make(SHAPE)


@pytest.fixture(scope="module")
def attacked(results):
    return attack_all(results["membership"], QUICK)


def value(table: pd.DataFrame, **where) -> float:
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    assert len(table) == 1
    return table["value"].iloc[0]


def test_point_values_of_a_run_equal_sklearn(results, attacked):
    rows = results["membership"].query("unlearner == 'ga'")
    members = rows[rows["split"] == "forget"]["loss"].to_numpy()
    unseen = rows[rows["split"] == "unseen"]
    others = unseen[unseen["half"] == "attack"]["loss"].to_numpy()
    centre = np.median(unseen[unseen["half"] == "threshold"]["loss"])
    one = slow_metrics(-members, -others)
    two = slow_metrics(abs(members - centre), abs(others - centre))
    for metric in METRICS:
        where = {"unlearner": "ga", "score": "loss", "metric": metric}
        assert value(attacked, side="one", **where) == pytest.approx(one[metric])
        assert value(attacked, side="two", **where) == pytest.approx(two[metric])


def test_intervals_are_percentiles_of_the_resamples(results):
    run = with_scores(results["membership"]).query("unlearner == 'ga'")
    rows = pd.DataFrame(attack_run(run, AttackSettings(resamples=400)))
    rows = rows[rows["score"].isin(SCORES)]
    slack = 1e-12
    assert (rows["low"] <= rows["high"] + slack).all()
    auc = rows[rows["metric"] == "auc"]
    assert (auc["low"] <= auc["value"] + slack).all()
    assert (auc["value"] <= auc["high"] + slack).all()
    # an independent bootstrap of one score, resampled by hand, lands near
    rng = np.random.default_rng(99)
    members = run.loc[run["split"] == "forget", "ma"].to_numpy()
    others = run.loc[(run["split"] == "unseen") & (run["half"] == "attack"), "ma"].to_numpy()
    samples = [
        slow_metrics(rng.choice(members, len(members)), rng.choice(others, len(others)))["auc"]
        for _ in range(400)
    ]
    found = auc[(auc["score"] == "ma") & (auc["side"] == "one")].iloc[0]
    expected = percentile_interval(np.array(samples))
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=0.06)


def test_memorized_means_member_in_the_natural_direction(attacked):
    for score in ("ma", "el", "loss", "min_k", "min_k_plus_plus"):
        where = {"score": score, "side": "one", "metric": "auc"}
        assert value(attacked, unlearner="original", **where) > 0.9
        assert 0.2 < value(attacked, unlearner="control", **where) < 0.8


def test_over_forgotten_members_are_found_by_the_two_sided_attack_alone():
    shape = Shape(
        models=("small",), sizes=(12,), seeds=(0,), effects={"ga": Effect(0.1, 0.03, loss=6.0)}
    )
    table = attack_all(make(shape)["membership"], QUICK)
    where = {"unlearner": "ga", "score": "loss", "metric": "auc"}
    assert value(table, side="one", **where) < 0.1
    assert value(table, side="two", **where) > 0.9


def test_changes_are_taken_against_the_original_of_the_same_draw(results, attacked):
    table = with_scores(results["membership"])
    raw = results["membership"]
    row = table[(table["unlearner"] == "ga") & (table["split"] == "forget")].iloc[0]
    same = raw[raw["sequence_id"] == row["sequence_id"]].set_index("unlearner")
    assert row["loss_change"] == pytest.approx(same.at["ga", "loss"] - same.at["original", "loss"])
    assert row["ma_change"] == pytest.approx(same.at["original", "ma"] - same.at["ga", "ma"])
    for score in ("loss_change", "ma_change"):
        where = {"score": score, "side": "one", "metric": "auc"}
        assert value(attacked, unlearner="original", **where) == 0.5
        # the caveat: even the model that never saw the sequences moved on them
        assert value(attacked, unlearner="control", **where) > 0.9


def test_extraction_rates(results, attacked):
    rows = results["membership"].query("unlearner == 'original'")
    for metric, split, half in (("rate", "forget", ""), ("rate_unseen", "unseen", "attack")):
        group = rows[(rows["split"] == split) & (rows["half"] == half)]
        where = {"unlearner": "original", "score": "extraction", "metric": metric}
        assert value(attacked, **where) == sum(group["extracted"]) / len(group)


def test_a_run_does_not_depend_on_the_others(results, attacked):
    some = results["membership"].query("unlearner in ['original', 'tau']")
    shuffled = some.sample(frac=1, random_state=1)
    alone = attack_all(shuffled.sort_values("sequence_id"), QUICK)
    again = attack_all(some.sort_values("sequence_id"), QUICK)
    pd.testing.assert_frame_equal(alone, again)
    kept = attacked[attacked["unlearner"].isin(["original", "tau"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(attack_all(some, QUICK), kept)


def test_a_diverged_run_has_nan_metrics_and_says_how_many_were_scored():
    shape = Shape(
        models=("small",),
        sizes=(4,),
        seeds=(0,),
        effects={"ga": Effect(0.4, 0.1, diverged=(0,)), "sga": Effect(0.4, 0.05)},
    )
    tables = make(shape)
    table = attack_all(tables["membership"], QUICK)
    lost = table[table["unlearner"] == "ga"]
    assert lost[["value", "low", "high"]].isna().all(axis=None)
    assert (lost["members"] == 0).all()
    assert table[table["unlearner"] == "sga"]["value"].notna().all()


def test_a_score_measured_on_one_side_is_no_score(results, attacked):
    """Without EL of unseen sequences all else keeps its values, on the control as well."""
    raw = results["membership"]
    table = raw.assign(el=raw["el"].where(raw["split"] != "unseen"))
    found = attack_all(table, QUICK)
    expected = attacked[attacked["score"] != "el"].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    # the original's thresholds need EL of the reference half: that makes no side of it
    reference = (raw["unlearner"] == "original") & (raw["half"] == "threshold")
    table["el"] = table["el"].where(~reference, raw["el"])
    assert on_both_sides(table, BLACK_BOX) == [name for name in BLACK_BOX if name != "el"]
    pd.testing.assert_frame_equal(attack_all(table, QUICK), expected, check_exact=True)


def test_no_members_gives_nan(results):
    run = with_scores(results["membership"]).query("unlearner == 'ga' and split == 'unseen'")
    rows = pd.DataFrame(attack_run(run, QUICK))
    scored = rows[rows["score"].isin(SCORES)]
    assert scored["value"].isna().all()
    assert (scored["members"] == 0).all()
    assert (scored["non_members"] > 0).all()


def test_the_drawn_curve_has_the_area_of_the_auc():
    rng = np.random.default_rng(5)
    members, others = rng.integers(0, 9, 30), rng.integers(0, 7, 50)
    false, true = roc_points(members, others)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(slow_metrics(members, others)["auc"])


def test_bad_input_is_named(results):
    rows = results["membership"]
    with pytest.raises(InputError, match="no column 'min_k'"):
        attack_all(rows.drop(columns="min_k"), QUICK)
    with pytest.raises(InputError, match="no row of the original model"):
        attack_all(rows[rows["unlearner"] != "original"], QUICK)
