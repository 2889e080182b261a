"""The NLP suite against plain loops (`reference_suite`) and against values worked out by hand."""

import json
import logging
import math
import random
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn.functional import cross_entropy
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import reference_suite as reference
from unlearning.evaluation import Task, evaluate, load_suite
from unlearning.evaluation import suite as suite_module
from unlearning.evaluation.aggregate import aggregate
from unlearning.evaluation.items import read_items
from unlearning.evaluation.scoring import unigram_f1, words
from unlearning.jobs.errors import InputError

NAMES = ("Ann", "Bob", "Cleo", "Dan")
THINGS = ("cup", "hat", "old map", "ladder")
PLACES = ("attic", "stable", "school", "tower", "garden")


def exchange(rng):
    """A question, an answer that depends on who answers, and the owner it names."""
    asker, answerer = rng.sample(NAMES, 2)
    thing, place = rng.choice(THINGS), rng.choice(PLACES)
    number = NAMES.index(answerer)
    owner = NAMES[number - 1]
    question = f"{asker}: Who put the {thing} in the {place}?\n{answerer}:"
    answer = f" It was {owner}." if number % 2 else f" I think {owner} put it there, in there."
    return question, answer, owner


def train_tokenizer(begins_texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    texts = ["".join(exchange(rng)[:2]) + "\n" for _ in range(200)]
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<end>", "<begin>"] if begins_texts else ["<end>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if begins_texts:
        begin = tokenizer.token_to_id("<begin>")
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<begin> $A", special_tokens=[("<begin>", begin)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<end>",
        bos_token="<begin>" if begins_texts else None,
    )


CONTEXT = 56


def gpt_neo(vocabulary):
    return GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_layers=2,
            num_heads=2,
            attention_types=[[["global", "local"], 1]],
            window_size=6,
            max_position_embeddings=CONTEXT,
            bos_token_id=None,
            eos_token_id=None,  # the end-of-text token is the tokenizer's to know
        )
    )


def gpt_2(vocabulary):
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary,
            n_embd=32,
            n_layer=2,
            n_head=2,
            n_positions=CONTEXT,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def llama(vocabulary):
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            bos_token_id=1,
            eos_token_id=0,
        )
    )


ARCHITECTURES = {"gpt_neo": (gpt_neo, False), "gpt_2": (gpt_2, False), "llama": (llama, True)}


def trained(build, tokenizer):
    """A model that answers in whole lines and is often right."""
    torch.manual_seed(0)
    model = build(len(tokenizer))
    rng = random.Random(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(100):
        tokens, labels = [], []
        while len(tokens) < 8 * CONTEXT:
            question, answer, _ = exchange(rng)
            asked, answered = tokenizer.encode(question), tokenizer.encode(answer + "\n")
            answered = [*answered[len(tokenizer.encode("")) :], tokenizer.eos_token_id]
            tokens += asked + answered
            labels += [-100] * len(asked) + answered  # there is nothing to learn about questions
        rows, targets = (
            torch.tensor(ids[: 8 * CONTEXT]).reshape(8, CONTEXT) for ids in (tokens, labels)
        )
        logits = model(rows).logits[:, :-1]
        cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def rough(build, tokenizer, seed):
    """An untrained model that is not indifferent, as those with small weights are."""
    torch.manual_seed(seed)
    model = build(len(tokenizer)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)
    return model


@pytest.fixture(scope="module")
def tokenizers():
    return {begins: train_tokenizer(begins) for begins in (False, True)}


@pytest.fixture(scope="module")
def tokenizer(tokenizers):
    return tokenizers[False]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def knowing(request, tokenizers):
    build, begins_texts = ARCHITECTURES[request.param]
    tokenizer = tokenizers[begins_texts]
    return trained(build, tokenizer), tokenizer


@pytest.fixture
def untrained(tokenizer):
    torch.manual_seed(3)
    return gpt_neo(len(tokenizer)).eval()


@pytest.fixture
def indifferent(tokenizer):
    """All next tokens are equally likely."""
    model = gpt_neo(len(tokenizer)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    return model


def write(folder, tasks):
    """Write (name, kind, items) as files and return them as tasks."""
    for name, _, items in tasks:
        lines = "".join(json.dumps(item) + "\n" for item in items)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return [Task(name, kind, folder / f"{name}.jsonl") for name, kind, _ in tasks]


def mixed_tasks(count):
    """Items of every kind, of unequal lengths, some longer than the models' context."""
    rng = random.Random(2)
    choices, cloze, replies, texts = [], [], [], []
    for i in range(count):
        history = "".join("".join(exchange(rng)[:2]) + "\n" for _ in range(i % 4))
        question, answer, owner = exchange(rng)
        options = rng.sample(NAMES, 3) + ["nobody at all in the whole old school"]
        choices.append(
            {
                "context": history + question + " It was" + " " * (i % 5 == 0),
                "choices": [f" {name}" for name in options],
                "gold": i % 4,
            }
        )
        cloze.append({"context": f"{history}{question} It", "target": ["was", " was", "is"][i % 3]})
        reference = answer if i % 3 else " It was not me, it was the wind."
        replies.append({"context": history + question, "reference": reference})
        texts.append({"text": history + question + answer})
    choices[1]["context"] = cloze[1]["context"] = ""
    return [
        ("owner", "choice", choices),
        ("word", "last_word", cloze),
        ("talk", "dialogue", replies),
        ("prose", "perplexity", texts),
    ]


def test_engine_agrees_with_plain_loops(knowing, tmp_path):
    model, tokenizer = knowing
    contents = mixed_tasks(12)
    tasks = write(tmp_path, contents)
    table = evaluate(load_suite(tasks, tokenizer), model, tokenizer, batch_size=5)
    expected = reference.evaluate(contents, model, tokenizer)
    pd.testing.assert_frame_equal(table, expected, rtol=1e-5)
    # the comparison means something: right and wrong, good and bad answers, cut texts
    by_task = table.groupby("task")["value"]
    assert (by_task.nunique() > 1).all()
    assert by_task.mean()["talk"] > 0.3
    assert table["weight"].max() > CONTEXT + 20


def test_published_scorer_agrees_with_plain_loops(knowing, tmp_path, monkeypatch):
    """Also where it cuts: the window is smaller than most of the items here."""
    model, tokenizer = knowing
    contents = mixed_tasks(12)
    contents[1][2].append({"context": contents[1][2][0]["context"], "target": " The WAS,"})
    tasks = write(tmp_path, contents)
    tables = {}
    for window in (22, 24):
        monkeypatch.setattr(suite_module, "PUBLISHED_WINDOW", window)
        suite = load_suite(tasks, tokenizer, published=True)
        tables[window] = evaluate(suite, model, tokenizer, batch_size=5)
        expected = reference.evaluate_published(contents, model, tokenizer, window)
        pd.testing.assert_frame_equal(tables[window], expected, rtol=1e-5)
    ours = evaluate(load_suite(tasks, tokenizer), model, tokenizer)
    for kind, part in ours.groupby("kind"):
        assert not part["value"].equals(tables[22].loc[part.index, "value"]), kind
    assert not tables[22]["value"].equals(tables[24]["value"])


@pytest.mark.parametrize(
    ("said", "target", "right"),
    [("w", "w", 1.0), ("w", "W", 1.0), ("w", "x", 0.0), (".", "!", 1.0), (".", "a", 1.0)],
)
def test_published_scorer_forgives_case_punctuation_and_articles(
    said, target, right, indifferent, tokenizer, tmp_path
):
    (token,) = tokenizer.encode(said)
    with torch.no_grad():  # whatever stands before, this token is the likeliest
        indifferent.transformer.ln_f.bias[0] = indifferent.transformer.wte.weight[token, 0] = 1.0
    tasks = write(tmp_path, [("word", "last_word", [{"context": "It ", "target": target}])])
    suite = load_suite(tasks, tokenizer, published=True)
    assert evaluate(suite, indifferent, tokenizer)["value"].tolist() == [right]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padded_batches_decode_as_single_items_do(architecture, tokenizers, tmp_path):
    # an untrained model with large weights writes nonsense that hangs on every token before it
    build, begins_texts = ARCHITECTURES[architecture]
    tokenizer = tokenizers[begins_texts]
    model = rough(build, tokenizer, seed=0)
    items = []
    for item in mixed_tasks(16)[2][2]:
        reply = reference.reply(item["context"], model, tokenizer)
        if words(reply):
            items.append({"context": item["context"], "reference": reply})
    assert len({len(tokenizer.encode(item["context"])) for item in items}) > 4
    assert len({item["reference"] for item in items}) > 8
    suite = load_suite(write(tmp_path, [("talk", "dialogue", items)]), tokenizer)
    assert evaluate(suite, model, tokenizer, batch_size=16)["value"].eq(1.0).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_are_those_of_the_engine_s_own_scoring(architecture, tokenizers, tmp_path):
    """Continuations of one token and of many, shared contexts, texts cut at the model's context."""
    build, begins_texts = ARCHITECTURES[architecture]
    tokenizer = tokenizers[begins_texts]
    loaded = load_suite(write(tmp_path, mixed_tasks(2)), tokenizer)
    engine = suite_module._Engine(rough(build, tokenizer, seed=0), loaded, batch_size=3)
    rng = np.random.default_rng(0)
    requests = []
    for length, count in ((4, 1), (9, 3), (CONTEXT, 1), (CONTEXT + 9, 5), (1, 2)):
        context = rng.integers(0, 200, length).tolist()
        for _ in range(3):
            requests.append((None, context, rng.integers(0, 200, count).tolist()))
    ours = engine._loglikelihood_tokens(requests)
    with torch.no_grad():
        theirs = HFLM._loglikelihood_tokens(engine, requests, disable_tqdm=True)
    assert len(ours) == len(theirs) == 15
    for (mine, greedy), (right, same) in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(right, rel=1e-5)
        assert greedy == same


def test_reply_ends_with_the_text(knowing, tmp_path):
    # a token that ends one reply in mid-sentence while others of the batch go on
    model, tokenizer = knowing
    contexts = [item["context"] for item in mixed_tasks(12)[2][2]]
    whole = [reference.reply(context, model, tokenizer) for context in contexts]
    written = tokenizer.encode(min(whole), add_special_tokens=False)
    ended = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()),
        eos_token=tokenizer.convert_ids_to_tokens(written[2]),
        bos_token=tokenizer.bos_token,
    )
    cut = [reference.reply(context, model, ended) for context in contexts]
    assert any(words(short) and short != long for short, long in zip(cut, whole, strict=True))
    assert any(short == long for short, long in zip(cut, whole, strict=True))
    items = [{"context": c, "reference": r} for c, r in zip(contexts, cut, strict=True)]
    suite = load_suite(write(tmp_path, [("talk", "dialogue", items)]), ended)
    assert evaluate(suite, model, ended)["value"].eq(1.0).all()


def test_batch_size_does_not_matter(untrained, tokenizer, tmp_path):
    suite = load_suite(write(tmp_path, mixed_tasks(6)), tokenizer)
    one = evaluate(suite, untrained, tokenizer, batch_size=1)
    many = evaluate(suite, untrained, tokenizer, batch_size=64)
    pd.testing.assert_frame_equal(one, many, rtol=1e-5)


def test_same_model_same_table(untrained, tokenizer, tmp_path):
    suite = load_suite(write(tmp_path, mixed_tasks(6)), tokenizer)
    first = evaluate(suite, untrained, tokenizer)
    pd.testing.assert_frame_equal(first, evaluate(suite, untrained, tokenizer), check_exact=True)


sentences = st.lists(st.sampled_from([*NAMES, *THINGS, *PLACES, "the", "was"]), min_size=1).map(
    " ".join
)
spaced = sentences.map(lambda sentence: f" {sentence}")
suites = st.tuples(
    st.lists(
        st.tuples(
            st.sampled_from(["", "who \n", "Ann: "]), sentences, st.lists(spaced, min_size=2)
        ),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.tuples(sentences, sentences), min_size=1, max_size=3),
    st.lists(sentences, min_size=1, max_size=3),
)


@settings(max_examples=12, deadline=None)
@given(drawn=suites, seed=st.integers(0, 5))
def test_engine_agrees_on_any_items(drawn, seed, tokenizer, tmp_path_factory):
    model = rough(gpt_neo, tokenizer, seed)
    choices, pairs, texts = drawn
    contents = [
        (
            "choices",
            "choice",
            [
                {"context": a + b, "choices": [c[:60] for c in cs], "gold": 0}
                for a, b, cs in choices
            ],
        ),
        ("words", "last_word", [{"context": a, "target": b.split()[0]} for a, b in pairs]),
        ("prose", "perplexity", [{"text": sentence} for sentence in texts]),
    ]
    tasks = write(tmp_path_factory.mktemp("drawn"), contents)
    table = evaluate(load_suite(tasks, tokenizer), model, tokenizer, batch_size=4)
    expected = reference.evaluate(contents, model, tokenizer)
    pd.testing.assert_frame_equal(table, expected, rtol=1e-4)


def test_first_of_equal_choices_wins(indifferent, tokenizer, tmp_path):
    items = [
        {"context": "Who?", "choices": [" Ann", " Ann", " Ann"], "gold": gold} for gold in range(3)
    ]
    suite = load_suite(write(tmp_path, [("who", "choice", items)]), tokenizer)
    assert evaluate(suite, indifferent, tokenizer)["value"].tolist() == [1.0, 0.0, 0.0]


def test_sums_decide_not_means(indifferent, tokenizer, tmp_path):
    # per token all are equally likely, so the shorter choice has the higher sum
    item = {"context": "Who?", "choices": [" Ann and Bob and Cleo", " Ann"], "gold": 1}
    suite = load_suite(write(tmp_path, [("who", "choice", [item])]), tokenizer)
    assert evaluate(suite, indifferent, tokenizer)["value"].tolist() == [1.0]


def test_indifferent_model_is_as_perplexed_as_its_vocabulary_is_large(
    indifferent, tokenizer, tmp_path
):
    texts = [{"text": "Ann put the cup in the attic."}, {"text": "Bob " * 100}]
    suite = load_suite(write(tmp_path, [("prose", "perplexity", texts)]), tokenizer)
    table = evaluate(suite, indifferent, tokenizer)
    assert table["weight"].tolist() == [len(tokenizer.encode(item["text"])) for item in texts]
    assert aggregate(table)["score"].item() == pytest.approx(len(tokenizer), rel=1e-5)


def test_limit_takes_the_first_items(untrained, tokenizer, tmp_path):
    tasks = write(tmp_path, mixed_tasks(6))
    whole = evaluate(load_suite(tasks, tokenizer), untrained, tokenizer)
    first = evaluate(load_suite(tasks, tokenizer, limit=2), untrained, tokenizer)
    expected = whole[whole["item"] < 2].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, expected, rtol=1e-5)


def test_weights_that_are_not_numbers_give_nan(untrained, tokenizer, tmp_path):
    suite = load_suite(write(tmp_path, mixed_tasks(3)), tokenizer)
    sound = evaluate(suite, untrained, tokenizer)
    with torch.no_grad():
        next(untrained.parameters())[0, 0] = math.nan
    broken = evaluate(suite, untrained, tokenizer)
    assert broken["value"].isna().all()
    columns = ["task", "kind", "item", "weight"]
    pd.testing.assert_frame_equal(broken[columns], sound[columns])
    assert aggregate(broken)["score"].isna().all()


def test_weights_that_no_item_touches_count(untrained, tokenizer, tmp_path):
    suite = load_suite(write(tmp_path, [("prose", "perplexity", [TEXT])]), tokenizer)
    with torch.no_grad():
        untrained.transformer.wpe.weight[CONTEXT - 1] = math.inf  # a position beyond the text
    assert evaluate(suite, untrained, tokenizer)["value"].isna().all()


def test_overflowing_model_gives_nan_for_every_kind(untrained, tokenizer, tmp_path):
    suite = load_suite(write(tmp_path, mixed_tasks(3)), tokenizer)
    with torch.no_grad():
        for weight in untrained.parameters():
            weight.fill_(1e30)
    assert evaluate(suite, untrained, tokenizer)["value"].isna().all()


def test_leaves_model_and_tokenizer_as_they_were(untrained, tmp_path):
    tokenizer = train_tokenizer(begins_texts=False)
    before = {name: weight.clone() for name, weight in untrained.named_parameters()}
    handles = list(untrained.parameters())
    padding = (tokenizer.pad_token, tokenizer.padding_side, tokenizer.model_max_length)
    suite = load_suite(write(tmp_path, mixed_tasks(3)), tokenizer)
    evaluate(suite, untrained, tokenizer)
    assert all(a is b for a, b in zip(handles, untrained.parameters(), strict=True))
    assert all(torch.equal(before[name], weight) for name, weight in untrained.named_parameters())
    assert padding == (tokenizer.pad_token, tokenizer.padding_side, tokenizer.model_max_length)
    rows = torch.tensor([[1, 2, 3, 4]])
    untrained(rows, labels=rows).loss.backward()  # it can still be trained


def test_silent_and_offline(untrained, tokenizer, tmp_path, capfd, caplog, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with caplog.at_level(logging.WARNING):
        evaluate(load_suite(write(tmp_path, mixed_tasks(6)), tokenizer), untrained, tokenizer)
    out, err = capfd.readouterr()
    assert not out
    assert not err
    assert not caplog.records


def test_analysis_needs_neither_torch_nor_the_harness():
    code = (
        "import sys; from unlearning.evaluation.aggregate import aggregate;"
        "print(*({'torch', 'lm_eval', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    scripts = Path(__file__).parents[1] / "scripts"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=scripts, capture_output=True, text=True, check=True
    )
    assert not done.stdout.strip()


CHOICE = {"context": "Who?", "choices": [" Ann", " Bob"], "gold": 1}
WORD = {"context": "It", "target": "was"}
TALK = {"context": "Ann:", "reference": "It was Bob."}
TEXT = {"text": "It was Bob."}


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        ("choice", '{"context": "Who?"', "line 2: not valid JSON"),
        ("choice", "[1, 2]", "line 2: an item is a JSON object, not list"),
        ("choice", {"context": "Who?", "gold": 0}, "line 2: key 'choices' is missing"),
        ("choice", CHOICE | {"context": 7}, "line 2: 'context' is of type int, not str"),
        ("choice", CHOICE | {"context": " \n"}, "line 2: 'context' is white space only"),
        ("choice", CHOICE | {"gold": 2}, "line 2: gold 2 is not the index of one of 2 choices"),
        ("choice", CHOICE | {"gold": -1}, "line 2: gold -1 is not the index"),
        ("choice", CHOICE | {"gold": True}, "line 2: 'gold' is of type bool, not int"),
        ("choice", CHOICE | {"gold": 1.0}, "line 2: 'gold' is of type float, not int"),
        ("choice", CHOICE | {"choices": [], "gold": 0}, "line 2: 0 choices"),
        ("choice", CHOICE | {"choices": [" Ann"], "gold": 0}, "line 2: 1 choices"),
        ("choice", CHOICE | {"choices": [" Ann", ""]}, "line 2: choice '' is not a text"),
        ("choice", CHOICE | {"choices": [" Ann", 3]}, "line 2: choice 3 is not a text"),
        ("last_word", {"context": "It"}, "line 2: key 'target' is missing"),
        ("last_word", WORD | {"target": " "}, "line 2: 'target' is empty"),
        ("dialogue", {"context": "Ann:"}, "line 2: key 'reference' is missing"),
        ("dialogue", TALK | {"context": ""}, "line 2: 'context' is empty"),
        ("dialogue", TALK | {"reference": "The."}, "line 2: 'reference' has no word"),
        ("perplexity", {"prose": "It"}, "line 2: key 'text' is missing"),
        ("perplexity", {"text": ""}, "line 2: 'text' is empty"),
    ],
)
def test_malformed_items_are_named_by_line(kind, line, message, tmp_path):
    good = {"choice": CHOICE, "last_word": WORD, "dialogue": TALK, "perplexity": TEXT}[kind]
    path = tmp_path / "task.jsonl"
    bad = line if isinstance(line, str) else json.dumps(line)
    path.write_text(f"{json.dumps(good)}\n{bad}\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_items(Task("t", kind, path))
    assert str(caught.value).startswith(f"{path} {message}")
    assert len(read_items(Task("t", kind, path), limit=1)) == 1  # the bad line is not reached


def test_blank_lines_are_skipped_and_counted(tmp_path):
    path = tmp_path / "task.jsonl"
    path.write_text(f"\n{json.dumps(TEXT)}\n\n{json.dumps(TEXT)}\n", encoding="utf-8")
    assert [item["line"] for item in read_items(Task("t", "perplexity", path))] == [2, 4]


@pytest.mark.parametrize("content", ["", "\n\n", None])
def test_task_without_items(content, tokenizer, tmp_path):
    path = tmp_path / "task.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"task\.jsonl: task 't' (has no item|cannot be read)"):
        load_suite([Task("t", "perplexity", path)], tokenizer)


def test_wrong_lists_of_tasks(tokenizer, tmp_path):
    (task,) = write(tmp_path, [("t", "perplexity", [TEXT])])
    with pytest.raises(InputError, match="the list is empty"):
        load_suite([], tokenizer)
    with pytest.raises(InputError, match="'t' is named twice"):
        load_suite([task, task], tokenizer)
    with pytest.raises(InputError, match="'u' is of unknown kind 'quiz'; known: choice"):
        load_suite([Task("u", "quiz", task.path)], tokenizer)
    with pytest.raises(InputError, match="limit 0"):
        load_suite([task], tokenizer, limit=0)


def test_choice_that_melts_into_its_context(tokenizer, tmp_path):
    merged = next(
        token for token in tokenizer.get_vocab() if token.isalpha() and token.isascii()
        and len(token) > 1 and len(tokenizer.encode(token[:-1])) == 1
    )  # fmt: skip
    item = {"context": merged[:-1], "choices": [" Ann", merged[-1]], "gold": 0}
    tasks = write(tmp_path, [("t", "choice", [CHOICE, item])])
    with pytest.raises(InputError, match=r"t\.jsonl line 2: .* adds no token to its context"):
        load_suite(tasks, tokenizer)


def test_model_too_short_for_a_task(untrained, tokenizer, tmp_path):
    long = CHOICE | {"choices": [" Ann", " Bob" * 100]}
    (task,) = write(tmp_path, [("t", "choice", [CHOICE, long])])
    with pytest.raises(InputError, match=r"t\.jsonl line 2: \d+ tokens to score, .* holds 56"):
        evaluate(load_suite([task], tokenizer), untrained, tokenizer)
    (task,) = write(tmp_path, [("t", "dialogue", [TALK])])
    untrained.config.max_position_embeddings = 32
    with pytest.raises(InputError, match="context of 32 tokens leaves no room for a reply of 32"):
        evaluate(load_suite([task], tokenizer), untrained, tokenizer)


def test_foreign_tokenizer(untrained, tokenizers, tmp_path):
    suite = load_suite(write(tmp_path, [("t", "perplexity", [TEXT])]), tokenizers[False])
    with pytest.raises(InputError, match="another vocabulary"):
        evaluate(suite, untrained, tokenizers[True])
    endless = PreTrainedTokenizerFast(tokenizer_object=tokenizers[False].backend_tokenizer)
    with pytest.raises(InputError, match="no end-of-text token"):
        load_suite([suite.tasks[0].task], endless)


@pytest.mark.parametrize(
    ("prediction", "expected", "value"),
    [
        ("the cat sat", "a cat sat", 1.0),  # articles do not count
        ("Cat, SAT!", "cat sat", 1.0),  # nor do case and punctuation
        ("don't", "dont", 1.0),  # punctuation is cut out, not replaced
        ("cat", "cat sat on mat", 2 * 1 * 0.25 / 1.25),
        ("cat cat cat", "cat sat", 2 * (1 / 3) * 0.5 / (1 / 3 + 0.5)),  # repeats count
        ("cat cat", "cat cat dog", 2 * 1 * (2 / 3) / (5 / 3)),
        ("theatre anthem", "theatre an them", 0.5),  # articles only as whole words
        ("dog", "cat", 0.0),
        ("", "cat", 0.0),
        ("the a an ...", "cat", 0.0),
    ],
)
def test_f1_by_hand(prediction, expected, value):
    assert unigram_f1(prediction, expected) == pytest.approx(value)
    assert reference.f1(prediction, expected) == pytest.approx(value)


any_text = st.text("abt he.,'AN\n-", max_size=30)


@given(any_text, any_text)
def test_f1_properties(left, right):
    value = unigram_f1(left, right)
    assert value == pytest.approx(reference.f1(left, right))
    assert value == pytest.approx(unigram_f1(right, left))
    assert 0 <= value <= 1
    assert (value == 1) == (sorted(words(left)) == sorted(words(right)) != [])


def test_aggregate_by_hand():
    rows = [
        ("m1", "quiz", "choice", 0, 1.0, 1),
        ("m1", "quiz", "choice", 1, 0.0, 1),
        ("m1", "quiz", "choice", 2, 0.0, 1),
        ("m1", "prose", "perplexity", 0, 6.0, 2),
        ("m1", "prose", "perplexity", 1, 4.0, 8),
        ("m0", "quiz", "choice", 0, 1.0, 1),
        ("m0", "quiz", "choice", 1, math.nan, 1),
        ("m0", "prose", "perplexity", 0, 1e6, 2),
    ]
    columns = ["model", "task", "kind", "item", "value", "weight"]
    scores = aggregate(pd.DataFrame(rows, columns=columns), ["model"])
    assert scores.columns.tolist() == ["model", "task", "kind", "score", "items"]
    assert scores["model"].tolist() == ["m1", "m1", "m0", "m0"]
    assert scores["task"].tolist() == ["quiz", "prose", "quiz", "prose"]
    assert scores["items"].tolist() == [3, 2, 2, 1]
    np.testing.assert_allclose(scores["score"], [1 / 3, math.e, math.nan, math.inf])
