"""What an experiment costs is counted, and every number follows from the config."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

import plan
from running import environment
from unlearning.configuration import check

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "config/paper.yaml"


@pytest.fixture(scope="module")
def paper():
    return check(yaml.safe_load(PAPER.read_text()))


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


def test_work_grows_with_the_model_and_the_forget_set(paper):
    rates = {"steps": 1.0, "passes": 1.0, "decoding": 1.0}
    small, large = (plan.work_of(paper, count, 8).seconds(rates) for count in (10**8, 10**9))
    assert large == pytest.approx(10 * small)
    assert plan.work_of(paper, 10**8, 128).seconds(rates) > small
    work = plan.work_of(paper, 1, 8)
    assert work.steps == plan.EPOCHS * 8 * 200 * 6


def test_the_plan_is_printed_before_anything_starts():
    done = subprocess.run(
        [sys.executable, "benchmarks/plan.py", "--configfile", str(PAPER), "--no-probe"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for word in ("unlearn", "2.7b", "memory of unlearning", "download", "total", "hours"):
        assert word in done.stdout


def test_a_trial_measures_few_sequences_but_steps_as_often(paper):
    trial = paper | {"measurement": paper["measurement"] | {"limit": 20}}
    whole, part = (plan.work_of(config, 10**6, 8) for config in (paper, trial))
    assert part.steps == whole.steps
    # of each half 20 of 128 unseen ones, beside the forget set
    fewer = plan.work_of(paper | {"measurement": paper["measurement"] | {"limit": 21}}, 10**6, 8)
    each = plan.DECODED * 190 * 200 / 2 * 2e6
    assert fewer.decoding - part.decoding == pytest.approx(2 * each + 4 * 32 * 2e6)


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
        assert work.passes == pytest.approx(2e6 * read), name


def test_el_of_unseen_sequences_is_counted_where_it_is_measured(paper):
    forget_only = paper | {"measurement": paper["measurement"] | {"el": ["forget"]}}
    whole, part = (plan.work_of(config, 10**6, 8) for config in (paper, forget_only))
    each = plan.DECODED * 190 * 200 / 2 * 2e6
    assert whole.decoding - part.decoding == pytest.approx(256 * each)
    assert whole.passes == part.passes


def test_originals_are_trained_measured_and_attacked_where_they_are_made_here(paper):
    assert plan.original_work(paper, "125m", 10**6).decoding > 0
    demo = check(yaml.safe_load((ROOT / "config/config.yaml").read_text()))
    small = plan.original_work(demo, "small", 10**6)
    more = demo | {"corpus": demo["corpus"] | {"background_tokens": 580_000}}
    again = plan.original_work(more, "small", 10**6)
    assert again.steps - small.steps == pytest.approx(6e6 * 2 * 100_000)


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
