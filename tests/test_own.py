"""Your own files: what is read is what was written, and what is wrong is said without a text."""

import csv
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
)

import check as checking
import plan
from running import ROOT, copy_project, snakemake
from unlearning.configuration import check
from unlearning.data.corpus.tokens import train_tokenizer
from unlearning.data.own.entries import read_entries
from unlearning.data.own.files import read_rows, read_table
from unlearning.data.own.parts import goals_of, prepare, windows_of
from unlearning.jobs.errors import InputError
from unlearning.memorization.rows import Ragged, rows_of
from unlearning.memorization.scoring import ma_and_loss
from unlearning.settings import build
from unlearning.settings.own import OwnSettings
from unlearning.unlearners.learner import Learner

ODD = 'it\'s "mine", mein Ordner & größer'  # names that users give to folders
LENGTH = 24
FORGOTTEN = 24
GPT2_SIZE = 2 * (12 * 48**2 + 13 * 48) + (340 + 64 + 2) * 48  # weights of the models here
WORDS = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")


def texts(seed: int, count: int) -> list[str]:
    """Records of three lengths with numbers of their own: what can only be known by heart."""
    rng = random.Random(seed)
    return [
        f"{rng.choice(WORDS)} {rng.choice(WORDS)}, {rng.randrange(10**6):06d}:"
        f" {' '.join(rng.choices(WORDS, k=rng.choice((8, 12, 16))))} {rng.randrange(10**8):08d}"
        for _ in range(count)
    ]


def write_jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files, and two models with one tokenizer that know what is to be forgotten by heart."""
    folder = tmp_path_factory.mktemp("own") / ODD
    folder.mkdir()
    tokenizer = train_tokenizer(texts(9, 200), 340)
    for name, seed, count in (("forget", 0, FORGOTTEN), ("unseen", 1, 41), ("retained", 2, 6)):
        write_jsonl(folder / f"{name}.jsonl", [{"text": text} for text in texts(seed, count)])
    write_jsonl(folder / "held_out.jsonl", [{"text": text} for text in texts(3, 10)])
    known = [text for seed, count in ((0, FORGOTTEN), (2, 6)) for text in texts(seed, count)]
    rows = Ragged(tuple(torch.tensor(ids) for ids in tokenizer(known)["input_ids"]))
    for name in ("mine", "other"):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=340, n_embd=48, n_layer=2, n_head=2, n_positions=64,
                bos_token_id=0, eos_token_id=0,
            )
        )  # fmt: skip
        learner = Learner(model, 0.005, len(rows))
        for _ in range(300 if name == "mine" else 0):
            learner.descend(rows)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def settings(folder: Path, **changes) -> OwnSettings:
    files = {"forget": folder / "forget.jsonl", "unseen": folder / "unseen.jsonl"}
    values = {name: str(path) for name, path in files.items()} | {"minimum": LENGTH}
    return build(values | changes, OwnSettings, "own")


def prepared(folder: Path, *, limit: int | None = None, sizes=(2,), models=("mine",), **changes):
    own = settings(folder, **changes)
    kinds = dict.fromkeys(own.tasks, "perplexity")
    return prepare(own, {name: folder / name for name in models}, sizes, [0], kinds, limit)


# --- files ------------------------------------------------------------------------------------

row_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.lists(st.tuples(row_texts, st.lists(st.integers(0, 9), min_size=1)), min_size=1))
def test_every_format_gives_the_rows_that_were_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("formats")
    values = [{"text": text, "tokens": tokens} for text, tokens in rows]
    write_jsonl(folder / "a.jsonl", values)
    pd.DataFrame(values).to_parquet(folder / "a.parquet")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "tokens"])
        writer.writerows([text, json.dumps(tokens)] for text, tokens in rows)
    for ending in ("jsonl", "parquet", "csv"):
        read = [row.values for row in read_rows(folder / f"a.{ending}")]
        if ending == "csv":
            read = [row | {"tokens": json.loads(row["tokens"])} for row in read]
        assert read == values, ending


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", r"a.txt: the ending says the format; give .jsonl, .csv, .parquet"),
        ("a.jsonl", b"", "a.jsonl: has no row"),
        ("a.csv", b"text\n", "a.csv: has no row"),
        ("a.jsonl", b'\n{"text": "secret', "a.jsonl line 2: not valid JSON"),
        ("a.jsonl", b'["secret"]', "a.jsonl line 1: is no JSON object"),
        ("a.jsonl", b'{"text": "secret \xff"}', "a.jsonl: is not UTF-8"),
        ("a.csv", b"text\na\nb,secret\n", "a.csv row 2: has more fields than the head"),
        ("a.csv", b'text\n"secret', "a.csv row 1: not valid CSV"),
        ("a.parquet", b"secret", "a.parquet: not a Parquet file"),
        ("a.csv.gz", b"\x1f\x8bsecret", "a.csv.gz: the ending says .* .unpack what is packed"),
        ("a.csv", b"\x1f\x8bsecret", "a.csv: is packed, or a spreadsheet"),
        ("a.csv", b"PK\x03\x04secret", "a.csv: is packed, .*; .* save it as CSV UTF-8"),
        ("a.json", b'[{"text": "a"}, "secret"]', "a.json item 2: is no JSON object"),
        ("a.jsonl", b'{"text": "a", "text": "secret"}', "line 1: gives two values one name"),
        ("a.jsonl", b'{"text": "a"},\n{"text": "secret"}', "a.jsonl line 1: not valid JSON"),
    ],
)
def test_a_broken_file_is_named_and_not_quoted(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_rows(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


MAIL = "Hey Jo, call 555; the key is under the folder. Thanks"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.JSONL", b'{"id": "m", "text": "%s"}\n'),
        ("a.csv", b'ID,Text\r\nm,"%s"\r\n'),
        ("a.csv", b'\xef\xbb\xbfid;text\r\nm;"%s"\r\n'),
        ("a.csv", b"id\ttext\r\nm\t%s\r\n"),
        ("a.csv", b'sep=;\r\nid;text\r\nm;"%s"\r\n'),
        ("a.csv", b' id , TEXT \nm,"%s"\n\n,\n , \n'),
        ("a.jsonl", b'{"ID": "m", "Text": "%s", "note": null}\n'),
        ("a.jsonl", b'{"id": "m", "text": "%s", "source": {"page": [1, 2]}}\r\n\r\n'),
        ("a.jsonl", b'[{"id": "m", "text": "%s"}]'),
        ("a.json", b'[\n {"id": "m",\n  "text": "%s"}\n]\n'),
        ("a.tsv", b"id\ttext\r\nm\t%s\r\n"),
        ("a.csv", b'\r\n\r\ntext,note,id,\r\n"%s",,m,\r\n'),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_what_programs_write_is_read(tmp_path, name, content, encoding):
    text = (content % MAIL.encode()).decode("utf-8-sig")
    mark = b"\xef\xbb\xbf" if content.startswith(b"\xef") and encoding == "utf-8" else b""
    (tmp_path / name).write_bytes(mark + text.encode(encoding))
    (entry,) = read_entries("forget", str(tmp_path / name)).rows
    assert (entry.name, entry.content) == ("m", MAIL)


def test_blank_rows_of_a_spreadsheet_are_counted(tmp_path):
    (tmp_path / "a.csv").write_text(f'id,text\n1,"{MAIL}"\n,\n,\n')
    pd.DataFrame({"id": [1, None], "text": [MAIL, None]}).to_parquet(tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.csv").blank == 2
    assert read_table(tmp_path / "a.parquet").blank == 1


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_ids_that_pandas_made_fractions_are_whole_numbers_again(tmp_path, ending):
    table = pd.DataFrame({"id": [7, None, 9], "text": [f"{MAIL} {i}" for i in range(3)]})
    path = tmp_path / f"a.{ending}"
    table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)
    assert [row.name for row in read_entries("forget", str(path)).rows] == ["7", "00002", "9"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "a,secret one\nb,secret two\n", "a.csv: no column is called `text` or `tokens`"),
        ("a.csv", "id|text\na|secret\n", "separate columns by commas, semicolons, tabs"),
        ("a.csv", "id,content\na,secret\n", "name it so in the first line"),
        (
            "a.csv",
            "id,text\na,NaN\nb,secret\nc,null\n",
            "row 1: `text` is a word for a missing one",
        ),
        ("a.jsonl", '{"text": NaN}\n{"text": "secret"}\n', "line 1: has no `text`"),
        ("a.jsonl", '{"text": 5}\n{"text": ["secret"]}\n', "line 1: `text` is no text"),
        ("a.csv", "id,text\na\nb,secret\n", "row 1: has no `text`"),
        (
            "a.csv",
            "id,text\n1,secret\n1.0,secrets\n1 ,secret\n",
            "row 3: its id is that of .*row 1",
        ),
    ],
)
def test_what_is_no_list_of_texts_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_entries("forget", str(tmp_path / name))
    assert "secret" not in str(caught.value)


def test_all_rows_that_stand_twice_are_named_at_once(folder, tmp_path):
    rows = [{"text": text} for text in texts(0, 3)]
    path = write_jsonl(tmp_path / "forget.jsonl", [*rows, *rows[1:]])
    with pytest.raises(InputError) as caught:
        prepared(folder, forget=path)
    said = str(caught.value)
    assert re.search("line 4: its first .* line 2; a sequence plays one part", said)
    assert re.search("line 5: its first .* line 3; a sequence plays one part", said)
    assert "line 1" not in said


def test_a_name_that_only_looks_like_a_number_stays_as_it_is(tmp_path):
    (tmp_path / "a.csv").write_text(f'id,text\n1.0,"{MAIL}"\n1.1,"{MAIL}."\n')
    rows = read_entries("forget", str(tmp_path / "a.csv")).rows
    assert [row.name for row in rows] == ["1.0", "1.1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text;note,id\nsecret,1\n", None),
        (b"a;b,c\nsecret,1\n", "a.csv: its head line could be separated by more than one of"),
        (b"text,Text\nsecret,b\n", "a.csv: its head line names a column twice"),
        (b"\xff\xfes", "a.csv: is not UTF-16; write it anew as UTF-8"),
    ],
)
def test_a_table_that_can_be_read_in_two_ways_is_refused(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    if message is None:  # only one way gives a column that is known
        assert "text" in read_rows(tmp_path / "a.csv")[0].values
        return
    with pytest.raises(InputError, match=message) as caught:
        read_rows(tmp_path / "a.csv")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["a\\u0000b", "\\ud800", "x\\udfff y"], ids=["NUL", "high half", "low half"]
)
def test_what_is_no_text_is_named(tmp_path, value):
    (tmp_path / "a.jsonl").write_text(f'{{"text": "secret {value}"}}\n')
    with pytest.raises(InputError, match="line 1: `text` has a zero byte or half") as caught:
        read_entries("forget", str(tmp_path / "a.jsonl"))
    assert "secret" not in str(caught.value)


def test_all_bad_rows_are_told_at_once(tmp_path):
    rows = [{"text": MAIL}, {"text": " "}, {"id": 1, "text": f"{MAIL}a"}, {"tokens": "x"}]
    rows += [{"id": "1", "text": f"{MAIL}b"}, *[{}] * 12]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError) as caught:
        read_entries("forget", path)
    line = str(caught.value)
    assert line.startswith(f"{path} line 2: `text` is no text or an empty one")
    assert "; also line 4: `tokens` is no list" in line
    assert "; also line 5: its id is that of" in line
    assert line.count("; also line") == 9
    assert line.endswith("; and 5 more rows")
    assert "\n" not in line


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.csv: cannot be read"):
        read_rows(tmp_path / "nowhere.csv")


# --- parts ------------------------------------------------------------------------------------


def test_every_sequence_has_one_part_and_the_models_tokens(folder):
    corpus, sets, given = prepared(
        folder,
        sizes=[4, FORGOTTEN],
        retained=str(folder / "retained.jsonl"),
        tasks={"held_out": str(folder / "held_out.jsonl")},
    )
    table = corpus.sequences
    assert table["kind"].value_counts().to_dict() == {
        "unseen": 41, "forget pool": FORGOTTEN, "retained": 6,
    }  # fmt: skip
    assert table["half"].value_counts().to_dict() == {"": 30, "attack": 21, "threshold": 20}
    tokenizer = AutoTokenizer.from_pretrained(folder / "mine")
    expected = [tokenizer(text)["input_ids"] for text in texts(0, FORGOTTEN)]
    assert [row.tolist() for row in table["tokens"][:FORGOTTEN]] == expected
    longest = max(map(len, expected))
    pool = {f"forget-{line:05d}" for line in range(1, FORGOTTEN + 1)}
    whole = sets.query("forget_size == @FORGOTTEN")
    assert set(whole["sequence_id"]) == pool  # none of those to be retained
    assert set(sets.query("forget_size == 4")["sequence_id"]) == set(whole["sequence_id"][:4])
    assert corpus.background.shape == (0, longest)
    assert corpus.tasks == {"held_out": [{"text": text} for text in texts(3, 10)]}
    assert {key: file["used"] for key, file in given.items()} == {
        "forget": FORGOTTEN, "unseen": 41, "retained": 6, "tasks.held_out": 10,
    }  # fmt: skip


def test_the_halves_are_drawn_by_the_seed(folder):
    def threshold_half(seed):
        table = prepared(folder, seed=seed)[0].sequences
        return set(table.query("half == 'threshold'")["sequence_id"])

    assert threshold_half(0) == threshold_half(0)
    assert threshold_half(0) != threshold_half(1)


def test_a_trial_takes_a_few_of_each_part(folder):
    table = prepared(folder, limit=3, retained=str(folder / "retained.jsonl"))[0].sequences
    assert table["kind"].value_counts().to_dict() == {
        "forget pool": FORGOTTEN, "unseen": 6, "retained": 3,
    }  # fmt: skip


def test_tokens_stand_for_texts_and_ids_are_kept(folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder / "mine")
    rows = [
        {"id": f"case {i}", "tokens": tokenizer(text)["input_ids"]}
        for i, text in enumerate(texts(0, FORGOTTEN))
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "forget.parquet")
    named = prepared(folder, forget=str(tmp_path / "forget.parquet"))[0].sequences
    plain = prepared(folder)[0].sequences
    assert named["sequence_id"][0] == "forget-case 0"
    for mine, theirs in zip(named["tokens"], plain["tokens"], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_short_rows_are_dropped_and_counted_where_that_is_asked_for(folder, tmp_path):
    rows = [{"text": text} for text in ["basil", *texts(0, 3)]]
    forget = write_jsonl(tmp_path / "forget.jsonl", rows)
    with pytest.raises(
        InputError, match=r"forget.jsonl line 1: has \d tokens, a sequence has 24 or"
    ):
        prepared(folder, forget=forget)
    corpus, _, given = prepared(folder, forget=forget, too_short="drop", sizes=[3])
    assert (given["forget"]["used"], given["forget"]["dropped"]) == (3, 1)
    assert corpus.sequences["sequence_id"][0] == "forget-00002"
    # whoever asks for the whole file must not get less unawares
    with pytest.raises(InputError, match="4 is larger than the 3 .* 1 were dropped as too short"):
        prepared(folder, forget=forget, too_short="drop", sizes=[4])
    with pytest.raises(InputError, match="forget.jsonl: no row has 64 tokens"):
        prepared(folder, forget=forget, too_short="drop", minimum=64)


def test_unseen_rows_that_share_a_long_stretch_with_known_ones_are_counted(folder, tmp_path):
    """The reference looks at every window of both, one by one."""
    known = np.random.default_rng(0).integers(340, size=(2, 48)).tolist()
    # a stretch of 32 tokens elsewhere in the row; one of 31; none
    rows = [[*[7] * 16, *known[0][3:35]], [*[8] * 17, *known[1][:31]], [9] * 48]
    windows = [[row[i : i + 32] for i in range(17)] for row in (*known, *rows)]
    expected = sum(any(w in known for known in windows[:2] for w in own) for own in windows[2:])
    assert expected == 1
    given = prepared(
        folder,
        forget=write_jsonl(tmp_path / "forget.jsonl", [{"tokens": row} for row in known]),
        unseen=write_jsonl(tmp_path / "unseen.jsonl", [{"tokens": row} for row in rows]),
    )[2]
    assert given["unseen"]["akin"] == expected
    assert prepared(folder)[2]["unseen"]["akin"] == 0


def test_background_is_packed_and_holds_nothing_to_be_forgotten(folder, tmp_path):
    background = tmp_path / "background.jsonl"
    write_jsonl(background, [{"text": text} for text in texts(5, 20)])
    rows = prepared(folder, background=str(background))[0].background
    tokenizer = AutoTokenizer.from_pretrained(folder / "mine")
    stream = [i for text in texts(5, 20) for i in [*tokenizer(text)["input_ids"], 0]]
    assert rows.ravel().tolist() == stream[: rows.size]
    for seed, name in ((0, "forget"), (1, "unseen")):
        write_jsonl(background, [{"text": text} for text in [texts(seed, 2)[1], *texts(5, 3)]])
        with pytest.raises(InputError, match=f"{name}.jsonl line 2: stands in .*background.jsonl"):
            prepared(folder, background=str(background))


# --- lengths and tokens -----------------------------------------------------------------------


def test_every_row_is_taken_whole(folder, tmp_path):
    rng = np.random.default_rng(0)
    lengths = [8, 9, 30, 63, 64]
    rows = [rng.integers(1, 340, size=length).tolist() for length in lengths]
    forget = write_jsonl(tmp_path / "forget.jsonl", [{"tokens": row} for row in rows])
    table = prepared(folder, forget=forget, minimum=8)[0].sequences
    assert [row.tolist() for row in table["tokens"][:5]] == rows


@given(st.integers(8, 20), st.integers(0, 20), st.integers(8, 200))
def test_windows_hold_every_token_once(minimum, more, length):
    own = OwnSettings(forget="a", unseen="b", minimum=minimum, window=minimum + more)
    windows = windows_of(list(range(length)), own)
    assert [token for window in windows for token in window] == list(range(length))
    assert all(len(window) == own.window for window in windows[:-1])
    assert len(windows[-1]) < own.window + minimum
    if length >= minimum:
        assert len(windows[-1]) >= minimum


def test_windows_are_sequences_of_their_own(folder, tmp_path):
    rng = np.random.default_rng(0)
    head = rng.integers(1, 340, size=16).tolist()
    rows = [[*head, *rng.integers(1, 340, size=100).tolist()] for _ in range(2)]
    files = [{"id": f"x{i}", "tokens": row} for i, row in enumerate([*rows, list(range(1, 13))])]
    forget = write_jsonl(tmp_path / "forget.jsonl", files)
    corpus, _, given = prepared(folder, forget=forget, minimum=8, window=16)
    table = corpus.sequences.set_index("sequence_id")
    names = [name for name in table.index if name.startswith("forget")]
    # 116 tokens are 7 windows and 4 tokens, which belong to the last of them
    first = [f"forget-x0#{i}" for i in range(1, 8)]
    assert names == [*first, *[f"forget-x1#{i}" for i in range(2, 8)], "forget-x2"]
    assert [token for name in first for token in table["tokens"][name]] == rows[0]
    assert given["forget"]["windowed"] == 2
    assert given["forget"]["repeated"] == 1  # both rows have one head
    assert given["forget"]["lengths"] == [12, 16, 20]


def test_unseen_rows_are_cut_to_the_lengths_of_what_is_to_be_forgotten(folder, tmp_path):
    rng = np.random.default_rng(0)

    def write(name, lengths):
        rows = [{"tokens": rng.integers(1, 340, size=length).tolist()} for length in lengths]
        return write_jsonl(tmp_path / f"{name}.jsonl", rows)

    forget = write("forget", [10] * 6 + [50] * 6)
    corpus, _, given = prepared(
        folder, forget=forget, unseen=write("unseen", [60] * 21 + [12] * 20), minimum=8
    )
    table = corpus.sequences
    for half in ("threshold", "attack"):
        lengths = table.loc[table["half"] == half, "tokens"].map(len)
        assert lengths.value_counts().reindex([10, 50]).between(9, 12).all(), half
    assert given["unseen"]["cut"] >= 38
    same = prepared(folder, forget=forget, unseen=write("more", [60] * 4), minimum=8)[2]
    assert same["unseen"]["short"] == 0
    few = prepared(folder, forget=forget, unseen=write("few", [12] * 4), minimum=8)[2]
    assert few["unseen"]["short"] == 2


@given(st.lists(st.integers(8, 99), min_size=1), st.lists(st.integers(8, 99), min_size=1))
def test_longer_rows_stand_for_longer_ones(lengths, wanted):
    goals = goals_of(lengths, wanted)
    assert set(goals) <= set(wanted)
    order = np.argsort(lengths, kind="stable")
    assert (np.diff(goals[order]) >= 0).all()
    if len(lengths) == len(wanted):
        assert sorted(goals) == sorted(wanted)


@pytest.fixture(scope="module")
def beginning(folder) -> Path:
    """The model with a tokenizer that begins every text with a token of its own."""
    target = folder / "beginning"
    shutil.copytree(folder / "mine", target)
    tokenizer = AutoTokenizer.from_pretrained(target)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    tokenizer.save_pretrained(target)
    return target


@pytest.mark.parametrize(
    ("model", "bos", "begun"),
    [
        ("beginning", "auto", True),
        ("beginning", False, False),
        ("mine", "auto", False),
        ("mine", True, True),
    ],
)
def test_rows_begin_as_the_tokenizer_begins_texts(folder, beginning, model, bos, begun):
    plain = prepared(folder, bos=False)[0].sequences
    corpus, _, given = prepared(folder, models=(model,), bos=bos, limit=4)
    for name, row in corpus.sequences.set_index("sequence_id")["tokens"].items():
        if name.startswith("forget"):
            expected = plain.set_index("sequence_id")["tokens"][name].tolist()
            assert row.tolist() == [0] * begun + expected
        assert (row[0] == 0) == begun
    assert given["forget"]["begun"] == (FORGOTTEN if begun else 0)


def test_the_beginning_token_is_never_scored_and_every_token_of_the_text_is(folder):
    model = AutoModelForCausalLM.from_pretrained(folder / "mine").eval()
    table = prepared(folder, bos=True)[0].sequences[:3]
    for row in table["tokens"]:
        rows = torch.from_numpy(row[None].astype(np.int64))
        logits = model(rows).logits[0, :-1].log_softmax(dim=1)
        loss = -logits.detach().gather(1, rows[0, 1:, None]).mean()
        assert ma_and_loss(model, rows)[1][0] == pytest.approx(float(loss), rel=1e-4)
        assert rows[0, 0] == 0


def test_models_that_begin_texts_differently_need_a_word(folder, beginning):
    models = {"mine": folder / "mine", "beginning": beginning}
    with pytest.raises(InputError, match="own.bos: the models' tokenizers do not begin texts"):
        prepare(settings(folder), models, [2], [0], {})
    prepare(settings(folder, bos=True), models, [2], [0], {})


def test_the_name_of_a_special_token_is_read_as_it_is_written(folder, tmp_path):
    text = f"{texts(7, 1)[0][:60]} <|endoftext|> and on"
    forget = write_jsonl(tmp_path / "forget.jsonl", [{"text": text}, {"text": texts(8, 1)[0]}])
    corpus, _, given = prepared(folder, forget=forget)
    row = corpus.sequences["tokens"][0]
    assert 0 not in row
    assert AutoTokenizer.from_pretrained(folder / "mine").decode(row) == text
    assert given["forget"]["special"] == 1


def test_a_task_with_a_token_that_the_model_lacks_is_named(folder, tmp_path):
    large = folder / "large"
    shutil.copytree(folder / "mine", large, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(large)
    tokenizer.add_tokens([f"spare{i}" for i in range(340 - len(tokenizer))])
    tokenizer.add_tokens(["fjordland"])
    tokenizer.save_pretrained(large)
    tasks = {}
    for name, text in (("plain", "the fjord"), ("wrong", "the fjordland")):
        tasks[name] = write_jsonl(tmp_path / f"{name}.jsonl", [{"text": "inlet"}, {"text": text}])
    prepared(folder, models=("large",), tasks={"plain": tasks["plain"]})
    with pytest.raises(InputError, match="item 2 of 'wrong' has token 340, and a model knows 340"):
        prepared(folder, models=("large",), tasks=tasks)
    rows = [{"text": f"{texts(4, 1)[0]} fjordland"}]
    forget = write_jsonl(tmp_path / "forget.jsonl", rows)
    with pytest.raises(InputError, match="line 1: token id 340 .* no larger than the model"):
        prepared(folder, models=("large",), forget=forget)


TEXT = texts(0, 1)[0]


@pytest.mark.parametrize(
    ("part", "rows", "message"),
    [
        ("forget", [{"txt": TEXT}], "line 1: has no `text` and no `tokens`"),
        ("forget", [{"text": TEXT, "tokens": [1]}], "line 1: has both `text` and `tokens`"),
        ("forget", [{"text": " "}], "line 1: `text` is no text or an empty one"),
        ("forget", [{"text": [TEXT]}], "line 1: `text` is no text"),
        ("forget", [{"tokens": TEXT}], "line 1: `tokens` is no list of whole numbers"),
        ("forget", [{"tokens": [1.0] * 30}], "line 1: `tokens` is no list of whole numbers"),
        ("forget", [{"tokens": [5] * 30 + [340]}], "line 1: token id 340 is not one .* 340"),
        ("forget", [{"tokens": [-1] * 30}], "line 1: token id -1 is not"),
        ("forget", [{"tokens": [5] * 23}], "line 1: has 23 tokens, a sequence has 24"),
        ("forget", [{"text": TEXT, "id": [1]}], "line 1: `id` is neither a word nor a whole"),
        (
            "forget",
            [{"text": text, "id": 7} for text in texts(0, 2)],
            "line 2: its id is that of .*line 1",
        ),
        ("forget", [{"text": TEXT}] * 2, r"line 2: its first \d+ tokens are those of .*line 1"),
        ("unseen", [{"text": TEXT}], r"line 1: its first \d+ .* are those .*forget.jsonl line 1"),
        ("retained", [{"text": TEXT}], r"its first \d+ .*forget.jsonl line 1; a sequence plays"),
        # of the unseen rows as much is read as of what is to be forgotten
        ("unseen", [{"tokens": [*range(70)]}], "line 1: has 70 tokens, more than the 64 that a"),
        ("retained", [{"text": texts(1, 1)[0]}], "unseen.jsonl line 1: its first .*retained.jsonl"),
        ("unseen", [{"text": texts(1, 1)[0]}], "has 1 sequence; two halves need at least 2"),
        ("background", [{"text": "basil"}], r"background.jsonl: has fewer than \d+ tokens"),
        ("background", [{"tokens": [1] * 30}], "line 1: background has `text`, not `tokens`"),
        ("tasks", [{"text": ""}], "line 1: 'text' is empty"),
        ("tasks", [{"texts": TEXT}], "line 1: key 'text' is missing"),
    ],
)  # fmt: skip
def test_a_wrong_row_gets_one_line_that_shows_no_text(folder, tmp_path, part, rows, message):
    path = write_jsonl(tmp_path / f"{part}.jsonl", rows)
    with pytest.raises(InputError, match=message) as caught:
        prepared(folder, sizes=(1,), **{part: {"held_out": path} if part == "tasks" else path})
    assert "\n" not in str(caught.value)
    assert TEXT[:12] not in str(caught.value)


def test_models_share_one_tokenizer_and_can_read_a_sequence(folder, tmp_path):
    models = {"mine": folder / "mine", "other": folder / "other"}
    prepare(settings(folder), models, [2], [0], {})
    # the same vocabulary, other tokens: numbers are not taken apart digit by digit
    strange = tmp_path / "strange"
    AutoModelForCausalLM.from_pretrained(folder / "other").save_pretrained(strange)
    tokenizer = AutoTokenizer.from_pretrained(folder / "other")
    vocabulary = tokenizer.get_vocab()
    file = json.loads(tokenizer.backend_tokenizer.to_str())
    file["model"]["merges"] = file["model"]["merges"][:1]
    tokenizer.save_pretrained(strange)
    (strange / "tokenizer.json").write_text(json.dumps(file))
    assert AutoTokenizer.from_pretrained(strange).get_vocab() == vocabulary
    with pytest.raises(InputError, match="'mine' and 'strange' have different tokenizers"):
        prepare(settings(folder), models | {"strange": strange}, [2], [0], {})
    (strange / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="models.strange: its tokenizer or config.json cannot"):
        prepare(settings(folder), {"strange": strange}, [2], [0], {})


def test_the_entry_point_ends_with_one_line_and_writes_nothing(folder, tmp_path):
    outputs = ("sequences", "forget-sets", "corpus", "files")
    values = asdict(settings(folder, minimum=60))
    values |= {"sizes": [2], "seeds": [0], "kinds": {}}
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/prepare_own.py", "--settings", json.dumps(values)]
        + ["--models", folder / "mine"]
        + [word for name in outputs for word in (f"--{name}", tmp_path / name)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*forget.jsonl line 1: has \d+ tokens, .*\n", done.stderr)
    assert not list(tmp_path.iterdir())


# --- the config -------------------------------------------------------------------------------


def template(folder: Path) -> dict:
    """The shipped config with its file names filled in."""
    config = yaml.safe_load((ROOT / "config/custom.yaml").read_text())
    own = config["own"]
    own |= {key: str(folder / own[key]) for key in ("forget", "unseen")}
    own["tasks"] = {name: str(folder / path) for name, path in own["tasks"].items()}
    config["models"]["mine"]["folder"] = str(folder / "mine")
    return config


def test_the_template_forgets_the_whole_file(folder):
    checked = check(template(folder))
    assert checked["forget_sets"] == {"sizes": [FORGOTTEN], "seeds": [0]}
    assert checked["jobs"]["keep_checkpoints"]
    assert check(checked) == checked


@pytest.mark.parametrize(
    ("block", "values", "message"),
    [
        ("own", {"forget": "nowhere.csv"}, "own.forget: no file nowhere.csv; paths are from"),
        ("own", {"tasks": {"held_out": "no.csv"}}, "own.tasks.held_out: no file no.csv"),
        ("own", {"tasks": {}}, "'held_out: perplexity' is no published task nor one of own.tasks"),
        ("own", {"tasks": {"../held_out": "x.csv"}}, "own.tasks.*should match pattern"),
        ("own", {"too_short": "pad"}, "own.too_short: "),
        ("own", {"sequence_length": 64}, "sequence_length: rows are no .*`minimum`.*`window`"),
        ("own", {"minimum": 40, "window": 20}, "own: window: 20 is below minimum: 40"),
        ("forget_sets", {"sizes": [25]}, "25 is larger than the pool of 24 sequences"),
        ("forget_sets", {"seeds": [0, 1]}, "all 24 sequences is the same for every seed"),
        ("measurement", {"tasks": {}}, "measurement.tasks: .*at least 1"),
        ("measurement", {"tasks": {"piqa": "choice"}}, "own.tasks.held_out: is not under"),
        (
            "solution_space",
            {"utility_metric": "utility_accuracy"},
            "'utility_accuracy' is measured by tasks of kind choice, and .* has none",
        ),
        ("models", {"mine": {"pretraining": {"hidden_size": 8, "layers": 2, "heads": 1}}},
         "models.mine: pretraining: own sequences come without text to train on"),
        ("challenge", {}, "config: has challenge and own; give one of corpus, challenge, own"),
    ],
)  # fmt: skip
def test_a_wrong_config_gets_one_line(folder, block, values, message):
    config = template(folder)
    config[block] = config.get(block, {}) | values
    with pytest.raises(InputError, match=message) as caught:
        check(config)
    assert "\n" not in str(caught.value)


def test_a_folder_that_the_engine_would_not_take_literally_is_named(tmp_path):
    project = copy_project(tmp_path / "{my} project")
    done = snakemake(project, "--dry-run")
    assert done.returncode == 1
    assert (
        "/{my} project, whose braces the workflow engine takes for wildcards; rename"
        in " ".join(done.stdout.split())
    )


def test_the_whole_pool_is_what_is_left_of_it(folder, tmp_path):
    config = template(folder)
    rows = [{"text": text} for text in ["basil", *texts(0, 5)]]
    config["own"]["forget"] = write_jsonl(tmp_path / "forget.jsonl", rows)
    config["own"] |= {"too_short": "drop"}
    assert check(config)["forget_sets"]["sizes"] == [5]
    config["own"] |= {"window": 20}
    checked = check(config)
    (size,) = checked["forget_sets"]["sizes"]
    own = build(checked["own"], OwnSettings, "own")
    kinds = {"held_out": "perplexity"}
    corpus, sets, _ = prepare(own, {"mine": folder / "mine"}, [size], [0], kinds)
    assert size == 2 * 5  # two windows of each row of 28 to 36 tokens; the short one is dropped
    assert len(sets) == size == (corpus.sequences["kind"] == "forget pool").sum()
    config["models"]["mine"] = {"hub": "a/b", "revision": "0" * 40}
    with pytest.raises(InputError, match="only the tokenizer of a model in a `folder` can count"):
        check(config)


def test_the_check_says_what_a_run_would_do_and_decide(folder, tmp_path, capsys, monkeypatch):
    config, tokenizer = template(folder), AutoTokenizer.from_pretrained(folder / "mine")
    config["own"] |= {"too_short": "drop", "window": 20, "retained": str(folder / "retained.jsonl")}
    (tmp_path / "custom.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(sys, "argv", ["check", "--configfile", str(tmp_path / "custom.yaml")])
    checking.main()
    said = capsys.readouterr().out
    for part in (
        f"own.forget: {FORGOTTEN} rows, {FORGOTTEN} windowed; ",
        "own.tasks.held_out: 10 items",
        "No sequence stands twice",
        "Overlap: 0 unseen sequences",
        f"Vocabulary: 340 tokens in the models, {len(tokenizer)} in the tokenizer; up to 64 tokens",
        "measurement.extraction_suffix: ",
        "set thresholds and band",
        "unseen sequences set the band: ",
        "One draw: no interval",
        "mine: 0.1 million parameters",
    ):
        assert part in said, part
    assert not [text for text in texts(0, FORGOTTEN) if text[:20] in said]


def test_a_plan_counts_the_rows_of_the_files(folder):
    config = check(template(folder))
    work = plan.measuring_work(config, 1, FORGOTTEN)
    forget, unseen = (
        sum(len(text) // 4 + 1 for text in texts(seed, count))
        for seed, count in ((0, FORGOTTEN), (1, 41))
    )
    assert work.passes == pytest.approx(2 * (forget + unseen + 10 * 60))
    size = plan.parameters_of("mine", config["models"]["mine"], 0)
    assert size == pytest.approx(GPT2_SIZE, rel=0.02)  # the file's head counts too


def blocks_of(language: str) -> list[str]:
    """The blocks of the tutorial in one language."""
    text = (ROOT / "docs/own-model.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


# --- from end to end --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(folder, tmp_path_factory) -> Path:
    """A copy of the project in which the tutorial was followed, with one set and one seed."""
    project = copy_project(tmp_path_factory.mktemp("custom") / 'it\'s "my" Prüfung')
    for name in ("forget", "unseen", "held_out"):
        shutil.copy(folder / f"{name}.jsonl", project)
    shutil.copytree(folder / "mine", project / "model")
    (project / "model/chat_template.jinja").write_text("{{ messages }}")
    config = yaml.safe_load((project / "config/custom.yaml").read_text())
    for block, values in yaml.safe_load(blocks_of("yaml")[0]).items():
        config[block] |= values
    # in names of files the engine takes no braces for wildcards
    kept = shutil.copy(folder / "retained.jsonl", project.parent / 'to {keep}, "all".jsonl')
    config["own"] |= {"retained": str(kept)}
    config["unlearning"] |= {"learning_rate": 0.002, "max_epochs": 30}
    config["measurement"] |= {"ngram": 3, "extraction_suffix": 8}
    config["unlearners"] = {label: config["unlearners"][label] for label in ("ga", "sga", "tau")}
    config["attacks"] = {
        "neighbour": {"rewrites": 2},
        "relearning": {"steps": [2]},
        "learned_attacker": {"repeats": 2},
    }
    config["attack_analysis"] = {"resamples": 20}
    config["jobs"]["split_by"] = []
    (project / "custom.yaml").write_text(yaml.safe_dump(config))
    looking, running = (block.split() for block in blocks_of("console"))
    assert looking == ["make", "check", "CONFIG=custom.yaml"]
    script = ROOT / "benchmarks/check.py"
    command = [sys.executable, script, "--configfile", "custom.yaml"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "custom.yaml: in order" in done.stdout
    assert "unseen sequences set the band" in done.stdout
    assert "hours, attacks included" in done.stdout
    assert running[0] == "snakemake"
    done = snakemake(project, *running[1:], warm=True)
    logs = "".join(path.read_text() for path in (project / "logs").rglob("*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + logs[-3000:]
    return project


@pytest.mark.slow
def test_the_kept_models_have_forgotten_the_whole_file(project):
    results = project / "results/custom"
    sequences = pd.read_parquet(results / "sequences.parquet")
    forget = rows_of(sequences.query("kind == 'forget pool'"))
    assert isinstance(forget, Ragged)
    limit = pd.read_csv(results / "thresholds.csv")["ma_mean"][0]
    runs = pd.read_parquet(results / "runs.parquet").set_index("unlearner")
    # ascent gets there by any rounding; arithmetic may run into the limit of epochs
    assert (runs.loc[["ga", "sga"], "status"] == "stopped").all()
    original = AutoModelForCausalLM.from_pretrained(results / "models/mine").eval()
    assert ma_and_loss(original, forget)[0].mean() > 0.9
    for label in ("ga", "sga", "tau"):
        kept = results / f"kept/mine/all/{FORGOTTEN}-{label}-0"
        model = AutoModelForCausalLM.from_pretrained(kept).eval()
        assert AutoTokenizer.from_pretrained(kept).get_vocab()
        ma = ma_and_loss(model, forget)[0].mean()
        assert ma == pytest.approx(runs.loc[label, "mean_ma"])
        assert (ma < limit) == (runs.loc[label, "status"] == "stopped")
        assert f"{FORGOTTEN} sequences unlearned by {label}" in (kept / "README.md").read_text()


@pytest.mark.slow
def test_one_set_and_one_seed_leave_open_what_they_cannot_decide(project):
    results = project / "results/custom"
    main = pd.read_csv(results / "tables/main.csv")
    assert main.loc[main["mean"].notna(), "n"].eq(1).all()
    assert main[["low", "high"]].isna().all(axis=None)
    gains = pd.read_csv(results / "tables/gains.csv")
    assert len(gains) > 0
    assert (gains["sure"] == 0).all()
    verdicts = {v["id"]: v["verdict"] for v in json.loads((results / "claims.json").read_text())}
    assert len(verdicts) == 8
    # n of the first counts sequences, of the others draws
    assert {verdicts[name] for name in ("C3", "C4", "C5", "C6", "C7", "C8")} == {"undecided"}
    assert (results / "index.html").stat().st_size > 1e5


@pytest.mark.slow
def test_provenance_names_the_files(project, folder):
    recorded = json.loads((project / "results/custom/provenance.json").read_text())["files"]
    assert set(recorded) == {"forget", "unseen", "retained", "tasks.held_out"}
    assert recorded["forget"]["path"] == "forget.jsonl"
    assert recorded["retained"]["path"] == str(project.parent / 'to {keep}, "all".jsonl')
    assert recorded["forget"]["used"] == FORGOTTEN


@pytest.mark.slow
def test_log_and_audit_say_how_texts_begin_and_what_the_band_is_worth(project):
    document = json.loads((project / "results/custom/audit.json").read_text())
    assert (document["bos"], document["begun"]) == ("auto", False)
    [model] = document["models"]
    assert model["about_band"].startswith("20 unseen sequences set the band: too few")
    log = (project / "logs/custom/measure_original/mine.log").read_text()
    assert f"thresholds: {model['about_band']}" in log
    assert model["about_band"] in (project / "results/custom/audit.html").read_text()


@pytest.mark.slow
def test_provenance_names_the_model_by_its_contents(project):
    recorded = json.loads((project / "results/custom/provenance.json").read_text())["models"]
    weights = (project / "model/model.safetensors").read_bytes()
    assert recorded["mine"]["model.safetensors"] == hashlib.sha256(weights).hexdigest()
    assert {"config.json", "tokenizer.json"} <= set(recorded["mine"])


@pytest.mark.slow
def test_what_belongs_to_the_model_is_kept_with_it(project):
    kept = project / f"results/custom/kept/mine/all/{FORGOTTEN}-ga-0"
    assert (kept / "chat_template.jinja").read_text() == "{{ messages }}"
    assert (kept / "model.safetensors").is_file()


@pytest.mark.slow
def test_new_weights_are_noticed_and_old_results_are_not_touched_by_them(project):
    given = project / "model/model.safetensors"
    taken = project / "results/custom/models/mine/model.safetensors"
    assert given.stat().st_ino != taken.stat().st_ino
    before = given.read_bytes()
    assert "Nothing to be done" in snakemake(project, "-n", "--configfile", "custom.yaml").stdout
    weights = load(before)
    weights["transformer.ln_f.bias"] += 1e-3
    with given.open("r+b") as file:  # as a copy over the file does: the inode stays
        file.write(save(weights, {"format": "pt"}))
    assert taken.read_bytes() == before
    planned = snakemake(project, "-n", "--quiet", "rules", "--configfile", "custom.yaml").stdout
    assert re.search(r"^fetch_model +1$", planned, re.MULTILINE), planned
    assert re.search(r"^unlearn +1$", planned, re.MULTILINE), planned
    given.write_bytes(before)  # another age, the same model
    assert "Nothing to be done" in snakemake(project, "-n", "--configfile", "custom.yaml").stdout


@pytest.mark.slow
def test_a_failed_run_ends_with_its_causes_and_tries_no_wrong_input_again(folder, tmp_path):
    project = copy_project(tmp_path / "failing")
    config = template(folder)
    config["run"] = "failing"
    (tmp_path / "short.jsonl").write_text('{"text": "basil"}\n{"text": "jetty"}\n')
    config["own"]["unseen"] = str(tmp_path / "short.jsonl")
    (project / "custom.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(project, "--configfile", "custom.yaml")
    assert done.returncode == 1
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("prepare_own: error: ")
    assert re.search(r"short.jsonl line 1: has \d tokens.*; also line 2: ", last)
    assert last.endswith("(logs/failing/prepare_own.log)")
    assert "Trying to restart" not in done.stdout


@pytest.mark.slow
def test_no_text_reaches_logs_report_or_cards(project):
    given = [text for seed in range(4) for text in texts(seed, 41)]
    pieces = {text[start : start + 16] for text in given for start in (0, 20, 60)}
    files = [
        *(project / "logs").rglob("*.log"),
        project / "results/custom/index.html",
        *(project / "results/custom").rglob("*.md"),
        *(project / "results/custom").rglob("*.csv"),
        *(project / "results/custom").glob("*.json"),
    ]
    assert len(files) > 20
    for path in files:
        content = path.read_text()
        assert not [piece for piece in pieces if piece in content], path
