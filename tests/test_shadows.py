"""An attacker for each sequence: the design of its models, ratios by hand, made-up truth, a run."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

import unlearn_shadow
from running import ROOT, SMOKE, analyse, copy_project, snakemake
from unlearning.analysis.replicates import REPLICATE, per_replicate
from unlearning.analysis.rows import TableJob, read_table
from unlearning.analysis.shadows import (
    ATTACKERS,
    METRICS,
    REPEATED,
    SCORES,
    SHARED,
    SINGLE,
    exposures,
    judged,
    log_ratios,
    resampled,
    shadow_effects,
    stacked,
    ulira_table,
)
from unlearning.configuration import check
from unlearning.data.sequences import table_of
from unlearning.data.shadows import ROLES, draw_shadows
from unlearning.figures import OF_SHADOWS, FigureJob
from unlearning.jobs.errors import InputError
from unlearning.settings.analysis import AttackSettings
from unlearning.settings.shadows import ShadowSettings
from unlearning.statistics import mean_interval, resample_indices, resample_weights


def sequences(planted: int, unseen: int) -> pd.DataFrame:
    rows = np.arange(4 * (planted + unseen)).reshape(-1, 4)
    return table_of(
        {f"planted-{i:03d}": rows[i] for i in range(planted)},
        {f"unseen-{i:03d}": rows[planted + i] for i in range(unseen)},
        [8] * planted,
        ["record"] * (planted + unseen),
    )


def config_with(**shadows) -> dict:
    config = yaml.safe_load((ROOT / SMOKE).read_text())
    return config | {"shadows": {"models": ["tiny"], "count": 8} | shadows}


# --- settings -------------------------------------------------------------------------------------


def test_shadows_are_off_unless_asked_for_and_half_of_the_members_by_default():
    assert check(yaml.safe_load((ROOT / SMOKE).read_text()))["shadows"] is None
    assert check(config_with())["shadows"] == {"models": ["tiny"], "count": 8, "forget": None}
    assert ShadowSettings(models=("tiny",)).forgotten(64) == 16


@pytest.mark.parametrize(
    ("shadows", "message"),
    [
        ({"count": 7}, "shadows.count: input should be a multiple of 2, found 7"),
        ({"count": 4}, "shadows.count: input should be greater than or equal to 6, found 4"),
        ({"models": ["tinny"]}, "shadows.models: there is no model 'tinny'; did you mean 'tiny'"),
        ({"models": ["tiny", "tiny"]}, "names something twice"),
        ({"forget": 9}, "shadows.forget: 9 is more than the 8 sequences that a shadow is trained"),
        ({"forget": 3}, "8 models that forget 3 each, of a pool of 16, are fewer than two a"),
        ({"counts": 8}, "unknown key 'shadows.counts'; did you mean 'count'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(shadows, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        check(config_with(**shadows))
    assert "\n" not in str(caught.value)


def test_only_models_that_are_trained_here_have_shadows():
    config = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    name = next(iter(config["models"]))
    with pytest.raises(InputError, match=f"shadows.models: '{name}' is not trained here"):
        check(config | {"shadows": {"models": [name]}})
    with pytest.raises(InputError, match="shadows: there is no unlearner"):
        check(config_with() | {"unlearners": {}})


# --- the design -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 40), st.integers(2, 30), st.integers(4, 12), st.integers(0, 99))
def test_every_sequence_is_in_one_of_each_pair_and_forgotten_about_as_often(pool, unseen, j, seed):
    asked = ShadowSettings(models=("tiny",), count=2 * j)
    if 2 * j * (pool // 4) < 2 * pool:
        with pytest.raises(InputError, match="fewer than two a sequence"):
            draw_shadows(sequences(pool, unseen), asked, seed)
        return
    design = draw_shadows(sequences(pool, unseen), asked, seed)
    pd.testing.assert_frame_equal(design, draw_shadows(sequences(pool, unseen), asked, seed))
    assert set(design["role"]) <= set(ROLES)
    for split, n in (("planted", pool), ("unseen", unseen)):
        part = design[design["split"] == split]
        roles = part.pivot(index="sequence_id", columns="shadow", values="role")
        assert roles.shape == (n, 2 * j)
        trained = (roles != "never").to_numpy()
        assert (trained[:, 0::2] ^ trained[:, 1::2]).all()
        assert (abs(trained.sum(axis=0) - n / 2) <= 0.5).all()
        forgotten = (roles == "forget").sum(axis=1)
        size = round(pool // 4 / pool * n)
        assert ((roles == "forget").sum(axis=0) == size).all()
        assert forgotten.max() - forgotten.min() <= (1 if n % 4 == 0 else 2)


def test_other_seeds_draw_other_designs_and_pairs_are_drawn_apart():
    asked = ShadowSettings(models=("tiny",), count=8)
    one, other = (draw_shadows(sequences(16, 8), asked, seed) for seed in (0, 1))
    assert (one["role"] != other["role"]).any()
    halves = one[(one["role"] != "never") & (one["split"] == "planted")]
    assert len(set(halves.groupby("shadow")["sequence_id"].agg(tuple))) == 8


# --- the ratio, by hand ---------------------------------------------------------------------------


def naive_ratios(scores, inside, outside, each) -> np.ndarray:
    """What `log_ratios` says, one score at a time."""
    shadows, n, size = scores.shape
    found = np.full((shadows, n), np.nan)
    for k in range(shadows):
        others = [o for o in range(shadows) if o // 2 != k // 2]
        sides = {}
        for name, side in (("in", inside), ("out", outside)):
            of = {
                x: [scores[o, x] for o in others if side[o, x] and np.isfinite(scores[o, x]).all()]
                for x in range(n)
            }
            if not each:
                everything = [value for values in of.values() for value in values]
                of = dict.fromkeys(range(n), everything)
                groups = [everything]
            else:
                groups = list(of.values())
            freedom = sum(len(group) - 1 for group in groups if group)
            spread = None
            if freedom:
                products = [
                    np.outer(value - np.mean(group, axis=0), value - np.mean(group, axis=0))
                    for group in groups
                    for value in group
                ]
                spread = sum(products) / freedom
                spread = spread + np.diag(1e-6 * np.diag(spread) + 1e-12)
            sides[name] = of, spread
        for x in range(n):
            density = {}
            for name, other in (("in", "out"), ("out", "in")):
                values = sides[name][0][x]
                spread = sides[name][1] if sides[name][1] is not None else sides[other][1]
                if values and spread is not None and np.isfinite(scores[k, x]).all():
                    wider = spread * (1 + 1 / len(values))
                    centre = np.mean(values, axis=0)
                    density[name] = stats.multivariate_normal(centre, wider).logpdf(scores[k, x])
            if len(density) == 2:
                found[k, x] = density["in"] - density["out"]
    return found


@settings(max_examples=25, deadline=None)
@given(
    st.integers(3, 5),
    st.integers(4, 9),
    st.sampled_from([(0,), (0, 1, 2)]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 999),
)
def test_ratios_are_the_naive_ones(pairs, n, kinds, each, lost, seed):
    rng = np.random.default_rng(seed)
    roles = roles_of(n, 2 * pairs, rng)
    scores = rng.normal(size=(2 * pairs, n, 1)) + rng.normal(size=(2 * pairs, n, 3))
    scores[roles == 2] += rng.normal(size=3)
    if lost:
        scores[rng.integers(2 * pairs)] = np.nan
    scores = scores[:, :, list(kinds)]
    found = log_ratios(scores, roles == 2, roles == 0, each)
    np.testing.assert_allclose(
        found, naive_ratios(scores, roles == 2, roles == 0, each), rtol=1e-6, atol=1e-6
    )


def roles_of(n: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, n) 0 never, 1 retained, 2 forget."""
    asked = ShadowSettings(models=("m",), count=count, forget=n // 2)
    design = draw_shadows(sequences(n, 2), asked, int(rng.integers(2**31)))
    part = design[design["split"] == "planted"]
    table = part.pivot(index="shadow", columns="sequence_id", values="role")
    return table.replace({name: i for i, name in enumerate(ROLES)}).to_numpy(int)


def test_the_attacked_pair_s_scores_enter_no_gaussian_that_judges_it():
    rng = np.random.default_rng(0)
    roles = roles_of(12, 8, rng)
    scores = rng.normal(size=(8, 12, 3))
    before = log_ratios(scores, roles == 2, roles == 0)
    moved = scores.copy()
    moved[4, 3] += 5.0
    after = log_ratios(moved, roles == 2, roles == 0)
    changed = before != after
    own = np.zeros_like(changed)
    own[4, 3] = True
    np.testing.assert_array_equal(changed[4:6], own[4:6])
    if roles[4, 3] != 1:
        assert changed[[0, 1, 2, 3, 6, 7]].any()


def test_a_sequence_is_judged_on_both_of_a_pair_by_the_same_ratio():
    inside = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]], dtype=bool)
    outside = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], dtype=bool)
    ratios = np.arange(16.0).reshape(4, 4)
    ratios[2, 2] = np.nan  # a run that diverged takes its partner along
    found = judged(ratios, inside, outside).set_index(["pair", "sequence"])
    assert found["inside"].to_dict() == {(0, 0): 0.0, (0, 1): 5.0, (1, 0): 12.0}
    assert found["outside"].to_dict() == {(0, 0): 4.0, (0, 1): 1.0, (1, 0): 8.0}


def test_success_and_resamples_are_those_of_values_written_out():
    rng = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "pair": [0, 0, 1, 1, 2],
            "sequence": [0, 1, 1, 2, 0],
            "inside": rng.normal(size=5).round(1),
            "outside": rng.normal(size=5).round(1),
        }
    )
    drawn = [resample_weights(resample_indices(n, 40, rng)) for n in (3, 3)]
    found = resampled(table, drawn)
    assert found.shape == (len(METRICS), 41)
    weights = [np.ones(5, dtype=int)]
    for mine, theirs in zip(*drawn, strict=True):
        weights.append(mine[table["sequence"]] * theirs[table["pair"]])
    for column, times in enumerate(weights):
        if not times.sum():
            assert np.isnan(found[0, column])
            continue
        values = np.concatenate([table["inside"].repeat(times), table["outside"].repeat(times)])
        label = np.repeat([1, 0], times.sum())
        assert found[0, column] == pytest.approx(roc_auc_score(label, values))


# --- made-up truth --------------------------------------------------------------------------------


def made(
    shift: float, count: int = 16, pool: int = 32, seed: int = 0, noise: float = 0.5
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and design: what forgot a sequence has its scores moved by `shift`.

    Upwards for one half of the sequences, downwards for the other; sequences differ far more.
    """
    rng = np.random.default_rng(seed)
    asked = ShadowSettings(models=("small",), count=count)
    design = draw_shadows(sequences(pool, 2 * pool), asked, seed)
    ids = design["sequence_id"].unique()
    hardness = dict(zip(ids, rng.normal(0, 3, len(ids)), strict=True))
    direction = dict(zip(ids, rng.choice([-1, 1], len(ids)), strict=True))
    model = rng.normal(0, 0.1, count)
    table = design[["shadow", "sequence_id"]].assign(model="small")
    touched = (design["role"] == "forget") & (design["split"] == "planted")
    moved = np.where(touched, shift, 0.0) * design["sequence_id"].map(direction)
    known = (design["role"] != "never") & (design["split"] == "planted")
    parts = []
    for label, change in (("original", 3.0 * known), ("ga", moved)):
        base = design["sequence_id"].map(hardness) + model[design["shadow"]] + change
        values = {name: base + rng.normal(0, noise, len(base)) for name in SINGLE}
        parts.append(table.assign(unlearner=label, **values))
    return pd.concat(parts, ignore_index=True), design


def told(effects: pd.DataFrame, label: str, attacker: str, score: str, column="value") -> float:
    row = effects[
        (effects["unlearner"] == label)
        & (effects["attacker"] == attacker)
        & (effects["score"] == score)
        & (effects["metric"] == "auc")
    ]
    return float(row[column].iloc[0])


def test_an_attacker_of_each_sequence_finds_what_one_for_all_cannot_see():
    """The ratio of two Gaussians d standard deviations apart has an AUC of Phi(d / sqrt 2)."""
    scores, design = made(shift=1.0, count=64, pool=64)
    effects = shadow_effects(scores, design, AttackSettings(resamples=100))
    single = stats.norm.cdf(1.0 / np.hypot(0.5, 0.1) / np.sqrt(2))
    for score in SINGLE:
        assert told(effects, "ga", "each", score) == pytest.approx(single, abs=0.03)
        assert told(effects, "ga", "all", score) == pytest.approx(0.5, abs=0.06)
    # three scores whose noise is their own say it three times, but for what the model shares
    apart = np.sqrt(1.0 / (0.25 / 3 + 0.01))
    joint = stats.norm.cdf(apart / np.sqrt(2))
    assert told(effects, "ga", "each", "joint") == pytest.approx(joint, abs=0.02)
    assert told(effects, "ga", "each", "joint", "low") > 0.9
    assert told(effects, "ga", "each", "joint", "above_low") > 0.3
    assert told(effects, "original", "each", "loss") > 0.98
    for label in ("original", "ga"):
        assert told(effects, label, "each", "joint", "control") == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("count", [8, 16])
def test_where_nothing_differs_it_is_chance_and_the_interval_says_so(count):
    """Of few models too: no number of models on a side gives away on which side a score is."""
    found = {score: [] for score in SCORES}
    covered, quick = [], AttackSettings(resamples=100)
    for seed in range(40):
        scores, design = made(shift=0.0, count=count, pool=16, seed=seed)
        effects = shadow_effects(scores[scores["unlearner"] == "ga"], design, quick)
        for score in SCORES:
            found[score].append(told(effects, "ga", "each", score))
        low, high = (told(effects, "ga", "each", "joint", side) for side in ("low", "high"))
        covered.append(low <= 0.5 <= high)
    for values in found.values():
        interval = mean_interval(values, 0.999)
        assert interval.low < 0.5 < interval.high
        assert interval.high - interval.low < 0.1
    assert np.mean(covered) >= 0.9


def test_intervals_are_of_one_seed_and_a_diverged_run_is_counted_and_left_out():
    scores, design = made(shift=1.0)
    quick = AttackSettings(resamples=50)
    whole = shadow_effects(scores, design, quick)
    pd.testing.assert_frame_equal(whole, shadow_effects(scores, design, quick), check_exact=True)
    lost = (scores["shadow"] == 3) & (scores["unlearner"] == "ga")
    scores.loc[lost, list(SINGLE)] = np.nan
    part = shadow_effects(scores, design, quick)
    assert set(part.loc[part["unlearner"] == "ga", "diverged"]) == {1}
    assert set(part.loc[part["unlearner"] == "original", "diverged"]) == {0}
    assert part["judged"].max() == whole["judged"].max()
    fewer = part.loc[part["unlearner"] == "ga", "judged"].iloc[0]
    assert fewer == 16 * 8 - 16  # the pair of the lost one judges nobody
    assert part["value"].notna().all()
    scores.loc[scores["unlearner"] == "ga", list(SINGLE)] = np.nan
    none = shadow_effects(scores, design, quick)
    assert none.loc[none["unlearner"] == "ga", "value"].isna().all()


def test_exposures_name_the_sequences_that_give_themselves_away():
    scores, design = made(shift=0.0, noise=0.3)
    forgot = design[(design["role"] == "forget") & (design["split"] == "planted")]
    loud = sorted(forgot["sequence_id"].unique())[:4]
    touched = forgot[forgot["sequence_id"].isin(loud)][["shadow", "sequence_id"]]
    place = scores.merge(touched.assign(touched=True), how="left", on=["shadow", "sequence_id"])
    moved = place["touched"].notna().to_numpy() & (scores["unlearner"] == "ga").to_numpy()
    scores.loc[moved, list(SINGLE)] -= 3.0
    table = exposures(scores, design)
    after = table[table["unlearner"] == "ga"]
    assert set(after["sequence_id"].iloc[:4]) == set(loud)
    assert (after["found"].iloc[:4] == 1).all()
    assert (after["exposure"].iloc[:4] > 5).all()
    assert (after["exposure_never"].iloc[:4] < -1).all()
    assert abs(after["exposure"].iloc[4:].mean()) < 1
    assert set(after["models"]) == {4}
    assert set(table.loc[table["unlearner"] == "original", "models"]) == {8}


# --- tables of replicates, files, figure ----------------------------------------------------------


def test_of_several_replicates_n_counts_them_and_the_interval_is_student_s():
    made_of = {number: made(0.5, seed=number, count=8, pool=16) for number in (0, 1, 4)}
    scores = stacked({number: part[0] for number, part in made_of.items()})
    design = stacked({number: part[1] for number, part in made_of.items()})
    quick = AttackSettings(resamples=20)
    runs = per_replicate(lambda *tables: shadow_effects(*tables, quick), scores, design)
    table = ulira_table(runs, TableJob(models=("small",)))
    assert set(table["n"]) == {3}
    assert set(table["n_counts"]) == {REPEATED}
    for row in table.sample(10, random_state=0).itertuples():
        own = runs[
            (runs["unlearner"] == row.unlearner)
            & (runs["attacker"] == row.attacker)
            & (runs["score"] == row.score)
            & (runs["metric"] == row.metric)
        ]
        expected = mean_interval(own["value"])
        assert (row.mean, row.low, row.high) == pytest.approx(
            (expected.mean, expected.low, expected.high), nan_ok=True
        )
        above = mean_interval(own["value"] - own["control"])
        assert (row.above_control, row.above_low) == pytest.approx(
            (above.mean, above.low), nan_ok=True
        )
        assert row.judged == own["judged"].sum()
    alone = runs[runs[REPLICATE] == 0].drop(columns=REPLICATE)
    one = ulira_table(alone, TableJob(models=("small",)))
    assert set(one["n"]) == {16}
    assert set(one["n_counts"]) == {SHARED}
    assert list(one.columns) == list(table.columns)


@pytest.mark.parametrize("replicates", [[], [0, 3]])
def test_the_script_reads_all_shadows_and_writes_tables_and_a_figure(tmp_path, replicates):
    folders = [f"replicate-{number}" for number in replicates] or ["."]
    for seed, folder in enumerate(folders):
        scores, design = made(0.8, count=8, pool=16, seed=seed)
        home = tmp_path / folder / "shadows"
        home.mkdir(parents=True)
        design.to_parquet(home / "design.parquet")
        for shadow, part in scores.groupby("shadow"):
            (home / f"small/{shadow}").mkdir(parents=True)
            part.to_parquet(home / f"small/{shadow}/scores.parquet")
            run = part[["model", "shadow", "unlearner"]].drop_duplicates().assign(status="stopped")
            run.to_parquet(home / f"small/{shadow}/runs.parquet")
    options = {"replicates": replicates} if replicates else {}
    told = '{"models": ["small"], "count": 8, "analysis": {"resamples": 20}}'
    analyse("analyse_shadows", results=tmp_path, settings=told, **options)
    table = read_table(tmp_path / "tables/ulira.csv")
    assert len(table) == 2 * len(ATTACKERS) * len(SCORES) * len(METRICS)
    exposure = read_table(tmp_path / "tables/exposure.csv")
    assert (REPLICATE in exposure) == bool(replicates)
    assert len(exposure) == 2 * 16 * len(folders)
    assert len(pd.read_parquet(tmp_path / "shadow_runs.parquet")) == 2 * 8 * len(folders)
    figure = OF_SHADOWS["ulira"]({"ulira": table}, FigureJob())
    assert len(figure.axes) == 1
    note = figure._supxlabel.get_text()
    assert f"n = {len(replicates) or 16} " in note
    (tmp_path / folders[-1] / "shadows/small/5/scores.parquet").unlink()
    with pytest.raises(AssertionError, match="5/scores.parquet: no such file; remove the other"):
        analyse("analyse_shadows", results=tmp_path, settings=told, **options)


# --- the workflow ---------------------------------------------------------------------------------


def write_small(folder: Path, replicates: list[int]) -> str:
    """Write the smoke config cut down to what shows shadows; its path."""
    config = yaml.safe_load((folder / SMOKE).read_text())
    config |= {"run": "shadowed", "replicates": replicates}
    config |= {"shadows": {"models": ["tiny"], "count": 8}}
    config["corpus"] |= {"background_tokens": 8000, "planted": 12, "unseen": 16, "items": 6}
    config["unlearning"]["max_epochs"] = 4
    config["unlearners"] = {label: config["unlearners"][label] for label in ("ga", "ta")}
    (folder / "shadowed.yaml").write_text(yaml.safe_dump(config))
    return "shadowed.yaml"


def test_shadows_are_planned_where_they_are_asked_for(tmp_path):
    folder = copy_project(tmp_path)
    done = snakemake(folder, "-n", "-p", "--configfile", write_small(folder, [0, 1]))
    assert done.returncode == 0, done.stdout
    counts = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert counts["train_shadow"] == counts["unlearn_shadow"] == "16"
    assert (counts["draw_shadows"], counts["analyse_shadows"]) == ("2", "1")
    for name in ("figures/ulira.svg", "tables/ulira.csv", "pages/exposure.html"):
        assert name in done.stdout
    seeds = re.findall(
        r"replicate-(\d)/shadows/design.parquet --shadow (\d) --seed (\d+)", done.stdout
    )
    expected = {(str(n), str(k), str(1000 * n + 1 + k)) for n in (0, 1) for k in range(8)}
    assert set(seeds) == expected
    done = snakemake(folder, "-n", "--configfile", SMOKE)
    without = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout, re.MULTILINE))
    assert without["make_tables"] == "1"
    assert not [rule for rule in without if "shadow" in rule]
    assert "figures/trust.svg" in done.stdout
    for name in ("figures/ulira.svg", "tables/ulira.csv", "tables/exposure.csv"):
        assert name not in done.stdout


def test_a_shadow_forgets_of_its_own_half_and_its_job_can_be_cut(tmp_path, monkeypatch):
    folder = copy_project(tmp_path)
    home = folder / "results/shadowed/shadows"
    target = "results/shadowed/shadows/tiny/1/scores.parquet"
    done = snakemake(folder, target, "--notemp", "--configfile", write_small(folder, [0]))
    logs = "".join(path.read_text() for path in (folder / "logs").rglob("*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + logs[-3000:]
    scores = pd.read_parquet(home / "tiny/1/scores.parquet")
    assert set(scores["unlearner"]) == {"original", "ga", "ta"}
    assert scores.groupby("unlearner").size().tolist() == [28] * 3
    design = pd.read_parquet(home / "design.parquet").query("shadow == 1")
    role = scores["sequence_id"].map(design.set_index("sequence_id")["role"])
    planted = scores["sequence_id"].str.startswith("planted")
    loss = scores[planted].groupby(["unlearner", role[planted]])["loss"].mean()
    assert loss["original", "never"] > loss["original", "forget"] + 0.3
    assert loss["ga", "forget"] > loss["original", "forget"] + 0.3
    runs = pd.read_parquet(home / "tiny/1/runs.parquet")
    assert runs["unlearner"].tolist() == ["original", "ga", "ta"]
    assert set(runs["status"]) <= {"trained", "stopped", "met_at_start", "cap"}
    # the same job by hand, cut at its second method and started again
    done = snakemake(folder, target, "-n", "-p", "--force", "--configfile", "shadowed.yaml")
    [command] = re.findall(r"python \S*(unlearn_shadow.py .*?) > ", done.stdout)
    words = shlex.split(command)
    words[words.index("--scores") + 1] = "again.parquet"
    words[words.index("--runs") + 1] = "runs.parquet"
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", words)
    unlearned, carry_out = [], unlearn_shadow.carry_out

    def cut(plan, *rest):
        unlearned.append(plan.method)
        if len(unlearned) == 2:
            raise KeyboardInterrupt
        return carry_out(plan, *rest)

    monkeypatch.setattr(unlearn_shadow, "carry_out", cut)
    with pytest.raises(KeyboardInterrupt):
        unlearn_shadow.main()
    assert not Path("again.parquet").exists()
    unlearn_shadow.main()
    assert unlearned == ["gradient_ascent", "task_arithmetic", "task_arithmetic"]
    assert Path("again.parquet").read_bytes() == (home / "tiny/1/scores.parquet").read_bytes()
