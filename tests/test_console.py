"""What every entry point does before its work."""

import platform
import subprocess
import sys

import pytest

from running import ROOT

FAULTS = """
import resource, sys
from unlearning.jobs.console import run

def blocks():
    for _ in range(50):
        bytearray(32 << 20)  # 8,192 pages

count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
blocks_only = sys.argv[1] == "without"
before = count()
blocks() if blocks_only else run(blocks)
print(count() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators have no such limit")
def test_memory_that_was_freed_is_used_again():
    def pages(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", FAULTS, how],
            cwd=ROOT / "scripts",
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    assert pages("without") > 5 * pages("with")
