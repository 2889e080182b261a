"""Render the report (one HTML file, opens anywhere, offline) and a page for each table."""

import argparse
import json
from pathlib import Path

from unlearning.analysis import pages
from unlearning.analysis.rows import read_table
from unlearning.analysis.solution_space import summary
from unlearning.jobs.console import run
from unlearning.jobs.files import replacing
from unlearning.settings import read_settings, settings_class


@settings_class
class Settings:
    """What the report shows."""

    kinds: dict[str, str]
    """Figure -> the kind of evidence it is."""

    audited: bool = False
    """Whether an audit stands beside it, of a list of the user's own: it takes the place of the
    paper's claims, which are not the user's question."""

    command: str = "snakemake"
    """What makes a result when its path is added."""


def main() -> None:
    """Read tables, claims, figures and captions; write the pages and the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="tables (CSV)")
    parser.add_argument("--claims", type=Path, required=True, help="claims.json")
    parser.add_argument("--figures", type=Path, nargs="+", required=True, help="figures (SVG)")
    parser.add_argument("--captions", type=Path, required=True, help="folder of captions (rst)")
    parser.add_argument("--settings", required=True, help="JSON, see the class Settings")
    parser.add_argument("--pages", type=Path, required=True, help="folder of the tables' pages")
    parser.add_argument("--report", type=Path, required=True, help="the report to write")
    arguments = parser.parse_args()
    settings = read_settings(arguments.settings, Settings)
    tables = {path.stem: read_table(path) for path in arguments.tables}
    claims = json.loads(arguments.claims.read_text(encoding="utf-8"))

    def caption(name: str) -> str:
        return pages.prose((arguments.captions / f"{name}.rst").read_text(encoding="utf-8"))

    for name, table in tables.items():
        title = name.replace("_", " ").capitalize()
        if name == "main":
            content = pages.page("Main table", pages.AVERAGED, pages.main_table(table))
        elif name == "gains":
            content = pages.page(title, pages.FEWER, pages.plain_table(pages.chosen_gains(table)))
        elif name == "attack_suite":
            content = pages.page(title, pages.POOLED, pages.plain_table(pages.pooled(table)))
        else:
            content = pages.page(title, pages.SORTABLE, pages.plain_table(table))
        write(content, arguments.pages / f"{name}.html")
    verdicts = pages.page("Claims of the abstract", pages.JUDGED, pages.claims_table(claims))
    write(verdicts, arguments.pages / "claims.html")

    figures: dict[str, list[str]] = {}
    for path in arguments.figures:
        command = f"{settings.command} {path}"
        shown = pages.figure(path.stem, path.read_bytes(), caption(path.stem), command)
        figures.setdefault(settings.kinds[path.stem], []).append(shown)
    notes = {name: caption(f"table_{name}") for name in tables}
    answer = summary(tables["solution_space"])
    judged = [] if settings.audited else claims
    content = pages.report(
        caption("question"), caption("workflow"), answer, judged, figures, tables, notes
    )
    write(content, arguments.report)


def write(content: str, path: Path) -> None:
    """Write a page whole."""
    with replacing(path) as scratch:
        scratch.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    run(main)
