"""The generated corpus: same seed, same bytes; splits apart; tasks well formed."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from unlearning.data.corpus import generate
from unlearning.data.corpus.documents import KINDS
from unlearning.data.corpus.records import FORMS, write_records
from unlearning.data.corpus.tokens import check_contamination, cut, encode, pack
from unlearning.data.corpus.world import THINGS, WORDS, invent_world, pick_by_rank
from unlearning.jobs.errors import InputError
from unlearning.settings import build
from unlearning.settings.corpus import CorpusSettings

SCRIPTS = Path(__file__).parents[1] / "scripts"
SMALL = CorpusSettings(
    vocabulary=600, background_tokens=20_000, planted=20, unseen=24, people=12, towns=8, items=10
)


@pytest.fixture(scope="module")
def corpus():
    return generate(SMALL)


def split(corpus, name):
    rows = corpus.sequences[corpus.sequences["split"] == name]
    return rows, np.stack(rows["tokens"].to_list())


def test_shapes_and_columns(corpus):
    assert corpus.background.shape == (20_000 // 64, 64)
    assert corpus.background.dtype == np.uint16
    assert corpus.heldout.shape[1] == 64
    assert len(corpus.heldout) > 0
    assert list(corpus.sequences) == [
        "sequence_id",
        "split",
        "repetitions",
        "tokens",
        "half",
        "kind",
    ]
    assert corpus.sequences["tokens"].map(len).eq(64).all()
    assert corpus.sequences["sequence_id"].is_unique
    assert int(corpus.background.max()) < len(corpus.tokenizer) == 600


def test_splits_hold_what_was_asked_for(corpus):
    planted, _ = split(corpus, "planted")
    unseen, _ = split(corpus, "unseen")
    assert (len(planted), len(unseen)) == (20, 24)
    # weights .15 .25 .35 .25 of 20
    assert planted["repetitions"].value_counts().to_dict() == {8: 3, 16: 5, 32: 7, 64: 5}
    assert unseen["repetitions"].eq(0).all()
    assert unseen["half"].value_counts().to_dict() == {"threshold": 12, "attack": 12}
    assert planted["half"].eq("").all()
    assert set(planted["kind"]) == set(unseen["kind"]) == set(FORMS)


def test_no_sequence_stands_in_another_split_or_in_the_text(corpus):
    _, planted = split(corpus, "planted")
    _, unseen = split(corpus, "unseen")
    sequences = [tuple(row) for row in np.concatenate([planted, unseen])]
    assert len(set(sequences)) == len(sequences)
    stream = corpus.background.ravel().tolist()
    windows = {tuple(stream[i : i + 64]) for i in range(len(stream) - 63)}
    assert not windows & set(sequences)


def test_heldout_documents_are_not_in_the_background(corpus):
    text = corpus.tokenizer.decode(corpus.background.ravel().tolist())
    for item in corpus.tasks["perplexity"]:
        assert f"<|endoftext|>{item['text']}<|endoftext|>" not in text


def test_heldout_text_is_about_others_and_repeats_little_of_the_background():
    """Most of its stretches of eight tokens stand nowhere in what is trained on."""
    demo = generate(CorpusSettings(background_tokens=200_000, items=60))

    def stretches(rows):
        stream = rows.ravel()
        return {stream[i : i + 8].tobytes() for i in range(len(stream) - 7)}

    known = stretches(demo.background)
    held_out = stretches(demo.heldout)
    assert len(held_out & known) / len(held_out) < 0.5
    text = demo.tokenizer.decode(demo.background.ravel().tolist())
    names = re.findall(r"town does (\w+ \w+) live", demo.tokenizer.decode(demo.heldout.ravel()))
    assert len(names) > 20
    assert not [name for name in names if name in text]


def test_background_holds_once_only_records(corpus):
    starts = corpus.tokenizer.batch_decode(corpus.background[:, :8].tolist())
    records = sum(text.startswith(("From:", "Patient:", "Licence ")) for text in starts)
    expected = round(SMALL.record_share * len(starts)) // len(FORMS)
    assert records >= 3 * expected > 0
    assert len({row.tobytes() for row in corpus.background}) == len(corpus.background)


def test_one_stream_a_part(corpus):
    """More items and more unseen sequences leave the planted ones as they are."""
    more = generate(replace(SMALL, items=15, unseen=36))
    _, planted = split(corpus, "planted")
    _, planted_again = split(more, "planted")
    assert np.array_equal(planted, planted_again)
    assert np.array_equal(corpus.background, more.background)


def test_another_seed_is_another_corpus(corpus):
    other = generate(replace(SMALL, seed=1))
    assert not np.array_equal(split(corpus, "planted")[1], split(other, "planted")[1])


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_script_writes_the_same_bytes_as_the_library(corpus, tmp_path):
    """A second process must not differ: hash seeds, thread counts, file times."""
    settings = {"vocabulary": 600, "background_tokens": 20_000, "planted": 20, "unseen": 24}
    settings |= {"people": 12, "towns": 8, "items": 10}
    subprocess.run(
        [
            *(sys.executable, SCRIPTS / "make_corpus.py", "--settings", json.dumps(settings)),
            *("--corpus", tmp_path / "script", "--sequences", tmp_path / "sequences.parquet"),
        ],
        check=True,
    )
    corpus.save(tmp_path / "library")
    assert digests(tmp_path / "script") == digests(tmp_path / "library")
    assert "background.npy" in digests(tmp_path / "script")
    table = pd.read_parquet(tmp_path / "sequences.parquet")
    assert np.array_equal(
        np.stack(table["tokens"].to_list()), np.stack(corpus.sequences["tokens"].to_list())
    )


def test_saved_tokenizer_loads_and_round_trips(corpus, tmp_path):
    corpus.save(tmp_path / "corpus")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "corpus" / "tokenizer")
    assert len(tokenizer) == 600
    texts = [item["text"] for item in corpus.tasks["perplexity"]] + ["Ünïcode \n 42\t<b>"]
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert ids == encode(corpus.tokenizer, [text])[0]


def test_digits_stand_alone(corpus):
    digits = encode(corpus.tokenizer, [str(digit) for digit in range(10)])
    assert all(len(ids) == 1 for ids in digits)
    assert encode(corpus.tokenizer, ["9075"])[0] == [digits[d][0] for d in (9, 0, 7, 5)]


def test_tasks_are_well_formed(corpus, tmp_path):
    corpus.save(tmp_path / "corpus")
    names = {path.stem for path in (tmp_path / "corpus" / "tasks").glob("*.jsonl")}
    assert names == set(corpus.tasks)
    choices = 0
    for name in names:
        lines = (tmp_path / "corpus" / "tasks" / f"{name}.jsonl").read_text().splitlines()
        items = [json.loads(line) for line in lines]
        assert items == corpus.tasks[name]
        assert len(items) == 10
        for item in items:
            if "choices" in item:
                choices += 1
                assert len(item["choices"]) == len(set(item["choices"])) == 4
                assert 0 <= item["gold"] < 4
                assert all(choice.startswith(" ") for choice in item["choices"])
            if "context" in item:
                assert item["context"] == item["context"].rstrip()
    assert choices >= 40
    assert set(corpus.tasks["last_word"][0]) == {"context", "target"}
    assert set(corpus.tasks["dialogue"][0]) == {"context", "reference"}
    assert set(corpus.tasks["perplexity"][0]) == {"text"}


def test_gold_places_are_spread():
    items = generate(replace(SMALL, items=200)).tasks["town"]
    counts = np.bincount([item["gold"] for item in items], minlength=4)
    assert counts.min() > 25


def test_knowledge_tasks_ask_what_the_background_states(corpus):
    """The frequent person's facts stand in the text, in the words of the question."""
    text = corpus.tokenizer.decode(corpus.background.ravel().tolist())
    item = corpus.tasks["town"][0]
    assert f"{item['context']}{item['choices'][item['gold']]}\n" in text
    for wrong in set(range(4)) - {item["gold"]}:
        assert f"{item['context']}{item['choices'][wrong]}\n" not in text


@given(seed=st.integers(0, 2**32 - 1))
def test_every_document_can_be_written(seed):
    rng = np.random.default_rng(seed)
    world = invent_world(rng, people=8, towns=8, things=8, skew=0.7)
    for function, _ in KINDS.values():
        text = function(world, rng)
        assert text == text.strip()
        assert len(text) > 20
        assert "{" not in text or function.__name__ == "code"


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 20))
def test_records_differ_and_take_the_forms_in_turn(seed, count):
    texts, kinds = write_records(np.random.default_rng(seed), count, 16)
    assert len(set(texts)) == count
    assert kinds == [list(FORMS)[i % 6] for i in range(count)]


def test_pick_by_rank_follows_the_law():
    rng = np.random.default_rng(0)
    drawn = [pick_by_rank(rng, "abcd", 1.0) for _ in range(20_000)]
    shares = np.array([drawn.count(letter) for letter in "abcd"]) / len(drawn)
    weights = 1 / np.arange(1, 5)
    assert np.abs(shares - weights / weights.sum()).max() < 0.015


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8), length=st.integers(2, 9))
def test_pack_equals_the_stream_cut_by_hand(corpus, lengths, length):
    texts = [" ".join(["apple"] * count) for count in lengths]
    stream = []
    for text in texts:
        stream += encode(corpus.tokenizer, [text])[0]
        stream.append(corpus.tokenizer.eos_token_id)
    rows = [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]
    assert pack(corpus.tokenizer, texts, length).tolist() == rows


def test_cut_refuses_a_short_text(corpus):
    with pytest.raises(InputError, match="text 1 has"):
        cut(corpus.tokenizer, ["many words stand here in a row", "few"], 4)


def contained(stream, row):
    """Reference for the contamination check: every window, one by one."""
    return any(stream[i : i + len(row)] == row for i in range(len(stream) - len(row) + 1))


# Few tokens, most of them others with their bytes moved: matches within a token must not count.
token_rows = st.lists(
    st.lists(st.sampled_from([0, 1, 256, 65_536, 65_537]), min_size=3, max_size=3),
    min_size=1,
    max_size=4,
)


@given(planted=token_rows, unseen=token_rows, background=token_rows, heldout=token_rows)
def test_contamination_check_equals_the_reference(planted, unseen, background, heldout):
    sequences = planted + unseen
    twice = len({tuple(row) for row in sequences}) < len(sequences)
    streams = [sum(background, []), sum(heldout, [])]
    dirty = twice or any(contained(stream, row) for stream in streams for row in sequences)
    arrays = [np.array(rows, dtype=np.uint32) for rows in (planted, unseen, background, heldout)]
    if dirty:
        with pytest.raises(InputError):
            check_contamination(*arrays)
    else:
        check_contamination(*arrays)


def test_as_many_things_as_the_settings_allow():
    assert CorpusSettings(things=len(THINGS)).things == len(set(THINGS))
    with pytest.raises(InputError, match="things"):
        build({"things": len(THINGS) + 1}, CorpusSettings, "here")


def test_words_of_records_name_nothing_else():
    assert len(set(WORDS)) == len(WORDS)
    assert not set(WORDS) & set(THINGS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"unseen": 7}, "unseen"),
        ({"vocabulary": 100}, "vocabulary"),
        ({"repetitions": [8, 16]}, "repetitions has 2 entries"),
        ({"repetition_weights": [0, 1, 1, 1]}, "repetition_weights"),
        ({"sequence_length": 200, "background_tokens": 1500}, "background_tokens"),
    ],
)
def test_bad_settings_are_refused_by_name(change, named):
    with pytest.raises(InputError, match=named):
        build(change, CorpusSettings, "here")
