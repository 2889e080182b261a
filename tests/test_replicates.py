"""Replicates: seeds, tables of one and of several, what n counts, and how often "sure" is wrong."""

import re
import sys
from itertools import product

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats
from statsmodels.stats.power import TTestPower

from running import ROOT, SMOKE, copy_project, snakemake
from synthetic_results import EFFECTS, Effect, Shape, make
from unlearning.analysis.attack_effects import effects, scored
from unlearning.analysis.averages import main_table, utility_table
from unlearning.analysis.gains import gains_table, pool_cells, pooled_difference
from unlearning.analysis.original import original_table
from unlearning.analysis.outliers import outlier_table, redrawn_values
from unlearning.analysis.per_run import per_run, task_values
from unlearning.analysis.replicates import (
    POOLED,
    REPLICATE,
    REPLICATES,
    per_replicate,
    pooled_draws,
)
from unlearning.analysis.rows import ALL, TableJob
from unlearning.analysis.solution_space import candidates, solution_space
from unlearning.attacks.membership import attack_all
from unlearning.configuration import STRIDE, check, of_replicate
from unlearning.jobs.errors import InputError
from unlearning.settings.analysis import AttackSettings, SolutionSettings
from unlearning.statistics import (
    RESAMPLES,
    mean_interval,
    paired_difference,
    resample_indices,
    resampled_means,
    sign_of,
    witnessed_mean,
)

sys.path.insert(0, str(ROOT / "benchmarks"))

import power  # noqa: E402  (a script)
import summary  # noqa: E402

JOB = TableJob(models=("small", "large"))
SHAPE = Shape(
    effects={name: EFFECTS[name] for name in ("ga", "sga")}
    | {"ta": Effect(0.40, 0.12, 4.2, -0.12, 0.4, diverged=(1,))},
    items=10,
    pool=16,
    unseen=16,
)
NUMBERS = (0, 1, 2, 5)


def stacked(parts: dict[int, dict[str, pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Tables of several experiments, as `collect` puts them under each other."""
    names = next(iter(parts.values()))
    return {
        name: pd.concat([part[name].assign(replicate=n) for n, part in parts.items()])
        for name in names
    }


def all_metrics(memorization, membership, utility, runs, thresholds) -> pd.DataFrame:
    attacked = attack_all(membership, AttackSettings(resamples=2))
    tasks = task_values(utility)
    suite = effects(scored(membership, {}), AttackSettings(resamples=2))
    return per_run(memorization, membership, attacked, suite, tasks, runs, thresholds, JOB)


@pytest.fixture(scope="module")
def parts():
    return {number: make(SHAPE, seed=number) for number in NUMBERS}


@pytest.fixture(scope="module")
def results(parts):
    return stacked(parts)


@pytest.fixture(scope="module")
def runs(results):
    names = ("memorization", "membership", "utility", "runs", "thresholds")
    return per_replicate(all_metrics, *(results[name] for name in names))


# --- the config -------------------------------------------------------------------------------


def smoke_config(**changes) -> dict:
    return yaml.safe_load((ROOT / SMOKE).read_text()) | changes


def test_a_replicate_has_seeds_of_its_own_and_the_first_is_the_config():
    config = check(smoke_config(replicates=[0, 3], seed=7))
    assert of_replicate(config, 0) == config
    third = of_replicate(config, 3)
    assert third["seed"] == 7 + 3 * STRIDE
    assert third["corpus"] == config["corpus"] | {"seed": config["corpus"]["seed"] + 3 * STRIDE}
    assert third["attacks"]["relearning"]["seed"] == 3 * STRIDE
    assert third["attacks"]["quantization"] == config["attacks"]["quantization"]
    assert third["forget_sets"] == config["forget_sets"]


@pytest.mark.parametrize(
    ("file", "blocks", "message"),
    [
        (SMOKE, {"replicates": [0, 0]}, "names something twice"),
        (SMOKE, {"replicates": []}, "replicates: "),
        ("config/paper.yaml", {"replicates": [0, 1]}, "only a generated corpus can be made anew"),
        (SMOKE, {"replicates": [0, 1], "unlearners": {}}, "the audit of one list"),
    ],
)
def test_wrong_replicates_are_refused_in_one_line(file, blocks, message):
    config = yaml.safe_load((ROOT / file).read_text()) | blocks
    with pytest.raises(InputError, match=message) as error:
        check(config)
    assert "\n" not in str(error.value)


# --- clusters, against loops ------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (3, 3, 3, 3), (2, 3, 1, 2)])
def test_a_resample_draws_replicates_and_draws_within_each(sizes):
    values = [np.random.default_rng(7 + i).normal(size=n) for i, n in enumerate(sizes)]
    generator = np.random.default_rng(len(sizes))
    chosen = resample_indices(len(sizes), RESAMPLES, generator)
    means = np.zeros((RESAMPLES, len(sizes)))
    if max(sizes) == 1:
        means = np.concatenate(values)[chosen]
    else:
        for slot in range(len(sizes)):
            luck = generator.random((RESAMPLES, max(sizes)))
            for b in range(RESAMPLES):
                own = values[chosen[b, slot]]
                means[b, slot] = np.mean([own[int(u * len(own))] for u in luck[b, : len(own)]])
    found = resampled_means(sizes) @ np.concatenate(values)
    np.testing.assert_allclose(found, means.mean(axis=1), rtol=1e-9, atol=1e-12)


def test_a_cluster_is_one_value_of_students_interval():
    rng = np.random.default_rng(0)
    clusters = np.array([2, 0, 1, 0, 2, 4, 1, 4, 4, 0])
    left, right = rng.normal(1, 1, (2, 10))
    left[3] = np.nan
    found = paired_difference(left, right, clusters=clusters)
    means = pd.Series(left - right).groupby(clusters).mean()
    expected = mean_interval(means)
    assert (found.mean, found.low, found.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert found.n == 4
    assert found.boot_low < found.mean < found.boot_high
    assert np.isnan(paired_difference(left[:9], right[:9], clusters=np.repeat(0, 9)).low)


def test_draws_that_a_cell_lacks_have_the_mean_of_the_cell():
    rng = np.random.default_rng(1)
    keys = list(product((3, 8), ("small", "large"), (4, 8), (0, 1, 2)))
    table = pd.DataFrame(keys, columns=["replicate", "model", "forget_size", "seed"])
    table = table.assign(value=rng.normal(size=len(table))).sample(frac=1, random_state=0)
    table = table.iloc[4:]
    weights, replicate = pooled_draws(table)
    found = pd.Series(weights @ table["value"].to_numpy()).groupby(replicate).mean()
    for number, own in table.groupby("replicate"):
        cells = own.groupby(["model", "forget_size"])["value"].mean()
        assert found[number] == pytest.approx(cells.mean())
        slow = []
        for seed in sorted(own["seed"].unique()):
            values = own[own["seed"] == seed].set_index(["model", "forget_size"])["value"]
            slow.append(np.mean([values.get(cell, cells[cell]) for cell in cells.index]))
        np.testing.assert_allclose((weights @ table["value"])[replicate == number], slow)


# --- tables -----------------------------------------------------------------------------------


def test_what_is_told_of_a_run_is_what_its_replicate_alone_would_say(parts, runs):
    names = ("memorization", "membership", "utility", "runs", "thresholds")
    for number, part in parts.items():
        alone = all_metrics(*(part[name] for name in names))
        own = runs[runs[REPLICATE] == number].drop(columns=REPLICATE)
        pd.testing.assert_frame_equal(own.reset_index(drop=True), alone)
    assert list(runs)[0] == REPLICATE


def test_averages_count_replicates(results, runs):
    main = main_table(runs, JOB).set_index(["model", "forget_size", "unlearner", "metric"])
    row = main.loc[("small", 4, "ta", "ma")]
    values = runs.query(
        "model == 'small' and forget_size == 4 and unlearner == 'ta' and metric == 'ma'"
    )
    expected = mean_interval(values.groupby(REPLICATE)["value"].mean())
    assert (row["mean"], row["low"], row["n"]) == (
        pytest.approx(expected.mean), pytest.approx(expected.low), len(NUMBERS),
    )  # fmt: skip
    lost = main.loc[("small", 4, "ta", "n_diverged")]
    assert (lost["mean"], lost["n"]) == (len(NUMBERS), 3 * len(NUMBERS))
    utility = utility_table(per_replicate(task_values, results["utility"]), JOB)
    assert (utility["n"] == len(NUMBERS)).all()
    original = original_table(
        results["memorization"], results["membership"], results["sequences"], JOB
    )
    assert (original["n"] == len(NUMBERS)).all()
    assert original["mean"].notna().all()


def test_the_summary_is_a_mean_over_cells_within_each_replicate(runs):
    found = summary.over_cells(runs, "ga", "ma_max")
    values = runs.query("unlearner == 'ga' and metric == 'ma_max'")
    cells = values.groupby([REPLICATE, "model", "forget_size"])["value"].mean()
    expected = mean_interval(cells.groupby(REPLICATE).mean())
    assert (found.mean, found.low, found.n) == (
        pytest.approx(expected.mean), pytest.approx(expected.low), len(NUMBERS),
    )  # fmt: skip
    lines = summary.markdown(runs).splitlines()
    assert len({re.sub(r"\\\|", "", line).count("|") for line in lines}) == 1
    row = next(line for line in lines if line.startswith("| GA |"))
    assert f" {found.mean:.2f} [{found.low:.2f}, {found.high:.2f}] " in row


def test_gains_count_replicates_and_their_bootstrap_draws_the_band_anew(results, runs):
    rows = (results[name] for name in ("memorization", "membership", "thresholds"))
    redrawn = redrawn_values(*rows)
    gains = gains_table(runs, JOB, redrawn)
    assert (gains["n"] == len(NUMBERS)).all()
    everywhere = gains[gains["forget_size"] == ALL]
    assert set(everywhere["n_counts"]) == {POOLED}
    assert set(gains.loc[gains["forget_size"] != ALL, "n_counts"]) == {REPLICATES}
    fixed = gains_table(runs, JOB)
    row = (gains["model"] == ALL) & (gains["metric"] == "outliers_calibrated_rate")
    width = gains["boot_high"] - gains["boot_low"]
    narrower = fixed["boot_high"] - fixed["boot_low"]
    assert (width[row] > narrower[row]).all()
    pair = everywhere.query("model == 'all' and proposal == 'sga' and metric == 'ma_max'")
    values = runs[runs["metric"] == "ma_max"].groupby(
        [REPLICATE, "model", "forget_size", "unlearner"]
    )
    wide = values["value"].mean().unstack("unlearner")
    expected = mean_interval((wide["sga"] - wide["ga"]).groupby(REPLICATE).mean())
    chosen = pair[pair["baseline"] == "ga"].iloc[0]
    assert (chosen["mean"], chosen["low"]) == pytest.approx((expected.mean, expected.low))


def test_the_map_and_the_outliers_count_replicates(results, runs):
    space = solution_space(runs, SolutionSettings(max_outliers=0.9, max_attack=1.0, max_drift=None))
    assert (space["n"] == len(NUMBERS)).all()
    assert (space["lead_n"] == len(NUMBERS)).all()
    assert (candidates(runs, SolutionSettings())["n"] == len(NUMBERS)).all()
    rows = (results[name] for name in ("memorization", "membership", "thresholds"))
    outliers = outlier_table(*rows, JOB)
    assert (outliers["n"] == len(NUMBERS)).all()
    known = outliers.dropna(subset=["boot_low"])
    assert len(known) > 0
    assert (known["boot_low"] <= known["mean"]).mean() > 0.9


def test_two_or_three_replicates_make_nothing_sure(runs):
    few = runs[runs[REPLICATE] < 3]
    found = pooled_difference(few, "ma_spread", "sga", "ga")
    assert found.high < 0
    assert found.n == 3
    assert sign_of(found) == 0
    every = pooled_difference(runs, "ma_spread", "sga", "ga")
    assert (every.n, sign_of(every)) == (4, -1)


# --- how often "sure" is wrong ----------------------------------------------------------------

POOL, SIZES, DRAWS, MODELS = 64, (8, 16, 32), 3, ("small", "medium", "large")
# standard deviations of a paired difference in attack AUC, as a demo has them: of models 0.08, of
# draws within a cell 0.09; a replicate's own is not known from one and taken as smaller
SPREAD = {"replicate": 0.05, "model": 0.07, "draw": 0.03, "sequence": 0.3, "run": 0.03}


def without_effect(replicates: int, rng: np.random.Generator) -> pd.DataFrame:
    """per_run.csv of a whole experiment in which two methods differ by luck alone."""
    rows = []
    for replicate in range(replicates):
        own = rng.normal(0, SPREAD["replicate"])
        of_model = rng.normal(0, SPREAD["model"], len(MODELS))
        of_draw = rng.normal(0, SPREAD["draw"], DRAWS)
        of_sequence = rng.normal(0, SPREAD["sequence"], POOL)
        of_sequence -= of_sequence.mean()  # the pool's mean is the replicate's
        for draw in range(DRAWS):
            order = rng.permutation(POOL)
            for size, (m, model) in product(SIZES, enumerate(MODELS)):
                value = own + of_model[m] + of_draw[draw] + of_sequence[order[:size]].mean()
                value += rng.normal(0, SPREAD["run"])
                rows += [
                    (replicate, model, size, "sga", draw, "attack_auc_worst", 0.7 + value),
                    (replicate, model, size, "ga", draw, "attack_auc_worst", 0.7),
                ]
    columns = [REPLICATE, "model", "forget_size", "unlearner", "seed", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


def sure_by_luck(replicates: int, experiments: int, seed: int) -> float:
    """Share of experiments without effect in which the pooled difference is called sure."""
    rng, sure = np.random.default_rng(seed), 0
    for _ in range(experiments):
        runs = without_effect(replicates, rng)
        runs = runs.drop(columns=REPLICATE) if replicates == 1 else runs
        sure += sign_of(pooled_difference(runs, "attack_auc_worst", "sga", "ga")) != 0
    return sure / experiments


def test_over_replicates_sure_is_wrong_as_seldom_as_it_says():
    assert sure_by_luck(5, 400, seed=1) <= 0.07


def test_over_the_cells_of_one_experiment_sure_is_wrong_often():
    """What pooling cells hides: they share models, pool and replicate, and agree by that alone."""
    assert sure_by_luck(1, 400, seed=2) > 0.25


def test_a_large_effect_is_found():
    runs = without_effect(5, np.random.default_rng(3))
    runs.loc[runs["unlearner"] == "sga", "value"] += 0.3
    found = pooled_difference(runs, "attack_auc_worst", "sga", "ga")
    assert (found.n, sign_of(found)) == (5, 1)
    assert pool_cells(runs.query("unlearner == 'sga'"), ["value"])[1] == POOLED
    values = runs.query("unlearner == 'sga' and model == 'small' and forget_size == 8")
    per_cell = witnessed_mean(values["value"], clusters=values[REPLICATE].to_numpy())
    assert per_cell.n == 5


@pytest.mark.parametrize(
    ("effect", "spread", "alpha", "needed"),
    [
        (1.0, 1.0, 0.05, 10),  # of any table of the t-test's power
        (0.5, 1.0, 0.05, 34),
        (9.0, 1.0, 0.05, 4),
        (0.0, 1.0, 0.05, np.inf),
    ],
)
def test_so_many_replicates_are_needed(effect, spread, alpha, needed):
    assert power.replicates_needed(effect, spread, alpha, 0.8) == needed


@pytest.mark.parametrize(
    ("n", "effect", "alpha"), [(4, 2.0, 0.05), (6, 1.5, 0.001), (30, 0.4, 0.05)]
)
def test_the_power_is_that_of_the_noncentral_t(n, effect, alpha):
    expected = TTestPower().power(effect, n, alpha)
    assert power.found(2 * effect, 2.0, n, alpha) == pytest.approx(expected, abs=2e-3)
    assert power.found(100.0, 1.0, n, alpha) == pytest.approx(1.0, abs=1e-3)


def test_the_spread_is_that_of_replicates_where_they_are():
    runs = without_effect(6, np.random.default_rng(4))
    wide = runs.pivot(index=[REPLICATE, "model", "forget_size", "seed"], columns="unlearner")
    pairs = wide["value"].rename(columns={"sga": "left", "ga": "right"}).reset_index()
    mean, spread = power.spread_of(pairs)
    found = pooled_difference(runs, "attack_auc_worst", "sga", "ga")
    assert mean == pytest.approx(found.mean)
    t = stats.t.ppf(0.975, 5)
    assert spread * t / np.sqrt(6) == pytest.approx(found.high - found.mean)


# --- the workflow -----------------------------------------------------------------------------


def test_the_study_has_five_of_everything(tmp_path):
    folder = copy_project(tmp_path)
    done = snakemake(folder, "--configfile", "config/study.yaml", "-n", "--quiet", "rules")
    assert done.returncode == 0, done.stdout
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    expected = {"make_corpus": 5, "draw_forget_sets": 5, "pretrain": 5 * 3 * 2}
    expected |= {"measure_original": 5 * 3, "attack_original": 5 * 3}
    expected |= dict.fromkeys(("unlearn", "measure_unlearned", "attack_unlearned"), 5 * 3 * 3)
    expected |= dict.fromkeys(("collect", "make_tables", "judge_claims", "draw_figures"), 1)
    assert {name: int(counts[name]) for name in expected} == expected
