"""The map and the verdicts: designed results must be judged as they were designed."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthetic_results import EFFECTS, Effect, Shape, make
from unlearning.analysis.attack_effects import effects
from unlearning.analysis.claims import ClaimSettings, as_json, as_markdown, judge, show
from unlearning.analysis.claims.c2_hidden_outliers import judge_hidden_outliers
from unlearning.analysis.claims.c8_own_target import judge_own_target
from unlearning.analysis.claims.reach import COLUMNS, goals, reach, reach_markdown
from unlearning.analysis.gains import gains_table
from unlearning.analysis.original import original_table
from unlearning.analysis.outliers import REDRAWN
from unlearning.analysis.per_run import per_run, task_values
from unlearning.analysis.rows import TableJob
from unlearning.analysis.solution_space import (
    candidates,
    describe_cell,
    pareto,
    solution_space,
    winner_under,
)
from unlearning.attacks.membership import attack_all
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import write_json
from unlearning.names import METRICS
from unlearning.settings import build
from unlearning.settings.analysis import AttackSettings, SolutionSettings
from unlearning.statistics import RESAMPLES, WITNESSES, Interval

MODELS = ("small", "large")
SETTINGS = build({"models": list(MODELS)}, ClaimSettings, "test")
RULE = SolutionSettings()


def judged(shape: Shape, settings: ClaimSettings = SETTINGS) -> dict:
    """Verdicts by id on made-up results."""
    results = make(shape)
    job = TableJob(models=MODELS, proposals=("sga", "tau"))
    runs = per_run(
        results["memorization"],
        results["membership"],
        attack_all(results["membership"], AttackSettings(resamples=2)),
        effects(results["values"], AttackSettings(resamples=2)),
        task_values(results["utility"]),
        results["runs"],
        results["thresholds"],
        job,
    )
    original = original_table(
        results["memorization"], results["membership"], results["sequences"], job
    )
    gains = gains_table(runs, job)
    space = solution_space(runs, settings, MODELS)
    return {v.id: v for v in judge(runs, original, gains, space, settings)}


@pytest.fixture(scope="module")
def as_claimed():
    """Results in which the paper's methods are better everywhere and harm nothing."""
    effects = {
        "ga": EFFECTS["ga"],
        "ta": EFFECTS["ta"],
        "sga": Effect(0.40, 0.03, 3.2, -0.005, 0.01),
        "tau": Effect(0.40, 0.04, 3.3, -0.005, 0.01),
    }
    return judged(Shape(effects=effects, sizes=(12, 24), items=300))


@pytest.fixture(scope="module")
def opposite():
    """Results in which nothing is memorized and the paper's methods are the worse ones."""
    effects = {
        "ga": Effect(0.40, 0.02, 3.15, -0.01, 0.02),
        "ta": Effect(0.40, 0.02, 3.15, -0.01, 0.02),
        "sga": Effect(0.30, 0.2, 5.0, -0.3, 1.0),
        "tau": Effect(0.30, 0.2, 5.0, -0.3, 1.0),
    }
    return judged(Shape(effects=effects, sizes=(12, 24), model_gain=0.0))


def test_claims_that_hold_are_supported(as_claimed):
    verdicts = {name: v.verdict for name, v in as_claimed.items()}
    assert {verdicts[c] for c in ("C1", "C2", "C3", "C4", "C5", "C7")} == {"supported"}, verdicts


def test_claims_that_do_not_hold_are_refuted(opposite):
    verdicts = {name: v.verdict for name, v in opposite.items()}
    assert {verdicts[c] for c in ("C3", "C4", "C5", "C7")} == {"refuted"}, verdicts
    assert verdicts["C2"] in ("refuted", "undecided")


def test_one_draw_of_one_cell_decides_nothing():
    shape = Shape(models=("small",), sizes=(12,), seeds=(0,))
    verdicts = {name: v.verdict for name, v in judged(shape).items()}
    assert {verdicts[c] for c in ("C2", "C3", "C4", "C5", "C6", "C7")} == {"undecided"}, verdicts


def test_one_sequence_and_one_method_decide_nothing():
    """Not even that nothing is left outside the band, or that the one method wins everywhere."""
    effects = {"ga": Effect(0.33, 0.0, 3.1)}
    shape = Shape(models=("small",), sizes=(1,), seeds=(0,), effects=effects, pool=1, control=False)
    verdicts = judged(shape)
    assert {v.verdict for v in verdicts.values()} == {"undecided"}
    assert "c(D_f) > 0 in 0 of 1 runs" in verdicts["C2"].evidence


def test_equal_methods_decide_nothing():
    same = {name: Effect(0.40, 0.06, 3.3, -0.02, 0.1) for name in ("ga", "sga", "ta", "tau")}
    verdicts = judged(Shape(effects=same, sizes=(8, 12)))
    assert verdicts["C4"].verdict == "undecided"
    assert verdicts["C3"].verdict != "supported"


def excess_verdict(values: list[float], redrawn: pd.DataFrame | None = None) -> str:
    """C2 on runs that met the threshold, one cell each, with this excess of memorized ones."""
    rows = [
        ("m", size, "ga", 0, metric, value)
        for size, excess in enumerate(values)
        for metric, value in {
            "mean_met": 1.0,
            "excess_memorized_rate": excess,
            "excess_outliers_rate": excess,
            "outliers_calibrated": 1.0,
            "outliers_paper": 1.0,
            "under_forgotten_calibrated_rate": excess,
            "over_forgotten_calibrated_rate": 0.0,
            "ma_max": 0.5,
        }.items()
    ]
    columns = ["model", "forget_size", "unlearner", "seed", "metric", "value"]
    return judge_hidden_outliers(pd.DataFrame(rows, columns=columns), SETTINGS, redrawn).verdict


def test_hidden_outliers_need_both_witnesses():
    """As the other claims: Student's interval alone, of three cells, decides nothing."""
    assert excess_verdict([0.10, 0.11, 0.12]) == "undecided"
    assert excess_verdict([0.10, 0.11, 0.12, 0.11]) == "supported"
    assert excess_verdict([-0.10, -0.11, -0.12, -0.11]) == "refuted"
    # the bootstrap's excludes zero, Student's does not
    assert excess_verdict([0.5, 0.02, 0.02, 0.02]) == "undecided"
    assert excess_verdict([0.1] * 4) == "undecided"


@pytest.mark.parametrize(("share", "expected"), [(0.0, "supported"), (0.1, "undecided")])
def test_hidden_outliers_may_hang_on_where_the_band_happened_to_end(share, expected):
    """Under a share of the bands that other unseen sequences would have set there are none."""
    values = [0.10, 0.11, 0.12, 0.11]
    index = [("excess_memorized_rate", "ga", "m", size, 0) for size in range(4)]
    drawn = np.repeat(np.array(values)[:, None], RESAMPLES, axis=1)
    drawn[:, : int(share * RESAMPLES)] = -0.01
    redrawn = pd.DataFrame(drawn, index=pd.MultiIndex.from_tuples(index, names=REDRAWN))
    assert excess_verdict(values, redrawn) == expected


def test_methods_that_were_not_run_leave_claims_undecided():
    verdicts = judged(Shape(effects={"ga": EFFECTS["ga"]}, control=False))
    for name in ("C3", "C4", "C5", "C7"):
        assert verdicts[name].verdict == "undecided"
    assert "no control model" in verdicts["C3"].evidence
    assert "sga - ga, attack_auc_worst: not run" in verdicts["C4"].evidence


def test_evidence_names_numbers_with_intervals_and_n(as_claimed):
    assert as_claimed["C8"].evidence == "twin (ours) was not run"
    for verdict in (as_claimed[f"C{i}"] for i in range(1, 8)):
        assert verdict.rule
        assert "n = " in verdict.evidence
        assert "[" in verdict.evidence
        assert "n counts" in verdict.rule


def test_the_map_and_the_second_hand_statement_are_in_the_evidence(as_claimed):
    evidence = as_claimed["C6"].evidence
    for model in MODELS:
        for size in (12, 24):
            assert f"{model}, {size} sequences" in evidence
    assert "'TA is good on the small model' (small): does not hold" in evidence
    assert "'SGA and TAU are more robust on larger models': " in evidence


def test_without_an_order_the_smallest_model_is_the_first_of_the_map():
    shape = Shape(sizes=(12,), seeds=(0, 1))
    verdicts = judged(shape, ClaimSettings())
    assert "'TA is good on the small model' (small)" in verdicts["C6"].evidence


def test_verdicts_can_be_written(as_claimed, tmp_path):
    write_json(as_json(list(as_claimed.values())), tmp_path / "claims.json")
    back = json.loads((tmp_path / "claims.json").read_text())
    assert [entry["id"] for entry in back] == [f"C{i}" for i in range(1, 9)]
    assert set(back[0]) == {"id", "claim", "verdict", "evidence", "rule"}
    page = as_markdown(list(as_claimed.values()))
    for entry in back:
        assert entry["rule"] in page
        assert f"## {entry['id']}: {entry['verdict']}" in page


def test_show():
    assert show(Interval(0.5, 0.25, 0.75, 3)) == "+0.500 [+0.250, +0.750], n = 3"
    assert show(Interval(0.5, np.nan, np.nan, 1), signed=False) == "0.500 no interval, n = 1"
    assert show(Interval(np.nan, np.nan, np.nan, 0)) == "no value, n = 0"


# The map -----------------------------------------------------------------------------------------


def cell(**methods: dict[str, list[float]]) -> pd.DataFrame:
    """Values per run of one cell: label = {"outliers": [...], "attack": [...], "utility": [...]}

    Unseen sequences hardly drift where nothing is said of them.
    """
    names = {
        "outliers": RULE.outlier_metric,
        "attack": RULE.attack_metric,
        "utility": RULE.utility_metric,
        "drift": "unseen_drift",
        "diverged": "n_diverged",
    }
    methods = {
        label: {"drift": [0.001 * (seed + 1) for seed in range(len(kinds["utility"]))]} | kinds
        for label, kinds in methods.items()
    }
    rows = [
        ("small", 8, label, seed, names[kind], value)
        for label, kinds in methods.items()
        for kind, values in kinds.items()
        for seed, value in enumerate(values)
    ]
    columns = ["model", "forget_size", "unlearner", "seed", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


PRIVATE = {"outliers": [0.0, 0.02, 0.01, 0.01], "attack": [0.55, 0.60, 0.57, 0.58]}
EXPOSED = {"outliers": [0.3, 0.4, 0.35, 0.33], "attack": [0.9, 0.95, 0.92, 0.93]}
BARELY = {"outliers": [0.0, 0.35, 0.05, 0.1], "attack": [0.5, 0.6, 0.5, 0.5], "utility": [0.9] * 4}


def decide(**methods) -> pd.Series:
    table = solution_space(cell(**methods), RULE)
    assert len(table) == 1
    return table.iloc[0]


def test_the_best_utility_among_the_feasible_wins_surely():
    row = decide(
        ga=EXPOSED | {"utility": [0.9, 0.91, 0.9, 0.9]},
        sga=PRIVATE | {"utility": [0.80, 0.81, 0.79, 0.80]},
        ta=PRIVATE | {"utility": [0.60, 0.62, 0.60, 0.61]},
        original=PRIVATE | {"utility": [1.0, 1.0, 1.0, 1.0]},
    )
    assert (row["winner"], row["runner_up"], row["tied"]) == ("sga", "ta", "")
    assert row["sure_lead"]
    assert row["sure_feasible"]
    assert row["feasible"] == "sga;ta"
    assert row["lead"] == pytest.approx(0.8 - 2.43 / 4)
    assert row["lead_low"] > 0
    assert describe_cell(row) == "small, 8 sequences: SGA (sure lead)"


def test_an_interval_that_includes_zero_is_a_tie():
    row = decide(
        sga=PRIVATE | {"utility": [0.80, 0.70, 0.75, 0.75]},
        tau=PRIVATE | {"utility": [0.70, 0.74, 0.74, 0.74]},
    )
    assert (row["winner"], row["tied"], bool(row["sure_lead"])) == ("sga", "tau", False)
    assert row["lead_low"] < 0 < row["lead_high"]
    assert "tied with TAU" in describe_cell(row)


def test_without_a_feasible_method_the_nearest_is_named():
    row = decide(
        ga=EXPOSED | {"utility": [0.9, 0.9, 0.9, 0.9]},
        sga={"outliers": [0.12] * 4, "attack": [0.76] * 4, "utility": [0.5] * 4},
    )
    assert (row["winner"], row["n_feasible"], row["nearest"]) == ("", 0, "sga")
    assert row["nearest_excess"] == pytest.approx(1.2)
    assert describe_cell(row) == "small, 8 sequences: none feasible, nearest SGA"


def test_a_diverged_run_rules_a_method_out():
    row = decide(
        sga=PRIVATE | {"utility": [0.9, 0.9, 0.9, np.nan], "diverged": [0, 0, 0, 1]},
        tau=PRIVATE | {"utility": [0.5, 0.5, 0.5, 0.5], "diverged": [0, 0, 0, 0]},
    )
    assert (row["winner"], row["feasible"]) == ("tau", "tau")


def test_the_only_feasible_method_leads_surely_if_the_others_surely_fail():
    private = PRIVATE | {"utility": [0.5, 0.5, 0.5, 0.5]}
    row = decide(sga=private, ga=EXPOSED | {"utility": [0.9, 0.9, 0.9, 0.9]})
    assert (row["winner"], row["runner_up"], bool(row["sure_lead"])) == ("sga", "", True)
    row = decide(sga=private, ga=BARELY)
    assert (row["winner"], bool(row["sure_lead"])) == ("sga", False)


def test_a_metric_where_less_is_better_can_decide():
    rule = dataclasses.replace(RULE, utility_metric="perplexity")
    table = cell(
        sga=PRIVATE | {"utility": [5.0, 5.2, 5.1, 5.1]},
        tau=PRIVATE | {"utility": [9.0, 9.1, 9.3, 9.1]},
    ).replace("utility_accuracy", "perplexity")
    row = solution_space(table, rule).iloc[0]
    assert row["winner"] == "sga"
    assert row["lead"] > 0
    assert row["sure_lead"]


POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8)


@given(POINTS)
def test_the_pareto_front_is_what_no_other_point_beats(points):
    def beaten(point):
        return any(
            other[0] <= point[0] and other[1] >= point[1] and other != point for other in points
        )

    front = pareto(*zip(*points, strict=True))
    assert front.tolist() == [not beaten(point) for point in points]


def test_a_point_without_a_value_is_on_no_front():
    assert pareto([np.nan, 0.5, 0.1], [0.9, 0.5, np.nan]).tolist() == [False, True, False]


SHARES = st.lists(st.integers(0, 10).map(lambda i: i / 10), min_size=2, max_size=2)
METHOD = st.fixed_dictionaries({"outliers": SHARES, "attack": SHARES, "utility": SHARES})


@settings(max_examples=50, deadline=None)
@given(
    st.fixed_dictionaries({name: METHOD for name in ("ga", "sga", "mine")}),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_other_limits_give_the_map_of_those_limits(methods, outliers, attack):
    """The short way from the ranked methods agrees with the whole rule run again."""
    rule = dataclasses.replace(RULE, max_outliers=outliers / 20, max_attack=attack / 20)
    runs = cell(**methods)
    space = solution_space(runs, rule).iloc[0]
    table = candidates(runs, RULE)
    assert winner_under(table, rule.max_outliers, rule.max_attack) == space["winner"]
    ranked = candidates(runs, rule)
    assert ranked["rank"].tolist() == [1, 2, 3]
    assert ranked["unlearner"].iloc[0] == (space["winner"] or space["nearest"])
    assert ranked["safe"].sum() == space["n_feasible"]


def test_a_diverged_method_comes_last_and_is_on_no_front():
    lost = PRIVATE | {"utility": [0.9, 0.9, 0.9, 0.9], "diverged": [0, 0, 0, 1]}
    table = candidates(cell(ga=lost, sga=EXPOSED | {"utility": [0.5] * 4}), RULE)
    assert table["unlearner"].tolist() == ["sga", "ga"]
    assert table["pareto_attack"].tolist() == table["pareto_outliers"].tolist() == [True, False]
    assert winner_under(table, 1.0, 1.0) == "sga"


def test_that_nobody_is_feasible_is_sure_if_each_surely_breaks_a_limit():
    lost = EXPOSED | {"utility": [0.9, 0.9, 0.9, 0.9]}
    assert decide(ga=lost, sga=lost)["sure_none"]
    assert not decide(ga=lost, sga=BARELY)["sure_none"]
    assert not decide(ga=lost, sga=PRIVATE | {"utility": [0.9] * 4})["sure_none"]


@pytest.mark.parametrize("n", [2, 3])
def test_fewer_than_four_draws_make_nothing_sure(n):
    """Neither equal ones, whose interval has no width, nor distinct ones."""
    lost = {"outliers": [0.5] * n, "attack": [0.97] * n}
    for broken in (lost, {name: values[:n] for name, values in EXPOSED.items()}):
        row = decide(ga=broken | {"utility": [0.9] * n}, sga=broken | {"utility": [0.8] * n})
        assert not row["winner"]
        assert not row["sure_none"]
    kept = {name: values[:n] for name, values in PRIVATE.items()}
    spread = [0.80, 0.81, 0.79][:n]
    row = decide(sga=kept | {"utility": spread}, ta=kept | {"utility": [0.1, 0.12, 0.1][:n]})
    assert row["winner"] == "sga"
    assert not row["sure_lead"]
    assert not row["sure_feasible"]
    assert np.isfinite([row["lead_low"], row["lead_high"]]).all()
    row = decide(sga={"outliers": [0.0] * 4, "attack": [0.5] * 4, "utility": [0.5] * 4})
    assert not row["sure_feasible"]
    assert np.isnan([row["utility_low"], row["utility_high"]]).all()


def test_the_rule_says_how_many_draws_it_needs():
    assert f"fewer than {('two', 'three', 'four', 'five')[WITNESSES - 2]} draws" in RULE.rule()


def test_a_mean_at_its_limit_keeps_it_whatever_the_rounding():
    at = {"outliers": [0.1 + 1e-12] * 4, "attack": [0.75 + 1e-12] * 4, "utility": [0.5] * 4}
    beyond = {"outliers": [0.1 + 1e-4] * 4, "attack": [0.75] * 4, "utility": [0.9] * 4}
    assert decide(sga=at, ga=beyond)["feasible"] == "sga"
    table = candidates(cell(sga=at, ga=beyond), RULE)
    assert winner_under(table, RULE.max_outliers, RULE.max_attack) == "sga"


def test_who_spoils_what_was_never_seen_is_not_safe():
    """However well it hides the set; null does not ask for it."""
    hidden = PRIVATE | {"utility": [0.9] * 4, "drift": [1.0, 1.1, 1.2, 0.9]}
    kept = PRIVATE | {"utility": [0.5] * 4}
    row = decide(ga=hidden, sga=kept)
    assert (row["winner"], row["feasible"]) == ("sga", "sga")
    table = candidates(cell(ga=hidden, sga=kept), RULE)
    assert dict(zip(table["unlearner"], table["held"], strict=True)) == {"sga": True, "ga": False}
    assert table.set_index("unlearner").loc["ga", "excess"] == pytest.approx(10.5)
    assert winner_under(table, 1.0, 1.0) == "sga"
    without = dataclasses.replace(RULE, max_drift=None)
    assert solution_space(cell(ga=hidden, sga=kept), without).iloc[0]["winner"] == "ga"
    alone = decide(ga=hidden)
    assert alone["sure_none"]


# C8, ours --------------------------------------------------------------------------------------


def own_target(above: dict[str, float], drift: float = 0.02, cells: int = 6) -> str:
    """C8 where the attacks find so much more of the method than of the control, cell by cell."""
    metrics = ("worst", "worst_one", "learned", "token_level", "observer", "strictest")
    rows = []
    for size in range(cells):
        noise = 0.002 * (size % 3 - 1)
        for metric in metrics:
            name = f"attack_auc_{metric}"
            rows.append(("m", size, "control", 0, name, 0.55))
            rows.append(("m", size, "twin", 0, name, 0.55 + above.get(metric, 0.0) + noise))
        rows.append(("m", size, "original", 0, "unseen_drift", 0.0))
        rows.append(("m", size, "twin", 0, "unseen_drift", drift + noise))
    columns = ["model", "forget_size", "unlearner", "seed", "metric", "value"]
    return judge_own_target(pd.DataFrame(rows, columns=columns), SETTINGS).verdict


@pytest.mark.parametrize(
    ("above", "drift", "expected"),
    [
        ({}, 0.02, "supported"),
        ({"observer": 0.07, "learned": 0.04, "worst": 0.02}, 0.02, "supported"),
        ({"observer": 0.15}, 0.02, "refuted"),
        ({"worst_one": 0.10}, 0.02, "refuted"),
        ({"strictest": 0.15}, 0.02, "refuted"),
        ({"learned": 0.05}, 0.02, "undecided"),
        ({}, 0.5, "refuted"),
    ],
)
def test_a_target_of_its_own_is_judged_by_every_attack_and_by_who_pays(above, drift, expected):
    assert own_target(above, drift) == expected


def reached(**changes: float) -> pd.Series:
    """Which goals are reached where the method is so much worse than who it is compared with."""
    worse = {goal.metric: 0.0 for goal in goals(SETTINGS)} | changes
    rows = []
    for goal in goals(SETTINGS):
        sign = -1 if METRICS[goal.metric].better == "higher" else 1
        for size in range(6):
            value = sign * (worse[goal.metric] + 0.001 * (size % 3 - 1))
            rows.append(("m", size, goal.than, 0, goal.metric, 0.5))
            rows.append(("m", size, "twin", 0, goal.metric, 0.5 + value))
    columns = ["model", "forget_size", "unlearner", "seed", "metric", "value"]
    table = reach(pd.DataFrame(rows, columns=columns), SETTINGS)
    assert table.columns.tolist() == COLUMNS
    page = reach_markdown(table)
    assert page.count(" yes |") == (table["reached"] == "yes").sum()
    assert page.count(" **no** |") == (table["reached"] == "no").sum()
    return table.set_index("metric")


def test_every_goal_is_told_with_how_far_it_is_off():
    limits = {goal.metric: goal.limit for goal in goals(SETTINGS)}
    assert (reached()["reached"] == "yes").all()
    for metric, limit in limits.items():
        missed = reached(**{metric: 2 * limit + 0.01})
        assert missed.loc[metric, "reached"] == "no"
        assert missed.loc[metric, "mean"] == pytest.approx(2 * limit + 0.01)
        assert missed.loc[metric, "n"] == 6
        assert (missed["reached"] == "yes").sum() == len(limits) - 1
        assert reached(**{metric: limit}).loc[metric, "reached"] == "not sure"


def test_a_goal_that_was_not_measured_is_not_reached():
    runs = pd.DataFrame(
        [("m", 8, who, 0, "attack_auc_worst", 0.5) for who in ("twin", "control")],
        columns=["model", "forget_size", "unlearner", "seed", "metric", "value"],
    )
    table = reach(runs, SETTINGS).set_index("metric")
    assert set(table["reached"].drop("attack_auc_worst")) == {"not measured"}
    other = reach(runs[runs["unlearner"] == "control"], SETTINGS)
    assert other.empty
    assert reach_markdown(other) == ""


def test_every_method_is_held_to_the_goals_in_the_order_of_the_legends():
    rows = [
        ("m", size, who, 0, "attack_auc_worst", level + (who != "control") * 0.001 * (size % 3))
        for who, level in [
            ("control", 0.5),
            ("own", 0.5),
            ("twin", 0.5),
            ("ga", 0.8),
            ("original", 1),
        ]
        for size in range(6)
    ]
    columns = ["model", "forget_size", "unlearner", "seed", "metric", "value"]
    table = reach(pd.DataFrame(rows, columns=columns), SETTINGS)
    assert list(dict.fromkeys(table["method"])) == ["ga", "twin", "own"]
    first = table[table["metric"] == "attack_auc_worst"].set_index("method")
    assert first["reached"].to_dict() == {"ga": "no", "twin": "yes", "own": "yes"}
    assert "| 0.03 | +0.30 **no** | +0.00 yes | +0.00 yes |" in reach_markdown(table)


def test_three_cells_do_not_decide_it():
    assert own_target({}, cells=3) == "undecided"


def test_bad_input_is_named():
    with pytest.raises(InputError, match="did you mean 'ma_max'"):
        build({"outlier_metric": "ma_maxi"}, SolutionSettings, "config")
    with pytest.raises(InputError, match="no better direction"):
        build({"utility_metric": "epochs"}, SolutionSettings, "config")
    with pytest.raises(InputError, match="no values of 'attack_auc_strictest'"):
        solution_space(cell(sga={"outliers": [0.1], "utility": [0.5]}), RULE)
