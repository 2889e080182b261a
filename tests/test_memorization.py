"""Fast scoring against the definitions, position by position."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

import reference_memorization as reference
from unlearning import gpt_neo
from unlearning.decoding import prefix_matches
from unlearning.errors import InputError
from unlearning.gpt_neo import GPTNeoReader
from unlearning.memorization import extraction_likelihood, reader_of, score_tokens
from unlearning.stepping import LibraryReader

VOCABULARY = 12


def neo(
    seed: int = 0, window: int = 8, end: int | None = None, act: str = "gelu_new", length: int = 32
):
    torch.manual_seed(seed)
    config = GPTNeoConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=length,
        hidden_size=16,
        num_layers=2,
        attention_types=[[["global", "local"], 1]],
        num_heads=2,
        window_size=window,
        activation_function=act,
        bos_token_id=None,
        eos_token_id=end,
        initializer_range=0.3,  # far from flat, so that no two logits are nearly equal
    )
    return GPTNeoForCausalLM(config).eval()


def gpt2(seed: int = 0, end: int | None = None):
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=None,
        eos_token_id=end,
        initializer_range=0.3,
    )
    return GPT2LMHeadModel(config).eval()


def llama(seed: int = 0, end: int | None = None):
    """Grouped attention: four query heads on two key heads."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        bos_token_id=None,
        eos_token_id=end,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def texts(model: PreTrainedModel, length: int, seed: int = 0) -> np.ndarray:
    """Sequences of every kind: random, constant, periodic, known by heart, known but for a slip."""
    generator = np.random.default_rng(seed)
    rows = generator.integers(0, VOCABULARY, (6, length))
    rows[1] = 5
    rows[2] = np.resize([1, 2, 3, 4], length)
    for row in (3, 4):
        start = rows[row, :2].tolist()
        rows[row, 2:] = reference.continuation(model, start, length, ends=())
    rows[4, length // 2] = (rows[4, length // 2] + 1) % VOCABULARY
    rows[5] = np.resize(generator.integers(0, 3, 5), length)
    return rows


MODELS = {"neo": neo, "gpt2": gpt2, "llama": llama}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n", [1, 2, 5, 15])
def test_extraction_likelihood_is_the_naive_loop_s(name, n):
    model = MODELS[name](seed=1)
    rows = texts(model, 16)
    expected = reference.likelihoods(model, rows, n)
    np.testing.assert_allclose(extraction_likelihood(model, rows, n), expected, atol=1e-12)
    if n <= 5:
        assert expected[3] > 0.9  # what the model writes itself it knows by heart
        assert expected[0] < 0.9


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    window=st.integers(1, 16),
    rows=st.integers(2, 14).flatmap(
        lambda length: st.lists(
            st.lists(st.integers(0, 3), min_size=length, max_size=length), min_size=1, max_size=4
        )
    ),
    data=st.data(),
)
def test_any_small_model_any_text_any_n(seed, window, rows, data):
    model = neo(seed=seed % 7, window=window, end=data.draw(st.sampled_from([None, 2])))
    tokens = np.array(rows)
    n = data.draw(st.integers(1, tokens.shape[1] - 1))
    expected = reference.likelihoods(model, tokens, n)
    np.testing.assert_allclose(extraction_likelihood(model, tokens, n), expected, atol=1e-12)
    scores = score_tokens(model, tokens)
    for i, row in enumerate(tokens.tolist()):
        assert scores.ma[i] == pytest.approx(reference.accuracy(model, row), abs=1e-12)
        assert scores.loss[i] == pytest.approx(reference.loss(model, row), abs=1e-5)
        assert scores.verbatim_run[i] == reference.verbatim_run(model, row)


@pytest.mark.parametrize("share_from", [1, 1000])
@pytest.mark.parametrize("window", [4, 64])
def test_shared_prefixes_and_plain_rows_agree_with_the_naive_loop(monkeypatch, share_from, window):
    monkeypatch.setattr(gpt_neo, "SHARED_FROM", share_from)
    model = neo(seed=3, window=window, length=64)
    rows = np.concatenate([texts(model, 40, seed) for seed in range(2)])
    expected = reference.likelihoods(model, rows[:7], 4)
    got = extraction_likelihood(model, rows, 4)[:7]
    np.testing.assert_allclose(got, expected, atol=1e-12)


@pytest.mark.parametrize("end", [None, 3])
def test_gpt_neo_s_own_reader_agrees_with_the_library_s(end):
    model = neo(seed=2, end=end)
    rows = torch.from_numpy(texts(model, 20))
    assert isinstance(reader_of(model), GPTNeoReader)
    with torch.inference_mode():
        mine, theirs = (
            prefix_matches(reader, rows, None, 3, 2**24)
            for reader in (GPTNeoReader(model), LibraryReader(model))
        )
    assert torch.equal(mine[0], theirs[0])
    assert mine[1].all()


@pytest.mark.parametrize("make", [neo, llama])
def test_a_generated_end_token_ends_the_continuation_whatever_else_is_in_the_batch(make):
    """The published value depends on the batch; ours is that of the sequence alone."""
    model = make(seed=1, end=3)
    rows = texts(model, 14)
    rows[0, 7] = 3  # an end token inside the text does not end the text
    together = extraction_likelihood(model, rows, 3)
    alone = [extraction_likelihood(model, row[None], 3)[0] for row in rows]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(together, reference.likelihoods(model, rows, 3), atol=1e-12)


def test_a_small_memory_budget_changes_nothing():
    model = neo(seed=5)
    rows = texts(model, 20)
    np.testing.assert_array_equal(
        extraction_likelihood(model, rows, 4, memory_bytes=1),
        extraction_likelihood(model, rows, 4),
    )


def test_known_scores_spare_a_pass_and_change_nothing():
    model = neo(seed=5)
    rows = texts(model, 20)
    scores = score_tokens(model, rows)
    np.testing.assert_array_equal(
        extraction_likelihood(model, rows, 4, scores=scores), extraction_likelihood(model, rows, 4)
    )


@pytest.mark.parametrize("name", MODELS)
def test_min_k_and_min_k_plus_plus(name):
    model = MODELS[name](seed=4)
    rows = texts(model, 12)
    scores = score_tokens(model, rows)
    for i, row in enumerate(rows.tolist()):
        for fraction in (0.2, 1.0):
            plain = reference.min_k(model, row, fraction, plus_plus=False)
            standardized = reference.min_k(model, row, fraction, plus_plus=True)
            assert scores.min_k(fraction)[i] == pytest.approx(plain, abs=1e-4)
            assert scores.min_k_plus_plus(fraction)[i] == pytest.approx(standardized, abs=1e-3)


def test_extraction_is_verbatim_emission_of_the_suffix():
    model = neo(seed=1)
    rows = texts(model, 16)
    for suffix in (1, 4, 15):
        got = score_tokens(model, rows).extracted(suffix)
        for row, flag in zip(rows.tolist(), got, strict=True):
            emitted = reference.continuation(model, row[:-suffix], 16, ends=())
            assert flag == (emitted == row[-suffix:])
    assert got[3] == (reference.accuracy(model, rows[3].tolist()) == 1)


@pytest.mark.parametrize("act", ["gelu_new", "gelu", "relu"])
def test_the_written_out_gpt_neo_has_the_library_s_logits(act):
    model = neo(seed=6, act=act)
    rows = torch.randint(0, VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(0))
    reader = GPTNeoReader(model)
    with torch.inference_mode():
        hidden = reader.hidden(rows)
        got = torch.cat(list(reader.logits(hidden.flatten(0, 1)))).view(3, 20, -1)
        expected = model(rows).logits
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_bfloat16_scores_stay_near_and_finite():
    model = neo(seed=1).bfloat16()
    rows = texts(neo(seed=1), 16)
    scores = score_tokens(model, rows)
    assert np.isfinite(scores.loss).all()
    exact = score_tokens(neo(seed=1), rows)
    np.testing.assert_allclose(scores.loss, exact.loss, atol=0.1)
    assert np.isfinite(extraction_likelihood(model, rows, 3)).all()


def test_a_broken_model_gives_nan_and_no_crash():
    model = neo()
    with torch.no_grad():
        model.transformer.h[1].mlp.c_fc.weight[0, 0] = float("nan")
    rows = texts(neo(), 10)
    scores = score_tokens(model, rows)
    for values in (
        scores.ma,
        scores.loss,
        scores.verbatim_run,
        extraction_likelihood(model, rows, 3),
    ):
        assert np.isnan(values).all()
    assert not scores.extracted(3).any()


@pytest.mark.parametrize(
    ("tokens", "n", "message"),
    [
        ([[1, 2, 3]], 3, "n is 3; for sequences of 3 tokens choose 1 to 2"),
        ([[1, 2, 3]], 0, "n is 0"),
        ([[1]], 1, "at least 2"),
        ([[1, VOCABULARY, 3]], 1, "row 0, column 1 is outside"),
        ([[1, -1, 3]], 1, "row 0, column 1 is outside"),
        ([1, 2, 3], 1, "expected integers of shape"),
        ([[1.0, 2.0, 3.0]], 1, "expected integers of shape"),
    ],
)
def test_bad_input_is_named(tokens, n, message):
    with pytest.raises(InputError, match=message):
        extraction_likelihood(neo(), np.array(tokens), n)


def test_the_same_call_gives_the_same_bytes():
    model = neo(seed=8)
    rows = texts(model, 20)
    first, second = (extraction_likelihood(model, rows, 4) for _ in range(2))
    assert first.tobytes() == second.tobytes()
