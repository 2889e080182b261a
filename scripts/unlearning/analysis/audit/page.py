"""The audit as a page of HTML that prints on about two sheets: ids and numbers, never a text."""

import html
import re
from collections.abc import Iterable

from unlearning.analysis.audit.document import (
    Audit,
    Knowledge,
    Limit,
    Measured,
    MethodAudit,
    ModelAudit,
    SequenceAudit,
)
from unlearning.analysis.pages import document, sortable, text
from unlearning.names import method_name

STYLE = """
body { max-width: 70em; } h1 { margin: 0; } h2 { margin: 1.1em 0 .3em; font-size: 1.15em; }
p { margin: .4em 0; } table { margin: .4em 0; } ul { margin: .3em 0; }
.alarm, .fine, .open { padding: .6em 1em; margin: .5em 0; max-width: none; border-left: 5px solid; }
.alarm { background: #fdecea; border-color: #b3261e; } .alarm b, td.fail { color: #b3261e; }
.fine { background: #e9f5ec; border-color: #1b7f3b; } td.pass { color: #1b7f3b; }
td:first-child, td.pass, td.fail, .sequences td { white-space: nowrap; }
.open { background: #fff6e0; border-color: #b57a00; }
.small { font-size: 12px; color: #444; overflow-wrap: anywhere; max-width: none; }
@media print {
  @page { margin: 12mm; } body { font-size: 10.5px; margin: 0; padding: 0; line-height: 1.35; }
  body, p, li { max-width: none; } .alarm, .fine, .open { padding: .3em .8em; }
  table { font-size: 9px; } th { position: static; } th, td { padding: .08em .4em; }
  .small { font-size: 8.5px; margin: .2em 0; } tr { break-inside: avoid; }
}
"""
WORDS = """
<b>g</b>: share of a sequence's next tokens that the model predicts right; 1 is by heart.
<b>Rank</b>: place among sequences that the model never saw, 1 being known better than all of them.
<b>Exposure</b>: the rank in bits. <b>Recites</b>: emits the sequence's end word for word after its
beginning. <b>Knows</b>: told from unseen text, with the confidence given (corrected for the length
of the list). <b>Pass</b>: after unlearning the sequence looks like one that the model never saw:
neither known better nor known suspiciously worse.
"""


def audit_page(audit: Audit) -> str:
    """The page."""
    title = f"Audit of run {audit.run}"
    trial = '<p class="alarm"><b>A TRIAL RUN: no number here is a result.</b></p>'
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(audit.date)} · asked: does the model know the sequences of"
        f" <code>{html.escape(str(audit.files.get('forget', {}).get('path', 'the list')))}</code>,"
        " and are they forgotten after unlearning?</p>",
        trial if audit.trial else "",
        *(section(model) for model in audit.models),
        "<h2>What was not tested</h2>",
        listed(audit.not_tested),
        "<h2>What to do next</h2>",
        listed(audit.next_steps),
        f"<p class=small>{WORDS}</p>",
        "<h2>What this was made with</h2>",
        origins(audit),
    ]
    return document(title, "\n".join(parts), STYLE)


def section(model: ModelAudit) -> str:
    """One model and one list."""
    # without a method nothing can be safe or unsafe
    safe = model.chosen is not None and all(s.passed for s in model.sequences)
    colour = "fine" if safe else "open" if model.chosen or not model.methods else "alarm"
    draw = f", draw {model.draw}" if model.draw else ""
    parts = [
        f"<h2>{html.escape(model.model)}: {model.list_size} sequences{draw}</h2>",
        f'<p class="{KINDS[model.comparability.verdict]}">'
        f"{html.escape(model.comparability.finding)}</p>",
        f'<p class="{colour}"><b>{html.escape(model.answer)}</b></p>',
    ]
    if model.methods:
        parts += [methods_table(model), *unreachable(model)]
    parts += [attacks_table(model), sequences_table(model)]
    return "\n".join(parts)


def methods_table(model: ModelAudit) -> str:
    """Every method with its limits."""
    limits = model.methods[0].limits
    head = [
        "method", "safe", *(f"{limit.name}, at most {limit.limit:g}" for limit in limits),
        "sequences that fail", "still known", "stand out", model.utility_metric, "outcome",
    ]  # fmt: skip
    empty = [text("")] * (len(limits) + 4)
    rows = [[text("before"), *empty, value(model.utility_before), text("")]]
    for method in model.methods:
        mark = " ← chosen" if method.label == model.chosen else ""
        mark = " ← nearest" if method.label == model.nearest else mark
        rows.append(
            [
                text(method.name + mark),
                verdict(method.safe, "yes", "NO"),
                *(limit_cell(limit) for limit in method.limits),
                text(f"{method.failed} of {model.list_size}"),
                count(method.still_known),
                count(method.standing_out),
                value(method.utility),
                text(method.outcome),
            ]
        )
    why = chosen_because(model.methods, model)
    return f"<h2>Methods</h2><p>{html.escape(why)}</p>" + sortable(head, rows)


def chosen_because(methods: Iterable[MethodAudit], model: ModelAudit) -> str:
    """Why this one."""
    if model.chosen:
        safe = sum(method.safe for method in methods)
        name = method_name(model.chosen)
        if safe == 1:
            return f"{name} was chosen: no other keeps the limits."
        measure = model.utility_metric.partition(",")[0]
        return f"{name} was chosen: of the {safe} that keep the limits it has the best {measure}."
    return (
        f"No method keeps the limits. {method_name(model.nearest)} breaks them least; it is shown"
        " below and is no recommendation."
    )


def unreachable(model: ModelAudit) -> list[str]:
    """A line for each limit that text which was never seen breaks itself."""
    return [
        f'<p class="alarm"><b>Out of reach:</b> {html.escape(limit.name)} may be at most'
        f" {limit.limit:g}, but is {limit.untouched:.2f} for text that was never seen. No method"
        " can keep this limit.</p>"
        for limit in model.methods[0].limits
        if not limit.reachable
    ]


def attacks_table(model: ModelAudit) -> str:
    """What attacks found."""
    shown = model.chosen or model.nearest
    head = ["attack", "measured", "original"]
    head += [f"after {method_name(shown)}"] if shown else []
    head += ["a model that never saw them"] if model.control else []
    rows = []
    for attack in model.attacks:
        row = [text(attack.name), text(attack.measure), value(Measured(value=attack.before))]
        row += [value(attack.found)] if shown else []
        row += [value(Measured(value=attack.control))] if model.control else []
        rows.append(row)
    return "<h2>What attacks find</h2>" + sortable(head, rows)


def sequences_table(model: ModelAudit) -> str:
    """One line for each sequence."""
    shown = model.chosen or model.nearest
    head = ["sequence", "tokens", *(f"{part} before" for part in COLUMNS), "verdict before"]
    if shown:
        head += ["g after", "loss after", "rank after", "after"]
    with_el = any(s.before.extraction_likelihood is not None for s in model.sequences)
    if not with_el:
        head.remove("EL before")
    rows = []
    for item in sorted(model.sequences, key=lambda s: (s.passed is not False, -(s.before.g or 0))):
        cells = [text(item.id), count(item.tokens), *known(item.before, with_el)]
        rows.append(cells + (outcome(item) if shown else []))
    low, high = model.band
    about = (
        f"Compared with {model.unseen} unseen sequences: their mean g is {model.threshold:.2f}, and"
        f" the band from {low:.2f} to {high:.2f} is where unseen ones lie. {model.about_band}."
    )
    table = f"<div class=sequences>{sortable(head, rows)}</div>"
    return f"<h2>Sequences</h2><p>{about}</p>" + table


KINDS = {"alike": "fine", "different": "alarm", "not decided": "open"}
COLUMNS = ("g", "EL", "loss", "run", "rank", "exposure")


def known(before: Knowledge, with_el: bool) -> list[str]:
    """Cells on the original model."""
    sure = "" if before.confidence is None else f" ({before.confidence:.1%})"
    cells = [plain(before.g, 2)]
    cells += [plain(before.extraction_likelihood, 3)] if with_el else []
    return [
        *cells,
        plain(before.loss, 2),
        count(before.verbatim_run),
        count(before.rank),
        plain(before.exposure, 1),
        text(before.verdict + (sure if before.verdict in ("recites", "knows") else "")),
    ]


def outcome(item: SequenceAudit) -> list[str]:
    """Cells after unlearning."""
    after = item.after
    return [
        plain(after.g, 2),
        plain(after.loss, 2),
        count(after.rank),
        verdict(bool(item.passed), "pass", f"FAIL: {item.reason}"),
    ]


def origins(audit: Audit) -> str:
    """Digests, versions, code."""
    lines = []
    for model in {model.model: model for model in audit.models}.values():
        digests = ", ".join(f"{name} {digest}" for name, digest in model.weights.items())
        lines.append(f"model {model.model}: {model.origin}; SHA-256 {digests}")
        if model.control:
            lines.append(f"control of {model.model}: {model.control}")
    for key, file in audit.files.items():
        rows = f"; {file['used']} rows" if "used" in file else ""
        lines.append(f"{key}: {file['path']}; SHA-256 {file['sha256']}{rows}")
    if audit.begun is not None:
        asked = f"bos: {str(audit.bos).lower()}"
        lines.append(
            f"each sequence is begun by the beginning-of-text token, which is not scored ({asked})"
            if audit.begun
            else f"no beginning-of-text token stands before a sequence ({asked})"
        )
    changed = " with changes" if audit.code.get("changed") else ""
    lines.append(f"code: commit {audit.code.get('commit')}{changed}")
    lines.append("versions: " + ", ".join(f"{n} {v}" for n, v in audit.versions.items() if v))
    return "".join(f"<p class=small>{html.escape(line)}</p>" for line in lines)


# Cells ----------------------------------------------------------------------------------------


def listed(lines: Iterable[str]) -> str:
    """A list of sentences."""
    items = (re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(line)) for line in lines)
    return "<ul>" + "".join(f"<li>{item}" for item in items) + "</ul>"


def plain(number: float | None, digits: int) -> str:
    """A number with so many digits after the point."""
    return "<td class=n>–" if number is None else f"<td class=n>{number:.{digits}f}"


def count(number: int | None) -> str:
    """A whole number."""
    return f"<td class=n>{'–' if number is None else number}"


def value(measured: Measured) -> str:
    """A number with its interval in small print."""
    if measured.value is None:
        return "<td class=n>–"
    bounds = ""
    if measured.low is not None and measured.high is not None:
        bounds = f" <small>[{measured.low:.2f}, {measured.high:.2f}] n={measured.n}</small>"
    return f"<td class=n>{measured.value:.2f}{bounds}"


def limit_cell(limit: Limit) -> str:
    """A value, and whether it keeps its limit."""
    number = "–" if limit.found.value is None else f"{limit.found.value:.3f}"
    return f'<td class="n {"pass" if limit.kept else "fail"}">{number}'


def verdict(good: bool, yes: str, no: str) -> str:
    """A cell in green or red."""
    return f'<td class="{"pass" if good else "fail"}">{html.escape(yes if good else no)}'
