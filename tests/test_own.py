"""Your own files: what is read is what was written, and what is wrong is said without a text."""

import csv
import json
import random
import re
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
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
)

import plan
from running import ROOT, copy_project, snakemake
from unlearning.configuration import check
from unlearning.data.corpus.tokens import train_tokenizer
from unlearning.data.own.files import read_rows
from unlearning.data.own.parts import prepare
from unlearning.jobs.errors import InputError
from unlearning.memorization.rows import tokens_of
from unlearning.memorization.scoring import score_tokens
from unlearning.settings import build
from unlearning.settings.own import OwnSettings
from unlearning.unlearners.learner import Learner

LENGTH = 24
FORGOTTEN = 24
GPT2_SIZE = 2 * (12 * 48**2 + 13 * 48) + (340 + 64 + 2) * 48  # weights of the models here
WORDS = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty")


def texts(seed: int, count: int) -> list[str]:
    """Records with numbers of their own: what a model can only know by heart."""
    rng = random.Random(seed)
    return [
        f"{rng.choice(WORDS)} {rng.choice(WORDS)}, {rng.randrange(10**6):06d}:"
        f" {' '.join(rng.choices(WORDS, k=12))} {rng.randrange(10**8):08d}"
        for _ in range(count)
    ]


def write_jsonl(path: Path, rows: list[dict]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files, and two models with one tokenizer that know what is to be forgotten by heart."""
    folder = tmp_path_factory.mktemp("own")
    tokenizer = train_tokenizer(texts(9, 200), 340)
    for name, seed, count in (("forget", 0, FORGOTTEN), ("unseen", 1, 41), ("retained", 2, 6)):
        write_jsonl(folder / f"{name}.jsonl", [{"text": text} for text in texts(seed, count)])
    write_jsonl(folder / "held_out.jsonl", [{"text": text} for text in texts(3, 10)])
    known = [text for seed, count in ((0, FORGOTTEN), (2, 6)) for text in texts(seed, count)]
    rows = torch.tensor([ids[:LENGTH] for ids in tokenizer(known)["input_ids"]])
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
    values = {name: str(path) for name, path in files.items()} | {"sequence_length": LENGTH}
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
    ],
)
def test_a_broken_file_is_named_and_not_quoted(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_rows(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


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
    expected = [tokenizer(text)["input_ids"][:LENGTH] for text in texts(0, FORGOTTEN)]
    assert tokens_of(table)[:FORGOTTEN].tolist() == expected
    pool = {f"forget-{line:05d}" for line in range(1, FORGOTTEN + 1)}
    whole = sets.query("forget_size == @FORGOTTEN")
    assert set(whole["sequence_id"]) == pool  # none of those to be retained
    assert set(sets.query("forget_size == 4")["sequence_id"]) == set(whole["sequence_id"][:4])
    assert corpus.background.shape == (0, LENGTH)
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
    np.testing.assert_array_equal(tokens_of(named), tokens_of(plain))


def test_short_rows_are_dropped_and_counted_where_that_is_asked_for(folder, tmp_path):
    rows = [{"text": text} for text in ["basil", *texts(0, 3)]]
    forget = write_jsonl(tmp_path / "forget.jsonl", rows)
    with pytest.raises(InputError, match=r"forget.jsonl line 1: has \d tokens, a sequence has 24"):
        prepared(folder, forget=forget)
    corpus, _, given = prepared(folder, forget=forget, too_short="drop", sizes=[3])
    assert (given["forget"]["used"], given["forget"]["dropped"]) == (3, 1)
    assert corpus.sequences["sequence_id"][0] == "forget-00002"
    # whoever asks for the whole file must not get less unawares
    with pytest.raises(InputError, match="4 is larger than the 3 .* 1 were dropped as too short"):
        prepared(folder, forget=forget, too_short="drop", sizes=[4])
    with pytest.raises(InputError, match="forget.jsonl: no row has 64 tokens"):
        prepared(folder, forget=forget, too_short="drop", sequence_length=64)


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
        sequence_length=48,
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
        ("forget", [{"text": TEXT}] * 2, "line 2: its first 24 tokens are those of .*line 1"),
        # alike as far as they are read
        ("forget", [{"tokens": [5] * 24 + [i]} for i in (1, 2)], "line 2: its first 24 tokens are"),
        ("unseen", [{"text": TEXT}], "line 1: its first 24 .* are those of .*forget.jsonl line 1"),
        ("retained", [{"text": TEXT}], "its first 24 .*forget.jsonl line 1; a sequence plays"),
        ("retained", [{"text": texts(1, 1)[0]}], "unseen.jsonl line 1: its first .*retained.jsonl"),
        ("unseen", [{"text": texts(1, 1)[0]}], "has 1 sequence; two halves need at least 2"),
        ("background", [{"text": "basil"}], "background.jsonl: has fewer than 24 tokens"),
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
    with pytest.raises(InputError, match="own.sequence_length: 65 is more than the 64 tokens"):
        prepared(folder, sequence_length=65)
    (strange / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="models.strange: its tokenizer or config.json cannot"):
        prepare(settings(folder), {"strange": strange}, [2], [0], {})


def test_the_entry_point_ends_with_one_line_and_writes_nothing(folder, tmp_path):
    outputs = ("sequences", "forget-sets", "corpus", "files")
    values = asdict(settings(folder, sequence_length=60))
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
        ("own", {"sequence_length": 10}, "measurement.ngram: 10 does not fit"),
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


def test_a_plan_counts_the_rows_of_the_files(folder):
    config = check(template(folder))
    work = plan.work_of(config, 1, FORGOTTEN)
    tokens = (FORGOTTEN + 41) * 64 + 10 * 60
    assert work.passes == 2 * (plan.EPOCHS * FORGOTTEN * 64 + tokens)
    size = plan.parameters_of("mine", config["models"]["mine"], 0)
    assert size == pytest.approx(GPT2_SIZE, rel=0.02)  # the file's head counts too


# --- from end to end --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(folder, tmp_path_factory) -> Path:
    """A copy of the project in which the template has run on the files, one set and one seed."""
    project = copy_project(tmp_path_factory.mktemp("custom"))
    config = template(folder)
    config["own"] |= {"sequence_length": LENGTH, "retained": str(folder / "retained.jsonl")}
    config["unlearning"] |= {"learning_rate": 0.002, "max_epochs": 30}
    config["measurement"] |= {"ngram": 3, "extraction_suffix": 8}
    config["unlearners"] = {label: config["unlearners"][label] for label in ("ga", "sga", "tau")}
    config["attacks"] = {
        "neighbour": {"rewrites": 2},
        "relearning": {"steps": [2]},
        "learned_attacker": {"repeats": 2},
    }
    config["attack"] = {"resamples": 20}
    config["jobs"]["split_by"] = []
    (project / "custom.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(project, "--configfile", "custom.yaml")
    logs = "".join(path.read_text() for path in (project / "logs").rglob("*.log"))
    assert done.returncode == 0, done.stdout[-3000:] + logs[-3000:]
    return project


@pytest.mark.slow
def test_the_kept_models_have_forgotten_the_whole_file(project):
    results = project / "results/custom"
    sequences = pd.read_parquet(results / "sequences.parquet")
    forget = torch.from_numpy(tokens_of(sequences.query("kind == 'forget pool'")))
    limit = pd.read_csv(results / "thresholds.csv")["ma_mean"][0]
    runs = pd.read_parquet(results / "runs.parquet").set_index("unlearner")
    # ascent gets there by any rounding; arithmetic may run into the limit of epochs
    assert (runs.loc[["ga", "sga"], "status"] == "stopped").all()
    original = AutoModelForCausalLM.from_pretrained(results / "models/mine").eval()
    assert score_tokens(original, forget).ma.mean() > 0.9
    for label in ("ga", "sga", "tau"):
        kept = results / f"kept/mine/all/{FORGOTTEN}-{label}-0"
        model = AutoModelForCausalLM.from_pretrained(kept).eval()
        assert AutoTokenizer.from_pretrained(kept).get_vocab()
        ma = score_tokens(model, forget).ma.mean()
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
    assert len(verdicts) == 7
    # n of the first counts sequences, of the others draws
    assert {verdicts[name] for name in ("C3", "C4", "C5", "C6", "C7")} == {"undecided"}
    assert (results / "index.html").stat().st_size > 1e5


@pytest.mark.slow
def test_provenance_names_the_files(project, folder):
    recorded = json.loads((project / "results/custom/provenance.json").read_text())["files"]
    assert set(recorded) == {"forget", "unseen", "retained", "tasks.held_out"}
    assert recorded["forget"]["path"] == str(folder / "forget.jsonl")
    assert recorded["forget"]["used"] == FORGOTTEN


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
