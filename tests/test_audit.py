"""The audit: ranks against counting, verdicts where they are known by construction, the page."""

import json
import re
from dataclasses import replace

import jsonschema
import numpy as np
import pandas as pd
import pytest

from browsing import Browser
from running import ROOT
from synthetic_results import Effect, Shape, make
from unlearning.analysis.attack_effects import effects, scored
from unlearning.analysis.audit import audit
from unlearning.analysis.audit.comparability import comparability_of, form_auc
from unlearning.analysis.audit.document import audit_json, audit_schema
from unlearning.analysis.audit.job import AuditJob
from unlearning.analysis.audit.methods import OUTCOMES
from unlearning.analysis.audit.page import audit_page
from unlearning.analysis.audit.results import Results
from unlearning.analysis.audit.sequences import judge, knowledge, standing_out
from unlearning.analysis.per_run import per_run, task_values
from unlearning.analysis.rows import TableJob
from unlearning.analysis.solution_space import candidates
from unlearning.attacks.membership import attack_all
from unlearning.memorization.forgetting import Band
from unlearning.settings.analysis import AttackSettings, SolutionSettings
from unlearning.unlearners.driver import Outcome

RULE = SolutionSettings(utility_metric="nats_per_token")
METHODS = {
    "sga": Effect(0.42, 0.03, 3.1),
    "ga": Effect(0.05, 0.02, 9.5),
    "tau": Effect(0.7, 0.10, 1.2, diverged=(0,)),
}
PROVENANCE = {
    "files": {"forget": {"path": "mails.jsonl", "sha256": "0" * 64, "used": 12, "begun": 12}},
    "git": {"commit": "1" * 40, "changed": False},
    "versions": {"torch": "2.0", "scipy": None},
}


def results_of(*, control: bool, methods=METHODS, unseen: int = 200) -> Results:
    """Everything that a run with one list leaves behind."""
    shape = Shape(
        models=("mine",),
        sizes=(12,),
        seeds=(0,),
        effects=dict(methods or METHODS),
        control=control,
        unseen=unseen,
    )
    tables = make(shape)
    if not methods:
        for name, table in tables.items():
            if "unlearner" in table:
                tables[name] = table[table["unlearner"].isin(["original", "control"])]
    job, attack = TableJob(models=("mine",)), AttackSettings(resamples=20)
    attacked = attack_all(tables["membership"], attack)
    tables["effects"] = effects(scored(tables["membership"], {"learned_attacker": {}}), attack)
    tables["per_run"] = per_run(
        tables["memorization"], tables["membership"], attacked, tables["effects"],
        task_values(tables["utility"]), tables["runs"], tables["thresholds"], job,
    )  # fmt: skip
    tables["candidates"] = candidates(tables["per_run"], RULE, ("mine",))
    names = ("sequences", "membership", "thresholds", "runs", "per_run", "candidates", "effects")
    return Results(**{name: tables[name] for name in names})


def made(*, control: bool = True, methods=METHODS, unseen: int = 200, provenance=PROVENANCE, **job):
    results = results_of(control=control, methods=methods, unseen=unseen)
    settings = AuditJob(
        run="r", rule=RULE, origins={"mine": "a folder"}, attacks=("learned_attacker",),
        controls={"mine": "a twin"} if control else {}, **job,
    )  # fmt: skip
    weights = {"mine": {"model.safetensors": "2" * 64}}
    return audit(results, settings, weights, provenance, "2026-01-01 00:00 UTC")


# --- single sequences -------------------------------------------------------------------------


def rows(forget: list[float], unseen: list[float], extracted=0.0) -> pd.DataFrame:
    losses = [*forget, *unseen]
    return pd.DataFrame(
        {
            "sequence_id": [f"s{i}" for i in range(len(losses))],
            "split": ["forget"] * len(forget) + ["unseen"] * len(unseen),
            "loss": losses,
            "ma": 0.4, "el": np.nan, "verbatim_run": 3.0, "extracted": extracted,
        }
    )  # fmt: skip


def test_a_rank_counts_the_unseen_that_are_known_as_well():
    rng = np.random.default_rng(0)
    forget, unseen = rng.normal(3, 1, 8).tolist(), rng.normal(3, 1, 30).tolist()
    forget[0] = unseen[4]  # a tie counts against the sequence
    found = knowledge(rows(forget, unseen))
    p = {name: 0.0 for name in found}
    for name, loss in zip(found, forget, strict=True):
        rank = 1 + sum(other <= loss for other in unseen)
        assert found[name].rank == rank
        assert found[name].exposure == pytest.approx(np.log2(31) - np.log2(rank))
        p[name] = rank / 31
    # Benjamini and Hochberg, step by step from the largest
    largest, n = 1.0, len(p)
    for place, name in zip(range(n, 0, -1), sorted(p, key=p.get, reverse=True), strict=True):
        largest = min(largest, p[name] * n / place)
        assert found[name].confidence == pytest.approx(1 - largest)


def test_verdicts_follow_from_rank_and_recital():
    unseen = np.linspace(3, 4, 100).tolist()
    found = knowledge(rows([1.0, 1.1, 3.5], unseen, extracted=1.0))
    assert [k.verdict for k in found.values()] == ["recites", "recites", "not told from unseen"]
    found = knowledge(rows([1.0, 1.1, float("nan")], unseen))
    assert [k.verdict for k in found.values()] == ["knows", "knows", "not measured"]


def test_too_few_unseen_can_call_nothing_known():
    found = knowledge(rows([0.1], np.linspace(3, 4, 18).tolist()))
    assert found["s0"].rank == 1
    assert found["s0"].verdict == "not told from unseen"
    assert knowledge(rows([0.1], np.linspace(3, 4, 19).tolist()))["s0"].verdict == "knows"


def test_never_seen_sequences_are_seldom_called_known():
    rng = np.random.default_rng(1)
    named = 0
    for _ in range(200):
        drawn = rng.normal(3, 1, 112).tolist()
        found = knowledge(rows(drawn[:12], drawn[12:]))
        named += any(k.verdict != "not told from unseen" for k in found.values())
    assert named / 200 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_a_control_takes_easy_text_out_of_the_known():
    easy, unseen = [1.0, 1.0], np.linspace(3, 4, 60).tolist()
    model = rows(easy, unseen)
    assert {k.verdict for k in knowledge(model).values()} == {"knows"}
    assert {k.verdict for k in knowledge(model, model).values()} == {"not told from unseen"}
    control = rows([3.5, 1.0], unseen)
    assert knowledge(model, control)["s0"].verdict == "knows"
    assert knowledge(model, control)["s1"].verdict == "not told from unseen"


def test_erased_sequences_stand_out():
    run = rows([9.5, 9.4, 3.5], np.linspace(3, 4, 100).tolist())
    assert standing_out(run) == {"s0", "s1"}
    after = knowledge(run)
    assert judge(after["s0"], Band(0, 1), True) == (
        False, "less known than unseen text",
    )  # fmt: skip
    assert judge(after["s2"], Band(0, 1), False) == (True, "")
    assert judge(after["s2"], Band(0, 0.3), False) == (False, "still known (g above unseen)")
    broken = knowledge(rows([float("nan")], [3.0]).assign(ma=float("nan")))["s0"]
    assert judge(broken, Band(0, 1), False)[0] is False


# --- is unseen text comparable? -----------------------------------------------------------------


def tokens_like(run: pd.DataFrame, forget: tuple[int, int], unseen: tuple[int, int]) -> dict:
    rng = np.random.default_rng(0)
    limits = {"forget": forget, "unseen": unseen}
    return {
        row.sequence_id: rng.integers(*limits[row.split], 40).tolist() for row in run.itertuples()
    }


def test_unseen_text_of_another_kind_is_named():
    rng = np.random.default_rng(2)
    run = rows(rng.normal(2.9, 0.5, 40).tolist(), rng.normal(5.6, 0.5, 60).tolist())
    other = tokens_like(run, (0, 500), (5000, 9000))
    found = comparability_of(run, None, other)
    assert found.verdict == "different"
    assert "NOT OF THE LIST'S KIND" in found.finding
    same = tokens_like(run, (0, 500), (0, 500))
    assert form_auc(run, same).value < 0.7
    found = comparability_of(run, None, same)
    assert found.verdict == "not decided"
    losses = run.groupby("split")["loss"].mean()
    for split in ("forget", "unseen"):
        assert f"{losses[split]:.2f}" in found.finding


def test_a_control_decides_on_the_kind():
    rng = np.random.default_rng(2)
    run = rows([1.0] * 80, rng.normal(5.6, 0.5, 90).tolist())
    alike = rows(rng.normal(5.6, 0.5, 80).tolist(), rng.normal(5.6, 0.5, 90).tolist())
    assert comparability_of(run, alike, {}).verdict == "alike"
    easier = rows(rng.normal(2.9, 0.5, 80).tolist(), rng.normal(5.6, 0.5, 90).tolist())
    assert comparability_of(run, easier, {}).verdict == "different"
    few = rows([5.0, 6.5], [5.6, 4.9, 6.4])
    assert comparability_of(run, few, {}).verdict == "not decided"


# --- the document ---------------------------------------------------------------------------


def test_the_document_fits_its_schema_which_is_the_one_in_config():
    assert (ROOT / "config/audit.schema.json").read_text() == audit_schema()
    schema = json.loads(audit_schema())
    for control, methods in ((True, METHODS), (False, METHODS), (False, {})):
        document = audit_json(made(control=control, methods=methods))
        document = json.loads(json.dumps(document, allow_nan=False))
        jsonschema.validate(document, schema)
        document["models"][0]["sequences"][0]["text"] = "x"
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, schema)


def test_methods_are_judged_by_the_limits_and_sequence_by_sequence():
    [model] = made().models
    ways = {way.label: way for way in model.methods}
    assert set(ways) == set(METHODS)
    assert ways["ga"].standing_out == 12
    assert not ways["ga"].safe
    assert not ways["tau"].safe
    assert "broke the model" in ways["tau"].outcome
    shown = model.chosen or model.nearest
    assert shown == "sga"
    failed = sum(not sequence.passed for sequence in model.sequences)
    assert failed <= 3
    assert len(model.sequences) == model.list_size == 12
    assert sum(s.before.verdict in ("knows", "recites") for s in model.sequences) >= 8


def test_every_way_a_run_can_end_has_words():
    results = results_of(control=False)
    job = AuditJob(run="r", rule=RULE, origins={"mine": "x"})
    stated = Outcome.__doc__.partition("status:")[2].partition("\n        phases:")[0]
    ends = re.findall(r'"(\w+)"', stated)
    assert {"stopped", "finished", "cap", "diverged"} <= set(ends)
    for status in ends:
        results.tables["runs"].loc[results.tables["runs"]["unlearner"] == "sga", "status"] = status
        [model] = audit(results, job, {"mine": {}}, PROVENANCE, "d").models
        [sga] = [method for method in model.methods if method.label == "sga"]
        assert sga.outcome.startswith(OUTCOMES[status])


def test_none_is_safe_is_said_unmistakably():
    document = made(methods={"ga": METHODS["ga"]})
    [model] = document.models
    assert (model.chosen, model.nearest) == (None, "ga")
    assert model.answer.startswith("NONE OF THE METHODS IS SAFE")
    page = audit_page(document)
    assert "NONE OF THE METHODS IS SAFE" in page
    assert "no recommendation" in page
    assert any("Do not release" in step for step in document.next_steps)
    assert page.count("FAIL: ") == 12


def test_a_limit_that_unseen_text_breaks_is_out_of_reach():
    strict = SolutionSettings(utility_metric="nats_per_token", max_outliers=0.0)
    results = results_of(control=False, unseen=30)
    per_run_table = results.tables["per_run"]
    rate = (per_run_table["metric"] == "unseen_outliers_calibrated_rate") & (
        per_run_table["unlearner"] == "original"
    )
    per_run_table.loc[rate, "value"] = 0.15
    job = AuditJob(run="r", rule=strict, origins={"mine": "x"})
    document = audit(results, job, {"mine": {}}, PROVENANCE, "d")
    outliers = document.models[0].methods[0].limits[0]
    assert (outliers.untouched, outliers.reachable) == (0.15, False)
    assert "Out of reach:" in audit_page(document)
    assert any("out of reach" in step for step in document.next_steps)


def test_an_audit_without_unlearning_says_what_is_known():
    document = made(control=False, methods={})
    [model] = document.models
    assert (model.methods, model.chosen, model.nearest) == ((), None, None)
    assert "Nothing was unlearned" in model.answer
    assert all(s.after is None and s.passed is None for s in model.sequences)
    assert "control:" in " ".join(document.not_tested)
    page = audit_page(document)
    assert "verdict before" in page
    assert "after</th>" not in page


def test_few_unseen_and_trials_are_named_among_what_is_not_told():
    document = made(unseen=16, limit=8)
    said = " ".join(document.not_tested)
    assert "16 unseen sequences are too few" in said
    assert "trial" in said
    assert "A TRIAL RUN" in audit_page(document)
    assert "a single known one among" in " ".join(made(unseen=100).not_tested)


def test_it_is_said_whether_sequences_begin_with_a_token_of_the_tokenizer():
    document = made(bos="auto")
    assert (document.bos, document.begun) == ("auto", True)
    assert "begun by the beginning-of-text token, which is not scored (bos: auto)" in audit_page(
        document
    )
    plain = {**PROVENANCE, "files": {"forget": PROVENANCE["files"]["forget"] | {"begun": 0}}}
    document = made(provenance=plain, bos=False)
    assert (document.bos, document.begun) == (False, False)
    assert "no beginning-of-text token stands before a sequence (bos: false)" in audit_page(
        document
    )
    assert (made().bos, made().begun) == (None, None)
    assert "beginning-of-text" not in audit_page(made())


def test_a_band_of_few_unseen_sequences_says_what_it_is_worth():
    [many], [few] = (made(unseen=unseen).models for unseen in (400, 60))
    assert many.covers < many.within
    assert f"hold {many.covers:.0%} of others" in many.about_band
    assert few.covers == few.within == pytest.approx(0.98)
    page = audit_page(made(unseen=60))
    assert few.about_band in page
    assert "limits of prediction" in page


@pytest.mark.skipif(Browser.program() is None, reason="no Chromium: install the package chromium")
def test_a_list_of_32_prints_on_two_sheets(tmp_path):
    document = made(control=False, bos="auto")
    [model] = document.models
    [way, *_] = [method for method in model.methods if method.outcome.startswith("reached")]
    sequences = (model.sequences * 3)[:32]
    files = {name: PROVENANCE["files"]["forget"] for name in ("forget", "unseen", "background")}
    longer = replace(model, methods=(way,) * 4, sequences=sequences, attacks=model.attacks * 3)
    page = audit_page(replace(document, files=files, models=(longer,)))
    assert Browser(tmp_path).sheets(page) == 2


def test_the_page_has_ids_and_digests_and_no_tokens():
    document = made()
    page = audit_page(document)
    for sequence in document.models[0].sequences:
        assert page.count(f"<td>{sequence.id}") == 1
    assert "2" * 64 in page
    assert "mails.jsonl" in page
    assert not re.search(r"\[\d+(, \d+){5}", page)
    assert "nan" not in re.sub(r"<[^>]*>", "", page).lower().split()
