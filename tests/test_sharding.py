"""One model over two processes does what it does in one: the same selection, the same weights."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.numpy import load_file
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from running import ROOT, TORCHRUN, launch
from unlearning.jobs.files import write_csv, write_parquet

SCRIPTS = ROOT / "scripts"
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


Command = Callable[..., list[str]]
EXTRACTION = """
import sys
import numpy as np
import torch
from unlearning.models import sharding
from unlearning.memorization.scoring import extraction_likelihood

folder, budgets = sys.argv[1], (None, 1500)
sharding.join(torch.device("cpu"))
model = sharding.load(folder + "/model", torch.device("cpu"))
assert sharding.is_sharded(model) == (sharding.processes() > 1)
tokens = np.load(folder + "/tokens.npy")
for budget in budgets:
    values = extraction_likelihood(model, tokens, 2, memory_bytes=budget)
    np.save(f"{folder}/{sharding.processes()}-{sharding.rank()}-{budget}.npy", values)
sharding.leave()
"""
HELD = {
    "npo": {"method": "npo", "retain": {"kind": "nll", "batch": 3}},
    "sga_kl": {"method": "selective_gradient_ascent", "retain": {"kind": "kl", "batch": 3}},
    "perturb": {"method": "shrink_and_perturb", "steps": 4, "rows": 3},
}
ENDS_OF_RUNS = {"cap": (0.0, 4), "met_at_start": (1.0, 0)}  # limit of EL, epochs


def inputs(folder: Path, architecture: str) -> Command:
    """Write the input files of an unlearning job on a tiny model; what gives its command line."""
    folder.mkdir()
    torch.manual_seed(0)
    MODELS[architecture]().save_pretrained(folder / "model")
    generator = np.random.default_rng(0)
    tokens = list(generator.integers(1, 40, size=(8, 12), dtype=np.int32))
    ids = [f"p{i}" for i in range(6)] + ["u0", "u1"]
    write_parquet(
        pd.DataFrame(
            {
                "sequence_id": ids,
                "split": ["planted"] * 6 + ["unseen"] * 2,
                "repetitions": [4] * 6 + [0] * 2,
                "tokens": tokens,
                "half": [""] * 6 + ["threshold", "attack"],
            }
        ),
        folder / "sequences.parquet",
    )
    rows = [(size, 0, i, f"p{i}") for size in (1, 5) for i in range(size)]
    sets = pd.DataFrame(rows, columns=["forget_size", "seed", "position", "sequence_id"])
    write_parquet(sets, folder / "forget_sets.parquet")
    limits = {"ma_mean": -1.0, "el_mean": 0.0, "calibrated_low": 0.0, "calibrated_high": 0.2}
    for name, (el_mean, _) in ENDS_OF_RUNS.items():
        write_csv(
            pd.DataFrame([limits | {"ma_mean": 2.0, "el_mean": el_mean}]), folder / f"{name}.csv"
        )
    write_csv(pd.DataFrame([limits]), folder / "thresholds.csv")
    np.save(folder / "background.npy", np.zeros((4, 12), dtype=np.uint16))
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

    def command(name: str, thresholds: str = "thresholds", **changes) -> list[str]:
        out = folder / name
        words = [
            SCRIPTS / "unlearn.py",
            *("--model", folder / "model", "--name", "tiny"),
            *("--sequences", folder / "sequences.parquet"),
            *("--forget-sets", folder / "forget_sets.parquet"),
            *("--background", folder / "background.npy"),
            *("--thresholds", folder / f"{thresholds}.csv"),
            *("--settings", json.dumps(settings | changes), "--work", out / "work"),
            *("--checkpoints", out / "checkpoints", "--history", out / "history.parquet"),
            *("--runs", out / "runs.parquet"),
        ]
        return [str(word) for word in words]

    return command


def recited(folder: Path, architecture: str) -> None:
    """Write a tiny model and token rows that it partly says itself."""
    folder.mkdir()
    torch.manual_seed(1)
    model = MODELS[architecture]().eval()
    model.save_pretrained(folder / "model")
    start = torch.randint(1, 40, (6, 5))
    text = model.generate(start, min_new_tokens=7, max_new_tokens=7, do_sample=False)
    text[::2, 8] = 3  # some leave what the model would say
    np.save(folder / "tokens.npy", text.numpy())


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A folder in which all jobs have run, in one process and in two: a launch takes seconds."""
    home = tmp_path_factory.mktemp("sharding")
    (home / "extraction.py").write_text(EXTRACTION)
    alone, both = [], []
    for architecture in MODELS:
        command = inputs(home / architecture, architecture)
        recited(home / f"{architecture}-recited", architecture)
        for commands, name in ((alone, "alone"), (both, "both")):
            commands.append(command(name))
            commands.append([str(home / "extraction.py"), str(home / f"{architecture}-recited")])
            if architecture == "gpt2":
                cells = [[5, label, 0] for label in HELD]
                commands.append(command(f"{name}-held", unlearners=HELD, cells=cells))
        if architecture == "gpt2":
            stops = {"cells": [[5, "sga", 0]], "stop_metrics": ["ma", "el"]}
            both += [command(name, thresholds=name, **stops) for name in ENDS_OF_RUNS]
    launch(home, (), alone)
    launch(home, TORCHRUN, both)
    return home


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


@pytest.mark.slow
@pytest.mark.parametrize("architecture", MODELS)
def test_two_processes_give_what_one_gives(done, architecture):
    folder = done / architecture
    same(folder / "alone", folder / "both", tolerance=1e-4)
    runs = pd.read_parquet(folder / "both/runs.parquet")
    assert runs["processes"].tolist() == [2, 2]
    assert runs["phase_epochs"].tolist() == (
        pd.read_parquet(folder / "alone/runs.parquet")["phase_epochs"].tolist()
    )
    config = json.loads((folder / "both/checkpoints/5-sga-0/config.json").read_text())
    assert not config["architectures"][0].startswith("FSDP")


def test_two_processes_hold_on_to_the_same_text(done):
    alone, both = (
        pd.read_parquet(done / f"gpt2/{name}-held/history.parquet") for name in ("alone", "both")
    )
    keys = ["unlearner", "epoch", "sequence_id"]
    pd.testing.assert_frame_equal(alone[keys], both[keys])
    np.testing.assert_allclose(both["loss"], alone["loss"], rtol=1e-4)
    assert alone.groupby("unlearner")["epoch"].max().to_dict() == dict.fromkeys(HELD, 4)


@pytest.mark.parametrize("architecture", MODELS)
def test_extraction_likelihood_of_two_processes_is_that_of_one(done, architecture):
    folder = done / f"{architecture}-recited"
    alone = np.load(folder / "1-0-None.npy")
    assert alone.max() > 0.1
    assert len(set(alone)) > 2
    for name in ("1-0-1500", "2-0-None", "2-1-None", "2-0-1500", "2-1-1500"):
        np.testing.assert_array_equal(np.load(folder / f"{name}.npy"), alone, err_msg=name)


@pytest.mark.parametrize("name", ENDS_OF_RUNS)
def test_two_processes_stop_together_on_both_metrics(done, name):
    runs = pd.read_parquet(done / f"gpt2/{name}/runs.parquet")
    assert runs[["status", "epochs"]].values.tolist() == [[name, ENDS_OF_RUNS[name][1]]]


@pytest.mark.slow
def test_accelerate_launches_it_by_its_config_file_and_shards_wait_in_the_cpu_s_memory(
    done, tmp_path
):
    """As `accelerate config` writes it; half precision there must not reach what is measured."""
    fsdp = {
        "fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_cpu_ram_efficient_loading": True, "fsdp_offload_params": False,
        "fsdp_reshard_after_forward": True, "fsdp_state_dict_type": "FULL_STATE_DICT",
    }  # fmt: skip
    config = {
        "compute_environment": "LOCAL_MACHINE", "distributed_type": "FSDP", "fsdp_config": fsdp,
        "mixed_precision": "bf16", "num_machines": 1, "num_processes": 2, "machine_rank": 0,
        "main_process_port": 0,
    }  # fmt: skip
    (tmp_path / "accelerate.yaml").write_text(yaml.safe_dump(config))
    command = inputs(tmp_path / "gpt2", "gpt2")
    launcher = ("accelerate.commands.launch", "--config_file", str(tmp_path / "accelerate.yaml"))
    launch(tmp_path, launcher, [command("both", offload="optimizer")])
    same(done / "gpt2/alone", tmp_path / "gpt2/both", tolerance=1e-4)
    runs = pd.read_parquet(tmp_path / "gpt2/both/runs.parquet")
    assert runs["processes"].tolist() == [2, 2]
