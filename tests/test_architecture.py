"""The library is built in wings: each imports only from those that stand before it."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "scripts/unlearning"
WINGS = (
    "jobs",
    "names",
    "limits",
    "statistics",
    "settings",
    "models",
    "memorization",
    "unlearners",
    "evaluation",
    "data",
    "attacks",
    "analysis",
    "figures",
    "configuration",
)
"""From the ground up."""


def wing_of(module: str) -> str:
    """The wing of a dotted name below `unlearning`."""
    return module.split(".")[1]


def arrows(library: Path) -> list[tuple[str, str]]:
    """Who imports whom, as dotted names: every import of every file, in functions too."""
    found = []
    for file in sorted(library.rglob("*.py")):
        path = file.relative_to(library.parent).with_suffix("")
        importer = ".".join(path.parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "unlearning":
                names = [f"unlearning.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            found += [(importer, name) for name in names if name.startswith("unlearning.")]
    return found


def upward(library: Path) -> list[str]:
    """Arrows that run up, naming both files."""
    return [
        f"{importer} imports {imported}"
        for importer, imported in arrows(library)
        if WINGS.index(wing_of(imported)) > WINGS.index(wing_of(importer))
    ]


def test_no_wing_imports_from_a_later_one():
    assert upward(LIBRARY) == []


def test_every_room_stands_in_a_wing():
    rooms = {path.stem for path in LIBRARY.iterdir() if not path.name.startswith("__")}
    assert rooms == set(WINGS)


@pytest.mark.parametrize("line", ["from unlearning import figures", "import unlearning.figures"])
def test_an_arrow_that_runs_up_is_found_and_named(tmp_path, line):
    (tmp_path / "unlearning/jobs").mkdir(parents=True)
    (tmp_path / "unlearning/jobs/late.py").write_text(f"def f():\n    {line}\n")
    found = upward(tmp_path / "unlearning")
    assert found == ["unlearning.jobs.late imports unlearning.figures"]


def test_the_architecture_page_lists_the_wings_in_this_order():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", text, flags=re.MULTILINE)
    assert tuple(listed) == WINGS
