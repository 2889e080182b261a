"""The paper's config on samples of the real data, tiny local models in place of the hub's."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from running import ROOT, copy_project, snakemake
from samples import MIRROR, needs_samples
from unlearning.data.challenge.published import read_matrix, read_tokenizer
from unlearning.data.challenge.tasks import KINDS

pytestmark = needs_samples
SIZE = {"vocab_size": 50257, "bos_token_id": 50256, "eos_token_id": 50256}
# the paper's architecture, and one that is read by the library's own forward pass
MODELS = {
    "neo": lambda: GPTNeoForCausalLM(
        GPTNeoConfig(
            hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]],
            max_position_embeddings=1024, **SIZE,
        )
    ),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=1024, **SIZE,
        )
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project in which the paper's config has run: less of everything, same rules."""
    folder = copy_project(tmp_path_factory.mktemp("paper"))
    tokenizer = read_tokenizer(MIRROR)
    for name, make in MODELS.items():
        torch.manual_seed(0)
        make().save_pretrained(folder / f"given/{name}")
        tokenizer.save_pretrained(folder / f"given/{name}")
    config = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    config["challenge"]["mirror"] = str(MIRROR)
    config["models"] = {name: {"folder": f"given/{name}"} for name in MODELS}
    config["forget_sets"] = {"sizes": [2], "seeds": [0]}
    config["unlearners"] = {name: config["unlearners"][name] for name in ("ga", "sga")}
    config["unlearning"] |= {"max_epochs": 3, "learning_rate": 0.01}
    config["measurement"] |= {"limit": 2, "el": ["forget"]}
    config["attacks"] = {"neighbour": {"rewrites": 1}, "sampling": {}, "learned_attacker": {}}
    config["attack_analysis"] = {"resamples": 20}
    config["jobs"]["split_by"] = []
    (folder / "paper.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(folder, "--configfile", "paper.yaml", warm=True)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder


@pytest.mark.slow
def test_every_stage_has_its_results(project):
    results = project / "results/paper"
    runs = pd.read_parquet(results / "runs.parquet")
    assert runs.groupby("model").size().to_dict() == dict.fromkeys(MODELS, 2)
    utility = pd.read_parquet(results / "utility.parquet")
    assert set(utility["task"]) == set(KINDS)
    assert (
        utility.groupby(["model", "unlearner", "forget_size", "seed", "task"]).size() == 2
    ).all()
    # a trial's bound, on what it would take long to measure of each model
    memorization = pd.read_parquet(results / "memorization.parquet")
    kept = memorization.query("split == 'retained' and unlearner in ['ga', 'sga']")
    assert (kept.groupby(["model", "unlearner", "seed"]).size() == 2).all()
    assert len(json.loads((results / "claims.json").read_text())) == 8
    assert (results / "index.html").stat().st_size > 1e5


@pytest.mark.slow
def test_the_forgotten_sequences_are_the_published_rows(project):
    results = project / "results/paper"
    matrix = read_matrix("train", MIRROR)
    sequences = pd.read_parquet(results / "sequences.parquet")
    for row in sequences.query("kind == 'forget pool'").itertuples():
        np.testing.assert_array_equal(row.tokens, matrix[int(row.sequence_id[-5:])])
    history = pd.read_parquet(results / "history.parquet")
    assert set(history["sequence_id"]) <= set(sequences["sequence_id"])


@pytest.mark.slow
def test_no_text_of_the_sequences_reaches_logs_or_report(project):
    tokenizer = read_tokenizer(MIRROR)
    sequences = pd.read_parquet(project / "results/paper/sequences.parquet")
    texts = [tokenizer.decode(list(tokens[:24])).strip() for tokens in sequences["tokens"]]
    files = [*(project / "logs").rglob("*.log"), project / "results/paper/index.html"]
    assert len(files) > 10
    for path in files:
        content = path.read_text(errors="replace")
        assert not [text for text in texts if len(text) > 30 and text in content], path
