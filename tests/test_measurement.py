"""What is measured of a model, and of which of its sequences."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from unlearning.data.sequences import roles
from unlearning.evaluation.measurement import asks_for_el, measure
from unlearning.memorization.scoring import extraction_likelihood
from unlearning.settings.measurement import MeasurementSettings

IDS = ["p0", "p1", "p2", "t0", "a0", "a1"]


@pytest.fixture(scope="module")
def sequences() -> pd.DataFrame:
    rows = np.random.default_rng(0).integers(1, 30, (len(IDS), 9), dtype=np.int32)
    return pd.DataFrame(
        {
            "sequence_id": IDS,
            "split": ["planted"] * 3 + ["unseen"] * 3,
            "half": ["", "", "", "threshold", "attack", "attack"],
            "tokens": list(rows),
        }
    )


def settings(*el: str) -> MeasurementSettings:
    return MeasurementSettings(ngram=2, extraction_suffix=3, tasks={"town": "choice"}, el=el)


@pytest.mark.parametrize(
    ("el", "before", "after"),
    [
        (("forget",), {"p0", "p1", "p2", "t0"}, {"p1"}),
        (("forget", "unseen"), set(IDS), {"p1", "t0", "a0", "a1"}),
        ((), {"t0"}, set()),
    ],
)
def test_el_is_asked_for_where_the_settings_say(sequences, el, before, after):
    ids = np.array(IDS)
    asked = asks_for_el(sequences, settings(*el), unlearned=False)
    assert set(ids[asked]) == before
    asked = asks_for_el(roles(sequences, ["p1"]), settings(*el), unlearned=True)
    assert set(ids[asked]) == after


def test_el_that_was_not_asked_for_is_nan_and_nothing_else(sequences):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=30, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(config).eval()
    asked = asks_for_el(sequences, settings("forget"), unlearned=False)
    table = measure(model, sequences, settings("forget"), asked)
    assert table["el"].notna().tolist() == asked.tolist()
    whole = measure(model, sequences, settings("forget"))
    tokens = np.stack(sequences["tokens"])
    np.testing.assert_array_equal(whole["el"], extraction_likelihood(model, tokens, 2))
    np.testing.assert_array_equal(table["el"][asked], whole["el"][asked])
    pd.testing.assert_frame_equal(table.drop(columns="el"), whole.drop(columns="el"))
