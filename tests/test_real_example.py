"""The example with a real model: the same texts at each run, and a config that fits them."""

import sys

import pytest
import yaml

from running import ROOT
from unlearning.configuration import check

sys.path.insert(0, str(ROOT / "examples/real"))

import invented
import prepare


def test_invented_texts_are_many_and_the_same_for_a_seed():
    texts = invented.invented_texts(120, seed=3)
    assert texts == invented.invented_texts(120, seed=3)
    assert texts[:40] == invented.invented_texts(40, seed=3)
    assert not set(texts) & set(invented.invented_texts(120, seed=4))
    assert len({text[:150] for text in texts}) == 120  # alike nowhere near their beginnings
    assert min(len(text.split()) for text in texts) > 64


def test_windows_follow_one_another_and_are_of_one_length():
    def tokenizer(text, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": list(text)}  # a token is a character

    words = prepare.known_texts("Apache")["mit"]
    windows = prepare.windows(words, tokenizer)
    end = 0
    for window in windows:
        assert len(window) == prepare.WINDOW
        start = words.index(window, end)
        assert words[start - 1 : start].strip() == ""  # a whole word
        end = start + len(window)
    assert len(windows) > 3  # few words end at just so many characters


def test_the_known_texts_are_whole():
    texts = prepare.known_texts("Apache")
    assert set(texts) == {
        "apache", "bsd", "constitution", "declaration", "genesis", "gettysburg", "mit", "psalm_23",
    }  # fmt: skip
    assert all("\n" not in text for text in texts.values())
    assert texts["bsd"].startswith("Redistribution and use")
    assert texts["mit"].startswith("Permission is hereby granted")


def test_the_ordinary_text_is_no_text_of_another_file():
    background, held_out = prepare.documented(), prepare.described()
    assert background == prepare.documented()
    assert not set(background.values()) & set(held_out.values())
    texts = " ".join(background.values())
    assert all(text.endswith((".", ":", "!")) for text in background.values())
    assert len(texts.split()) > 128 * prepare.WINDOW / 2  # a word has fewer than two tokens
    for known in prepare.known_texts("Apache").values():
        assert known[:100] not in texts


def test_the_config_fits_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "real").mkdir()
    for name in ("forget", "retained", "unseen", "background", "held_out"):
        rows = {str(i): text for i, text in enumerate(invented.invented_texts(2, len(name)))}
        prepare.write(tmp_path / f"real/{name}.jsonl", rows)
    (tmp_path / f"real/{prepare.GGUF}").write_bytes(b"GGUF")
    config = check(yaml.safe_load((ROOT / "config/real.yaml").read_text()))
    assert config["models"]["smollm2_135m"]["gguf"] == f"real/{prepare.GGUF}"
    assert config["own"]["minimum"] <= prepare.WINDOW
    assert config["measurement"]["ngram"] < prepare.WINDOW
    (tmp_path / "real/unseen.jsonl").unlink()
    with pytest.raises(ValueError, match=r"own.unseen: no file real/unseen.jsonl"):
        check(yaml.safe_load((ROOT / "config/real.yaml").read_text()))
