"""What an experiment costs is counted, and every number follows from the config."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import plan
import stages
from running import environment
from unlearning import attacks, unlearners
from unlearning.configuration import check, tuning_runs

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "config/paper.yaml"


@pytest.fixture(scope="module")
def paper():
    return check(yaml.safe_load(PAPER.read_text()))


@pytest.fixture(scope="module")
def demo():
    return check(yaml.safe_load((ROOT / "config/config.yaml").read_text()))


def test_the_papers_jobs_are_one_for_each_run(monkeypatch, paper):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", environment()["PATH"])
    jobs = plan.job_counts(PAPER)
    sizes, seeds = paper["forget_sets"]["sizes"], paper["forget_sets"]["seeds"]
    cells = len(paper["models"]) * len(sizes) * len(seeds) * len(paper["unlearners"])
    assert cells == 3 * 5 * 5 * 6
    assert jobs["unlearn"] == jobs["measure_unlearned"] == cells
    assert jobs["fetch_model"] == jobs["measure_original"] == 3
    assert jobs["prepare_challenge"] == jobs["make_tables"] == 1
    assert "pretrain" not in jobs


def test_sizes_come_from_the_config_or_the_weights(paper, tmp_path):
    assert plan.parameters_of("125m", paper["models"]["125m"], 50_257) == 125_198_592
    model = paper["models"]["125m"] | {"parameters": None, "hub": None, "folder": str(tmp_path)}
    for precision in (torch.float32, torch.bfloat16):  # of half the bytes, not half the numbers
        weights = {"a": torch.zeros(30, 30, dtype=precision), "b": torch.zeros(100)}
        save_file(weights, tmp_path / "model.safetensors")
        assert plan.parameters_of("x", model, 50_257) == 1000
    with pytest.raises(plan.InputError, match="models.x: its size is not known; give"):
        plan.parameters_of("x", model | {"folder": None, "hub": "a/b"}, 50_257)


def test_full_parameter_unlearning_of_the_largest_fits_80_gb(paper):
    parts = plan.memory_mb(paper["models"]["2.7b"]["parameters"], paper)
    assert parts["weights"] == pytest.approx(4 * 2651.30752)
    assert parts["Adam"] == 2 * parts["weights"] == parts["task vector"]
    assert sum(parts.values()) < 80_000


def run_work(config, block, size=8, name=None):
    """The work of one run of a block, of a model with one parameter."""
    name = name or next(iter(config["models"]))
    return plan.unlearning_work(config, name, 1, unlearners.plan("it", block), size)


def test_work_grows_with_the_model_and_the_forget_set(paper):
    rates = {"steps": 1.0, "passes": 1.0, "decoding": 1.0}

    def seconds(count, config=paper):
        works = plan.stages_of(config, "125m", count).values()
        return sum(work.seconds(rates) for work in works)

    assert seconds(10**9) == pytest.approx(10 * seconds(10**8))
    few = paper | {"forget_sets": paper["forget_sets"] | {"sizes": [8]}}
    assert seconds(10**8, few) < seconds(10**8) / 5


def test_a_step_costs_what_the_method_s_file_says(paper):
    """Ascent forward and backward; others by what they read, and the rows beside the set."""
    tokens, epochs = 8 * 200, plan.EPOCHS
    ascent = run_work(paper, {"method": "gradient_ascent"})
    assert ascent.steps == 2 * epochs * 3 * tokens
    assert ascent.passes == 2 * (epochs + 1) * tokens
    assert run_work(paper, {"method": "undial"}).steps == 2 * epochs * 4 * tokens
    kept = {"method": "gradient_ascent", "retain": {"kind": "kl", "batch": 10}}
    kept, longer = run_work(paper, kept), plan.HELD_EPOCHS
    assert kept.steps == 2 * longer * (3 * tokens + 4 * 10 * 200)
    read = (longer + 1) * tokens + 128 * 200  # the last: what the original makes of them
    assert kept.passes == 2 * read
    few = paper | {"unlearning": paper["unlearning"] | {"max_epochs": 3}}
    assert run_work(few, {"method": "gradient_ascent"}).steps == 2 * 3 * 3 * tokens
    slow = paper | {"unlearning": paper["unlearning"] | {"checkpointing": True}}
    assert run_work(slow, {"method": "gradient_ascent"}).steps == 2 * epochs * 4 * tokens


def test_a_method_with_an_end_of_its_own_takes_its_steps(paper):
    block = {"method": "twin", "steps": 7, "kept_rows": 3, "unseen_rows": 2}
    assert run_work(paper, block).steps == 2 * 7 * (5 * 8 + 4 * 5) * 200
    # measured before, after five steps, and at the end
    assert run_work(paper, block).passes == 2 * (3 * 8 + 128) * 200
    twice = run_work(paper, block | {"steps": 14})
    assert twice.steps == 2 * run_work(paper, block).steps
    stopped = run_work(paper, block | {"stop": "mean", "steps": 100})
    assert stopped.steps == 2 * plan.EPOCHS * (5 * 8 + 4 * 5) * 200


@pytest.mark.parametrize("method", unlearners.names())
def test_what_a_file_says_of_its_steps_names_settings_that_there_are(method):
    module = unlearners.load(method)
    settings = module.Settings()
    for key in getattr(module, "ROWS_BESIDE", ()):
        assert getattr(settings, key) > 0
    if getattr(module, "ENDS", False):
        assert settings.steps > 0


def test_every_stage_on_a_model_is_counted(monkeypatch):
    """Each rule of the study's dry run that makes a file of one model."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", environment()["PATH"])
    study = check(yaml.safe_load((ROOT / "config/study.yaml").read_text()))
    counted = set()
    for name in study["models"]:
        stages = plan.stages_of(study, name, 1).items()
        counted |= {rule for rule, work in stages if work != plan.NONE}
    on_models = set()
    for path in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^(?:use )?rule ", path.read_text(), flags=re.MULTILINE)[1:]:
            name = re.match(r"pretrain as (\w+)|(\w+)", rule)
            if re.search(r"output:.*?\{\{model\}\}.*?log:", rule, re.DOTALL):
                on_models.add(name[1] or name[2])
    jobs = plan.job_counts(ROOT / "config/study.yaml")
    assert counted == on_models & jobs.keys()
    assert {"train_shadow", "unlearn_shadow", "unlearn", "pretrain"} <= counted


def test_shadows_are_trained_unlearned_and_scored(demo):
    shadowed = demo | {"shadows": {"models": ["small"], "count": 8, "forget": None}}
    assert "train_shadow" not in plan.stages_of(shadowed, "medium", 10**6)
    small = plan.stages_of(shadowed, "small", 10**6)
    both = plan.stages_of(demo, "small", 10**6)["pretrain"]
    # half of the pool stands between model and control
    assert small["train_shadow"].steps == pytest.approx(8 * both.steps / 2)
    runs = [run_work(demo, block, 64 // 4, "small") for block in demo["unlearners"].values()]
    work = small["unlearn_shadow"]
    assert work.steps == pytest.approx(8 * 10**6 * sum(run.steps for run in runs))
    scored = 2 * (64 + 128) * 56 * (2 + len(runs))
    assert work.passes == pytest.approx(8 * 10**6 * (scored + sum(run.passes for run in runs)))
    more = plan.stages_of(
        shadowed | {"shadows": {"models": ["small"], "count": 10, "forget": 16}}, "small", 10**6
    )
    assert more["unlearn_shadow"].steps == pytest.approx(work.steps * 10 / 8)


def test_tuning_is_counted_where_a_label_is_tuned(demo):
    assert "tune_unlearner" not in plan.stages_of(demo, "small", 1)
    values = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    values["unlearners"]["ga"]["settings"] = "tuned"
    values["tuning"] |= {"models": ["small", "medium"], "seeds": [100, 101]}
    values["tuning"]["grids"]["twin"] = {"steps": [10, 20, 30], "rate": [1, 2, 3]}
    tuned = check(values)
    trials = {name: plan.trials_of(tuned, name) for name in tuned["models"]}
    assert sum(map(len, trials.values())) == tuning_runs(tuned) > 0
    assert not trials["large"]
    steps = [p.settings.steps for p, _ in trials["small"] if p.method == "twin"]
    assert sorted(steps) == sorted(3 * 2 * [10, 20, 30])
    work = plan.stages_of(tuned, "small", 1)["tune_unlearner"]
    runs = [plan.unlearning_work(tuned, "small", 1, p, size) for p, size in trials["small"]]
    assert work.steps == pytest.approx(sum(run.steps for run in runs))
    judged = 2 * 2 * (64 + 128 + plan.JUDGED_ROWS) * 56 * len(runs)
    assert work.passes == pytest.approx(judged + sum(run.passes for run in runs))


def test_replicates_repeat_all_but_the_tuning(demo):
    values = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    values["unlearners"]["ga"]["settings"] = "tuned"
    one, three = (
        plan.stages_of(check(values | {"replicates": numbers}), "small", 1)
        for numbers in ([0], [0, 1, 2])
    )
    for stage, work in one.items():
        times = 1 if stage == "tune_unlearner" else 3
        assert three[stage].steps == pytest.approx(times * work.steps), stage
        assert three[stage].passes == pytest.approx(times * work.passes), stage


def test_the_plan_is_printed_before_anything_starts():
    done = subprocess.run(
        [sys.executable, "benchmarks/plan.py", "--configfile", str(PAPER), "--no-probe"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for word in (
        "unlearn",
        "2.7b",
        "memory of unlearning",
        "download",
        "one job at a time",
        "hours",
    ):
        assert word in done.stdout


def test_a_trial_measures_few_sequences(paper):
    def measured(limit):
        trial = paper | {"measurement": paper["measurement"] | {"limit": limit}}
        return plan.measuring_work(trial, 10**6, 8)

    # of each half so many of 128 unseen ones, beside the forget set, and so many replies a task
    each = plan.DECODED * 190**2 / 2 * 2e6
    assert measured(21).decoding - measured(20).decoding == pytest.approx(2 * each + 4 * 32 * 2e6)
    assert measured(20).passes < measured(None).passes / 10


def test_every_attack_of_the_suite_is_counted(paper):
    """Each adds the passes or steps that its settings ask for; those on scores cost nothing."""
    rows, unseen, length, suffix = 8, 128, 200, 50
    blocks = {
        "neighbour": ({"rewrites": 5}, 0, (5 + 1) * (rows + unseen) * length),
        "sampling": ({}, 0, (rows + unseen) * length),
        "quantization": ({"schemes": ["nf4", "int8"]}, 0, 2 * (rows + unseen) * length),
        "prefix_perturbation": (
            {"draws": 2, "context": 20},
            0,
            (rows + unseen) * (2 * 2 * length + 20 + suffix),
        ),
        "relearning": (
            {"steps": [1, 3], "texts": ["own", "unseen"], "folds": 2},
            (3 * 8 + 3 * 4) * length,
            (2 * (8 + 2 * unseen) + 2 * (8 + unseen)) * length,
        ),
        "gradient_norm": ({}, 2 * (rows + 2 * unseen) * length / 3, 0),
        "reference_observer": ({}, 0, unseen * length),
        "zlib_calibrated": ({}, 0, unseen * length),
        "learned_attacker": ({}, 0, 0),
        "token_level_attacker": ({}, 0, 0),
        "reference_calibrated": ({}, 0, 0),
        "reference_gaussian": ({}, 0, 0),
    }
    assert set(blocks) >= set(paper["attacks"])
    for name, (settings, trained, read) in blocks.items():
        config = paper | {"attacks": {name: paper["attacks"][name] | settings}}
        work = plan.attack_work(config, 10**6, rows)
        assert work.steps == pytest.approx(6e6 * trained), name
        # those on the model score the sequences as they are
        before = (rows + unseen) * length * attacks.on_model(name)
        assert work.passes == pytest.approx(2e6 * (before + read)), name


def test_el_is_counted_where_it_is_measured(paper):
    """Of the forget set; of unseen ones where that is asked for, of half of them on originals."""
    forget_only = paper | {"measurement": paper["measurement"] | {"el": ["forget"]}}
    each = plan.DECODED * 190**2 / 2 * 2e6
    for size, pool, unseen in ((8, 8, 256), (None, 128 * 5, 128)):
        whole, part = (plan.measuring_work(config, 10**6, size) for config in (paper, forget_only))
        assert whole.decoding - part.decoding == pytest.approx(unseen * each)
        assert whole.passes == part.passes
        nowhere = paper | {"measurement": paper["measurement"] | {"el": []}}
        fewer = plan.measuring_work(nowhere, 10**6, size)
        assert part.decoding - fewer.decoding == pytest.approx(pool * each)


def test_what_was_not_to_be_forgotten_is_measured_too(demo):
    """The whole pool of the demo is measured on every model, whatever was forgotten of it."""
    works = [plan.measuring_work(demo, 1, size) for size in (None, 8, 32)]
    assert len({work.passes for work in works}) == 1


def test_originals_are_trained_measured_and_attacked_where_they_are_made_here(paper, demo):
    fetched = plan.stages_of(paper, "125m", 10**6)
    assert fetched["measure_original"].decoding > 0
    assert "pretrain" not in fetched
    given = paper["models"]["125m"] | {"control": {"hub": "a/b", "revision": "0" * 40}}
    beside = paper | {"models": paper["models"] | {"125m": given}}
    both = plan.stages_of(beside, "125m", 10**6)
    for stage in ("measure_original", "attack_original"):
        assert both[stage].passes == pytest.approx(2 * fetched[stage].passes)
    small = plan.stages_of(demo, "small", 10**6)["pretrain"]
    more = demo | {"corpus": demo["corpus"] | {"background_tokens": 580_000}}
    again = plan.stages_of(more, "small", 10**6)["pretrain"]
    assert again.steps - small.steps == pytest.approx(6e6 * 2 * 100_000)


def test_an_original_meets_each_forget_set_in_attacks_that_depend_on_it(demo):
    """Relearning runs for every set, rewriting once on the whole pool; for the control as well."""
    for attack, once in (("relearning", False), ("sampling", True)):
        config = demo | {"attacks": {attack: demo["attacks"][attack]}}
        work = plan.stages_of(config, "small", 10**6)["attack_original"]
        sets = [64] if once else 2 * demo["forget_sets"]["sizes"]
        expected = [plan.attack_work(config, 10**6, size) for size in sets]
        assert work.steps == pytest.approx(2 * sum(each.steps for each in expected)), attack
        assert work.passes == pytest.approx(2 * sum(each.passes for each in expected)), attack


def test_offloaded_adam_fits_the_largest_into_40_gb(paper):
    offloaded = paper | {"unlearning": paper["unlearning"] | {"offload": "optimizer"}}
    parts = plan.memory_mb(paper["models"]["2.7b"]["parameters"], offloaded)
    assert sum(parts.values()) < 40_000 < sum(plan.memory_mb(2_651_307_520, paper).values())


def test_this_machine_s_rates_are_those_of_a_second_s_work():
    found = plan.probed((32, 2, 2), 16, 64, 8)
    assert set(found) == set(plan.KINDS)
    assert all(0 < rate < 10 for rate in found.values())


def test_an_adapter_has_few_gradients_and_moments(paper):
    """Against the adapter of a GPT-Neo block by block, counted; the weights stay what they were."""
    size, rank, width, layers = paper["models"]["1.3b"]["parameters"], 16, 2048, 24
    counted = layers * rank * (4 * 2 * width + 2 * 5 * width)
    assert plan.adapter_parameters(size, rank) == pytest.approx(counted, rel=0.25)
    adapted = paper | {"unlearning": paper["unlearning"] | {"lora": {"rank": rank}}}
    whole, few = plan.memory_mb(size, paper), plan.memory_mb(size, adapted)
    assert few["weights"] == whole["weights"]
    assert few["Adam"] == 2 * few["adapter"] == 2 * few["gradients"] == few["task vector"]
    assert sum(few.values()) < 1.15 * whole["weights"]


def test_what_a_job_did_after_the_last_look_at_it_is_counted(tmp_path):
    """Of jobs of a steady second each second, seen until 12, 15.5 and 45.5 seconds."""
    for name, seconds, seen in (("a", 12.2, 12.0), ("b", 40.0, 15.5), ("c", 70.0, 45.5)):
        file = tmp_path / "unlearn" / f"{name}.tsv"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"s\tcpu_time\n{seconds}\t{seen}\n")
    table = stages.stages(tmp_path)
    assert table.loc["unlearn", "jobs"] == 3
    assert table.loc["unlearn", "cpu_s"] == pytest.approx(12.2 + 40.0 + 70.0)
