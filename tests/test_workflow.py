"""The whole workflow on the smoke config: results, reruns, wrong input, shared models."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from running import ROOT, SMOKE, copy_project, snakemake
from unlearning import attacks
from unlearning.memorization.rows import tokens_of

KEYS = ["model", "forget_size", "unlearner", "seed"]
UNLEARNERS = {"ga", "sga", "ta", "tau", "sga_each", "ta_then_sga"}
TABLES = [
    "main", "outliers", "attack", "attack_suite", "utility", "gains", "solution_space",
    "candidates", "trust",
]  # fmt: skip


@pytest.fixture(scope="session")
def results(smoke) -> Path:
    return smoke / "results/smoke"


def rerun(folder: Path) -> str:
    """What a dry run would do: the names of the rules, in order."""
    done = snakemake(folder, "--configfile", SMOKE, "-n", "--quiet", "reason")
    assert done.returncode == 0, done.stdout
    return done.stdout


def rules_in(text: str) -> set[str]:
    """Rules of a dry run's job table."""
    table = text.split("Job stats:")[-1] if "Job stats:" in text else ""
    return set(re.findall(r"^(\w+) +\d+$", table, re.MULTILINE)) - {"total"}


# --- what is there, and is it right ---------------------------------------------------------


@pytest.mark.slow
def test_memorization_has_its_columns_and_every_cell(results):
    table = pd.read_parquet(results / "memorization.parquet")
    assert table.columns.tolist() == [
        *KEYS, "sequence_id", "split", "ma", "el", "loss", "verbatim_run",
    ]  # fmt: skip
    cells = table.groupby(["forget_size", "unlearner", "seed"])
    assert set(table["unlearner"]) == UNLEARNERS | {"original", "control"}
    assert len(cells) == 2 * 8 * 2
    assert (cells.size() == 16 + 32).all()
    for (size, _, _), part in cells:
        assert (part["split"] == "forget").sum() == size
        assert (part["split"] == "unseen").sum() == 32
    assert table["ma"].between(0, 1).all()
    # of an unlearned model's retained sequences nobody reads EL
    unread = (table["split"] == "retained") & table["unlearner"].isin(UNLEARNERS)
    assert table.loc[~unread, "el"].between(0, 1).all()
    assert table.loc[unread, "el"].isna().all()


def test_recorded_accuracy_is_what_the_saved_model_does(results):
    """Recomputed from the published files alone: the model folder and the token rows."""
    folder = results / "models/tiny"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert AutoTokenizer.from_pretrained(folder).vocab_size <= model.config.vocab_size
    sequences = pd.read_parquet(results / "sequences.parquet")
    rows = torch.from_numpy(tokens_of(sequences))
    with torch.no_grad():
        hits = model(rows).logits[:, :-1].argmax(-1) == rows[:, 1:]
    expected = pd.Series(hits.float().mean(1).numpy(), index=sequences["sequence_id"])
    table = pd.read_parquet(results / "memorization.parquet")
    recorded = table.query("unlearner == 'original' and forget_size == 8 and seed == 0")
    recorded = recorded.set_index("sequence_id")["ma"]
    np.testing.assert_allclose(recorded, expected[recorded.index], atol=1e-6)


def test_planted_sequences_are_memorized_and_the_control_does_not_know_them(results):
    table = pd.read_parquet(results / "memorization.parquet").query("forget_size == 8")
    mean = table[table["split"] != "unseen"].groupby("unlearner")["ma"].mean()
    unseen = table[table["split"] == "unseen"].groupby("unlearner")["ma"].mean()
    assert mean["original"] > unseen["original"] + 0.1
    assert abs(mean["control"] - unseen["control"]) < 0.1


def test_history_begins_with_the_original_and_ends_with_the_unlearned_model(results):
    history = pd.read_parquet(results / "history.parquet")
    assert history.columns.tolist() == [*KEYS, "epoch", "sequence_id", "ma", "loss"]
    table = pd.read_parquet(results / "memorization.parquet").query("split == 'forget'")
    last = history[history["epoch"] == history.groupby(KEYS)["epoch"].transform("max")]
    both = last.merge(table, on=[*KEYS, "sequence_id"], suffixes=("_history", ""))
    assert len(both) == len(last) == (2 + 8) * 2 * len(UNLEARNERS)
    np.testing.assert_allclose(both["ma_history"], both["ma"], atol=1e-6)
    first = history.query("epoch == 0").merge(
        table.query("unlearner == 'original'").drop(columns="unlearner"),
        on=["model", "forget_size", "seed", "sequence_id"],
        suffixes=("", "_original"),
    )
    np.testing.assert_allclose(first["ma"], first["ma_original"], atol=1e-6)


def test_stopped_runs_obey_their_stop_rule(results):
    runs = pd.read_parquet(results / "runs.parquet")
    limits = pd.read_csv(results / "thresholds.csv").iloc[0]
    stopped = runs[runs["status"] == "stopped"]
    assert len(stopped) > 0
    each = stopped["unlearner"].isin(["sga_each", "ta_then_sga"])
    assert (stopped.loc[~each, "mean_ma"] < limits["ma_mean"]).all()
    assert (stopped.loc[each, "max_ma"] <= limits["calibrated_high"] + 1e-9).all()


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_tidy(results, name):
    table = pd.read_csv(results / f"tables/{name}.csv")
    assert {"model", "forget_size"} <= set(table.columns)
    assert len(table) > 0
    if {"mean", "low", "high", "n"} <= set(table.columns):
        bounded = table.dropna(subset=["mean", "low", "high"])
        assert (bounded["low"] <= bounded["mean"] + 1e-9).all()
        assert (bounded["mean"] <= bounded["high"] + 1e-9).all()
        assert table["n"].notna().all()


def test_the_main_table_is_the_mean_of_the_rows_it_is_made_of(results):
    main = pd.read_csv(results / "tables/main.csv").query("metric == 'ma'")
    table = pd.read_parquet(results / "memorization.parquet").query("split == 'forget'")
    expected = table.groupby(["forget_size", "unlearner", "seed"])["ma"].mean()
    expected = expected.groupby(["forget_size", "unlearner"]).mean()
    got = main.set_index(["forget_size", "unlearner"])["mean"]
    np.testing.assert_allclose(got[expected.index], expected, rtol=1e-6)


def test_every_attack_judged_every_run_beside_its_control(results):
    runs = pd.read_parquet(results / "attack_effects.parquet")
    assert set(runs["attack"]) == set(attacks.names())
    per_attack = runs.drop_duplicates([*KEYS, "attack"]).groupby("attack").size()
    assert (per_attack == 2 * 8 * 2).all()
    values = pd.read_parquet(results / "attack_values.parquet")
    cells = values.groupby([*KEYS, "attack", "variant", "measure", "split"]).size().unstack()
    assert (cells["forget"] == cells.index.get_level_values("forget_size")).all()
    assert (cells["unseen"] == 16).all()
    stretch = values.query("measure == 'stretch' and split == 'forget'")
    stretch = stretch.groupby("unlearner")["value"].mean()
    assert stretch["original"] > stretch["control"] + 0.1
    exposed = pd.read_csv(results / "attack_exposed.csv")
    assert exposed["why"].notna().all()


def test_every_claim_has_a_verdict_with_numbers(results):
    claims = json.loads((results / "claims.json").read_text())
    assert [claim["id"] for claim in claims] == [f"C{i}" for i in range(1, 9)]
    assert claims[-1]["evidence"] == "twin (ours) was not run"
    for claim in claims:
        assert claim["verdict"] in {"supported", "refuted", "undecided"}
    for claim in claims[:-1]:
        assert re.search(r"\d", claim["evidence"])


def test_figures_are_there_in_three_formats(results):
    stems = {path.stem for path in (results / "figures").iterdir()}
    assert len(stems) >= 8
    for stem in stems:
        assert (results / f"figures/{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (results / f"figures/{stem}.pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in (results / f"figures/{stem}.svg").read_text()


def test_provenance_says_what_made_the_results(results):
    record = json.loads((results / "provenance.json").read_text())
    assert record["config"]["run"] == "smoke"
    assert record["versions"]["torch"] == torch.__version__
    assert record["dtype"] == ["float32"]
    assert record["machine"]["threads"] == [1]
    assert record["machine"]["instructions"] == [torch.backends.cpu.get_cpu_capability()]
    assert 0 < record["peak_memory_mib"] < 2000
    assert sum(record["runs"]["status"].values()) == 2 * 2 * len(UNLEARNERS)


def test_checkpoints_are_temporary_and_work_folders_are_gone(results):
    assert not list(results.rglob("checkpoints"))
    assert not [path for path in results.rglob("*") if ".partial-" in path.name]
    assert not [path for path in (results / ".work").rglob("*") if path.is_file()]
    assert not list(results.glob("*/*.work"))


def test_kept_models_are_the_unlearned_ones_and_say_what_they_are(small):
    """A folder each: the recorded accuracy, the tokenizer, and a card without any text."""
    results = small / "results/small"
    history = pd.read_parquet(results / "history.parquet")
    sequences = pd.read_parquet(results / "sequences.parquet").set_index("sequence_id")
    folders = [path.parent for path in sorted((results / "kept/tiny").glob("*/*/README.md"))]
    assert [folder.name for folder in folders] == ["4-ga-0", "4-ga-1", "4-sga-0", "4-sga-1"]
    for folder in folders:
        size, label, seed = folder.name.split("-")
        run = history[
            (history["unlearner"] == label)
            & (history["forget_size"] == int(size))
            & (history["seed"] == int(seed))
        ]
        last = run[run["epoch"] == run["epoch"].max()]
        rows = torch.from_numpy(tokens_of(sequences.loc[last["sequence_id"]]))
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        with torch.no_grad():
            hits = model(rows).logits[:, :-1].argmax(-1) == rows[:, 1:]
        np.testing.assert_allclose(hits.float().mean(1).numpy(), last["ma"], atol=1e-6)
        card = (folder / "README.md").read_text()
        assert f"{size} sequences unlearned by {label}" in card
        assert re.search(r"- planted-\d{4}: \w", card)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        for row in rows:
            assert tokenizer.decode(row[:16]) not in card


def test_the_report_holds_the_figures(smoke):
    done = snakemake(smoke, "--configfile", SMOKE, "--report", "results/smoke/report.html")
    assert done.returncode == 0, done.stdout
    report = (smoke / "results/smoke/report.html").read_text()
    assert 1e5 < len(report) < 8e6
    for name in ("solution_space", "forgetting_histogram", "claims"):
        assert name in report
    own = (smoke / "results/smoke/index.html").read_text()
    assert 1e5 < len(own) < 8e6
    for path in (smoke / "results/smoke/figures").glob("*.svg"):
        command = f"snakemake --configfile {SMOKE} results/smoke/figures/{path.name}"
        assert f"<code>{command}</code>" in own


# --- reruns -----------------------------------------------------------------------------------


def test_a_second_run_has_nothing_to_do(smoke):
    assert "Nothing to be done" in rerun(smoke)


def test_a_touched_source_is_not_an_edited_one(smoke):
    (smoke / "scripts/unlearning/memorization/forgetting.py").touch()
    assert "Nothing to be done" in rerun(smoke)


@pytest.fixture
def edited(smoke):
    """Append a comment to a file of the copy; put it back afterwards."""
    changed = {}

    def edit(name: str) -> set[str]:
        path = smoke / name
        changed[path] = (path.read_text(), path.stat())
        path.write_text(path.read_text() + "# edited\n")
        return rules_in(rerun(smoke))

    yield edit
    for path, (text, stat) in changed.items():
        path.write_text(text)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize(
    ("file", "first", "spared"),
    [
        # a file of each wing -> the first rules that take it, and rules before or beside those
        ("jobs/parts.py", {"measure_original", "unlearn"}, {"draw_forget_sets"}),
        ("names.py", {"make_tables"}, {"pretrain"}),
        ("limits.py", {"measure_original", "unlearn"}, {"pretrain"}),
        ("statistics.py", {"analyse_attacks"}, {"pretrain", "measure_original"}),
        ("settings/pretraining.py", {"pretrain"}, {"make_corpus"}),
        ("models/pretraining.py", {"pretrain"}, {"make_corpus"}),
        ("memorization/decoding.py", {"measure_original"}, {"pretrain"}),
        ("unlearners/task_arithmetic.py", {"unlearn"}, {"pretrain", "measure_original"}),
        # (checkpoints are not kept here: what measures or attacks them has them made anew)
        ("evaluation/suite.py", {"measure_unlearned"}, {"pretrain", "attack_original"}),
        ("data/corpus/world.py", {"make_corpus"}, set()),
        ("attacks/quantization.py", {"attack_unlearned"}, {"pretrain", "measure_original"}),
        ("analysis/claims/c2_hidden_outliers.py", {"judge_claims"}, {"make_tables"}),
        ("analysis/pages.py", {"render_pages"}, {"make_tables", "judge_claims"}),
        ("figures/gains.py", {"draw_figures"}, {"make_tables", "judge_claims"}),
    ],
)
def test_an_edited_file_of_a_wing_reruns_what_depends_on_it(edited, file, first, spared):
    rules = edited(f"scripts/unlearning/{file}")
    assert first <= rules
    assert not spared & rules


def test_a_changed_setting_reruns_what_depends_on_it(smoke, tmp_path):
    config = yaml.safe_load((smoke / SMOKE).read_text())
    config["attack_analysis"]["resamples"] += 1
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(smoke, "--configfile", str(tmp_path / "changed.yaml"), "-n")
    assert "analyse_attacks" in rules_in(done.stdout)
    assert not {"unlearn", "measure_unlearned", "pretrain"} & rules_in(done.stdout)


# --- wrong input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("modles", {}, "unknown key 'modles'; did you mean 'models'?"),
        ("attack", {"resamples": 9}, "key 'attack' is called 'attack_analysis' now; rename it"),
        ("unlearners", {"x": {"method": "forget_all"}}, "there is no method 'forget_all'"),
        ("forget_sets", {"sizes": [99], "seeds": [0]}, "99 is larger than the pool of 16"),
        ("measurement", {"ngram": 48, "tasks": {"town": "choice"}}, "ngram: 48 does not fit"),
        ("measurement", {"ngram": 5, "tasks": {}}, "measurement.tasks: "),
    ],
)
def test_a_wrong_config_stops_before_any_job(tmp_path, key, value, message):
    config = yaml.safe_load((ROOT / SMOKE).read_text()) | {key: value}
    folder = copy_project(tmp_path)
    (folder / "wrong.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(folder, "--configfile", "wrong.yaml")
    assert done.returncode != 0
    assert any(message in line for line in done.stdout.splitlines())
    assert "Traceback" not in done.stdout
    assert not (folder / "results").exists()


def test_a_second_run_in_the_same_folder_is_refused(smoke, tmp_path):
    import fcntl

    with (smoke / ".snakemake/running").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = snakemake(smoke, "--configfile", SMOKE, "--forcerun", "judge_claims")
    assert done.returncode != 0
    assert "another run is at work in this folder" in done.stdout


# --- trained once for several workflows ------------------------------------------------------


def test_a_trained_model_is_shared_between_workflows(smoke, small, trained):
    [output] = (small / ".snakemake/log").glob("*.log")
    for role in ("models", "controls"):
        weights = f"{role}/tiny/model.safetensors"
        first, again = (run / "results" / run.name / weights for run in (smoke, small))
        assert first.resolve() == again.resolve()
        assert trained in again.resolve().parents
        taken = f"Symlinking output file results/small/{weights} from cache."
        assert taken in output.read_text()


def test_what_would_give_other_weights_is_trained_anew(smoke, trained, tmp_path):
    folder = copy_project(tmp_path)

    def will_train(*arguments: str, **training: float) -> bool:
        config = yaml.safe_load((ROOT / SMOKE).read_text()) | {"run": "other"}
        config["models"]["tiny"]["pretraining"] |= training
        (folder / "other.yaml").write_text(yaml.safe_dump(config))
        model = "results/other/models/tiny"
        words = ("-n", "--configfile", "other.yaml", *arguments)
        done = snakemake(folder, model, *words, trained=trained)
        assert done.returncode == 0, done.stdout
        return "will be written to global between-workflow cache" in done.stdout

    assert not will_train()
    assert will_train(learning_rate=0.001)
    assert will_train("--resources", "gpu=1")
