"""The card of a kept model: what it says, and that the hub's own library reads it."""

import re

import pandas as pd
import pytest
from huggingface_hub import ModelCard

from unlearning.models.cards import SHOWN, Facts, card
from unlearning.settings.analysis import SolutionSettings

RUN = pd.Series(
    {"status": "stopped", "epochs": 7, "phase_epochs": "ascent 7", "learning_rate": 5e-5}
)
BEFORE = {"ma": 0.9, "ma_max": 1.0, "loss": 0.4, "retained_loss": 1.1, "perplexity": 8.0}
AFTER = BEFORE | {"ma": 0.3, "ma_max": 0.41, "loss": 3.25, "retained_loss": 1.5} | {
    "outliers_calibrated_rate": 0.05, "attack_auc_strictest": 0.61, "ma_min": float("nan"),
    "unseen_drift": 0.02,
}  # fmt: skip


def facts(**changes) -> Facts:
    exposed = pd.DataFrame(
        [{"sequence_id": "forget-a: b", "why": "relearned", "also": "", "ma": 0.4}]
    )
    values = {
        "cell": {"model": "mine", "forget_size": 12, "unlearner": "ga", "seed": 0},
        "run": RUN,
        "block": {"method": "gradient_ascent", "stop": "mean"},
        "origin": "owner/name at 0123",
        "before": BEFORE,
        "after": AFTER,
        "exposed": exposed,
        "rule": SolutionSettings(),
        "lengths": (20, 64),
        "unseen": 128,
        "hub": "owner/name",
        "digests": {"this model.safetensors": "a" * 64},
    }
    return Facts(**values | changes)


def test_the_hubs_library_reads_the_head_and_gives_it_back():
    data = ModelCard(card(facts())).data
    assert data.base_model == "owner/name"
    assert data.library_name == "transformers"
    assert "gradient-ascent" in data.tags
    assert data.model_name == "mine-12-ga-0"
    measured = {result.metric_type: result.metric_value for result in data.eval_results}
    assert measured == {name: AFTER[name] for name in SHOWN if name in AFTER}
    # what the hub is sent: the library writes the same results from what it has read
    again = ModelCard(f"---\n{data.to_yaml()}\n---\n").data
    assert [r.metric_value for r in again.eval_results] == list(measured.values())
    assert again.to_dict() == data.to_dict()


def test_a_folder_has_no_name_on_the_hub_and_an_adapter_says_what_it_is():
    data = ModelCard(card(facts(hub=None, origin="models/mine"))).data
    assert data.base_model is None
    adapter = card(facts(adapter=True))
    assert ModelCard(adapter).data.library_name == "peft"
    assert ModelCard(adapter).data.to_dict()["base_model_relation"] == "adapter"
    assert "put it on the original with `peft`" in adapter


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "All limits are kept"),
        ({"outliers_calibrated_rate": 0.2}, "NOT SAFE .*0.2 .BROKEN: at most 0.1.*0.61 .kept"),
        ({"attack_auc_strictest": 0.75 + 5e-7}, "All limits are kept"),  # as the map rounds
        ({"attack_auc_strictest": 0.9}, "NOT SAFE .*0.05 .kept.*0.9 .BROKEN: at most 0.75"),
        ({"attack_auc_strictest": float("nan")}, "NOT SAFE .*BROKEN"),
        ({"unseen_drift": 0.4}, "NOT SAFE .*rise of the loss .* 0.4 .BROKEN: at most 0.1"),
    ],
)
def test_the_verdict_follows_the_limits(changes, said):
    text = card(facts(after=AFTER | changes))
    [line] = [line for line in text.splitlines() if line.startswith("**")]
    assert re.search(said, line), line


def test_it_names_the_strictest_attacker_and_what_it_finds_where_nothing_is():
    text = card(facts(strictest="relearning, 3 steps", floor={"attack_auc_strictest": 0.57}))
    said = "0.61 (kept: at most 0.75; by relearning, 3 steps; a model that never saw the set has"
    assert f"{said} 0.57)" in text
    assert "never saw" not in card(facts())


def test_it_says_lengths_counts_losses_digests_and_trials():
    text = card(facts())
    assert "12 sequences of 20 to 64 tokens" in text
    assert "compared with 128 unseen sequences" in text
    assert "| loss on the forget set, nats per token | 0.4 | 3.25 |" in text
    assert "| loss on sequences to be retained, nats per token | 1.1 | 1.5 |" in text
    assert "a" * 64 in text
    assert "trial" not in text
    assert "From a trial run (at most 9 " in card(facts(trial=9))
    assert "of 64 tokens, draw 0" in card(facts(lengths=(64, 64)))


def test_a_diverged_run_is_not_safe_and_its_card_is_read_too():
    broken = dict.fromkeys(AFTER, float("nan"))
    diverged = pd.Series(RUN.to_dict() | {"status": "diverged"})
    text = card(facts(after=broken, run=diverged))
    assert "NOT SAFE" in text
    assert ModelCard(text).data.eval_results is None
