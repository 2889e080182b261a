"""Which source files a script's result depends on.

Snakemake sees neither an edited library module nor an edited program of a `shell:` command. The
rules therefore list their sources as inputs, and they take the list from here: the files that a
script reaches through `import`, found by reading them, not by running them.
"""

import ast
import functools
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2]


def sources(script: str, modules: tuple[str, ...] = ()) -> list[Path]:
    """All files below scripts/ that `script` imports, directly or not, and the script itself.

    Args:
        script: file name in scripts/, as "unlearn.py".
        modules: dotted names of modules that the script loads by name while running.

    Returns:
        Absolute paths, sorted.
    """
    waiting = [SCRIPTS / script, *(file for name in modules for file in _files(name))]
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += [target for name in _imports(file) for target in _files(name)]
    return sorted(found)


def digests(paths: Iterable[Path], folder: Path | str) -> str:
    """One line for each file: SHA-256 of its content, and its path seen from `folder`."""
    lines = (
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {os.path.relpath(path, folder)}\n"
        for path in paths
    )
    return "".join(lines)


@functools.cache  # most scripts share most of their sources
def _imports(file: Path) -> frozenset[str]:
    """Dotted names that a file imports; `from a import b` counts as a and as a.b."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


def _files(name: str) -> list[Path]:
    """The files that importing a dotted name reads: its packages' and its own; none if foreign."""
    parts = name.split(".")
    candidates = [SCRIPTS.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts))]
    candidates += [
        SCRIPTS.joinpath(*parts, "__init__.py"),
        SCRIPTS.joinpath(*parts).with_suffix(".py"),
    ]
    return [file for file in candidates if file.is_file()]
