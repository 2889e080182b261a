"""Tables and verdicts as HTML pages for the report: self-contained, sortable, no network."""

import html
from collections.abc import Sequence

import pandas as pd

from unlearning.metrics import METRICS, method_name

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5em; color: #222; }
h1 { font-size: 1.3em; } p { max-width: 60em; }
table { border-collapse: collapse; }
th { position: sticky; top: 0; background: #f3f3f3; text-align: left; cursor: pointer; }
th, td { padding: .3em .7em; border-bottom: 1px solid #ddd; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td small { color: #777; }
.supported { color: #00695c; font-weight: 600; } .refuted { color: #b71c1c; font-weight: 600; }
.undecided { color: #6d5600; font-weight: 600; }
"""

SORT = """
for (const head of document.querySelectorAll("th")) head.onclick = () => {
  const body = head.closest("table").tBodies[0], column = head.cellIndex;
  const up = head.dataset.up = head.dataset.up === "1" ? "" : "1";
  const key = row => row.cells[column].textContent;
  const order = (a, b) => {
    const [x, y] = [key(a), key(b)], [p, q] = [parseFloat(x), parseFloat(y)];
    return isNaN(p) || isNaN(q) ? x.localeCompare(y) : p - q;
  };
  const rows = [...body.rows].sort(order);
  body.append(...(up ? rows : rows.reverse()));
};
"""


def page(title: str, note: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One page with one table; cells are HTML, a click on a column's name sorts by it."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title><style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
        f"<p>{html.escape(note)}</p><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n"
        f"</tbody></table><script>{SORT}</script></body></html>\n"
    )


def text(value: object) -> str:
    """A cell of text."""
    return f"<td>{html.escape(str(value))}</td>"


def number(value: float, suffix: str = "") -> str:
    """A cell with a number of at most four significant digits; NaN is a dash."""
    if pd.isna(value):
        return '<td class="number">–</td>'
    return f'<td class="number">{value:.4g}{suffix}</td>'


def interval(row: pd.Series) -> str:
    """A cell with a mean, its interval in small print and n."""
    bounds = ""
    if not pd.isna(row[["low", "high"]].astype(float)).any():
        bounds = f" <small>[{row['low']:.3g}, {row['high']:.3g}]</small>"
    return number(row["mean"], f"{bounds} <small>n={row['n']:g}</small>")


def plain_page(title: str, note: str, table: pd.DataFrame) -> str:
    """A page that shows a table as it is."""
    numeric = [pd.api.types.is_numeric_dtype(table[column]) for column in table]
    rows = [
        [number(v) if is_number else text(v) for v, is_number in zip(row, numeric, strict=True)]
        for row in table.itertuples(index=False)
    ]
    return page(title, note, list(table.columns), rows)


def main_page(title: str, note: str, table: pd.DataFrame, metrics: Sequence[str]) -> str:
    """The main table with one line per model, forget size and method, metrics side by side."""
    shown = [metric for metric in metrics if metric in set(table["metric"])]
    rows = []
    for (model, size, label), part in table.groupby(
        ["model", "forget_size", "unlearner"], sort=False
    ):
        cells = part.set_index("metric")
        values = [
            interval(cells.loc[metric]) if metric in cells.index else number(float("nan"))
            for metric in shown
        ]
        rows.append([text(model), number(size), text(method_name(label)), *values])
    labels = [METRICS[metric].label for metric in shown]
    return page(title, note, ["model", "forget size", "method", *labels], rows)


def claims_page(title: str, note: str, claims: Sequence[dict[str, str]]) -> str:
    """The verdicts, each with the numbers that decide it and its rule."""
    rows = [
        [
            text(claim["id"]),
            text(claim["claim"]),
            f'<td class="{claim["verdict"]}">{html.escape(claim["verdict"])}</td>',
            f"<td>{html.escape(claim['evidence']).replace('; ', '<br>')}</td>",
            text(claim["rule"]),
        ]
        for claim in claims
    ]
    return page(title, note, ["", "claim", "verdict", "evidence", "rule"], rows)
