"""Why a run failed: of each failed job one line, the last word of its log."""

import re
from pathlib import Path

FAILED = re.compile(
    r"^Error in (?:rule|group) (?P<rule>\S+):$(?P<block>(?:\n[ \t]+.*|\n)*)", re.MULTILINE
)
LOG = re.compile(r"^\s+log: (.+?)(?: \(check log file.*)?$", re.MULTILINE)


def causes(engine_log: str) -> list[str]:
    """One line for each job that failed: what its log ends with, and where the log is.

    A job that was tried several times failed once, for what the last try says.

    Args:
        engine_log: what the workflow engine wrote.
    """
    found: dict[str, str] = {}
    for failure in FAILED.finditer(engine_log):
        for paths in LOG.findall(failure["block"]) or [""]:
            for path in paths.split(", "):
                found[path] = f"{failure['rule']}: {last_word(path)}" + (f" ({path})" * bool(path))
    return list(found.values())


def last_word(path: Path | str) -> str:
    """The line of a job's log that says why it ended."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    if not lines:
        return "ended without a word: killed, or out of memory or time"
    return (errors or lines)[-1]
