"""Tables, figures and verdicts as HTML: every page whole in one file, sortable, no network.

A page may load nothing: its content security policy allows inline style, script and images alone.
"""

import base64
import html
from collections.abc import Iterable, Sequence

import pandas as pd
from docutils.core import publish_parts

from unlearning.names import HEADLINE, METRICS, method_name

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 74em; padding: 0 1.5em;
  color: #222; }
h1 { font-size: 1.6em; line-height: 1.25; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
p, ul { max-width: 52em; } nav a { margin-right: 1.2em; }
figure { margin: 2em 0; } figure img { width: 100%; max-width: 66em; }
figcaption { max-width: 52em; color: #333; } code { background: #f3f3f3; padding: 0 .25em; }
.answer { background: #f3f6fa; border-left: 4px solid #0072B2; padding: .7em 1em; font-weight: 600;
  white-space: pre-line; }
.scroll { overflow: auto; max-height: 42em; }
summary { cursor: pointer; font-weight: 600; padding: .3em 0; }
table { border-collapse: collapse; font-size: 13px; }
th { position: sticky; top: 0; background: #f3f3f3; text-align: left; cursor: pointer; }
th[aria-sort=ascending]::after { content: " ▲"; } th[aria-sort=descending]::after { content: " ▼"; }
th, td { padding: .3em .7em; border-bottom: 1px solid #ddd; vertical-align: top; }
td small { color: #666; }
.supported { color: #00695c; font-weight: 600; } .refuted { color: #b71c1c; font-weight: 600; }
.undecided { color: #6d5600; font-weight: 600; }
"""
COLUMNS = 40
"""A plain table says which of its columns are numbers, `n4` the fourth: not so in each cell."""
STYLE += (
    ", ".join(["td.n", *(f".n{k} td:nth-child({k})" for k in range(1, COLUMNS + 1))])
    + " { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }\n"
)

SORT = """
for (const head of document.querySelectorAll("th")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const falling = head.ariaSort === "ascending";
  for (const other of head.parentNode.cells) other.ariaSort = null;
  head.ariaSort = falling ? "descending" : "ascending";
  const key = row => row.cells[column].textContent;
  const order = (a, b) => {
    const [x, y] = [key(a), key(b)], [p, q] = [parseFloat(x), parseFloat(y)];
    if (isNaN(p) !== isNaN(q)) return isNaN(p) - isNaN(q);  // what has no number comes last
    return (falling ? -1 : 1) * (isNaN(p) ? x.localeCompare(y) : p - q);
  };
  body.append(...[...body.rows].sort(order));
};
"""

AVERAGED = (
    "Averages over forget-set draws, or over replicates where there are several, with 95 % Student"
    " intervals. †: by construction, the method's"
    " own stop rule looks at it. Click a column to sort."
)
SORTABLE = "Click a column to sort."
FEWER = (
    "All metrics where pooled over all cells, the headline metrics also per model and per cell;"
    " gains.csv has the rest. Click a column to sort."
)
POOLED = "Pooled over all cells; attack_suite.csv has the single ones. Click a column to sort."
TITLE = "Does unlearning forget each sequence, or only the average?"
JUDGED = "Judged by rule; where an interval leaves it open, a claim stays undecided."
SHOWN = (
    "ma", "ma_max", "el", "under_forgotten_calibrated", "over_forgotten_calibrated",
    "outliers_calibrated_rate", "attack_auc_worst", "attack_auc_strictest", "utility_accuracy",
    "dialogue_f1", "perplexity", "epochs",
)  # fmt: skip
"""Metrics of the main page."""
MOST_ROWS = 400
"""Longer tables have a page of their own and are named in the report."""


def document(title: str, body: str, style: str = "") -> str:
    """A whole page, with rules of style of its own."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{style}</style></head><body>\n{body}\n"
        f"<script>{SORT}</script></body></html>\n"
    )


def page(title: str, note: str, table: str) -> str:
    """A page with one table."""
    return document(title, f"<h1>{html.escape(title)}</h1><p>{html.escape(note)}</p>{table}")


def prose(text: str) -> str:
    """A text in reStructuredText as HTML."""
    return publish_parts(
        text, writer="html5", settings_overrides={"file_insertion_enabled": False}
    )["body"]


# Tables: cells and rows are left open, as HTML allows; some tables have tens of thousands of cells


def sortable(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: str = "") -> str:
    """A table of cells made by `text`, `number` and `interval`; a click on a head sorts by it.

    Args:
        header: names of the columns.
        rows: their cells.
        numeric: classes of the columns whose cells are numbers without saying so.
    """
    head = "".join(f"<th>{html.escape(name)}" for name in header)
    body = "\n".join(f"<tr>{''.join(row)}" for row in rows)
    kind = f' class="{numeric}"' if numeric else ""
    return f"<table{kind}><thead><tr>{head}</thead>\n<tbody>\n{body}\n</tbody></table>"


def text(value: object) -> str:
    """A cell of text."""
    return f"<td>{html.escape(str(value))}"


def number(value: float, suffix: str = "") -> str:
    """A cell with a number of at most four significant digits; NaN is a dash."""
    return f"<td class=n>{digits(value)}{'' if pd.isna(value) else suffix}"


def digits(value: float) -> str:
    """A number of at most four significant digits; NaN is a dash."""
    return "–" if pd.isna(value) else f"{value:.4g}"


def interval(row: pd.Series) -> str:
    """A cell with a mean, its interval in small print and n; a dagger where by construction."""
    bounds = ""
    if not pd.isna(row[["low", "high"]].astype(float)).any():
        bounds = f" <small>[{row['low']:.3g}, {row['high']:.3g}]</small>"
    dagger = " †" if row.get("by_construction", False) else ""
    return number(row["mean"], f"{dagger}{bounds} <small>n={row['n']:g}</small>")


def plain_table(table: pd.DataFrame) -> str:
    """A table as it is."""
    numeric = [
        pd.api.types.is_numeric_dtype(table[column])
        and not pd.api.types.is_bool_dtype(table[column])
        for column in table
    ]
    rows = (
        [
            f"<td>{digits(v)}" if is_number else text(v)
            for v, is_number in zip(row, numeric, strict=True)
        ]
        for row in table.itertuples(index=False)
    )
    classes = " ".join(f"n{k}" for k, is_number in enumerate(numeric, 1) if is_number)
    return sortable(list(table.columns), rows, classes)


def wide_table(table: pd.DataFrame, keys: Sequence[str], metrics: Sequence[str]) -> str:
    """One line for each combination of `keys`, its metrics side by side with their intervals."""
    shown = [metric for metric in metrics if metric in set(table["metric"])]
    methods = {"unlearner", "proposal", "baseline"}
    rows = []
    for key, part in table.groupby(list(keys), sort=False):
        cells = part.set_index("metric")
        names = [
            text(method_name(value)) if name in methods else text(value)
            for name, value in zip(keys, key, strict=True)
        ]
        values = [
            interval(cells.loc[metric]) if metric in cells.index else number(float("nan"))
            for metric in shown
        ]
        rows.append([*names, *values])
    names = ["method" if key == "unlearner" else key.replace("_", " ") for key in keys]
    return sortable([*names, *(METRICS[metric].label for metric in shown)], rows)


def main_table(table: pd.DataFrame) -> str:
    """main.csv with one line per model, forget size and method."""
    return wide_table(table, ["model", "forget_size", "unlearner"], SHOWN)


def chosen_gains(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of gains.csv that a reader may look for; all of them are too many for a page."""
    pooled = (table["model"] == "all") & (table["forget_size"] == "all")
    return table[pooled | table["metric"].isin(HEADLINE)]


def pooled(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of attack_suite.csv over all cells, of the measures that compare with unseen."""
    measures = ["auc", "difference"]
    return table[(table["model"] == "all") & table["metric"].isin(measures)]


def pooled_gains(table: pd.DataFrame) -> str:
    """gains.csv with one line per pair of methods, pooled over all cells."""
    pooled = table[(table["model"] == "all") & (table["forget_size"] == "all")]
    return wide_table(pooled, ["proposal", "baseline"], HEADLINE)


def claims_table(claims: Sequence[dict[str, str]]) -> str:
    """The verdicts, each with the numbers that decide it and its rule."""
    rows = [
        [
            text(claim["id"]),
            text(claim["claim"]),
            f'<td class="{claim["verdict"]}">{html.escape(claim["verdict"])}',
            f"<td>{html.escape(claim['evidence']).replace('; ', '<br>')}",
            text(claim["rule"]),
        ]
        for claim in claims
    ]
    return sortable(["", "claim", "verdict", "evidence", "rule"], rows)


# The report ---------------------------------------------------------------------------------------


def figure(name: str, svg: bytes, caption: str, command: str) -> str:
    """A figure with what it shows (HTML) and the command that makes it."""
    source = base64.b64encode(svg).decode()
    return (
        f'<figure id="{name}"><img src="data:image/svg+xml;base64,{source}"'
        f' alt="{html.escape(name.replace("_", " "))}">'
        f"<figcaption>{caption}<p>Made by <code>{html.escape(command)}</code></p></figcaption>"
        "</figure>"
    )


def folded(title: str, content: str) -> str:
    """A part that opens on a click."""
    return (
        f"<details><summary>{html.escape(title)}</summary>"
        f'<div class="scroll">{content}</div></details>'
    )


def report(
    question: str,
    reading: str,
    answer: str,
    claims: Sequence[dict[str, str]],
    figures: dict[str, list[str]],
    tables: dict[str, pd.DataFrame],
    notes: dict[str, str],
) -> str:
    """The landing page: question, answer, verdicts, map, evidence, tables.

    Args:
        question: introduction, HTML.
        reading: how to read it, HTML.
        answer: in a few words.
        claims: the verdicts; none where a list of one's own was asked about, which has an audit.
        figures: kind of evidence -> figures, made by `figure`; the map comes first.
        tables: by file stem.
        notes: what each table holds, HTML, by the same stem.
    """
    verdicts = [
        [
            text(claim["id"]),
            text(claim["claim"]),
            f'<td class="{claim["verdict"]}">{html.escape(claim["verdict"])}',
        ]
        for claim in claims
    ]
    kinds = [(kind.lower(), kind) for kind in figures]
    first = [("claims", "Claims")] if verdicts else []
    anchors = [*first, *kinds, ("tables", "Tables"), ("reading", "How to read it")]
    parts = [
        f"<h1>{TITLE}</h1>",
        question,
        f'<p class="answer">{html.escape(answer)}</p>',
        "<nav>" + "".join(f'<a href="#{a}">{name}</a>' for a, name in anchors) + "</nav>",
    ]
    if verdicts:
        parts += [
            '<h2 id="claims">The claims of the abstract, judged</h2>',
            sortable(["", "claim", "verdict"], verdicts),
            folded("The numbers that decide, and the rules", claims_table(claims)),
        ]
    else:
        parts.append(
            '<p>Sequence by sequence, and to hand on: <a href="audit.html">the audit</a>.</p>'
        )
    for kind, shown in figures.items():
        parts += [f'<h2 id="{kind.lower()}">{html.escape(kind)}</h2>', *shown]
    parts.append('<h2 id="tables">Tables</h2>')
    for name, table in tables.items():
        title = name.replace("_", " ").capitalize()
        if name == "main":
            content = main_table(table)
        elif name == "gains":
            content = pooled_gains(table)
        elif name == "attack_suite":
            content = plain_table(pooled(table))
        elif len(table) <= MOST_ROWS:
            content = plain_table(table)
        else:
            content = f"<p>{len(table)} rows, not shown here: <code>pages/{name}.html</code></p>"
        parts.append(folded(title, notes[name] + content))
    parts += ['<h2 id="reading">How to read it</h2>', reading]
    return document(TITLE, "\n".join(parts))
