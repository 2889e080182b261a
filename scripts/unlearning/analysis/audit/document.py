"""What audit.json is made of, and its schema (config/audit.schema.json).

An `Audit` is a document for people who were not there: plain values in frozen classes, and in none
of them a text or a token.
"""

import json
from typing import Any, Literal

from pydantic import TypeAdapter

from unlearning.settings import settings_class

CONFIDENCE = 0.95
"""Of every interval, and of calling a sequence known."""

Verdict = Literal["recites", "knows", "not told from unseen", "not measured"]
Alike = Literal["alike", "different", "not decided"]


@settings_class
class Measured:
    """A number with its 95 % interval, as far as it is known, and what it was taken over."""

    value: float | None
    """None: not measured, or no finite number."""

    low: float | None = None
    """None: one value has no interval."""

    high: float | None = None
    """The interval's upper end."""

    n: int = 1
    """Sequences, or draws, that it was taken over."""


@settings_class
class Knowledge:
    """How well a model knows one sequence."""

    g: float | None
    """Memorization accuracy: the share of next tokens that greedy decoding gets right."""

    extraction_likelihood: float | None
    """EL_n, where it was measured."""

    loss: float | None
    """Nats per token."""

    verbatim_run: int | None
    """The longest stretch that the model emits word for word, tokens."""

    recited: bool
    """Whether the last tokens of the sequence are emitted verbatim after those before."""

    rank: int | None
    """1: more surely known than every unseen sequence."""

    exposure: float | None
    """log2(n + 1) - log2(rank), bits (after Carlini et al. 2019)."""

    confidence: float | None
    """1 less the corrected p-value of "as if never seen"."""

    verdict: Verdict
    """recites: emits it, and knows it. knows: surely told from unseen sequences."""


@settings_class
class SequenceAudit:
    """One sequence of the list."""

    id: str
    """As in the user's file, with the part's name before it."""

    tokens: int
    """Its length."""

    before: Knowledge
    """On the original model."""

    after: Knowledge | None = None
    """On the unlearned model that the page is about."""

    passed: bool | None = None
    """Whether it looks like an unseen sequence after unlearning."""

    reason: str = ""
    """Why it does not."""


@settings_class
class Limit:
    """A limit, and whether it was kept."""

    name: str
    """What is limited."""

    limit: float
    """The largest value that is acceptable."""

    found: Measured
    """On the unlearned model."""

    kept: bool
    """Whether the value is at most the limit."""

    untouched: float | None
    """The same of sequences that were never seen (on the original or the control)."""

    reachable: bool
    """Whether what was never seen keeps the limit itself."""


@settings_class
class MethodAudit:
    """One method of unlearning."""

    label: str
    """Its name in the config."""

    name: str
    """Its display name."""

    outcome: str
    """How the run ended, after how many steps."""

    safe: bool
    """Whether all limits were kept."""

    limits: tuple[Limit, ...]
    """The limits one by one."""

    utility: Measured
    """What the model can still do: the metric of the config's rule."""

    failed: int
    """Sequences of the list that do not look like unseen ones afterwards."""

    still_known: int
    """Those of them that are still told from unseen ones as known."""

    standing_out: int
    """Those that are known less than unseen text is, which tells that they were there."""


@settings_class
class AttackAudit:
    """What one attack found on the model that the page is about."""

    name: str
    """Of the attack."""

    measure: str
    """What is measured, with its unit."""

    found: Measured
    """On the unlearned model (on the original where nothing was unlearned)."""

    before: float | None
    """On the original model."""

    control: float | None
    """On a model that never saw the list, where there is one."""


@settings_class
class Comparability:
    """Whether the unseen sequences are of the list's kind."""

    verdict: Alike
    """different: what is told from unseen sequences may be told by its kind alone."""

    finding: str
    """In one sentence."""


@settings_class
class ModelAudit:
    """One model and one list."""

    model: str
    """Its name in the config."""

    origin: str
    """Where it comes from."""

    weights: dict[str, str]
    """File -> SHA-256."""

    control: str | None
    """Where the model comes from that never saw the list."""

    list_size: int
    """Sequences to be forgotten."""

    draw: int
    """Which draw from the file they are."""

    unseen: int
    """Unseen sequences that they are compared with."""

    threshold: float
    """Mean g of unseen sequences."""

    band: tuple[float, float]
    """Between which g counts as that of an unseen sequence."""

    within: float
    """The share of unseen sequences whose g lies in the band, by its definition."""

    covers: float
    """The share of all unseen sequences that it is expected to hold, ends that so few have set."""

    about_band: str
    """What the band is worth, in a sentence."""

    comparability: Comparability
    """Of unseen sequences and the list."""

    answer: str
    """What came out, in one or two sentences."""

    chosen: str | None
    """Label of the method that keeps the limits best."""

    nearest: str | None
    """Where none keeps them, the one that comes nearest."""

    utility_before: Measured
    """Of the original model."""

    utility_metric: str
    """What it is."""

    methods: tuple[MethodAudit, ...]
    """All that were tried, best first."""

    sequences: tuple[SequenceAudit, ...]
    """The list."""

    attacks: tuple[AttackAudit, ...]
    """What attacks found."""


@settings_class
class Audit:
    """The whole document."""

    run: str
    """Name of the run."""

    date: str
    """When it was written, ISO 8601, UTC."""

    trial: bool
    """Whether the config cuts the run short (`measurement.limit`)."""

    files: dict[str, dict[str, Any]]
    """The user's files: path, SHA-256, rows used."""

    bos: Literal["auto"] | bool | None
    """`own.bos`: whether sequences begin with the tokenizer's beginning-of-text token. None where
    they are no files of the user's."""

    begun: bool | None
    """Whether they do: with "auto" the tokenizer decides. The token is not scored."""

    code: dict[str, Any]
    """Commit of the project, and whether code was changed since."""

    versions: dict[str, str | None]
    """Of the packages that numbers depend on."""

    models: tuple[ModelAudit, ...]
    """One for each model and list."""

    not_tested: tuple[str, ...]
    """What this run cannot say."""

    next_steps: tuple[str, ...]
    """What to do now."""


def audit_json(audit: Audit) -> dict:
    """The audit as plain values, as audit.json holds it."""
    return TypeAdapter(Audit).dump_python(audit, mode="json")


def audit_schema() -> str:
    """The JSON schema of audit.json, for config/audit.schema.json."""
    return json.dumps(TypeAdapter(Audit).json_schema(), indent=2) + "\n"
