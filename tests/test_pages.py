"""HTML pages: what is shown is what the table says, and text is escaped."""

import pandas as pd

from unlearning.pages import claims_page, main_page, plain_page

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


def test_the_main_page_has_one_line_per_method():
    text = main_page("Main", "note", MAIN, ["ma", "perplexity", "absent"])
    assert text.count("<tr>") == 3
    assert "0.25 <small>[0.2, 0.3]</small> <small>n=2</small>" in text
    assert "12.5 <small>n=1</small>" in text  # no interval of one value
    assert ">GA<" in text
    assert ">mine<" in text


def test_missing_numbers_are_dashes_and_text_is_escaped():
    table = pd.DataFrame({"name": ["<script>", "b"], "value": [float("nan"), 1 / 3]})
    text = plain_page("A & B", "less < more", table)
    assert "&lt;script&gt;" in text
    assert "A &amp; B" in text
    assert ">–<" in text
    assert ">0.3333<" in text


def test_claims_show_verdict_evidence_and_rule():
    claim = {
        "id": "C1",
        "claim": "it is so",
        "verdict": "refuted",
        "evidence": "0.1 [0.0, 0.2]; 0.3",
        "rule": "above 0.5",
    }
    text = claims_page("Claims", "note", [claim])
    assert 'class="refuted">refuted<' in text
    for part in ("C1", "it is so", "0.1 [0.0, 0.2]<br>0.3", "above 0.5"):
        assert part in text
