"""The paper's data: what is read is what was published, and each sequence has one part."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GPTNeoConfig, GPTNeoForCausalLM

import reference_suite
from doubles.hub import serving
from samples import MIRROR, needs_samples
from unlearning.data.challenge import published
from unlearning.data.challenge.parts import draw_order, prepare
from unlearning.data.challenge.published import read_matrix, read_rows, read_tokenizer
from unlearning.data.challenge.tasks import KINDS, items_of, plain_turn
from unlearning.data.sequences import forget_set
from unlearning.evaluation import Task, evaluate, load_suite, suite
from unlearning.jobs.errors import InputError
from unlearning.settings.challenge import ChallengeSettings

SETS = pd.read_csv(Path(__file__).parents[1] / "config/published_forget_sets.csv")


# --- forget sets ------------------------------------------------------------------------------


def test_the_table_of_published_sets_is_complete():
    assert SETS.columns.tolist() == ["seed", "position", "doc_id"]
    assert SETS.groupby("seed")["position"].apply(list).tolist() == [list(range(128))] * 5
    assert SETS.groupby("seed")["doc_id"].nunique().tolist() == [128] * 5
    assert SETS["doc_id"].between(0, 14_999).all()


@pytest.mark.parametrize("seed", [0, 4, 5])
def test_an_order_holds_every_row_once_and_begins_with_the_published_sets(seed):
    order = draw_order(15_000, seed, SETS).tolist()
    assert sorted(order) == list(range(15_000))
    mine = SETS.query("seed == @seed").sort_values("position")["doc_id"].tolist()
    for size in (8, 32, 128):
        assert set(order[: min(size, len(mine))]) == set(mine[:size])


def test_what_is_drawn_between_published_sets_depends_on_the_seed_alone():
    first, again, other = (draw_order(15_000, 0, SETS, rng_seed=s)[:16] for s in (0, 0, 1))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()


@needs_samples
def test_forget_sets_are_the_published_rows():
    settings = ChallengeSettings(mirror=str(MIRROR), retained=10, unseen=20)
    corpus, sets = prepare(settings, SETS, [8, 16, 32, 128], [0, 4], ["copa"])
    rows = corpus.sequences.set_index("sequence_id")
    matrix = read_matrix("train", MIRROR)
    with (MIRROR / "extraction/forget_sets.csv").open() as file:
        facts = list(csv.DictReader(file))
    for seed in (0, 4):
        for size in (8, 32, 128):
            ids = forget_set(sets, size, seed)
            wanted = {
                int(row["doc_id"])
                for row in facts
                if (int(row["size"]), int(row["index"])) == (size, seed)
            }
            assert ids
            assert {int(name.removeprefix("train-")) for name in ids} == wanted
            for name in ids:
                np.testing.assert_array_equal(rows.loc[name, "tokens"], matrix[int(name[-5:])])
        assert set(forget_set(sets, 8, seed)) < set(forget_set(sets, 16, seed))
        assert set(forget_set(sets, 16, seed)) < set(forget_set(sets, 32, seed))


@needs_samples
@pytest.mark.parametrize("vocabulary", [None, 2048])
def test_every_sequence_has_one_part(vocabulary):
    settings = ChallengeSettings(
        mirror=str(MIRROR), retained=10, unseen=20, unseen_from="challenge", background_rows=50,
        vocabulary=vocabulary, sequence_length=64,
    )  # fmt: skip
    corpus, sets = prepare(settings, SETS, [8], [0, 1], ["wikitext"])
    table = corpus.sequences
    assert table["kind"].value_counts().to_dict() == {
        "forget pool": sets["sequence_id"].nunique(),
        "retained": 10,
        "challenge": 20,
    }
    assert set(sets["sequence_id"]) == set(table.query("kind == 'forget pool'")["sequence_id"])
    assert table["half"].value_counts().to_dict() == {"": 10 + 16, "threshold": 10, "attack": 10}
    assert {len(tokens) for tokens in table["tokens"]} == {64} == {corpus.background.shape[1]}
    rows = [np.asarray(tokens, dtype=np.uint16) for tokens in table["tokens"]]
    planted = (table["split"] == "planted").tolist()
    trained = [row for row, known in zip(rows, planted, strict=True) if known]
    trained = {bytes(row[i : i + 32]) for row in (*trained, *corpus.background) for i in range(33)}
    for row, known in zip(rows, planted, strict=True):
        assert known or trained.isdisjoint(bytes(row[i : i + 32]) for i in range(33))


@needs_samples
def test_the_text_round_trip_loses_what_is_known_to_be_lost():
    kept = {}
    for round_trip in (False, True):
        settings = ChallengeSettings(
            mirror=str(MIRROR), retained=0, unseen=2, text_round_trip=round_trip
        )
        corpus, _ = prepare(settings, SETS, [128], [0], ["copa"])
        kept[round_trip] = corpus.sequences.query("split == 'planted'")["tokens"]
    same = sum(map(np.array_equal, kept[False], kept[True]))
    assert 111 <= same <= 117  # of 128, over the published sets


@needs_samples
def test_too_few_sequences_are_one_clear_line():
    settings = ChallengeSettings(mirror=str(MIRROR), unseen=1000)
    with pytest.raises(InputError, match="challenge.unseen: 1000 sequences are asked for"):
        prepare(settings, SETS, [8], [0], ["copa"])
    with pytest.raises(InputError, match="15001 is larger than the challenge's 15000 rows"):
        prepare(ChallengeSettings(mirror=str(MIRROR)), SETS, [15_001], [0], ["copa"])


# --- files ------------------------------------------------------------------------------------


@pytest.fixture
def mirror(tmp_path):
    """A mirror with a good shape and wrong content."""
    (tmp_path / "extraction").mkdir()
    for part, width in zip(published.PARTS, (100, 50, 50), strict=True):
        rows = np.zeros((1000, width), dtype=np.uint16)
        np.save(tmp_path / f"extraction/val_{part}.npy", rows)
    return tmp_path


def test_other_rows_than_the_published_ones_are_refused(mirror):
    with pytest.raises(InputError, match="MD5 of the rows is .* published 318d6f3d") as caught:
        read_matrix("val", mirror)
    assert str(mirror) in str(caught.value)


@needs_samples
def test_one_wrong_token_is_found(tmp_path):
    shutil.copytree(MIRROR / "extraction", tmp_path / "extraction")
    path = tmp_path / "extraction/train_suffix.npy"
    rows = np.load(path)
    rows[7, 7] += 1
    path.chmod(0o644)
    np.save(path, rows)
    with pytest.raises(InputError, match="MD5"):
        read_matrix("train", tmp_path)


def test_a_corrupt_a_misshapen_and_a_missing_file_are_named(mirror):
    path = mirror / "extraction/val_prefix.npy"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="val_prefix.npy: not a NumPy array"):
        read_matrix("val", mirror)
    np.save(path, np.zeros((1000, 49), dtype=np.uint16))
    with pytest.raises(InputError, match=r"shape \(1000, 49\), expected uint16"):
        read_matrix("val", mirror)
    path.unlink()
    with pytest.raises(InputError, match="val_prefix.npy: cannot be read.*published at https"):
        read_matrix("val", mirror)


def test_missing_and_broken_tasks_are_named(tmp_path):
    (tmp_path / "suite").mkdir()
    with pytest.raises(InputError, match="copa.jsonl: cannot be read.*aps/super_glue"):
        read_rows("copa", tmp_path)
    (tmp_path / "suite/copa.jsonl").write_text('{"premise": ')
    with pytest.raises(InputError, match="copa.jsonl: not in its published form"):
        read_rows("copa", tmp_path)
    with pytest.raises(InputError, match="'cop' is no published task; known: arc_challenge"):
        read_rows("cop", tmp_path)
    with pytest.raises(InputError, match="vocab.json: not there; it is published at"):
        read_tokenizer(tmp_path)


def test_sources_are_pinned():
    for name, source in published.SOURCES.items():
        if isinstance(source, published.Hub):
            assert re.fullmatch("[0-9a-f]{40}", source.revision), name
        elif not name.startswith("extraction/train"):  # pinned by the MD5 of its rows
            assert all(re.search("/[0-9a-f]{40}/", url) for url in source.urls), name


def test_without_a_network_the_source_is_named(monkeypatch):
    def refuse(url, timeout):
        raise OSError("network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(InputError, match="train_preprefix.npy: cannot be downloaded.*mirror"):
        read_matrix("train", None)


@pytest.fixture
def server(mirror, monkeypatch):
    """A server of the mirror's files that stands in for the sources of the validation rows."""
    with serving(mirror) as running:
        for name in list(published.SOURCES):
            if "val_" in name:
                source = published.Web((f"{running.url}/{name}",))
                monkeypatch.setitem(published.SOURCES, name, source)
        yield running


def test_a_download_that_breaks_off_is_one_line(server):
    server.break_off = {"val_suffix.npy"}
    with pytest.raises(InputError, match="val_suffix.npy: cannot be downloaded.*mirror"):
        read_matrix("val", None)


def test_a_file_that_the_source_lacks_is_one_line(server):
    (server.folder / "extraction/val_prefix.npy").unlink()
    with pytest.raises(InputError, match="val_prefix.npy: cannot be downloaded.*404"):
        read_matrix("val", None)


def test_a_download_is_judged_as_a_mirror_is(server, monkeypatch):
    with pytest.raises(InputError, match="val_.*the MD5 of the rows is .* published 318d6f3d"):
        read_matrix("val", None)
    zeros = np.zeros((1000, 200), dtype=np.uint16)
    monkeypatch.setitem(published.MD5, "val", hashlib.md5(zeros.tobytes()).hexdigest())
    np.testing.assert_array_equal(read_matrix("val", None), zeros)


def test_sources_with_other_names_of_fields_are_brought_to_one_form(monkeypatch):
    pubmed = {"a": {"QUESTION": "q", "final_decision": "yes"}, "b": {"QUESTION": "r"}}
    files = {
        "mathqa/test.json": [{"question": "1 + 1 ?", "options": "a ) 2", "answer": "a"}],
        "data/ori_pqal.json": pubmed,
        "data/test_ground_truth.json": {"a": "yes"},
    }
    monkeypatch.setattr(
        published,
        "_download",
        lambda url: next(
            json.dumps(value).encode() for end, value in files.items() if url.endswith(end)
        ),
    )
    assert read_rows("mathqa", None) == [{"Problem": "1 + 1 ?", "options": "a ) 2", "correct": "a"}]
    assert read_rows("pubmedqa", None) == [pubmed["a"]]


# --- tasks ------------------------------------------------------------------------------------


def one(task, row, published=False):
    (item,) = items_of(task, [row], published)
    return item


def arc(texts, labels, key):
    choices = {"text": texts, "label": labels}
    return {"id": "x", "question": "Why?", "choices": choices, "answerKey": key}


def test_arc_has_three_to_five_choices_and_labels_of_two_kinds():
    assert one("arc_easy", arc(["a", "b", "c"], ["A", "B", "C"], "C"))["gold"] == 2
    five = one("arc_challenge", arc(list("abcde"), list("12345"), "5"))
    assert five == {"context": "Why?", "choices": [" a", " b", " c", " d", " e"], "gold": 4}
    assert items_of("arc_easy", [arc(["a", "b", "c"], ["A", "B", "C"], "C")], True) == []


@pytest.mark.parametrize(
    ("options", "choices"),
    [
        ("a ) 38 , b ) 2.5 , c ) 30 , d ) no , e ) 1 , 000", ["38", "2.5", "30", "no", "1 , 000"]),
        ("['a ) 2 : 3', 'b ) 4', 'c ) 1', 'd ) 7', 'e ) 8']", ["2 : 3", "4", "1", "7", "8"]),
        ("a ) a ) 2 , b ) b ) 5 , c ) c ) 7 , d ) d ) 5 , e ) e ) 8", ["2", "5", "7", "5", "8"]),
    ],
)
def test_mathqa_options_in_their_three_spellings(options, choices):
    item = one("mathqa", {"Problem": "?", "options": options, "correct": "e"})
    assert item["choices"] == [f" {choice}" for choice in choices]
    assert item["gold"] == 4


def test_mathqa_as_published_keeps_the_marks_of_a_list():
    row = {"Problem": "?", "options": "['a ) 2', 'b ) 4', 'c ) 1', 'd ) 7', 'e ) 8']"}
    item = one("mathqa", row | {"correct": "e"}, published=True)
    assert item["choices"][-1] == "8']"


def test_lambada_with_the_last_word_behind_a_newline():
    row = {"text": 'He said\n"No"'}
    assert one("lambada", row) == {"context": "He said", "target": '\n"No"'}
    assert one("lambada", row, published=True) == {"context": "He", "target": ' said\n"No"'}


def test_copa_asks_for_cause_or_effect():
    row = {"premise": "It rained.", "choice1": "The road was wet.", "choice2": "It was dry."}
    effect = one("copa", row | {"question": "effect", "label": 0})
    assert effect["context"] + effect["choices"][0] == "It rained therefore the road was wet."
    assert one("copa", row | {"question": "cause", "label": 1}, True)["context"] == "It rained."


def test_winogrande_scores_what_follows_the_blank_too():
    row = {"sentence": "Ann saw Bea as _ fell.", "option1": "Ann", "option2": "Bea", "answer": "2"}
    expected = {"context": "Ann saw Bea as", "choices": [" Ann fell.", " Bea fell."], "gold": 1}
    assert one("winogrande", row) == expected


def test_a_dialogue_names_the_speakers_in_turn():
    item = one("wizard_of_internet", {"text": ["hi . i like tea", "do you ?", "yes"]})
    assert item == {
        "context": "User 1: Hi. I like tea.\nUser 2: Do you?\nUser 1:",
        "reference": "Yes.",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("i 'm here , are you ?", "I'm here, are you?"),
        ("well . . . no!", "Well... No!"),
        ("IT IS (SO)", "It is (so)"),
        (" so it is", "so it is."),
        (" i am", "I am."),
        (". so  it is", ". So it is."),
        ("", ""),
    ],
)
def test_turns_are_put_into_their_published_form(text, expected):
    assert plain_turn(text) == expected


def published_turn(text: str) -> str:
    """The published normalizer token by token: a mark lets the next token begin large."""
    text = text.lower()
    for mark in (".", ",", "?", "!"):
        text = text.replace(mark, " " + mark).replace("  ", " ")
    tokens = text.replace("'", " ' ").replace("  ", " ").split(" ")
    for place, token in enumerate(tokens):
        large = place == 0 or token == "i"
        if place > 0 and token in ("", "?", ".", "!") and place + 1 < len(tokens):
            tokens[place + 1] = tokens[place + 1].capitalize()
        if large:
            tokens[place] = token.capitalize()
    text = " " + " ".join(tokens) + " "
    for mark in (".", ",", "?", "!"):
        text = text.replace(" " + mark, mark)
    text = text.replace(" ' ", "'").strip().replace("  ", " ")
    return text + "." if text and text[-1] not in "!.?)\"'" else text


@needs_samples
@pytest.mark.parametrize("published", [False, True])
def test_every_sampled_prompt_is_the_published_one(published):
    prompts = 0
    for name in (task for task, kind in KINDS.items() if kind == "dialogue"):
        turns = pd.read_json(MIRROR / f"suite/{name}.json")["text"]
        items = items_of(name, [{"text": row} for row in turns], published)
        for row, item in zip(turns, items, strict=True):
            *earlier, last = map(published_turn, row)
            lines = [f"User {1 + place % 2}: {turn}" for place, turn in enumerate(earlier)]
            assert item["context"] == "\n".join([*lines, f"User {1 + len(earlier) % 2}:"])
            assert item["reference"] == last
        prompts += len(items)
    assert prompts == 1458


def test_a_row_that_lacks_a_field_is_named():
    with pytest.raises(InputError, match="task 'piqa', row 1: not in its published form"):
        items_of("piqa", [{"goal": "g", "sol1": "a", "sol2": "b", "label": 0}, {"goal": "g"}])


# --- the suite on the real files, against a scorer that knows neither engine nor adapter --------


def raw(name):
    """The rows of a sample file, read in the plainest way."""
    for ending in ("jsonl", "json", "csv"):
        path = MIRROR / f"suite/{name}.{ending}"
        if path.exists():
            break
    if ending == "jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if ending == "json":
        return [{"text": turns} for turns in json.loads(path.read_text())["text"].values()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def asked(name, row):
    """What is put to the model, written down a second time."""
    if name == "piqa":
        return row["goal"], [row["sol1"], row["sol2"]], row["label"]
    if name == "hellaswag":
        return row["ctx"], row["endings"], int(row["label"])
    if name.startswith("arc"):
        labels = row["choices"]["label"]
        return row["question"], row["choices"]["text"], labels.index(row["answerKey"])
    if name == "winogrande":
        head, tail = row["sentence"].split(" _")
        return head, [row["option1"] + tail, row["option2"] + tail], "12".index(row["answer"])
    if name == "pubmedqa":
        context = "Context: " + "\n".join(row["CONTEXTS"]) + "\nQuestion: " + row["QUESTION"]
        answers = ["yes", "maybe", "no"]
        return context + "\nAnswer:", answers, answers.index(row["final_decision"])
    premise = row["premise"][:-1] + {"cause": " because", "effect": " therefore"}[row["question"]]
    choices = [c[0].lower() + c[1:] for c in (row["choice1"], row["choice2"])]
    return premise, choices, row["label"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=50257, hidden_size=16, num_layers=2, num_heads=2, max_position_embeddings=1024,
        attention_types=[[["global", "local"], 1]], bos_token_id=50256, eos_token_id=50256,
        initializer_range=0.3,
    )  # fmt: skip
    return GPTNeoForCausalLM(config).eval()


@needs_samples
@pytest.mark.parametrize(
    "name",
    ["piqa", "hellaswag", "arc_easy", "arc_challenge", "winogrande", "pubmedqa", "copa"],
)
def test_each_choice_is_scored_as_by_plain_loops(name, model, tmp_path):
    tokenizer, count = read_tokenizer(MIRROR), 6 if name == "pubmedqa" else 15
    rows = read_rows(name, MIRROR)
    got = engine(name, rows[:count], model, tokenizer, tmp_path)
    for row, value in zip(raw(name)[:count], got, strict=True):
        context, choices, gold = asked(name, row)
        item = {"context": context, "choices": [f" {c}" for c in choices], "gold": gold}
        expected, _ = reference_suite.choice(item, model, tokenizer)
        assert value == expected


@needs_samples
@pytest.mark.parametrize("name", ["lambada", "wizard_of_internet", "pile"])
def test_other_kinds_are_scored_as_by_plain_loops(name, model, tmp_path):
    tokenizer = read_tokenizer(MIRROR)
    rows = read_rows(name, MIRROR)[:4]
    assert [row["text"] for row in rows] == [row["text"] for row in raw(name)[:4]]
    items = items_of(name, rows)
    got = engine(name, rows, model, tokenizer, tmp_path)
    score = {"lambada": reference_suite.last_word, "pile": reference_suite.text}
    for item, value in zip(items, got, strict=True):
        expected, _ = score.get(name, reference_suite.dialogue)(item, model, tokenizer)
        assert value == pytest.approx(expected, rel=1e-5)


@needs_samples
@pytest.mark.parametrize("name", sorted(KINDS))
def test_published_prompts_are_scored_by_the_published_scorer(name, model, tmp_path, monkeypatch):
    tokenizer = read_tokenizer(MIRROR)
    # plain loops take minutes for a long text
    window = 64 if KINDS[name] == "perplexity" else suite.PUBLISHED_WINDOW
    monkeypatch.setattr(suite, "PUBLISHED_WINDOW", window)
    rows = read_rows(name, MIRROR)[:3]
    got = engine(name, rows, model, tokenizer, tmp_path, published=True)
    tasks = [(name, KINDS[name], items_of(name, rows, published=True))]
    expected = reference_suite.evaluate_published(tasks, model, tokenizer, window)
    assert got == pytest.approx(expected["value"].tolist(), rel=1e-5)


def engine(name, rows, model, tokenizer, folder, published=False):
    path = folder / f"{name}.jsonl"
    items = items_of(name, rows, published)
    pd.DataFrame(items).to_json(path, orient="records", lines=True)
    loaded = load_suite([Task(name, KINDS[name], path)], tokenizer, published=published)
    return evaluate(loaded, model, tokenizer)["value"].tolist()


@needs_samples
@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_row_of_every_sample_becomes_an_item(name):
    rows = read_rows(name, MIRROR)
    items = items_of(name, rows)
    assert len(items) == len(rows) == len(raw(name))
    if KINDS[name] == "choice":
        assert {len(item["choices"]) for item in items} <= {2, 3, 4, 5}
        marks = re.compile(r"^ [\['\"]|['\"\]]$| ,$") if name == "mathqa" else re.compile(r"(?!)")
        assert not any(marks.search(choice) for item in items for choice in item["choices"])
