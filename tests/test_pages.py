"""HTML pages: what is shown is what the table says, and text is escaped."""

import re

import pandas as pd
import pytest

from browsing import Browser
from unlearning.analysis.pages import (
    COLUMNS,
    claims_table,
    document,
    figure,
    main_table,
    page,
    plain_table,
    pooled_gains,
    prose,
    report,
)

MAIN = pd.DataFrame(
    {
        "model": "small",
        "forget_size": 8,
        "unlearner": ["ga", "ga", "mine", "mine"],
        "metric": ["ma", "perplexity"] * 2,
        "mean": [0.25, 12.5, 0.5, float("nan")],
        "low": [0.2, float("nan"), 0.4, float("nan")],
        "high": [0.3, float("nan"), 0.6, float("nan")],
        "n": [2, 1, 2, 0],
    }
)


def test_the_main_table_has_one_line_per_method():
    text = main_table(MAIN)
    assert text.count("<tr>") == 3
    assert "0.25 <small>[0.2, 0.3]</small> <small>n=2</small>" in text
    assert "12.5 <small>n=1</small>" in text  # no interval of one value
    assert "<td>GA" in text
    assert "<td>mine" in text


def test_missing_numbers_are_dashes_and_text_is_escaped():
    table = pd.DataFrame(
        {"name": ["<script>", "b"], "value": [float("nan"), 1 / 3], "sure": [True, False]}
    )
    text = page("A & B", "less < more", plain_table(table))
    assert "&lt;script&gt;" in text
    assert "A &amp; B" in text
    assert "less &lt; more" in text
    assert "<td>&lt;script&gt;<td>–<td>True" in text
    assert "<td>0.3333" in text


def test_a_plain_table_says_which_columns_are_numbers_and_the_style_has_a_rule_for_each():
    table = pd.DataFrame({f"c{k}": ["a" if k % 2 else 0.5] for k in range(COLUMNS)})
    text = page("many", "", plain_table(table))
    classes = re.search(r'<table class="([^"]*)">', text)[1].split()
    assert classes == [f"n{k}" for k in range(1, COLUMNS, 2)]
    for name in classes:
        assert f".{name} td:nth-child({name[1:]})" in text


def test_gains_are_shown_pooled():
    gains = pd.DataFrame(
        {
            "model": ["all", "small"],
            "forget_size": ["all", "all"],
            "proposal": "sga",
            "baseline": "ga",
            "metric": "ma_max",
            "mean": [-0.125, -0.25],
            "low": -0.5,
            "high": 0.5,
            "n": 9,
        }
    )
    text = pooled_gains(gains)
    assert "-0.125 <small>[-0.5, 0.5]</small> <small>n=9</small>" in text
    assert "-0.25" not in text


def test_claims_show_verdict_evidence_and_rule():
    claim = {
        "id": "C1",
        "claim": "it is so",
        "verdict": "refuted",
        "evidence": "0.1 [0.0, 0.2]; 0.3",
        "rule": "above 0.5",
    }
    text = claims_table([claim])
    assert 'class="refuted">refuted' in text
    for part in ("C1", "it is so", "0.1 [0.0, 0.2]<br>0.3", "above 0.5"):
        assert part in text


def test_a_figure_stands_in_the_page_with_its_command():
    text = figure("a_b", b"<svg/>", prose("What to **see**."), "snakemake a & b")
    assert 'src="data:image/svg+xml;base64,PHN2Zy8+"' in text
    assert "What to <strong>see</strong>." in text
    assert "snakemake a &amp; b" in text


# In a browser -------------------------------------------------------------------------------------

NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not Browser.program():
        pytest.skip("no Chromium on this machine: install the package chromium")
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def opened(analysis, browser):
    """The report as a browser sees it."""
    return browser.open((analysis / "index.html").read_text(encoding="utf-8"))


def test_the_report_shows_every_figure(opened, analysis):
    stems = {path.stem.replace("_", " ") for path in (analysis / "figures").glob("*.svg")}
    assert {image["alt"] for image in opened.images} == stems
    assert min(image["width"] for image in opened.images) > 100


def test_the_report_loads_nothing_and_complains_of_nothing(opened):
    assert opened.console == []
    assert opened.requests == ["/"]


def test_a_click_sorts_by_a_column(opened):
    assert len(opened.tables) > 5
    checked = 0
    for before, rising, falling in (column for table in opened.tables for column in table):
        assert sorted(before) == sorted(rising) == sorted(falling)
        numbers = [[n for n in map(leading_number, c) if n is not None] for c in (rising, falling)]
        if len(numbers[0]) > 2:
            checked += 1
            shown = len(numbers[0])  # what has no number comes last
            assert all(leading_number(value) is not None for value in rising[:shown])
            assert numbers[0] == sorted(numbers[0])
            assert numbers[1] == sorted(numbers[0], reverse=True)
    assert checked > 20


def leading_number(text: str) -> float | None:
    """The number that a cell begins with, as JavaScript's parseFloat reads it."""
    found = NUMBER.match(text)
    return float(found[0]) if found else None


def test_the_browser_notices_what_is_wrong(browser):
    """The three tests above can fail."""
    broken = document(
        "t", '<img alt="x" src="data:image/png;base64,AAAA"><img alt="y" src="y.png">'
    )
    found = browser.open(broken.replace("default-src 'none'; img-src", "img-src *"))
    assert [image["width"] for image in found.images] == [0, 0]
    assert "/y.png" in found.requests
    found = browser.open(broken)  # the policy lets no request out, and says so
    assert found.requests == ["/"]
    assert any("Content Security Policy" in line for line in found.console)
    assert browser.open("<!doctype html><script>nothing.here()</script>").console


def test_a_list_of_ones_own_is_audited_and_the_papers_claims_are_left_out():
    parts = ("", "", "an answer")
    shown = report(*parts, [], {}, {}, {})
    assert '<a href="audit.html">' in shown
    assert "claims" not in shown
    claim = {"id": "C1", "claim": "c", "verdict": "refuted", "evidence": "e", "rule": "r"}
    shown = report(*parts, [claim], {}, {}, {})
    assert "audit.html" not in shown
    assert '<h2 id="claims">' in shown
