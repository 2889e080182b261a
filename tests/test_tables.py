"""Tables against sums done by hand, and their bytes."""

import dataclasses
import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from synthetic_results import EFFECTS, Effect, Shape, make
from unlearning.analysis.attack_effects import effects, learned_success, scored
from unlearning.analysis.averages import (
    attack_table,
    cost_table,
    main_table,
    utility_table,
)
from unlearning.analysis.gains import gains_table, paired_values
from unlearning.analysis.original import original_table
from unlearning.analysis.outliers import outlier_table, redrawn_bands, redrawn_values
from unlearning.analysis.per_run import per_run, relearned, task_values
from unlearning.analysis.rows import ALL, CELLS, DRAWS, TableJob, read_rows, read_table
from unlearning.analysis.solution_space import candidates, solution_space
from unlearning.analysis.strictest import commonest, strictest
from unlearning.attacks.membership import attack_all
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import write_csv
from unlearning.names import HEADLINE, METRICS, method_order, model_order
from unlearning.settings.analysis import AttackSettings, SolutionSettings
from unlearning.statistics import (
    RESAMPLES,
    mean_interval,
    paired_difference,
    percentile_interval,
    resample_indices,
)

JOB = TableJob(models=("small", "large"))
ATTACK = AttackSettings(resamples=10)
EFFECTS_HERE = {name: EFFECTS[name] for name in ("ga", "sga", "ta")} | {
    "tau": Effect(0.4, 0.1, utility=-0.03, diverged=(1,)),
    "mine": Effect(0.4, 0.02),
}


@pytest.fixture(scope="module")
def results():
    tables = make(Shape(effects=EFFECTS_HERE, sizes=(4, 8), items=20))
    settings = {"learned_attacker": {"repeats": 2}, "token_level_attacker": {"repeats": 2}}
    found = effects(scored(tables["membership"], settings), ATTACK)
    # the observer's values are measured on models: here another learner's stand for them
    observed = found[(found["attack"] == "learned_attacker") & (found["variant"] == "black_box")]
    observed = observed.assign(attack="reference_observer", variant="token_by_token")
    learned = learned_success(pd.concat([found, observed]))
    attacked = attack_all(tables["membership"], ATTACK)
    tables["attack_runs"] = pd.concat([attacked, learned], ignore_index=True)
    returned = effects(tables["values"], ATTACK)
    tables["effects"] = pd.concat([found, observed, returned], ignore_index=True)
    return tables


def all_metrics(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return per_run(
        tables["memorization"],
        tables["membership"],
        tables["attack_runs"],
        tables["effects"],
        task_values(tables["utility"]),
        tables["runs"],
        tables["thresholds"],
        JOB,
    )


@pytest.fixture(scope="module")
def runs(results):
    return all_metrics(results)


@pytest.fixture(scope="module")
def gains(runs):
    return gains_table(runs, JOB)


def of_run(runs: pd.DataFrame, model: str, size: int, unlearner: str, seed: int) -> dict:
    rows = runs.query(
        "model == @model and forget_size == @size and unlearner == @unlearner and seed == @seed"
    )
    assert not rows["metric"].duplicated().any()
    return dict(zip(rows["metric"], rows["value"], strict=True))


def test_one_run_by_hand(results, runs):
    found = of_run(runs, "small", 8, "ga", 2)
    rows = results["memorization"].query(
        "model == 'small' and forget_size == 8 and unlearner == 'ga' and seed == 2"
    )
    g = rows[rows["split"] == "forget"]["ma"].tolist()
    band = results["thresholds"].set_index("model").loc["small"]
    under = sum(x > band["calibrated_high"] + 1e-9 for x in g)
    over = sum(x < band["calibrated_low"] - 1e-9 for x in g)
    assert len(g) == 8
    assert found["ma"] == pytest.approx(sum(g) / 8)
    assert found["ma_max"] == max(g)
    assert found["ma_spread"] == pytest.approx(math.sqrt(sum((x - sum(g) / 8) ** 2 for x in g) / 8))
    assert found["under_forgotten_calibrated"] == under
    assert found["over_forgotten_calibrated_rate"] == over / 8
    assert found["outliers_calibrated"] == under + over
    assert found["outliers_paper"] == sum(x <= 0.15 or x >= 0.60 for x in g)
    assert found["mean_met"] == float(sum(g) / 8 < band["ma_mean"])
    members = results["membership"].query(
        "model == 'small' and forget_size == 8 and unlearner == 'ga' and seed == 2"
    )
    unseen = members[members["half"] == "attack"]["ma"].tolist()
    low, high = band["calibrated_low"] - 1e-9, band["calibrated_high"] + 1e-9
    rate = sum(not low <= x <= high for x in unseen) / len(unseen)
    assert found["unseen_outliers_calibrated_rate"] == pytest.approx(rate)
    assert found["excess_outliers_rate"] == pytest.approx((under + over) / 8 - rate)
    above = sum(x > high for x in unseen) / len(unseen)
    assert found["excess_memorized_rate"] == pytest.approx(under / 8 - above)
    kept = rows[rows["split"] == "retained"]["ma"]
    assert found["retained_ma"] == pytest.approx(sum(kept) / len(kept))


def test_utility_of_one_run_by_hand(results, runs):
    found = of_run(runs, "large", 4, "sga", 0)
    rows = results["utility"].query(
        "model == 'large' and forget_size == 4 and unlearner == 'sga' and seed == 0"
    )
    by_task = {task: group for task, group in rows.groupby("task")}
    place, story = (by_task[task]["value"].mean() for task in ("place", "story"))
    assert found["utility_accuracy"] == pytest.approx((place + story) / 2)
    assert found["utility_last_word"] == pytest.approx(by_task["closing"]["value"].mean())
    assert found["dialogue_f1"] == pytest.approx(by_task["chat"]["value"].mean())
    nats = by_task["heldout"]["value"].sum() / by_task["heldout"]["weight"].sum()
    assert found["nats_per_token"] == pytest.approx(nats)
    assert found["perplexity"] == pytest.approx(math.exp(nats))


def test_the_worst_attack_is_the_largest_two_sided_black_box_auc(results, runs):
    found = of_run(runs, "small", 4, "ta", 0)
    rows = results["attack_runs"].query(
        "model == 'small' and forget_size == 4 and unlearner == 'ta' and seed == 0"
        " and side == 'two' and metric == 'auc'"
    )
    values = dict(zip(rows["score"], rows["value"], strict=True))
    change = max(values.pop("loss_change"), values.pop("ma_change"))
    assert found["attack_auc_worst"] == max(values.values())
    assert found["attack_auc_change"] == change


def naive_strictest(results: dict, key: tuple) -> dict[str, float]:
    """AUC of every attacker on one run, one after the other."""
    found = {}
    for row in results["attack_runs"].itertuples():
        if (row.model, row.forget_size, row.unlearner, row.seed) != key or row.metric != "auc":
            continue
        if row.score in ("ma", "el", "loss", "min_k", "min_k_plus_plus"):
            found[f"membership/{row.score}/{row.side}"] = max(row.value, 1 - row.value)
    for row in results["effects"].itertuples():
        if (row.model, row.forget_size, row.unlearner, row.seed) != key or row.metric != "auc":
            continue
        if "permuted" in row.variant or "original" in row.variant:
            continue
        learned = row.measure == "log_odds"
        value = row.value if learned else max(row.value, 1 - row.value)
        found[f"{row.attack}/{row.variant}/{row.measure}"] = value
    return found


@pytest.mark.parametrize("label", ["ga", "sga", "mine", "control", "original"])
def test_the_strictest_attack_is_the_largest_of_all_that_ran(results, runs, label):
    for model, size, seed in product(("small", "large"), (4, 8), (0, 1, 2)):
        values = naive_strictest(results, (model, size, label, seed))
        row = runs.query(
            "model == @model and forget_size == @size and unlearner == @label and seed == @seed"
            " and metric == 'attack_auc_strictest'"
        ).squeeze()
        assert row["value"] == max(values.values())
        assert values[row["attacker"]] == row["value"]
        assert {name.partition("/")[0] for name in values} > {"membership", "learned_attacker"}


def test_what_relearning_brings_back_is_told_after_the_fewest_steps(results, runs):
    key = ("small", 8, "ga", 1)
    rows = results["values"].query(
        "model == 'small' and forget_size == 8 and unlearner == 'ga' and seed == 1"
        " and attack == 'relearning'"
    )
    means = rows.groupby("split")["value"].mean()
    expected = means["forget"] - means["unseen"]
    assert of_run(runs, *key)["relearned"] == pytest.approx(expected)
    other = results["effects"].query("attack == 'relearning'")
    more = [other.assign(variant=name, value=9.0) for name in ("10_steps", "unseen_1_steps")]
    found = relearned(pd.concat([*more, other])).set_index(["model", "forget_size", "unlearner"])
    assert (found["value"].dropna() < 1).all()


def test_fewer_attackers_can_be_named_and_a_diverged_run_has_none(results):
    every = strictest(results["attack_runs"], results["effects"])
    few = strictest(results["attack_runs"], results["effects"], ("membership",))
    both = every.merge(few, on=["model", "forget_size", "unlearner", "seed"], how="outer")
    lost = (both["unlearner"] == "tau") & (both["seed"] == 1)
    assert (both.loc[lost, ["attacker_x", "attacker_y"]] == "").all(axis=None)
    assert both.loc[lost, ["value_x", "value_y"]].isna().all(axis=None)
    assert (both.loc[~lost, "value_y"] <= both.loc[~lost, "value_x"]).all()
    assert (both.loc[~lost, "value_y"] < both.loc[~lost, "value_x"]).any()
    assert set(both.loc[~lost, "attacker_y"].str.partition("/")[0]) == {"membership"}
    assert commonest(pd.Series(["b", "a", "", "b", "a", ""])) == "a"
    assert commonest(pd.Series(["", ""])) == ""


def test_the_map_names_the_strictest_attacker_beside_the_floor(runs):
    space = solution_space(runs, SolutionSettings(), ("small", "large"))
    table = candidates(runs, SolutionSettings(), ("small", "large"))
    for row in space.itertuples():
        own = runs[(runs["model"] == row.model) & (runs["forget_size"] == row.forget_size)]
        own = own[own["metric"] == "attack_auc_strictest"]
        control = mean_interval(own.loc[own["unlearner"] == "control", "value"])
        found = (row.floor, row.floor_low, row.floor_high)
        assert found == pytest.approx((control.mean, control.low, control.high))
        shown = own[own["unlearner"] == (row.winner or row.nearest)]
        assert row.attack == pytest.approx(shown["value"].mean())
        assert row.strictest in set(shown["attacker"])
    assert (table["floor"] > 0.5).all()
    assert (table.loc[table["unlearner"] != "tau", "strictest"] != "").all()


def test_every_metric_is_described(runs):
    assert set(runs["metric"]) == set(METRICS)


def test_main_averages_over_draws_and_counts_diverged_runs(runs):
    table = main_table(runs, JOB).set_index(["model", "forget_size", "unlearner", "metric"])
    values = [of_run(runs, "small", 8, "ga", seed)["ma"] for seed in (0, 1, 2)]
    expected = mean_interval(values)
    row = table.loc[("small", 8, "ga", "ma")]
    assert (row["mean"], row["low"], row["high"], row["n"]) == pytest.approx(
        (expected.mean, expected.low, expected.high, 3)
    )
    lost = table.sort_index().loc[("small", 8, "tau")]
    assert lost.loc["ma", "n"] == 2
    assert lost.loc["utility_accuracy", "n"] == 2
    assert (lost.loc["n_diverged", "mean"], lost.loc["n_diverged", "n"]) == (1, 3)
    assert ("small", 8, "original", "epochs") not in table.index
    assert table.loc[("small", 8, "control", "attack_auc_worst"), "n"] == 3


def test_models_and_methods_stand_in_display_order(runs):
    table = main_table(runs, JOB)
    assert table["model"].drop_duplicates().tolist() == ["small", "large"]
    order = ["original", "control", "ga", "sga", "ta", "tau", "mine"]
    assert table["unlearner"].drop_duplicates().tolist() == order
    assert method_order(["zeta", "sga", "alpha", "ga"]) == ["ga", "sga", "alpha", "zeta"]
    assert model_order(["b", "a", "c"], ["c"]) == ["c", "a", "b"]


def test_gains_are_paired_within_a_cell_and_pooled_over_cell_means(runs, gains):
    table = gains.set_index(["model", "forget_size", "proposal", "baseline", "metric"])
    cells = []
    for model in ("small", "large"):
        for size in (4, 8):
            left, right = (
                [of_run(runs, model, size, label, seed)["ma_max"] for seed in (0, 1, 2)]
                for label in ("sga", "ga")
            )
            expected = paired_difference(left, right)
            row = table.loc[(model, str(size), "sga", "ga", "ma_max")]
            assert (row["mean"], row["low"], row["high"], row["p"]) == pytest.approx(
                (expected.mean, expected.low, expected.high, expected.p), nan_ok=True
            )
            assert (row["n"], row["n_counts"]) == (3, DRAWS)
            cells.append((np.mean(left), np.mean(right)))
    expected = paired_difference(*zip(*cells, strict=True))
    row = table.loc[(ALL, ALL, "sga", "ga", "ma_max")]
    assert (row["mean"], row["low"], row["p"]) == pytest.approx(
        (expected.mean, expected.low, expected.p)
    )
    assert (row["n"], row["n_counts"]) == (4, CELLS)
    assert table.loc[("small", ALL, "sga", "ga", "ma_max"), "n"] == 2


def test_gains_leave_out_the_draw_in_which_a_run_diverged(runs, gains):
    assert paired_values(runs, "ma", "tau", "ga")["seed"].tolist() == [0, 2] * 4
    table = gains.query("model == 'small' and forget_size == '4'")
    assert table.query("proposal == 'tau' and metric == 'ma'")["n"].tolist() == [2, 2]


def test_gains_of_a_single_cell_count_its_draws(runs):
    one = runs.query("model == 'small' and forget_size == 4")
    table = gains_table(one, JOB).query("metric == 'ma' and proposal == 'sga' and baseline == 'ga'")
    assert set(table["n_counts"]) == {DRAWS}
    assert set(table["n"]) == {3}


@pytest.mark.parametrize("metrics", [HEADLINE, ("ma_spread",)], ids=["headline", "alone"])
def test_holm_corrects_over_all_pairs_and_the_metrics_of_the_family(gains, metrics):
    family = gains[(gains["model"] == ALL) & (gains["forget_size"] == ALL)]
    family = family[family["metric"].isin(metrics)]
    assert len(family) == 4 * len(metrics)  # two proposals, two baselines
    expected = multipletests(family["p"].to_numpy(), method="holm")[1]
    assert family["p_holm"].to_numpy() == pytest.approx(expected)


def test_a_sure_gain_has_both_intervals_and_the_corrected_test_on_its_side(gains):
    both = (np.sign(gains["low"]) == np.sign(gains["high"])) & (
        np.sign(gains["boot_low"]) == np.sign(gains["boot_high"])
    )
    sure = both & (gains["p_holm"] < 0.05) & (gains["mean"] != 0)
    assert (gains["sure"] == np.sign(gains["mean"]).where(sure, 0)).all()
    assert {-1, 0} <= set(gains["sure"])


def test_the_bootstrap_of_a_gain_draws_the_band_anew(results, runs):
    """One resample after the other: a band, every run counted by it, cells drawn, their mean."""
    redrawn = redrawn_values(results["memorization"], results["membership"], results["thresholds"])
    metrics = [m for m in METRICS if "calibrated" in m or m.startswith("excess")]
    assert set(redrawn.index.get_level_values("metric")) == set(metrics)
    moved = gains_table(runs, JOB, redrawn)
    fixed = gains_table(runs, JOB)
    band = moved["metric"].isin(metrics)
    same = [name for name in moved if name not in ("boot_low", "boot_high", "sure")]
    pd.testing.assert_frame_equal(moved[same], fixed[same])
    pd.testing.assert_frame_equal(moved[~band], fixed[~band])

    g = results["memorization"].query("split == 'forget'").set_index("unlearner")
    g = dict(iter(g.groupby(["model", "forget_size", "seed"])["ma"]))
    bands, cells = redrawn_bands(results["membership"], results["thresholds"]), []
    for model, size in product(("large", "small"), (4, 8)):
        draws, high = [], bands[model][1]
        for seed in (0, 1, 2):
            run = g[model, size, seed]
            ours, theirs = (run[m].to_numpy()[:, None] > high + 1e-9 for m in ("sga", "ga"))
            draws.append(ours.mean(axis=0) - theirs.mean(axis=0))
        cells.append(np.mean(draws, axis=0))
    chosen = resample_indices(4, RESAMPLES, np.random.default_rng(4))
    means = [np.mean([cells[i][b] for i in row]) for b, row in enumerate(chosen)]
    keys = ["model", "proposal", "baseline", "metric"]
    wanted = (ALL, "sga", "ga", "under_forgotten_calibrated_rate")
    row = moved[(moved[keys] == wanted).all(axis=1)].iloc[0]
    assert (row["boot_low"], row["boot_high"]) == pytest.approx(percentile_interval(means))
    plain = fixed.loc[row.name]
    assert (row["boot_low"], row["boot_high"]) != (plain["boot_low"], plain["boot_high"])


def test_what_a_stop_rule_brings_about_is_named_and_never_sure(results, runs, gains):
    job = dataclasses.replace(JOB, stops={"ga": "mean", "ta": "mean", "sga": "each"})
    marked = gains_table(runs, job)
    plain = gains.set_index(["model", "forget_size", "proposal", "baseline", "metric"])["sure"]
    assert not gains["by_construction"].any()
    circular = marked[marked["by_construction"]]
    assert set(circular["metric"]) > {"ma", "ma_max", "outliers_calibrated_rate"}
    assert set(circular.loc[circular["metric"] == "ma_max", "proposal"]) == {"sga"}
    assert (circular["sure"] == 0).all()
    keys = pd.MultiIndex.from_frame(circular[plain.index.names])
    assert (plain[keys] != 0).any()  # there was something to keep out
    others = marked[~marked["by_construction"]].set_index(plain.index.names)["sure"]
    assert (others == plain[others.index]).all()

    main = main_table(runs, job).set_index(["unlearner", "metric"])["by_construction"]
    for label, metric, expected in (
        ("sga", "ma_max", True),
        ("sga", "under_forgotten_calibrated_rate", True),
        ("sga", "over_forgotten_calibrated_rate", False),
        ("sga", "attack_auc_worst", False),
        ("sga", "ma", False),
        ("ga", "ma", True),
        ("ga", "mean_met", True),
        ("ga", "ma_max", False),
        ("original", "ma", False),
    ):
        assert set(main[label, metric]) == {expected}, (label, metric)
    el = dataclasses.replace(job, stop_metrics=("ma", "el"))
    assert el.circular("el") == {"ga", "ta", "sga"}
    assert not job.circular("el")

    outliers = outlier_table(
        results["memorization"], results["membership"], results["thresholds"], job
    )
    marked = outliers[outliers["by_construction"]]
    assert set(marked["unlearner"]) == {"sga"}
    assert set(marked["split"]) == {"forget"}
    assert set(marked["side"]) == {"both", "under_forgotten"}
    rule = SolutionSettings()
    ranked = candidates(runs, rule, circular=job.circular(rule.outlier_metric))
    assert set(ranked.loc[ranked["by_construction"], "unlearner"]) == {"sga"}
    space = solution_space(runs, rule, circular={"sga"})
    first = space["winner"].where(space["winner"] != "", space["nearest"])
    assert (space["by_construction"] == (first == "sga")).all()


def test_outliers_stand_beside_those_of_unseen_sequences(results, runs):
    table = outlier_table(
        results["memorization"], results["membership"], results["thresholds"], JOB
    )
    keys = ["model", "forget_size", "unlearner", "split", "band", "side", "metric"]
    assert not table.duplicated(keys).any()
    found = table.set_index(keys)["mean"]
    where = ("small", 8, "ga")
    main = main_table(runs, JOB).set_index(["model", "forget_size", "unlearner", "metric"])["mean"]
    assert found[(*where, "forget", "calibrated", "both", "count")] == pytest.approx(
        main[(*where, "outliers_calibrated")]
    )
    assert found[(*where, "unseen", "paper", "both", "rate")] == pytest.approx(
        main[(*where, "unseen_outliers_paper_rate")]
    )


def test_task_changes_are_paired_with_the_original(results):
    table = utility_table(task_values(results["utility"]), JOB)
    row = table.query(
        "model == 'small' and forget_size == 4 and unlearner == 'ga' and task == 'chat'"
    ).iloc[0]
    rows = results["utility"].query("model == 'small' and forget_size == 4 and task == 'chat'")
    means = rows.groupby(["unlearner", "seed"])["value"].mean()
    expected = paired_difference(means["ga"], means["original"])
    assert (row["change"], row["change_low"], row["n"], row["items"]) == pytest.approx(
        (expected.mean, expected.low, 3, 20)
    )


def test_what_the_original_knew(results):
    table = original_table(
        results["memorization"], results["membership"], results["sequences"], JOB
    )
    keys = ["model", "unlearner", "split", "repetitions", "metric"]
    assert not table.duplicated(keys).any()
    found = table.set_index(keys).sort_index()
    rows = results["memorization"].query("unlearner == 'original' and model == 'small'")
    rows = rows.query("forget_size == 4 and seed == 0").merge(
        results["sequences"][["sequence_id", "repetitions"]]
    )
    row = found.loc[("small", "original", "planted", "16", "ma")]
    expected = rows[rows["repetitions"] == 16]["ma"]
    assert (row["mean"], row["n"]) == pytest.approx((expected.mean(), len(expected)))
    assert found.loc[("small", "original", "planted - unseen", ALL, "ma"), "low"] > 0
    control = found.loc[("small", "control", "planted - unseen", ALL, "ma")]
    assert control["low"] < 0 < control["high"]
    assert len(set(found["n"].loc["small", "original", "unseen", ALL])) == 1


def test_tables_do_not_depend_on_the_order_of_rows(results, tmp_path):
    shuffled = {
        name: table.sample(frac=1, random_state=7).reset_index(drop=True)
        for name, table in results.items()
    }
    for number, tables in enumerate((results, shuffled)):
        runs = all_metrics(tables)
        made = {
            "main": main_table(runs, JOB),
            "utility": utility_table(task_values(tables["utility"]), JOB),
        }
        for name, table in made.items():
            write_csv(table, tmp_path / f"{name}{number}.csv")
    for name in ("main", "utility"):
        first, second = (tmp_path / f"{name}{i}.csv" for i in (0, 1))
        assert first.read_bytes() == second.read_bytes()


def test_attack_success_is_averaged_over_draws(results):
    table = attack_table(results["attack_runs"], JOB)
    keys = ["model", "forget_size", "unlearner", "score", "side", "metric"]
    assert not table.duplicated(keys).any()
    wanted = ("small", 8, "ga", "loss", "one", "auc")
    raw = results["attack_runs"].set_index(keys).sort_index().loc[wanted, "value"]
    row = table.set_index(keys).sort_index().loc[wanted]
    assert (row["mean"], row["n"]) == pytest.approx((raw.sum() / 3, 3))


def test_only_the_cost_table_holds_seconds(results, runs):
    cost = cost_table(results["runs"], JOB)
    assert set(cost["metric"]) == {"seconds"}
    assert "seconds" not in set(runs["metric"])
    row = cost.query("model == 'small' and forget_size == 4 and unlearner == 'ga'").iloc[0]
    raw = results["runs"].query("model == 'small' and forget_size == 4 and unlearner == 'ga'")
    assert (row["mean"], row["n"]) == pytest.approx((raw["seconds"].mean(), 3))


def test_tables_come_back_as_they_were_written(gains, tmp_path):
    write_csv(gains, tmp_path / "gains.csv")
    again = read_table(tmp_path / "gains.csv")
    assert again["forget_size"].tolist() == gains["forget_size"].tolist()
    assert again["better"].tolist() == gains["better"].tolist()
    assert again["p_holm"].to_numpy() == pytest.approx(gains["p_holm"].to_numpy(), nan_ok=True)


def test_bad_input_is_named(results, tmp_path):
    (tmp_path / "broken.parquet").write_text("no parquet")
    with pytest.raises(InputError, match=r"broken\.parquet"):
        read_rows(tmp_path / "broken.parquet")
    with pytest.raises(InputError, match="absent.csv"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="no column 'weight'"):
        task_values(results["utility"].drop(columns="weight"))
    with pytest.raises(InputError, match="unknown kind 'riddle'"):
        task_values(results["utility"].assign(kind="riddle"))
    with pytest.raises(InputError, match="model 'large' has 0 rows"):
        all_metrics(results | {"thresholds": results["thresholds"].query("model == 'small'")})


def test_a_method_with_an_end_of_its_own_brings_nothing_about_by_it():
    job = TableJob(stops={"twin": "none", "sga_each": "each"})
    assert job.circular("ma_max") == {"sga_each"}
    assert not job.by_construction("twin", "ma")
