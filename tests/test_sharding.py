"""One model over two processes does what it does in one: the same selection, the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

import unlearn
from unlearning.jobs.files import write_csv, write_parquet

SCRIPTS = Path(__file__).parents[1] / "scripts"
ENDS = {"bos_token_id": 0, "eos_token_id": 0}
MODELS = {
    "gpt_neo": lambda: GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=40, hidden_size=16, num_layers=2, num_heads=2, window_size=4,
            attention_types=[[["global", "local"], 1]], max_position_embeddings=16, **ENDS,
        )
    ),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=16, **ENDS)
    ),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=16, **ENDS,
        )
    ),
}  # fmt: skip


@pytest.fixture(params=MODELS)
def job(request, tmp_path):
    """The input files of an unlearning job on a tiny model, and its command line."""
    import torch

    torch.manual_seed(0)
    MODELS[request.param]().save_pretrained(tmp_path / "model")
    generator = np.random.default_rng(0)
    tokens = list(generator.integers(1, 40, size=(8, 12), dtype=np.int32))
    halves = ["threshold", "attack"]
    ids = [f"p{i}" for i in range(6)] + ["u0", "u1"]
    write_parquet(
        pd.DataFrame(
            {
                "sequence_id": ids,
                "split": ["planted"] * 6 + ["unseen"] * 2,
                "repetitions": [4] * 6 + [0] * 2,
                "tokens": tokens,
                "half": [""] * 6 + halves,
            }
        ),
        tmp_path / "sequences.parquet",
    )
    rows = [(size, 0, i, f"p{i}") for size in (1, 5) for i in range(size)]
    sets = pd.DataFrame(rows, columns=["forget_size", "seed", "position", "sequence_id"])
    write_parquet(sets, tmp_path / "forget_sets.parquet")
    limits = {"ma_mean": -1.0, "el_mean": 0.0, "calibrated_low": 0.0, "calibrated_high": 0.2}
    write_csv(pd.DataFrame([limits]), tmp_path / "thresholds.csv")
    np.save(tmp_path / "background.npy", np.zeros((4, 12), dtype=np.uint16))
    settings = {
        "cells": [[5, "sga", 0], [1, "tau", 0]],
        "unlearners": {
            "sga": {"method": "selective_gradient_ascent", "stop": "mean", "gamma": 0.02},
            "tau": {"method": "task_arithmetic_unlearning", "stop": "mean", "ascend_until": 0.02},
        },
        "ngram": 2,
        "learning_rate": 0.01,
        "micro_batch": 2,
        "max_epochs": 4,
    }

    def command(folder: str, **changes) -> list[str]:
        out = tmp_path / folder
        words = [
            SCRIPTS / "unlearn.py",
            *("--model", tmp_path / "model", "--name", "tiny"),
            *("--sequences", tmp_path / "sequences.parquet"),
            *("--forget-sets", tmp_path / "forget_sets.parquet"),
            *("--background", tmp_path / "background.npy"),
            *("--thresholds", tmp_path / "thresholds.csv"),
            *("--settings", json.dumps(settings | changes), "--work", out / "work"),
            *("--checkpoints", out / "checkpoints", "--history", out / "history.parquet"),
            *("--runs", out / "runs.parquet"),
        ]
        return [str(word) for word in words]

    return tmp_path, command


def run_alone(command: list[str], monkeypatch) -> None:
    """The job in this process."""
    monkeypatch.setattr(sys, "argv", command)
    unlearn.main()


def run(launcher: list[str], command: list[str], **environment: str) -> None:
    """The job, or any script, in the launcher's processes."""
    done = subprocess.run(
        [*launcher, *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

ACCELERATE = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    *("--main_process_port", "0"),
]


def same(left: Path, right: Path, tolerance: float) -> None:
    a, b = (pd.read_parquet(folder / "history.parquet") for folder in (left, right))
    keys = ["unlearner", "epoch", "sequence_id"]
    pd.testing.assert_frame_equal(a[keys], b[keys])
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=tolerance)
    for cell in ("5-sga-0", "1-tau-0"):
        one, two = (
            load_file(folder / f"checkpoints/{cell}/model.safetensors") for folder in (left, right)
        )
        assert one.keys() == two.keys()
        for name, weight in one.items():
            np.testing.assert_allclose(two[name], weight, atol=tolerance, err_msg=name)


def test_two_processes_give_what_one_gives(job, monkeypatch):
    folder, command = job
    run_alone(command("alone"), monkeypatch)
    run(TORCHRUN, command("both"))
    same(folder / "alone", folder / "both", tolerance=1e-4)
    runs = pd.read_parquet(folder / "both/runs.parquet")
    assert runs["processes"].tolist() == [2, 2]
    assert runs["phase_epochs"].tolist() == (
        pd.read_parquet(folder / "alone/runs.parquet")["phase_epochs"].tolist()
    )
    config = json.loads((folder / "both/checkpoints/5-sga-0/config.json").read_text())
    assert not config["architectures"][0].startswith("FSDP")


@pytest.mark.parametrize("job", ["gpt2"], indirect=True)
def test_accelerate_launches_it_and_shards_wait_in_the_cpu_s_memory(job, monkeypatch):
    folder, command = job
    run_alone(command("alone"), monkeypatch)
    run(ACCELERATE, command("both", offload="optimizer"))
    same(folder / "alone", folder / "both", tolerance=1e-4)
    assert pd.read_parquet(folder / "both/runs.parquet")["processes"].tolist() == [2, 2]


@pytest.mark.parametrize("job", ["gpt2"], indirect=True)
def test_two_processes_hold_on_to_the_same_text(job, monkeypatch):
    folder, command = job
    blocks = {
        "npo": {"method": "npo", "retain": {"kind": "nll", "batch": 3}},
        "sga_kl": {"method": "selective_gradient_ascent", "retain": {"kind": "kl", "batch": 3}},
        "perturb": {"method": "shrink_and_perturb", "steps": 4, "rows": 3},
    }
    changes = {"unlearners": blocks, "cells": [[5, label, 0] for label in blocks]}
    run_alone(command("alone", **changes), monkeypatch)
    run(TORCHRUN, command("both", **changes))
    alone, both = (pd.read_parquet(folder / name / "history.parquet") for name in ("alone", "both"))
    keys = ["unlearner", "epoch", "sequence_id"]
    pd.testing.assert_frame_equal(alone[keys], both[keys])
    np.testing.assert_allclose(both["loss"], alone["loss"], rtol=1e-4)
    assert alone.groupby("unlearner")["epoch"].max().to_dict() == dict.fromkeys(blocks, 4)


EXTRACTION = """
import sys
import numpy as np
import torch
from unlearning.models import sharding
from unlearning.memorization.scoring import extraction_likelihood
from unlearning.models.loading import load_model

folder, budgets = sys.argv[1], (None, 1500)
sharding.join(torch.device("cpu"))
model = sharding.shard(load_model(folder + "/model", torch.device("cpu")))
assert sharding.is_sharded(model) == (sharding.processes() > 1)
tokens = np.load(folder + "/tokens.npy")
for budget in budgets:
    values = extraction_likelihood(model, tokens, 2, memory_bytes=budget)
    np.save(f"{folder}/{sharding.processes()}-{sharding.rank()}-{budget}.npy", values)
sharding.leave()
"""


@pytest.mark.parametrize("architecture", MODELS)
def test_extraction_likelihood_of_two_processes_is_that_of_one(architecture, tmp_path, monkeypatch):
    import torch

    torch.manual_seed(1)
    model = MODELS[architecture]().eval()
    model.save_pretrained(tmp_path / "model")
    start = torch.randint(1, 40, (6, 5))
    text = model.generate(start, min_new_tokens=7, max_new_tokens=7, do_sample=False)
    text[::2, 8] = 3  # some leave what the model would say
    np.save(tmp_path / "tokens.npy", text.numpy())
    (tmp_path / "extraction.py").write_text(EXTRACTION)
    monkeypatch.setattr(sys, "argv", ["", str(tmp_path)])
    exec(EXTRACTION, {})
    run(TORCHRUN, [str(tmp_path / "extraction.py"), str(tmp_path)], PYTHONPATH=str(SCRIPTS))
    alone = np.load(tmp_path / "1-0-None.npy")
    assert alone.max() > 0.1
    assert len(set(alone)) > 2
    for name in ("1-0-1500", "2-0-None", "2-1-None", "2-0-1500", "2-1-1500"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), alone, err_msg=name)


@pytest.mark.parametrize("job", ["gpt2"], indirect=True)
def test_two_processes_stop_together_on_both_metrics(job):
    folder, command = job
    limits = pd.read_csv(folder / "thresholds.csv").assign(ma_mean=2.0)
    for el_mean, outcome in ((0.0, ["cap", 4]), (1.0, ["met_at_start", 0])):
        write_csv(limits.assign(el_mean=el_mean), folder / "thresholds.csv")
        run(TORCHRUN, command(outcome[0], cells=[[5, "sga", 0]], stop_metrics=["ma", "el"]))
        runs = pd.read_parquet(folder / outcome[0] / "runs.parquet")
        assert runs[["status", "epochs"]].values.tolist() == [outcome]
