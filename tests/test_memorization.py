"""Memorization scores against their definitions, on random tiny models."""

import functools
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

import reference_memorization as reference
from unlearning.attacks.token_level_attacker import TOKEN_PROFILE
from unlearning.jobs.errors import InputError
from unlearning.memorization import scoring as memorization
from unlearning.memorization.scoring import (
    extraction_likelihood,
    memorization_accuracy,
    score_hidden,
    score_tokens,
)
from unlearning.models import gpt_neo
from unlearning.models.readers import LibraryReader, greatest

VOCABULARY = 9
IDS = {"bos_token_id": None, "pad_token_id": None}


@functools.cache
def neo(seed: int = 0, window: int = 256, end: int | None = None) -> GPTNeoForCausalLM:
    torch.manual_seed(seed)
    config = GPTNeoConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        window_size=window,
        max_position_embeddings=64,
        initializer_range=0.4,
        eos_token_id=end,
        **IDS,
    )
    return GPTNeoForCausalLM(config).eval()


def assert_same_ngrams(values: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for the order of summation: one n-gram more or less weighs over 1e-4 here."""
    np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12)


def emitted(model: PreTrainedModel, start: list[int], length: int) -> list[int]:
    return start + reference.continuation(model, start, length, ends=())


@st.composite
def texts(draw: st.DrawFn, length: int) -> list[int]:
    """Sequences that stress the overlap: constant, periodic, with a repeated piece, or random."""
    token = st.integers(0, VOCABULARY - 1)
    kind = draw(st.sampled_from(["constant", "periodic", "repeated piece", "random"]))
    if kind == "constant":
        return [draw(token)] * length
    if kind == "periodic":
        period = draw(st.lists(token, min_size=2, max_size=4))
        return (period * length)[:length]
    text = draw(st.lists(token, min_size=length, max_size=length))
    if kind == "repeated piece" and length >= 4:
        size = draw(st.integers(1, length // 2))
        text[-size:] = text[:size]
    return text


@st.composite
def cases(draw: st.DrawFn) -> tuple[PreTrainedModel, np.ndarray, int]:
    """A model, rows of one length, partly written by the model itself, and n."""
    end = draw(st.sampled_from([None, None, 3]))
    window = draw(st.sampled_from([1, 3, 256]))
    model = neo(draw(st.integers(0, 7)), window, end)
    length = draw(st.integers(2, 13))
    rows = [draw(texts(length)) for _ in range(draw(st.integers(1, 3)))]
    for row in rows:
        known = draw(st.integers(1, length))
        row[known:] = emitted(model, row[:known], length)[known:]
        row[draw(st.integers(0, length - 1))] = draw(st.integers(0, VOCABULARY - 1))
    n = draw(st.sampled_from([1, 2, 3, 5, length - 1]).filter(lambda n: n < length))
    return model, np.array(rows), n


@settings(max_examples=120, deadline=None, derandomize=True)
@given(cases(), st.booleans(), st.booleans(), st.sampled_from([1, 2**14, None]))
def test_extraction_likelihood_is_the_naive_one(case, shared, scored, memory):
    model, tokens, n = case
    scores = score_tokens(model, tokens) if scored else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpt_neo, "SHARED_FROM", 0 if shared else 100)
        patch.setattr(gpt_neo, "SHARED_ROWS", 3)
        patch.setattr(gpt_neo, "POOLED_BELOW", 4)
        fast = extraction_likelihood(model, tokens, n, scores=scores, memory_bytes=memory)
    ends = () if model.config.eos_token_id is None else (model.config.eos_token_id,)
    assert_same_ngrams(fast, reference.likelihoods(model, tokens, n, ends))


@pytest.mark.parametrize("rows_per_block", [1, 3])
@pytest.mark.parametrize("window", [1, 4, 256])
def test_every_block_shape_is_exact(monkeypatch, rows_per_block, window):
    monkeypatch.setattr(gpt_neo, "SHARED_ROWS", rows_per_block)
    monkeypatch.setattr(gpt_neo, "POOLED_BELOW", 4)
    monkeypatch.setattr(gpt_neo, "SHARED_FROM", 0)
    model = neo(1, window)
    tokens = np.random.default_rng(0).integers(VOCABULARY, size=(4, 16))
    tokens[0] = emitted(model, [2, 5], 16)
    tokens[0, 5] = (tokens[0, 5] + 1) % VOCABULARY
    tokens[1] = 4
    fast = extraction_likelihood(model, tokens, 2)
    assert fast.max() > 0.2
    assert_same_ngrams(fast, reference.likelihoods(model, tokens, 2))


@pytest.mark.parametrize("name", ["SharedPrefixSteps", "NeoRowSteps"])
def test_rows_that_end_leave_the_batch(monkeypatch, name):
    """Rows go one by one as they meet an end token; those that stay must keep their own past."""
    sizes = []

    class Watched(getattr(gpt_neo, name)):
        def keep(self, rows):
            sizes.append((len(rows), len(self.active(100))))
            super().keep(rows)

    monkeypatch.setattr(gpt_neo, name, Watched)
    monkeypatch.setattr(gpt_neo, "SHARED_FROM", 0 if name == "SharedPrefixSteps" else 100)
    monkeypatch.setattr(gpt_neo, "SHARED_ROWS", 6)
    tokens = np.random.default_rng(7).integers(VOCABULARY, size=(4, 30))
    for seed in range(3):
        for window in (2, 256):
            model = neo(seed, window, 3)
            for row in range(3):
                known = 2 + 4 * row
                start = tokens[row, :known].tolist()
                tokens[row] = emitted(model, start, 30)
                tokens[row, 14::5] = row
            tokens[3] = 4  # continued by fours, some rows match it to the end
            for n in (1, 12):
                fast = extraction_likelihood(model, tokens, n)
                assert_same_ngrams(fast, reference.likelihoods(model, tokens, n, (3,)))
    assert any(0 < kept < before - 2 for kept, before in sizes)


def made(config: type, model: type, **sizes: object) -> PreTrainedModel:
    """A small model with logits far enough apart and without an end-of-text token."""
    return model(
        config(vocab_size=VOCABULARY, initializer_range=0.4, eos_token_id=None, **IDS, **sizes)
    )


def grouped(config: type, model: type, **extra: object) -> PreTrainedModel:
    """A small model of the Llama family with grouped attention."""
    return made(
        config,
        model,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        **extra,
    )


OTHERS = {
    "gpt2": lambda: made(
        GPT2Config, GPT2LMHeadModel, n_embd=16, n_layer=2, n_head=2, n_positions=32
    ),
    "bloom, biases for distance": lambda: made(
        BloomConfig, BloomForCausalLM, hidden_size=16, n_layer=2, n_head=2
    ),
    "llama": lambda: grouped(LlamaConfig, LlamaForCausalLM),
    "mistral, window": lambda: grouped(MistralConfig, MistralForCausalLM, sliding_window=4),
    "gemma2, capped logits": lambda: grouped(
        Gemma2Config, Gemma2ForCausalLM, sliding_window=4, final_logit_softcapping=2.0
    ),
    "mamba, no keys": lambda: made(
        MambaConfig, MambaForCausalLM, hidden_size=16, state_size=4, num_hidden_layers=2
    ),
    "lfm2, convolutions": lambda: grouped(
        Lfm2Config, Lfm2ForCausalLM, layer_types=["conv", "full_attention"]
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures_are_exact(kind):
    torch.manual_seed(2)
    model = OTHERS[kind]().eval()
    tokens = np.random.default_rng(1).integers(VOCABULARY, size=(3, 14))
    tokens[0] = emitted(model, [1, 2], 14)
    tokens[1] = emitted(model, [3, 4], 14)
    tokens[1, 6] = (tokens[1, 6] + 1) % VOCABULARY
    fast = extraction_likelihood(model, tokens, 3)
    assert fast.max() > 0.2
    assert_same_ngrams(fast, reference.likelihoods(model, tokens, 3))
    assert_scores_are_the_definitions(model, tokens)


@pytest.mark.parametrize("reader", ["shared prefix", "library"])
def test_other_arrangements_of_gpt_neo_agree(monkeypatch, reader):
    """What runs for long sequences, and for a subclass, against what runs for short ones."""
    model = neo(3, 4)
    tokens = np.random.default_rng(2).integers(VOCABULARY, size=(5, 18))
    tokens[0] = emitted(model, [1, 2], 18)
    tokens[0, 9] = (tokens[0, 9] + 1) % VOCABULARY
    here = extraction_likelihood(model, tokens, 2)
    if reader == "library":
        monkeypatch.setattr(memorization, "reader_of", LibraryReader)
    else:
        monkeypatch.setattr(gpt_neo, "SHARED_FROM", 0)
    np.testing.assert_array_equal(extraction_likelihood(model, tokens, 2), here)


def test_replaced_parts_and_double_precision_take_the_library_s_way():
    """Adapters, quantized layers and float64 must not be read past."""

    class Doubled(torch.nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    adapted, double = (GPTNeoForCausalLM(neo().config).eval() for _ in range(2))
    for model in (adapted, double):
        model.load_state_dict(neo(1).state_dict())
    part = adapted.transformer.h[0].attn.attention
    part.k_proj, plain = Doubled(16, 16, bias=False), part.k_proj
    part.k_proj.weight = plain.weight
    tokens = np.random.default_rng(8).integers(VOCABULARY, size=(2, 14))
    for model in (adapted, double.double()):
        tokens[0] = emitted(model, [1, 2], 14)
        tokens[0, 6] = (tokens[0, 6] + 1) % VOCABULARY
        assert isinstance(memorization.reader_of(model), LibraryReader)
        fast = extraction_likelihood(model, tokens, 2)
        assert_same_ngrams(fast, reference.likelihoods(model, tokens, 2))


def assert_scores_are_the_definitions(model: PreTrainedModel, tokens: np.ndarray) -> None:
    scores = score_tokens(model, tokens, batch_tokens=40)
    for i, row in enumerate(tokens.tolist()):
        assert scores.ma[i] == reference.accuracy(model, row)
        assert scores.loss[i] == pytest.approx(reference.loss(model, row), rel=1e-4)
        for fraction in (0.01, 0.3, 1.0):
            for plus_plus, values in (
                (False, scores.min_k(fraction)),
                (True, scores.min_k_plus_plus(fraction)),
            ):
                expected = reference.min_k(model, row, fraction, plus_plus)
                assert values[i] == pytest.approx(expected, rel=1e-3)


def test_scores_are_the_definitions():
    model = neo(4, 3)
    tokens = np.random.default_rng(3).integers(VOCABULARY, size=(4, 12))
    tokens[0] = emitted(model, [1], 12)
    assert_scores_are_the_definitions(model, tokens)
    np.testing.assert_array_equal(
        memorization_accuracy(model, tokens), score_tokens(model, tokens).ma
    )


def test_verbatim_run_and_extraction_are_what_greedy_decoding_emits():
    model = neo(5)
    tokens = np.array([emitted(model, [first, 2], 14) for first in range(6)])
    for row, place in enumerate([13, 11, 7, 4, 2]):
        tokens[row, place] = (tokens[row, place] + 1) % VOCABULARY
    scores = score_tokens(model, tokens)
    for i, row in enumerate(tokens.tolist()):
        assert scores.verbatim_run[i] == reference.verbatim_run(model, row)
        for suffix in (1, 3, 10):
            whole = emitted(model, row[:-suffix], 14) == row
            assert scores.extracted(suffix)[i] == whole
    assert set(scores.extracted(3)) == {True, False}


def test_what_the_model_writes_itself_is_wholly_memorized():
    model = neo(6)
    tokens = np.array([emitted(model, [first], 20) for first in range(5)])
    assert memorization_accuracy(model, tokens).tolist() == [1.0] * 5
    for n in (1, 4, 19):
        assert extraction_likelihood(model, tokens, n).tolist() == [1.0] * 5


def test_a_foreign_text_has_no_overlap():
    model = neo(7)
    text = emitted(model, [1, 2, 3], 20)
    absent = next(token for token in range(VOCABULARY) if token not in text[3:])
    foreign = np.array([text[:3] + [absent] * 17])
    assert extraction_likelihood(model, foreign, 10)[0] == 0
    assert reference.likelihoods(model, foreign, 10)[0] == 0


@pytest.mark.parametrize("end", range(4))
def test_end_of_text_cuts_a_continuation_as_generate_does_alone(end):
    model = neo(1, 256, end)
    tokens = np.random.default_rng(4).integers(VOCABULARY, size=(4, 14))
    tokens[0] = emitted(model, [1, 2], 14)
    tokens[1, 4:9] = end  # inside a prefix it is text like any other
    together = extraction_likelihood(model, tokens, 2)
    for row, value in zip(tokens, together, strict=True):
        assert extraction_likelihood(model, row[None], 2)[0] == value
        alone = reference.likelihood(model, row.tolist(), 2, reference.generated)
        assert_same_ngrams(value, alone)


def test_an_end_token_matters_in_that_test():
    tokens = np.array([emitted(neo(1), [1, 2], 14)])
    values = {float(extraction_likelihood(neo(1, 256, end), tokens, 2)[0]) for end in range(4)}
    assert min(values) < 1.0


def test_one_sequence_with_non_finite_logits_leaves_the_others_alone():
    torch.manual_seed(0)
    config = neo().config.to_dict() | {"tie_word_embeddings": False}
    model = GPTNeoForCausalLM(GPTNeoConfig(**config)).eval()
    with torch.no_grad():
        model.transformer.wte.weight[8] = torch.nan
        model.lm_head.weight[8] = -model.lm_head.weight[7]
    tokens = np.random.default_rng(5).integers(7, size=(3, 12))
    tokens[1, 5] = 8
    clean = score_tokens(model, tokens[[0, 2]])
    scores = score_tokens(model, tokens)
    for name in ("ma", "loss", "verbatim_run"):
        values = getattr(scores, name)
        np.testing.assert_array_equal(np.isnan(values), [False, True, False])
        np.testing.assert_array_equal(values[[0, 2]], getattr(clean, name))
    assert np.isnan(scores.min_k(0.2)[1])
    assert np.isnan(scores.min_k_plus_plus(0.2)[1])
    for values in scores.token_profile(3).values():
        np.testing.assert_array_equal(np.isnan(values), [False, True, False])
    assert not scores.extracted(1)[1]
    likelihood = extraction_likelihood(model, tokens, 2)
    assert np.isnan(likelihood[1])
    # a continuation may step onto the broken token: then, and only then, EL is unknown too
    for i in (0, 2):
        steps_on = any(8 in emitted(model, tokens[i, :t].tolist(), 12)[t:-1] for t in range(1, 12))
        assert np.isnan(likelihood[i]) == steps_on


def test_non_finite_weights_give_nan():
    model = GPTNeoForCausalLM(neo().config).eval()
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight.fill_(torch.inf)
    tokens = np.zeros((2, 8), dtype=int)  # argmax over NaN is 0: all seems memorized
    assert np.isnan(extraction_likelihood(model, tokens, 3)).all()
    assert np.isnan(memorization_accuracy(model, tokens)).all()
    assert np.isnan(
        extraction_likelihood(model, tokens, 3, scores=score_tokens(model, tokens))
    ).all()


def test_same_call_same_bits():
    tokens = np.random.default_rng(6).integers(VOCABULARY, size=(4, 20))
    first, second = (extraction_likelihood(neo(2), tokens, 3) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    first, second = (score_tokens(neo(2), tokens) for _ in range(2))
    assert first.std.tobytes() == second.std.tobytes()


@pytest.mark.parametrize("kind", [lambda: GPTNeoForCausalLM(neo().config), *OTHERS.values()])
def test_a_scored_model_still_trains(kind):
    model = kind().eval()
    tokens = torch.arange(16).reshape(2, 8) % VOCABULARY
    extraction_likelihood(model, tokens, 2, scores=score_tokens(model, tokens))
    model(tokens, labels=tokens).loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_bfloat16_follows_its_own_greedy_tokens():
    """Away from ties, what a bfloat16 model writes is memorized by that model."""
    model = GPTNeoForCausalLM(neo(2).config).eval()
    model.load_state_dict(neo(2).state_dict())
    model.to(torch.bfloat16)
    tokens = np.array([emitted(model, [first, 1], 16) for first in range(4)])
    assert (memorization_accuracy(model, tokens) >= 13 / 15).all()
    tokens[:, 8] = (tokens[:, 8] + 1) % VOCABULARY
    naive = reference.likelihoods(model, tokens, 2)
    np.testing.assert_allclose(extraction_likelihood(model, tokens, 2), naive, atol=0.1)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from([1, 9, 511, 512, 513, 800]))
def test_the_search_in_blocks_finds_the_first_of_the_greatest(data, vocabulary):
    """Few different values, so that equals abound, and those that no comparison orders."""
    values = st.sampled_from([-1.0, 0.0, 0.5, torch.inf, -torch.inf, torch.nan])
    places = st.integers(0, vocabulary - 1)
    logits = torch.full((2, vocabulary), -2.0)
    for row in logits:
        for place, value in data.draw(st.dictionaries(places, values, max_size=6)).items():
            row[place] = value
    top, token = greatest(logits)
    expected = logits.max(dim=-1)
    torch.testing.assert_close(top, expected.values, rtol=0, atol=0, equal_nan=True)
    assert token.tolist() == expected.indices.tolist()


@pytest.mark.parametrize("kind", [neo, *OTHERS.values()])
def test_the_last_tokens_are_scored_as_among_all(kind):
    torch.manual_seed(3)
    model = kind().eval()
    tokens = np.random.default_rng(3).integers(VOCABULARY, size=(5, 12))
    whole = score_tokens(model, tokens)
    for last in (1, 4, 11):
        part = score_tokens(model, tokens, last=last, batch_tokens=30)
        np.testing.assert_array_equal(part.hits, whole.hits[:, -last:])
        for name in ("log_probs", "mean", "std"):
            np.testing.assert_allclose(
                getattr(part, name), getattr(whole, name)[:, -last:], atol=1e-5
            )


@pytest.mark.parametrize("last", [0, 12])
def test_what_cannot_be_scored_last_is_named(last):
    with pytest.raises(InputError, match="allow 1 to 11"):
        score_tokens(neo(), np.ones((1, 12), dtype=int), last=last)


@pytest.mark.parametrize("width", [16, 768])
@pytest.mark.parametrize("ready", [False, True])
def test_slices_of_logits_stay_small(width, ready):
    """Also where hidden states are the logits already, as wide as the vocabulary."""
    model = GPTNeoForCausalLM(GPTNeoConfig(**neo().config.to_dict() | {"vocab_size": 30_000}))
    reader = memorization.reader_of(model.eval())
    reader.head = torch.nn.Identity() if ready else torch.nn.Linear(width, 30_000, bias=False)
    with torch.no_grad():
        sizes = [len(part) for part in reader.logits(torch.zeros(700, 30_000 if ready else width))]
    assert sum(sizes) == 700
    assert max(sizes) <= 200


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 40), st.integers(0, 2**16), st.booleans())
def test_moments_are_those_of_double_precision(scale, seed, lonely):
    """From flat to sure, also where one token stands far above all others and weighs little."""
    generator = torch.Generator().manual_seed(seed)
    hidden = scale * torch.randn(4, 600, generator=generator)
    if lonely:
        hidden = 0.01 * hidden
        hidden[:, 7] = 3.0
    truth = torch.randint(600, (4,), generator=generator)

    class Given:
        """Hidden states that are the logits."""

        def logits(self, hidden):
            yield hidden.clone()

    *_, log_p, mean, std = score_hidden(Given(), hidden, truth, moments=True)
    exact = hidden.double().log_softmax(dim=-1)
    weights = exact.exp()
    expected = (weights * exact).sum(dim=-1)
    spread = (weights * (exact - expected[:, None]).square()).sum(dim=-1).sqrt()
    found = exact.gather(1, truth[:, None])[:, 0]
    for value, right in ((log_p, found), (mean, expected), (std, spread)):
        torch.testing.assert_close(value.double(), right, rtol=1e-4, atol=2e-4)


def test_long_vocabularies_pass_in_slices():
    """More logits than one slice holds: the slices must come together in order."""
    torch.manual_seed(0)
    config = neo().config.to_dict() | {"vocab_size": 50257}
    model = GPTNeoForCausalLM(GPTNeoConfig(**config)).eval()
    tokens = torch.randint(50257, (3, 20))
    scores = score_tokens(model, tokens)
    with torch.no_grad():
        log_p = model(tokens).logits[:, :-1].log_softmax(-1)
    np.testing.assert_array_equal(scores.greedy, log_p.argmax(-1))
    true = log_p.gather(2, tokens[:, 1:, None])[..., 0]
    np.testing.assert_allclose(scores.log_probs, true, atol=1e-4)
    np.testing.assert_allclose(scores.mean, (log_p.exp() * log_p).sum(-1), atol=1e-3)


@pytest.mark.parametrize(
    ("tokens", "n", "message"),
    [
        ([[1, 2, 3]], 3, "choose 1 to 2"),
        ([[1, 2, 3]], 0, "choose 1 to 2"),
        ([[1]], 1, "at least 2"),
        ([[1, 2, VOCABULARY]], 1, "row 0, column 2"),
        ([[1, -1, 2]], 1, "row 0, column 1"),
        ([1, 2, 3], 1, "shape"),
        ([[0.5, 1.0]], 1, "integers"),
    ],
)
def test_bad_input_is_named(tokens, n, message):
    with pytest.raises(InputError, match=message):
        extraction_likelihood(neo(), np.array(tokens), n)


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_min_k_fraction_is_checked(fraction):
    with pytest.raises(InputError, match="fraction"):
        score_tokens(neo(), np.ones((1, 4), dtype=int)).min_k(fraction)


@pytest.mark.parametrize("suffix", [0, 4])
def test_extraction_suffix_is_checked(suffix):
    with pytest.raises(InputError, match="allow 1 to 3"):
        score_tokens(neo(), np.ones((1, 4), dtype=int)).extracted(suffix)


@pytest.mark.parametrize("suffix", [1, 4, 8])
def test_suffix_loss_is_that_of_the_last_tokens_alone(suffix):
    model = neo(2)
    rows = np.random.default_rng(1).integers(0, VOCABULARY, (3, 9))
    found = score_tokens(model, rows).suffix_loss(suffix)
    for row, value in zip(rows.tolist(), found, strict=True):
        terms = [
            -float(reference.next_log_probs(model, row[:t])[row[t]]) for t in range(9 - suffix, 9)
        ]
        assert value == pytest.approx(sum(terms) / suffix, abs=1e-5)


def test_the_token_profile_is_the_definitions_token_by_token():
    model = neo(2)
    rows = np.random.default_rng(1).integers(0, VOCABULARY, (3, 9))
    found = score_tokens(model, rows).token_profile(4)
    assert tuple(found) == TOKEN_PROFILE
    for i, row in enumerate(rows.tolist()):
        chances = [reference.next_log_probs(model, row[:t]) for t in range(1, 9)]
        own = sorted(float(log_p[token]) for log_p, token in zip(chances, row[1:], strict=True))
        entropy = [-float((log_p.exp() * log_p).sum()) for log_p in chances]
        head = [-float(chances[t][row[t + 1]]) for t in range(4)]
        expected = {
            "entropy": sum(entropy) / 8,
            "entropy_spread": statistics.pstdev(entropy),
            "log_prob_min": own[0],
            "log_prob_q25": own[1] + 0.75 * (own[2] - own[1]),
            "log_prob_median": statistics.median(own),
            "log_prob_q90": own[6] + 0.3 * (own[7] - own[6]),
            "log_prob_max": own[-1],
            "log_prob_spread": statistics.pstdev(own),
            "head_loss": sum(head) / 4,
        }
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(value, abs=1e-5), name


def test_no_sequence_has_no_scores():
    model, none = neo(2, 4), np.zeros((0, 8), dtype=np.int64)
    scores = score_tokens(model, none)
    assert scores.ma.shape == (0,)
    assert all(values.shape == (0,) for values in scores.token_profile(2).values())
    assert extraction_likelihood(model, none, 3, scores=scores).shape == (0,)
    assert extraction_likelihood(model, none, 3).shape == (0,)
