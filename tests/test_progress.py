"""Bars that a log can hold: silent where work is short, one line where bars nest."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"
WORK = """
import time
from unlearning.jobs.progress import progress
for _ in progress(range(3), desc="outer", unit="cell", {options}):
    for _ in progress(range(2), desc="inner", {options}):
        time.sleep(0.01)
"""


def shown(options: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WORK.format(options=options)],
        env={"PYTHONPATH": str(SCRIPTS)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stdout
    return done.stderr


def test_short_work_shows_nothing():
    assert shown("") == ""


def test_long_work_shows_what_is_counted_and_moves_no_cursor():
    text = shown("delay=1e-9, mininterval=0")
    assert "outer: 100%" in text
    assert "3/3" in text
    assert "inner: 100%" in text
    assert "\x1b" not in text


def test_of_several_processes_the_first_speaks():
    assert shown("delay=1e-9, mininterval=0", RANK="1") == ""
    assert shown("delay=1e-9, mininterval=0", RANK="0")
