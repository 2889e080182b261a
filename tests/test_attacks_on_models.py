"""Attacks on models: against slow definitions, and where what they must find is known."""

import copy
import functools
import itertools
import math
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    TopKLogitsWarper,
)

import reference_memorization as reference
from unlearning import attacks
from unlearning.attacks import (
    gradient_norm,
    neighbour,
    prefix_perturbation,
    quantization,
    reference_observer,
    relearning,
    sampling,
    zlib_calibrated,
)
from unlearning.attacks.target import (
    COLUMNS,
    Knowledge,
    Target,
    TargetSettings,
    attack_model,
    keyed,
    sampled,
)
from unlearning.jobs.errors import InputError
from unlearning.memorization.scoring import score_tokens
from unlearning.unlearners.learner import Learner

VOCABULARY, LENGTH, SUFFIX = 24, 14, 5
ALL = {name: {} for name in attacks.names() if attacks.on_model(name)}
IDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
SMALL = {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "num_attention_heads": 2} | IDS


def gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(hidden_size=32, n_positions=32, **SMALL)).eval()


def neo() -> GPTNeoForCausalLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_layers": 2, "num_heads": 2}
    kinds = {"attention_types": [[["global", "local"], 1]], "max_position_embeddings": 32}
    return GPTNeoForCausalLM(GPTNeoConfig(**sizes, **kinds, **IDS)).eval()


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=32, intermediate_size=48, num_key_value_heads=1, **SMALL)
    return LlamaForCausalLM(config).eval()


def texts(count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, VOCABULARY, (count, LENGTH)))


FORGET, UNSEEN, THRESHOLD, BACKGROUND = texts(8, 1), texts(24, 2), texts(12, 5), texts(40, 6)
NAMES = [f"{kind}{i}" for kind, n in (("f", 8), ("u", 24), ("t", 12)) for i in range(n)]
BESIDE = TemporaryDirectory()


@functools.cache
def tokenizer() -> Path:
    """Folder of a tokenizer over words w0 w1 ..."""
    words = {f"w{i}": i for i in range(VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = Path(BESIDE.name, "tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)
    return folder


def knowledge(control: Path | None = None) -> Knowledge:
    """Unseen rows that are no candidates, other text, and perhaps a control."""
    half = ["attack" if name[0] == "u" else "threshold" * (name[0] == "t") for name in NAMES]
    rows = [*torch.cat([FORGET, UNSEEN, THRESHOLD]).numpy()]
    table = pd.DataFrame({"sequence_id": NAMES, "half": half, "tokens": rows})
    text = Path(BESIDE.name, "background.npy")
    np.save(text, BACKGROUND.numpy().astype(np.int32))
    return Knowledge(table, torch.device("cpu"), text, control)


def target(model, *, learning_rate: float = 3e-3, which: dict | None = None, **options) -> Target:
    options = {"tokenizer": tokenizer(), "knowledge": knowledge()} | options
    shared = TargetSettings(
        attacks=ALL if which is None else which,
        suffix=SUFFIX,
        learning_rate=learning_rate,
        micro_batch=3,
    )
    ids = NAMES[: len(FORGET) + len(UNSEEN)]
    forget = np.arange(len(ids)) < len(FORGET)
    return Target(model, ids, torch.cat([FORGET, UNSEEN]), forget, shared, **options)


def trained(rows: torch.Tensor, steps: int = 200):
    model = neo()
    learner = Learner(model, 3e-3, 64)
    for _ in range(steps):
        learner.descend(rows)
    return model


@pytest.fixture(scope="module")
def memorizing():
    """Knows the forget set by heart."""
    return trained(torch.cat([FORGET, texts(8, 3)]))


@pytest.fixture(scope="module")
def control():
    """Trained alike, without the forget set."""
    return trained(torch.cat([texts(8, 4), texts(8, 3)]))


def split_means(rows: pd.DataFrame) -> pd.DataFrame:
    split = np.where(rows["sequence_id"].str.startswith("f"), "forget", "unseen")
    keys = [rows["attack"], rows["measure"], split]
    return rows.groupby(keys)["value"].mean().unstack()


# --- what must be found is found --------------------------------------------------------------


def test_every_attack_finds_what_a_model_knows_by_heart_and_nothing_in_its_control(
    memorizing, control
):
    one = {"prefix_perturbation": {"draws": 2}, "neighbour": {"rewrites": 6}}
    found, nothing = (
        split_means(attack_model(target(model, which=ALL | one))) for model in (memorizing, control)
    )
    for attack, measure, least in (
        ("neighbour", "excess", 1.0),
        ("sampling", "stretch", 0.3),
        ("sampling", "emitted", 0.5),
        ("prefix_perturbation", "ma", 0.3),
        ("quantization", "ma", 0.3),
    ):
        gap = found.loc[attack, measure]
        assert gap["forget"] - gap["unseen"] > least, (attack, measure)
        gap = nothing.loc[attack, measure]
        assert abs(gap["forget"] - gap["unseen"]) < 0.4 * least, (attack, measure)


def drowned(model):
    """A copy whose last layer is shifted, the same for all text: what it knows is only hidden."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        loud = model.transformer.wte.weight[0]
        model.transformer.ln_f.bias += 9 * loud / loud.norm() ** 2
    return model


def test_what_was_only_hidden_is_relearned_and_the_control_has_nothing_to_relearn(
    memorizing, control
):
    gaps = {}
    for name, model in (("hidden", memorizing), ("control", control)):
        model = drowned(model)
        assert score_tokens(model, FORGET).ma.mean() < 0.3
        options = {"relearning": {"steps": [20], "texts": ["own"], "learning_rate": 1e-3}}
        means = split_means(attack_model(target(model, which=options))).loc["relearning", "ma_rise"]
        gaps[name] = means["forget"] - means["unseen"]
    assert gaps["hidden"] > 0.3
    assert abs(gaps["control"]) < 0.1


def test_rounding_undoes_a_change_smaller_than_half_a_level(memorizing):
    """Ascent that stays below half a level hides what is known; int4 brings all of it back."""
    rounded = copy.deepcopy(memorizing)
    matrices = quantization.block_matrices(rounded)
    with torch.no_grad():
        for weight, channel in matrices:
            weight.copy_(quantization.rounded(weight, 4, channel))
    hidden = copy.deepcopy(rounded)
    hidden(input_ids=FORGET, labels=FORGET).loss.backward()
    with torch.no_grad():
        for weight, channel in quantization.block_matrices(hidden):
            scale = weight.abs().amax(dim=1 - channel, keepdim=True) / 7
            # the largest weight of a channel sets its scale and stays
            step = 0.45 * scale * weight.grad.sign()
            weight += torch.where(weight.abs() > 6.9 * scale, 0.0, step)
    found = quantization.attack(target(hidden), quantization.Settings(schemes=("int4",)))
    after = found[found["measure"] == "ma"]["value"].to_numpy()
    expected = score_tokens(rounded, target(rounded).tokens).ma
    np.testing.assert_allclose(after, expected, atol=1e-9)
    assert found[found["measure"] == "ma_rise"]["value"][:8].mean() > 0.3


@pytest.fixture(scope="module")
def sibling(tmp_path_factory):
    """Folder of another model that never saw the forget set: an observer's reference."""
    folder = tmp_path_factory.mktemp("sibling")
    trained(torch.cat([texts(8, 7), texts(8, 3)])).save_pretrained(folder)
    return folder


def test_stricter_attacks_find_what_is_known_by_heart_and_are_at_chance_on_the_control(
    memorizing, control, sibling
):
    which = {"zlib_calibrated": {}, "gradient_norm": {}, "reference_observer": {}}
    found, nothing = (
        attack_model(target(model, which=which, knowledge=knowledge(sibling)))
        for model in (memorizing, control)
    )
    measures = {
        "zlib_calibrated": ["log_likelihood", "log_likelihood_two_sided"],
        "gradient_norm": ["flatness", "flatness_two_sided"],
        "reference_observer": [
            "log_odds",
            "difference",
            "difference_two_sided",
            "hard_log_prob",
            "hard_hits",
        ],
    }
    for attack, name in ((a, m) for a, names in measures.items() for m in names):
        areas = []
        for rows in (found, nothing):
            rows = rows[(rows["attack"] == attack) & (rows["measure"] == name)]
            areas.append(roc_auc_score(rows["sequence_id"].str.startswith("f"), rows["value"]))
        assert areas[0] > 0.95, (attack, name, areas)
        assert 0.2 < areas[1] < 0.8, (attack, name, areas)


def test_other_text_brings_back_what_was_only_hidden_too_and_the_control_has_nothing(
    memorizing, control
):
    gaps = {}
    for name, model in (("hidden", memorizing), ("control", control)):
        model = drowned(model)
        block = {"steps": [3], "learning_rate": 1e-3, "texts": ["background", "unseen"]}
        rows = attack_model(target(model, which={"relearning": block}))
        rows = rows[rows["measure"] == "ma_rise"]
        forget = rows["sequence_id"].str.startswith("f")
        means = rows.groupby(["variant", forget])["value"].mean().unstack()
        gaps[name] = means[True] - means[False]
    assert set(gaps["hidden"].index) == {"background_3_steps", "unseen_3_steps"}
    assert (gaps["hidden"] > 0.2).all()
    assert (gaps["control"].abs() < 0.1).all()


# --- slow definitions -------------------------------------------------------------------------


@pytest.mark.parametrize("make", [neo, gpt2, llama])
def test_chances_are_those_of_the_library_s_top_k_sampling(make):
    model = make()
    found = sampling.chances(target(model), 6, 0.7)
    for row, chances in zip(torch.cat([FORGET, UNSEEN])[:6], found, strict=False):
        for j, t in enumerate(range(LENGTH - SUFFIX, LENGTH)):
            with torch.no_grad():
                logits = model(row[None, :t]).logits[:, -1] / 0.7
            kept = TopKLogitsWarper(6)(None, logits).softmax(dim=-1)[0]
            assert chances[j] == pytest.approx(float(kept[row[t]]), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.7, 1.0]), min_size=3, max_size=3),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_success_is_that_of_drawing_every_outcome_of_every_try(chances, tries, needed):
    """All 2^3 outcomes of a try, all combinations of the tries, weighted by their probability."""
    if needed > tries:
        return
    stretches = {0: 0.0, 1: 0.0, 2: 0.0, 3: 0.0}
    for outcome in itertools.product([True, False], repeat=3):
        chance = math.prod(c if hit else 1 - c for c, hit in zip(chances, outcome, strict=True))
        stretches[(*outcome, False).index(False)] += chance
    emitted = stretch = 0.0
    for combination in itertools.product(stretches, repeat=tries):
        chance = math.prod(stretches[length] for length in combination)
        reached = sorted(combination, reverse=True)[needed - 1]
        emitted += chance * (reached == 3)
        stretch += chance * reached / 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "chances", lambda *_: np.tile(chances, (32, 1)))
        found = sampling.attack(target(None), sampling.Settings(tries=tries, needed=needed))
    values = found.groupby("measure")["value"].first()
    assert values["emitted"] == pytest.approx(emitted, abs=1e-12)
    assert values["stretch"] == pytest.approx(stretch, abs=1e-12)


@pytest.mark.parametrize("channel", [0, 1])
def test_rounding_is_to_the_nearest_level_channel_by_channel(channel):
    torch.manual_seed(0)
    weight = torch.randn(5, 7)
    weight.select(channel, 2).zero_()
    found = quantization.rounded(weight, 4, channel)
    for index in range(weight.shape[channel]):
        largest = float(weight.select(channel, index).abs().max())
        levels = [largest * level / 7 for level in range(-7, 8)]
        for value, new in zip(
            weight.select(channel, index).tolist(),
            found.select(channel, index).tolist(),
            strict=True,
        ):
            assert abs(new - value) <= min(abs(level - value) for level in levels) + 1e-6
            assert min(abs(level - new) for level in levels) < 1e-6


def test_group_rounding_has_a_scale_and_a_zero_point_per_group_of_inputs():
    torch.manual_seed(0)
    weight = torch.randn(5, 11) + torch.linspace(-2, 2, 5)[:, None]
    weight[3, 4:8] = 0
    for bits in (4, 8):
        found = quantization.quantized(weight, f"int{bits}_g4", 0)
        transposed = quantization.quantized(weight.T.contiguous(), f"int{bits}_g4", 1)
        assert torch.equal(found, transposed.T)
        for row in range(5):
            for start in (0, 4, 8):
                group = weight[row, start : start + 4].tolist()
                low, high = min(*group, 0.0), max(*group, 0.0)
                scale = (high - low) / (2**bits - 1) or 1.0
                zero = round(-low / scale)
                levels = [(level - zero) * scale for level in range(2**bits)]
                for value, new in zip(group, found[row, start : start + 4].tolist(), strict=True):
                    assert abs(new - value) <= min(abs(x - value) for x in levels) + 1e-5
                    assert min(abs(x - new) for x in levels) < 1e-5


def test_normal_float_is_the_nearest_published_level_in_groups_of_memory():
    torch.manual_seed(0)
    weight = torch.randn(6, 5)
    weight[0] = 0
    found = quantization.quantized(weight, "nf4_g4", 0).flatten().tolist()
    flat = weight.flatten().tolist()
    for start in range(0, 30, 4):
        group = flat[start : start + 4]
        largest = max(map(abs, group))
        for value, new in zip(group, found[start : start + 4], strict=True):
            nearest = min(quantization.NF4_LEVELS, key=lambda x: abs(x * largest - value))
            assert new == pytest.approx(nearest * largest, abs=1e-6)
    transposed = quantization.quantized(weight.T.contiguous(), "nf4_g4", 1)
    assert transposed.T.flatten().tolist() == found
    assert torch.equal(
        quantization.quantized(weight, "nf4", 0), quantization.quantized(weight, "nf4_g64", 0)
    )


def test_the_normal_float_levels_are_quantiles_of_the_normal_distribution():
    """QLoRA, equation 4 and its release: 8 + 1 levels up, 8 down, zero shared, largest 1."""
    offset = (1 - 1 / 32 + 1 - 1 / 30) / 2
    up = norm.ppf(np.linspace(offset, 0.5, 9)[:-1])
    down = -norm.ppf(np.linspace(offset, 0.5, 8)[:-1])
    levels = np.sort([*up, *down, 0.0])
    np.testing.assert_allclose(quantization.NF4_LEVELS, levels / levels.max(), atol=2e-6)


@pytest.mark.parametrize("make", [neo, gpt2, llama])
def test_gradient_norms_are_those_of_one_backward_pass_per_sequence(make):
    model = make()
    found = gradient_norm.gradient_norms(model, torch.cat([FORGET, UNSEEN]), 3)
    assert all(parameter.grad is None for parameter in model.parameters())
    weights = [weight for weight, _ in quantization.block_matrices(model)]
    for i in (0, 2, 7, 31):
        row = torch.cat([FORGET, UNSEEN])[i : i + 1]
        model.zero_grad()
        model(input_ids=row, labels=row).loss.backward()
        expected = math.sqrt(sum(float(weight.grad.square().sum()) for weight in weights))
        assert found[i] == pytest.approx(expected, rel=1e-3)


def test_the_likelihood_per_byte_is_that_of_the_compressed_text(memorizing):
    found = zlib_calibrated.attack(target(memorizing), zlib_calibrated.Settings())
    found = found.set_index(["measure", "sequence_id"])["value"]

    def per_byte(row):
        text = " ".join(f"w{token}" for token in row)
        return -reference.loss(memorizing, row) * (LENGTH - 1) / len(zlib.compress(text.encode()))

    centre = np.median([per_byte(row) for row in THRESHOLD.tolist()])
    for i in (0, 5):
        own = per_byte(FORGET[i].tolist())
        assert found["log_likelihood", f"f{i}"] == pytest.approx(own, abs=1e-4)
        distance = found["log_likelihood_two_sided", f"f{i}"]
        assert distance == pytest.approx(abs(own - centre), abs=1e-4)


def test_an_observer_compares_token_by_token(memorizing, control):
    mine, theirs = (score_tokens(model, UNSEEN, moments=False) for model in (memorizing, control))
    found = reference_observer.compared(mine, theirs, 0.25)
    for i in (0, 9):
        pairs = sorted(
            zip(theirs.log_probs[i].tolist(), mine.log_probs[i].tolist(), mine.hits[i], strict=True)
        )
        other, own, hits = zip(*pairs, strict=True)
        assert found["difference"][i] == pytest.approx(np.mean(own) - np.mean(other), abs=1e-5)
        assert found["hard_log_prob"][i] == pytest.approx(np.mean(own[:3]), abs=1e-5)
        assert found["hard_hits"][i] == np.mean(hits[:3])
        assert found["disorder"][i] == pytest.approx(1 - np.corrcoef(own, other)[0, 1], abs=1e-5)
    same = reference_observer.compared(theirs, theirs, 0.25)
    assert (same["difference"] == 0).all()
    np.testing.assert_allclose(same["disorder"], 0, atol=1e-6)


def test_without_a_reference_the_observer_has_nothing_to_say(memorizing):
    observed = reference_observer.attack(target(memorizing), reference_observer.Settings())
    assert observed.empty


def test_a_named_reference_takes_the_place_of_the_control(memorizing, sibling, tmp_path):
    named = reference_observer.Settings(reference=str(sibling))
    own = reference_observer.Settings()
    first = reference_observer.attack(target(memorizing), named)
    again = reference_observer.attack(target(memorizing, knowledge=knowledge(sibling)), own)
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    nowhere = reference_observer.Settings(reference=str(tmp_path))
    with pytest.raises(InputError, match="no model can be loaded"):
        reference_observer.attack(target(memorizing), nowhere)


def test_an_observed_model_that_diverged_gives_nan(memorizing, sibling):
    model = copy.deepcopy(memorizing)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(torch.nan)
    attacked = target(model, knowledge=knowledge(sibling))
    found = reference_observer.attack(attacked, reference_observer.Settings())
    assert len(found) == 9 * len(attacked.ids)
    assert found["value"].isna().all()


@pytest.mark.parametrize("make", [neo, gpt2, llama])
def test_all_matrices_of_the_blocks_are_rounded_and_nothing_else(make):
    model = make()
    body = {name for name, _ in model.named_parameters() if _.ndim == 2}
    rounded = {id(weight) for weight, _ in quantization.block_matrices(model)}
    names = {name for name, weight in model.named_parameters() if id(weight) in rounded}
    assert body - names == {n for n in body if any(k in n for k in ("wte", "wpe", "embed", "head"))}
    before = score_tokens(model, FORGET)
    fine = quantization.attack(target(model), quantization.Settings(schemes=("int16",)))
    loss = fine[fine["measure"] == "loss_fall"]["value"]
    assert loss.abs().max() < 1e-3
    np.testing.assert_array_equal(score_tokens(model, FORGET).log_probs, before.log_probs)


def test_relearning_is_descent_on_the_others_and_puts_the_weights_back(memorizing):
    model = copy.deepcopy(memorizing)
    options = relearning.Settings(steps=(3,), texts=("own",), folds=4, seed=5)
    attacked = target(model)
    found = relearning.attack(attacked, options)
    ma = found[found["measure"] == "ma"].set_index("sequence_id")["value"]
    rise = found[found["measure"] == "ma_rise"].set_index("sequence_id")["value"]
    order = np.random.default_rng(5).permutation(8)
    unseen = []
    for held_out in np.array_split(order, 4):
        other = copy.deepcopy(memorizing)
        adam = torch.optim.Adam(other.parameters(), lr=3e-3, betas=(0.9, 0.98))
        rows = FORGET[np.setdiff1d(order, held_out)]
        for _ in range(3):
            adam.zero_grad()
            other(input_ids=rows, labels=rows).loss.backward()
            adam.step()
        for i in held_out:
            assert ma[f"f{i}"] == pytest.approx(reference.accuracy(other, FORGET[i].tolist()))
        unseen.append(reference.accuracy(other, UNSEEN[0].tolist()))
    assert ma["u0"] == pytest.approx(np.mean(unseen))
    assert rise["u0"] == pytest.approx(ma["u0"] - reference.accuracy(model, UNSEEN[0].tolist()))
    for left, right in zip(model.parameters(), memorizing.parameters(), strict=True):
        assert torch.equal(left, right)


def test_numbers_of_steps_along_one_training_are_those_of_separate_ones(memorizing):
    model = copy.deepcopy(memorizing)
    along = relearning.attack(target(model), relearning.Settings(steps=(4, 1)))
    assert list(dict.fromkeys(along["variant"])) == [
        "4_steps", "1_steps", "unseen_4_steps", "unseen_1_steps", "background_4_steps",
        "background_1_steps",
    ]  # fmt: skip
    for text, prefix in (("own", ""), ("unseen", "unseen_"), ("background", "background_")):
        for steps in (1, 4):
            options = relearning.Settings(steps=(steps,), texts=(text,))
            alone = relearning.attack(target(model), options)
            same = along[along["variant"] == f"{prefix}{steps}_steps"].reset_index(drop=True)
            pd.testing.assert_frame_equal(same, alone, check_exact=True)


def test_relearning_on_other_text_is_descent_on_rows_of_it(memorizing):
    options = relearning.Settings(steps=(2,), texts=("background",), seed=5)
    found = relearning.attack(target(memorizing), options)
    ma = found[found["measure"] == "ma"].set_index("sequence_id")["value"]
    generator = np.random.default_rng([5, *b"background"])
    other = copy.deepcopy(memorizing)
    adam = torch.optim.Adam(other.parameters(), lr=3e-3, betas=(0.9, 0.98))
    for _ in range(2):
        rows = BACKGROUND[np.sort(generator.choice(40, 4, replace=False))]
        adam.zero_grad()
        other(input_ids=rows, labels=rows).loss.backward()
        adam.step()
    for name, row in (("f3", FORGET[3]), ("u7", UNSEEN[7])):
        assert ma[name] == pytest.approx(reference.accuracy(other, row.tolist()))


def test_a_text_that_is_not_there_is_left_out(memorizing):
    options = relearning.Settings(steps=(1,))
    found = relearning.attack(target(memorizing, knowledge=None), options)
    assert set(found["variant"]) == {"1_steps"}


def test_a_set_of_one_sequence_has_no_rest_to_relearn():
    attacked = target(neo())
    attacked.forget[1:] = False
    options = relearning.Settings(steps=(1,), texts=("own",))
    assert relearning.attack(attacked, options)["value"].isna().all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(3, 20), st.integers(1, 12), st.floats(0.05, 0.95), st.integers(0, 99),
)  # fmt: skip
def test_damages_are_what_they_are_called(length, suffix, share, seed):
    if length - suffix < 2:
        return
    rng = np.random.default_rng(seed)
    row = rng.integers(0, 9, length)
    options = prefix_perturbation.Settings(share=share, context=3)
    count = min(max(1, round(share * (length - suffix))), length - suffix - 1)
    made = {
        name: prefix_perturbation.damaged(row, suffix, name, options, 9, rng)
        for name in ("intact", "typo", "drop", "truncated")
    }
    for text in made.values():
        assert text[-suffix:].tolist() == row[-suffix:].tolist()
    assert made["intact"].tolist() == row.tolist()
    assert made["truncated"].tolist() == row[-(suffix + min(3, length - suffix)) :].tolist()
    assert (made["typo"] != row).sum() == count
    assert made["typo"].min() >= 0
    assert made["typo"].max() < 9
    assert len(made["drop"]) == length - count
    remaining = iter(row)
    assert all(token in remaining for token in made["drop"])  # a subsequence


def test_suffix_accuracy_after_a_damaged_prefix_is_the_naive_one(memorizing):
    options = prefix_perturbation.Settings(draws=2, seed=3, share=0.4)
    found = prefix_perturbation.attack(target(memorizing), options)
    found = found.set_index(["variant", "measure", "sequence_id"])["value"]
    generators = target(memorizing).generators(3)
    for variant in ("typo", "truncated"):
        for i in (0, 5):
            expected = []
            for _ in range(2):
                row = prefix_perturbation.damaged(
                    FORGET[i].numpy(), SUFFIX, variant, options, VOCABULARY, generators[i]
                ).tolist()
                hits = [
                    reference.greedy_next(memorizing, tuple(row[:t])) == row[t]
                    for t in range(len(row) - SUFFIX, len(row))
                ]
                expected.append((np.mean(hits), float(all(hits))))
            ma, emitted = np.mean(expected, axis=0)
            assert found[variant, "ma", f"f{i}"] == pytest.approx(ma)
            assert found[variant, "emitted", f"f{i}"] == pytest.approx(emitted)


def test_neighbour_score_is_loss_of_the_rewrites_less_the_own(memorizing):
    options = neighbour.Settings(rewrites=4, share=0.25)
    attacked = target(memorizing)
    rewrites = neighbour.own_rewrites(attacked, options)
    found = neighbour.attack(attacked, options)
    found = found[found["measure"] == "excess"].set_index("sequence_id")["value"]
    for i in (0, 3):
        own = reference.loss(memorizing, FORGET[i].tolist())
        others = [reference.loss(memorizing, row.tolist()) for row in rewrites[i]]
        assert found[f"f{i}"] == pytest.approx(np.mean(others) - own, abs=1e-4)


def test_rewrites_change_as_many_tokens_as_asked_and_belong_to_one_sequence(memorizing):
    options = neighbour.Settings(rewrites=5, share=0.25)
    attacked = target(memorizing)
    rewrites = neighbour.own_rewrites(attacked, options)
    changed = rewrites != attacked.tokens[:, None]
    assert (changed.sum(dim=2) == round(0.25 * (LENGTH - 1))).all()
    assert not changed[:, :, 0].any()
    alone = Target(
        memorizing, attacked.ids[3:4], attacked.tokens[3:4], np.array([True]), attacked.settings
    )
    assert torch.equal(neighbour.own_rewrites(alone, options)[0], rewrites[3])
    places = {tuple(row.nonzero()[:, 0].tolist()) for row in changed[:, 0]}
    assert len(places) > len(changed) // 2


def test_replacements_follow_the_model_s_prediction_without_the_true_token():
    model = neo()
    many = neighbour.Settings(rewrites=4000, share=0.95)
    attacked = target(model)
    alone = Target(
        model, attacked.ids[:1], attacked.tokens[:1], np.array([True]), attacked.settings
    )
    drawn = neighbour.own_rewrites(alone, many)[0, :, 5]
    row = FORGET[0].tolist()
    drawn = drawn[drawn != row[5]]
    expected = reference.next_log_probs(model, row[:5]).exp()
    expected[row[5]] = 0
    expected /= expected.sum()
    frequency = torch.bincount(drawn, minlength=VOCABULARY) / len(drawn)
    spread = (expected * (1 - expected) / len(drawn)).sqrt()
    assert ((frequency - expected).abs() <= 4.5 * spread + 1e-9).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
    st.lists(st.floats(0, 1, exclude_max=True, width=32), min_size=1, max_size=5),
)
def test_drawing_by_inversion_is_the_walk_along_the_weights(weights, noise):
    found = sampled(torch.tensor([weights], dtype=torch.float32), torch.tensor([noise]))[0]
    for u, token in zip(noise, found.tolist(), strict=True):
        reached, expected = 0.0, 0
        for expected, weight in enumerate(weights):  # noqa: B007 (the last one is asked for)
            reached += weight
            if reached > u * sum(weights):
                break
        assert token == expected
        assert weights[token] > 0


def test_long_vocabularies_are_drawn_from_in_parts():
    """More rows than are summed at a time: each still meets its own noise."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(13, 50257, generator=generator)
    noise = torch.rand(13, 3, generator=generator, dtype=torch.float64)
    reached = weights.double().cumsum(dim=1)
    for row, total, drawn, tokens in zip(
        weights.double(), reached[:, -1], noise, sampled(weights, noise), strict=True
    ):
        for u, token in zip(drawn, tokens.tolist(), strict=True):
            assert float(row[:token].sum()) <= float(u * total) + 1e-9
            assert float(row[: token + 1].sum()) > float(u * total) - 1e-9


# --- a masked model, other architectures, broken models -----------------------------------------


@pytest.fixture
def masked(tmp_path):
    """A masked model and the attacked model's tokenizer, both over words w0 w1 ..."""
    words = {f"w{i}": i for i in range(VOCABULARY)}
    special = {"[MASK]": VOCABULARY, "[UNK]": VOCABULARY + 1}
    for folder, vocabulary in (("masked", words | special), ("own", words)):
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        extra = {"mask_token": "[MASK]", "unk_token": "[UNK]"} if folder == "masked" else {}
        wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **extra)
        wrapped.save_pretrained(tmp_path / folder)
    torch.manual_seed(0)
    config = BertConfig(intermediate_size=32, hidden_size=32, max_position_embeddings=32, **SMALL)
    config.vocab_size = VOCABULARY + 2
    BertForMaskedLM(config).save_pretrained(tmp_path / "masked")
    return tmp_path


def test_a_masked_model_rewrites_where_one_is_given(memorizing, masked):
    options = neighbour.Settings(
        rewrites=3, share=0.25, masked_model=str(masked / "masked"), seed=1
    )
    attacked = target(memorizing, tokenizer=masked / "own")
    rewrites = neighbour.masked_rewrites(attacked, options)
    changed = np.array(rewrites) != attacked.tokens.numpy()[:, None]
    assert (changed.sum(axis=2) == round(0.25 * LENGTH)).all()
    found = neighbour.attack(attacked, options)
    assert set(found["variant"]) == {"masked_model"}
    excess = found[found["measure"] == "excess"].set_index("sequence_id")["value"]
    own = reference.loss(memorizing, FORGET[2].tolist())
    others = [reference.loss(memorizing, row) for row in rewrites[2]]
    assert excess["f2"] == pytest.approx(np.mean(others) - own, abs=1e-4)


def test_rewrites_of_other_lengths_are_scored_at_their_own_length(memorizing):
    rows = [[[1, 2, 3], [4, 5]], [[6, 7, 8, 9], [1, 2]]]
    found = neighbour.losses_of(target(memorizing), rows)
    expected = [[reference.loss(memorizing, row) for row in rewrites] for rewrites in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("make", [neo, gpt2, llama])
def test_a_diverged_model_gives_nan_rows(make):
    model = make()
    sound = attack_model(target(model))
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(torch.nan)
    broken = attack_model(target(model))
    assert broken["value"].isna().all()
    assert sound["value"].notna().all()
    pd.testing.assert_frame_equal(broken.drop(columns="value"), sound.drop(columns="value"))
    assert list(sound) == COLUMNS


def test_attacking_twice_gives_the_same_and_leaves_the_model_as_it_was(memorizing):
    first, second = (attack_model(target(memorizing)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    kept = attack_model(target(memorizing), per_forget_set=False)
    assert set(kept["attack"]) == set(ALL) - {"relearning", "reference_observer"}


def test_rows_are_keyed_by_run_and_split():
    rows = pd.DataFrame(
        {
            "attack": "a",
            "variant": "v",
            "measure": "m",
            "sequence_id": ["x", "y", "z"],
            "value": 1.0,
        }
    )
    table = keyed(rows, ["x", "z"], ["x"], {"model": "small", "seed": 3})
    assert table["sequence_id"].tolist() == ["x", "z"]
    assert table["split"].tolist() == ["forget", "unseen"]
    assert table["seed"].tolist() == [3, 3]


# --- wrong settings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("samplin", {}, r"no attack 'samplin'; did you mean 'sampling'\?"),
        ("membership", {}, "no attack 'membership'"),
        ("sampling", {"trys": 3}, r"attacks.sampling: unknown key 'trys'; did you mean 'tries'\?"),
        ("sampling", {"tries": 2, "needed": 3}, "needed 3 is more than tries 2"),
        ("quantization", {"schemes": ["int1"]}, "attacks.quantization: schemes"),
        ("quantization", {"schemes": ["nf3"]}, "attacks.quantization: schemes"),
        ("relearning", {"folds": 1}, "attacks.relearning: folds"),
        ("relearning", {"texts": ["mine"]}, "attacks.relearning: texts"),
        ("reference_observer", {"hard": 0}, "attacks.reference_observer: hard"),
        ("prefix_perturbation", {"variants": ["upside down"]}, "prefix_perturbation: variants"),
        ("neighbour", {"share": 0}, "attacks.neighbour: share"),
    ],
)
def test_wrong_settings_get_one_line(name, values, message):
    with pytest.raises(InputError, match=message) as caught:
        attacks.settings_of(name, values)
    assert "\n" not in str(caught.value)


def test_a_masked_model_that_is_none_is_named(memorizing, tmp_path):
    options = neighbour.Settings(masked_model=str(tmp_path))
    with pytest.raises(InputError, match="give the model's tokenizer"):
        neighbour.attack(target(memorizing, tokenizer=None), options)
    with pytest.raises(InputError, match="cannot be loaded"):
        neighbour.attack(target(memorizing, tokenizer=tmp_path), options)
    named = neighbour.Settings(masked_model="owner/name")
    with pytest.raises(InputError, match="owner/name: no such folder"):
        neighbour.attack(target(memorizing, tokenizer=tmp_path), named)


def test_a_sequence_that_is_all_suffix_is_named():
    attacked = target(neo())
    short = Target(attacked.model, attacked.ids, attacked.tokens[:, :6], attacked.forget,
                   attacked.settings)  # fmt: skip
    with pytest.raises(InputError, match="leave no prefix to damage"):
        prefix_perturbation.attack(short, prefix_perturbation.Settings())
