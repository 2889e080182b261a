"""Tuning: the same effort for every method, one criterion, and what it chooses is what runs."""

import copy
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPTNeoConfig, GPTNeoForCausalLM

import choose_settings
import tune_unlearner
import unlearn
from running import ROOT, SMOKE, copy_project, snakemake
from unlearning import unlearners
from unlearning.analysis.tuning import choose, damage, measures
from unlearning.configuration import check, grid_points, tuning_runs
from unlearning.data.sequences import draw_forget_sets
from unlearning.jobs.errors import InputError
from unlearning.jobs.files import write_csv, write_parquet
from unlearning.settings.tuning import TuningSettings
from unlearning.unlearners.grid import at_point, points_of, with_chosen

VOCABULARY = 40
LIMITS = TuningSettings(grids={"x": {"relative_rate": (1,)}}, sizes=(4,), seeds=(9,))
GRIDS = {
    "ga": {"relative_rate": [0.5, 1, 2, 4]},
    "ta": {"relative_rate": [0.5, 2], "k": [-3, -1]},
}


def trials(*points: dict, label: str = "x") -> pd.DataFrame:
    """Runs of two models at each point; what a point does not say is harmless and equal."""
    usual = {"status": "stopped", "attack": 0.6, "rise": 0.01, "drift": 0.01}
    rows = [
        {"model": model, "forget_size": 4, "unlearner": label, "seed": 9, "point": number}
        | {"settings": json.dumps({"relative_rate": number})}
        | usual
        | point
        for number, point in enumerate(points)
        for model in ("a", "b")
    ]
    return pd.DataFrame(rows)


def chosen(*points: dict) -> int:
    table = choose(trials(*points), LIMITS)
    assert table["chosen"].sum() == 1
    assert sorted(table["rank"]) == list(range(1, len(points) + 1))
    return int(table.loc[table["chosen"], "point"].iloc[0])


# --- the criterion ------------------------------------------------------------------------------


def test_privacy_goes_before_utility_within_the_limits():
    assert chosen({"attack": 0.60, "rise": 0.01}, {"attack": 0.55, "rise": 0.09}) == 1


@pytest.mark.parametrize("harm", [{"rise": 0.11}, {"drift": 0.11}])
def test_who_breaks_a_limit_is_behind_all_who_keep_it(harm):
    assert chosen({"attack": 0.5} | harm, {"attack": 0.9}) == 1


def test_where_nobody_keeps_the_limits_the_least_damage_goes_first():
    assert chosen({"attack": 0.5, "drift": 0.4}, {"attack": 0.9, "rise": 0.3}) == 1


def test_who_failed_to_forget_loses_however_little_it_harmed():
    lost = {"status": "diverged", "attack": np.nan, "rise": np.nan, "drift": np.nan}
    assert chosen(lost, {"attack": 0.99, "rise": 5.0}) == 1
    assert chosen({"status": "cap", "attack": 0.5}, {"attack": 0.99, "rise": 5.0}) == 1


def test_diverged_runs_are_told():
    lost = {"status": "diverged", "attack": np.nan, "rise": np.nan, "drift": np.nan}
    row = choose(trials(lost, {}), LIMITS).iloc[0]
    assert (row["diverged"], row["n"], row["rank"]) == (2, 0, 2)
    assert np.isnan(row["attack"])


def test_ties_fall_to_utility_and_then_to_the_order_of_the_grid():
    assert chosen({"rise": 0.02}, {"rise": 0.01}) == 1
    assert chosen({}, {}, {}) == 0
    assert chosen({"attack": 0.6 + 1e-12}, {"attack": 0.6}) == 0  # rounding decides nothing


def test_text_that_is_not_there_takes_no_part():
    assert chosen({"rise": np.nan, "drift": 0.2}, {"rise": np.nan, "attack": 0.9}) == 1
    assert damage(np.nan, np.nan, LIMITS) == 0


def test_each_mean_has_an_interval_and_its_number():
    runs = trials({})
    runs["attack"] = [0.5, 0.7]
    row = choose(runs, LIMITS).iloc[0]
    assert (row["attack"], row["n"]) == (pytest.approx(0.6), 2)
    assert row["attack_low"] < 0.5 < 0.7 < row["attack_high"]


values = st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.4, 0.6])


@given(
    st.lists(
        st.tuples(st.sampled_from(["stopped", "cap"]), values, values, values),
        min_size=1, max_size=6,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_choice_is_that_of_the_criterion_read_aloud(points, random):
    """A slow reference: of all points drop, sentence by sentence, those that lose."""
    names = ("status", "attack", "rise", "drift")
    runs = trials(*(dict(zip(names, point, strict=True)) for point in points))
    order = list(range(len(runs)))
    random.shuffle(order)  # rows come from jobs in any order
    left = list(range(len(points)))

    def keep_least(value):
        least = min(value(i) for i in left)
        left[:] = [i for i in left if value(i) <= least]

    keep_least(lambda i: points[i][0] == "cap")
    harm = [max(rise / 0.1, drift / 0.1) for _, _, rise, drift in points]
    if any(harm[i] <= 1 for i in left):
        left = [i for i in left if harm[i] <= 1]
    else:
        keep_least(lambda i: harm[i])
    keep_least(lambda i: points[i][1])
    keep_least(lambda i: points[i][2])
    table = choose(runs.iloc[order], LIMITS)
    assert table.loc[table["chosen"], "point"].tolist() == [left[0]]


def test_the_measures_of_a_run_are_those_that_are_reported():
    """A forget set whose loss lies below all of the sequences compared with is found for sure."""
    ids = [f"f{i}" for i in range(4)] + [f"u{i}" for i in range(8)]
    split = ["forget"] * 4 + ["unseen"] * 8
    half = [""] * 4 + ["threshold"] * 4 + ["attack"] * 4
    table = pd.DataFrame({"sequence_id": ids, "split": split, "half": half, "extracted": 0.0})
    table = table.assign(model="a", forget_size=4, seed=9, ma=0.5, el=np.nan, min_k=-1.0)
    table["min_k_plus_plus"] = 0.0
    loss = np.array([1.0] * 4 + [3.0] * 4 + [3.1, 2.9, 3.2, 3.0])
    before = table.assign(unlearner="original", loss=loss - 0.5)
    after = table.assign(unlearner="x", loss=loss)
    found = measures(pd.concat([before, after], ignore_index=True), 2.0, 2.25)
    assert found == {"attack": 1.0, "rise": 0.25, "drift": pytest.approx(0.5)}


# --- the grid -----------------------------------------------------------------------------------


def config(**tuning) -> dict:
    made = yaml.safe_load((ROOT / SMOKE).read_text())
    labels = {label: made["unlearners"][label] for label in GRIDS}
    labels["ta"] = labels["ta"] | {"settings": "tuned"}
    usual = {"sizes": [4], "seeds": [100], "grids": copy.deepcopy(GRIDS)}
    return made | {"unlearners": labels, "tuning": usual | tuning}


def test_points_are_all_combinations_in_order():
    assert points_of(GRIDS["ta"]) == [
        {"k": k, "relative_rate": rate} for k, rate in itertools.product([-3, -1], [0.5, 2])
    ]


def test_a_point_goes_over_the_block_and_into_what_the_method_has_by_default():
    block = {"method": "npo", "settings": "tuned"}
    made = at_point("npo", block, {"retain.weight": 4, "relative_rate": 2})
    plan = unlearners.plan("npo", made)
    assert (plan.retain.kind, plan.retain.weight, plan.rate(0.5)) == ("nll", 4, 1.0)
    assert block == {"method": "npo", "settings": "tuned"}


def test_rates_are_multiples_of_each_model_s_own():
    block = {"method": "gradient_ascent"}
    assert unlearners.plan("ga", block).rate(0.2) == 0.2
    assert unlearners.plan("ga", block | {"relative_rate": 3}).rate(0.2) == pytest.approx(0.6)
    assert unlearners.plan("ga", block | {"learning_rate": 3}).rate(0.2) == 3
    with pytest.raises(InputError, match="learning_rate and relative_rate"):
        unlearners.plan("ga", block | {"learning_rate": 1, "relative_rate": 1})


def test_jobs_can_be_counted():
    checked = check(config(sizes=[2, 4], seeds=[7, 8, 9]))
    assert grid_points(checked["tuning"]["grids"]) == {"ga": 4, "ta": 4}
    assert tuning_runs(checked) == 1 * 2 * 3 * 8
    del checked["unlearners"]["ga"]  # a method that was left out may keep its grid
    assert tuning_runs(check(checked)) == 1 * 2 * 3 * 4
    checked["unlearners"]["ta"]["settings"] = "published"
    assert tuning_runs(checked) == 0


def test_a_checked_config_stays_as_it_is():
    checked = check(config())
    assert check(copy.deepcopy(checked)) == checked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1]}, "tuning.seeds: 1 is in forget_sets.seeds too"),
        ({"seeds": [100, 100]}, r"tuning.seeds: \[100, 100\] has one twice"),
        ({"models": ["tinny"]}, "tuning.models: there is no model 'tinny'; did you mean 'tiny'"),
        ({"sizes": [16]}, "tuning.sizes: 16 takes the whole pool of 16"),
        ({"grids": {"ta": {"k": [-1, -2]}, "ga": {"relative_rate": [1]}}}, "ga: has 1 points"),
        ({"grids": {"ga": {"relative_rate": [1]}}}, "'tuned', and tuning.grids has no 'ta'"),
        ({"grids": {"ta": {"k": [-1, 1]}}}, "unlearners.ta: k: input should be less than 0"),
        ({"grids": {"ta": {"k": [-1, -1]}}}, "tuning.grids.ta: has a point twice"),
        ({"grids": {"ta": {"kk": [-1]}}}, "unlearners.ta: unknown key 'kk'"),
        ({"grids": {"ta": {"stop": ["mean"]}}}, "'stop' is no setting to tune"),
        ({"grids": {"ta": {"retain.weight": [2]}}}, "the block has no 'retain'"),
        ({"grids": {"ta": {"k": []}}}, "tuning.grids.ta.k: "),
        ({"max_rise": 0}, "tuning.max_rise: "),
    ],
)
def test_a_tuning_that_is_not_fair_or_not_clean_is_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message) as refused:
        check(config(**change))
    assert "\n" not in str(refused.value)


def test_a_tuned_label_without_a_tuning_is_refused():
    made = config()
    del made["tuning"]
    with pytest.raises(InputError, match="unlearners.ta.settings: 'tuned', and tuning.grids has"):
        check(made)


def test_chosen_settings_that_are_not_given_are_refused(tmp_path):
    blocks = {"ta": {"method": "task_arithmetic", "settings": "tuned"}, "ga": {"method": "x"}}
    with pytest.raises(InputError, match="unlearners.ta: its settings are tuned, and no file"):
        with_chosen(blocks, [])
    (tmp_path / "ta.json").write_text('{"ta": {"k": -2}}')
    made = with_chosen(blocks, [tmp_path / "ta.json"])
    assert made == {"ta": {"method": "task_arithmetic", "k": -2}, "ga": {"method": "x"}}


# --- the jobs -----------------------------------------------------------------------------------


def plan_of(folder: Path, config: dict, *targets: str) -> str:
    (folder / "tuned.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(folder, *targets, "-n", "-p", "--configfile", "tuned.yaml")
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_only_tuned_labels_wait_for_the_tuning(tmp_path):
    folder = copy_project(tmp_path)
    blocks = {"jobs": {"split_by": ["unlearner"]}, "shadows": {"models": ["tiny"], "count": 8}}
    tuned = plan_of(folder, config() | blocks)
    assert "rule tune_unlearner" in tuned
    commands = [line for line in tuned.splitlines() if "scripts/unlearn.py --model" in line]
    assert sorted("--tuned" in command for command in commands) == [False, True]
    assert sum("tuning/chosen/ta.json" in command for command in commands) == 1
    # a shadow is made to forget by all methods
    shadows = [line for line in tuned.splitlines() if "scripts/unlearn_shadow.py --model" in line]
    assert len(shadows) == 8
    assert all("--tuned results/smoke/tuning/chosen/ta.json" in command for command in shadows)


def test_where_nothing_is_tuned_the_plan_is_as_if_there_were_no_grids(tmp_path):
    folder, made = copy_project(tmp_path), config()
    made["unlearners"]["ta"].pop("settings")
    with_grids = plan_of(folder, made)
    del made["tuning"]
    without = plan_of(folder, made)
    commands = [
        sorted(line.split() for line in text.splitlines() if "Shell command: " in line)
        for text in (with_grids, without)
    ]
    for each in commands:  # the record of the run holds the whole config
        each[:] = [words for words in each if "scripts/record_provenance.py" not in words]
    assert len(commands[0]) > 10
    assert commands[0] == commands[1]
    assert "tune_unlearner" not in with_grids
    assert "--tuned" not in with_grids


def test_files_of_several_grids_can_be_asked_for_at_once(tmp_path):
    """In a folder that nothing was planned in: what jobs wait for must be there by then."""
    folder = copy_project(tmp_path)
    (folder / "tuned.yaml").write_text(yaml.safe_dump(config()))
    targets = [f"results/smoke/tuning/tiny/{label}.parquet" for label in GRIDS]
    done = snakemake(folder, *targets, "-n", "--configfile", "tuned.yaml")
    assert done.returncode == 0, done.stdout


def test_a_target_of_its_own_tunes_all_grids(tmp_path):
    folder, made = copy_project(tmp_path), config()
    made["unlearners"]["ta"].pop("settings")
    text = plan_of(folder, made, "tune")
    assert "rule choose_settings" in text
    assert "rule unlearn:" not in text
    del made["tuning"]
    (folder / "tuned.yaml").write_text(yaml.safe_dump(made))
    refused = snakemake(folder, "tune", "-n", "--configfile", "tuned.yaml")
    assert refused.returncode
    assert "there is nothing to tune; give its grids" in refused.stdout


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A folder with what the jobs read: a tiny model, 6 sequences to forget, 12 unseen ones."""
    torch.manual_seed(0)
    tiny = GPTNeoConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_layers=2, num_heads=2, window_size=4,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=16,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPTNeoForCausalLM(tiny).save_pretrained(tmp_path / "model")
    generator = np.random.default_rng(0)
    ids = [f"p{i}" for i in range(6)] + [f"u{i}" for i in range(12)]
    sequences = pd.DataFrame(
        {
            "sequence_id": ids,
            "split": ["planted"] * 6 + ["unseen"] * 12,
            "repetitions": [4] * 6 + [0] * 12,
            "tokens": list(generator.integers(1, VOCABULARY, size=(18, 12), dtype=np.int32)),
            "half": [""] * 6 + ["threshold"] * 8 + ["attack"] * 4,
        }
    )
    write_parquet(sequences, tmp_path / "sequences.parquet")
    write_parquet(draw_forget_sets(ids[:6], [4], [0]), tmp_path / "forget_sets.parquet")
    limits = {"ma_mean": -1.0, "el_mean": 0.0, "calibrated_low": 0.0, "calibrated_high": 0.2}
    write_csv(pd.DataFrame([limits]), tmp_path / "thresholds.csv")
    background = generator.integers(1, VOCABULARY, size=(20, 12), dtype=np.uint16)
    np.save(tmp_path / "background.npy", background)
    return tmp_path


SHARED = {"learning_rate": 0.01, "micro_batch": 2, "max_epochs": 3}
BLOCK = {"method": "task_arithmetic", "settings": "tuned", "ascend_until": None}
GRID = {"relative_rate": [0.5, 2], "k": [-3, -1]}


def call(main, monkeypatch, **options) -> None:
    """Call a script with options; "a_b" is `--a-b`, a list several words."""
    words = []
    for name, value in options.items():
        listed = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, listed)]
    monkeypatch.setattr(sys, "argv", ["script", *words])
    main()


def tune(inputs: Path, monkeypatch, name: str, **changes) -> pd.DataFrame:
    measurement = {"ngram": 2, "extraction_suffix": 3, "tasks": {"x": "choice"}}
    settings = {"label": "ta", "block": BLOCK, "grid": GRID, "sizes": [4], "seeds": [100]}
    settings |= {"unlearning": SHARED, "measurement": measurement} | changes
    output = inputs / f"{name}.parquet"
    call(
        tune_unlearner.main, monkeypatch, name="tiny", model=inputs / "model",
        sequences=inputs / "sequences.parquet", background=inputs / "background.npy",
        thresholds=inputs / "thresholds.csv", settings=json.dumps(settings),
        work=inputs / f"{name}.work", output=output,
    )  # fmt: skip
    assert not (inputs / f"{name}.work").exists()
    return pd.read_parquet(output)


def choice(inputs: Path, monkeypatch, name: str) -> Path:
    tuning = {"grids": {"ta": GRID}, "sizes": [4], "seeds": [100]}
    settings = json.dumps({"tuning": tuning, "unlearners": {"ta": BLOCK}})
    call(
        choose_settings.main, monkeypatch, runs=[inputs / f"{name}.parquet"], settings=settings,
        table=inputs / f"{name}.csv", chosen=inputs / f"{name}.chosen",
    )  # fmt: skip
    return inputs / f"{name}.chosen"


def test_every_point_is_tried_as_its_settings_say(inputs, monkeypatch):
    runs = tune(inputs, monkeypatch, "whole")
    assert [json.loads(text) for text in runs["settings"]] == points_of(GRID)
    assert runs["learning_rate"].tolist() == [0.005, 0.02, 0.005, 0.02]
    assert runs["attack"].between(0.5, 1).all()
    # a larger edit moves the model farther
    assert runs.loc[0, "drift"] > runs.loc[2, "drift"]
    assert set(runs["calibration"]) == {4}


def test_a_cut_job_goes_on_to_the_same_choice(inputs, monkeypatch):
    whole = tune(inputs, monkeypatch, "whole")
    tried, made = tune_unlearner.tried, []

    def cut(settings, arguments, trial):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(trial)
        return tried(settings, arguments, trial)

    with monkeypatch.context() as patched:
        patched.setattr(tune_unlearner, "tried", cut)
        with pytest.raises(KeyboardInterrupt):
            tune(inputs, patched, "cut")
    assert not (inputs / "cut.parquet").exists()
    again = []
    monkeypatch.setattr(
        tune_unlearner, "tried", lambda *asked: (again.append(asked[2]), tried(*asked))[1]
    )
    resumed = tune(inputs, monkeypatch, "cut")
    assert [trial.point for trial in again] == [2, 3]
    pd.testing.assert_frame_equal(
        whole.drop(columns="seconds"), resumed.drop(columns="seconds"), check_exact=True
    )
    folders = [choice(inputs, monkeypatch, name) for name in ("whole", "cut")]
    for name in ("ta.json", "unlearners.yaml"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert (inputs / "whole.csv").read_bytes() == (inputs / "cut.csv").read_bytes()


def test_the_chosen_point_reaches_the_unlearner(inputs, monkeypatch):
    tune(inputs, monkeypatch, "runs")
    folder = choice(inputs, monkeypatch, "runs")
    table = pd.read_csv(inputs / "runs.csv")
    point = json.loads(table.loc[table["chosen"], "settings"].iloc[0])
    assert json.loads((folder / "ta.json").read_text()) == {"ta": point}
    line = yaml.safe_load((folder / "unlearners.yaml").read_text())["ta"]
    assert line == {"method": "task_arithmetic", "ascend_until": None} | point

    def unlearned(name: str, block: dict, *tuned: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        settings = SHARED | {"cells": [[4, "ta", 0]], "unlearners": {"ta": block}, "ngram": 2}
        out = inputs / name
        paths = {key: inputs / f"{key}.parquet" for key in ("sequences", "forget_sets")}
        call(
            unlearn.main, monkeypatch, name="tiny", **paths, model=inputs / "model",
            background=inputs / "background.npy", thresholds=inputs / "thresholds.csv",
            settings=json.dumps(settings), tuned=list(tuned), work=out / "work",
            checkpoints=out / "checkpoints", history=out / "history.parquet",
            runs=out / "runs.parquet",
        )  # fmt: skip
        return tuple(pd.read_parquet(out / f"{name}.parquet") for name in ("history", "runs"))

    history, runs = unlearned("tuned", BLOCK, folder / "ta.json")
    assert runs.loc[0, "learning_rate"] == SHARED["learning_rate"] * point["relative_rate"]
    # written out in the config the same settings give the same run, another strength another
    by_hand, _ = unlearned("by_hand", line)
    pd.testing.assert_frame_equal(history, by_hand, check_exact=True)
    other, _ = unlearned("other", line | {"k": -2})
    assert not np.allclose(history["loss"], other["loss"])
    with pytest.raises(InputError, match="unlearners.ta: its settings are tuned, and no file"):
        unlearned("nothing", BLOCK)


def test_a_diverged_run_is_recorded_and_loses(inputs, monkeypatch):
    grid = {"relative_rate": [1e30, 1], "k": [-3]}
    runs = tune(inputs, monkeypatch, "lost", grid=grid)
    assert runs["status"].tolist() == ["diverged", "cap"]
    assert runs.loc[0, ["attack", "rise", "drift"]].isna().all()
    table = choose(runs, LIMITS)
    assert table.loc[table["chosen"], "point"].tolist() == [1]


def test_too_few_calibration_sequences_are_refused(inputs, monkeypatch):
    sequences = pd.read_parquet(inputs / "sequences.parquet")
    kept = sequences[sequences["half"] != "threshold"].index.union([6, 7, 8])
    write_parquet(sequences.loc[kept].reset_index(drop=True), inputs / "sequences.parquet")
    with pytest.raises(InputError, match="tuning: 3 unseen sequences set the thresholds"):
        tune(inputs, monkeypatch, "few")
    assert not (inputs / "few.parquet").exists()


def test_what_the_method_sees_is_never_what_judges_it(inputs):
    sequences = pd.read_parquet(inputs / "sequences.parquet")
    table = tune_unlearner.parts_of(sequences, ["p1", "p3"], seed=100)
    assert table.loc[table["split"] == "forget", "sequence_id"].tolist() == ["p1", "p3"]
    calibration = set(sequences.loc[sequences["half"] == "threshold", "sequence_id"])
    halves = {half: set(rows["sequence_id"]) for half, rows in table.groupby("half")}
    assert halves["threshold"] | halves["attack"] == calibration
    assert len(halves["threshold"]) == len(halves["attack"]) == 4
