"""Write the audit of the user's list: a page to hand on, and the same as JSON."""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from unlearning.analysis.audit import AuditJob, Results, audit
from unlearning.analysis.audit_page import audit_json, audit_page
from unlearning.analysis.rows import read_table
from unlearning.jobs.console import run
from unlearning.jobs.digests import weights_of
from unlearning.jobs.files import replacing, write_json
from unlearning.settings import read_settings


def main() -> None:
    """Read the tables and the provenance, digest the weights, write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("sequences", "membership", "runs", "effects"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{name} (parquet)")
    for name in ("thresholds", "per-run", "candidates"):
        parser.add_argument(f"--{name}", type=Path, required=True, help=f"{name} table (CSV)")
    parser.add_argument("--provenance", type=Path, required=True, help="provenance.json")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="model folders")
    parser.add_argument("--settings", required=True, help="JSON, see the class AuditJob")
    parser.add_argument("--page", type=Path, required=True, help="page to write (HTML)")
    parser.add_argument("--document", type=Path, required=True, help="document to write (JSON)")
    arguments = parser.parse_args()
    job = read_settings(arguments.settings, AuditJob)
    tables = {
        name: pd.read_parquet(getattr(arguments, name))
        for name in ("sequences", "membership", "runs", "effects")
    }
    for name in ("thresholds", "per_run", "candidates"):
        tables[name] = read_table(getattr(arguments, name))
    found = audit(
        Results(**tables),
        job,
        {folder.name: weights_of(folder) for folder in arguments.models},
        json.loads(arguments.provenance.read_text(encoding="utf-8")),
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    write_json(audit_json(found), arguments.document)
    with replacing(arguments.page) as scratch:
        scratch.write_text(audit_page(found), encoding="utf-8")


if __name__ == "__main__":
    run(main)
