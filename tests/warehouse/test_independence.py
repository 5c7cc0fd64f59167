"""The month and its truth share no code with what they judge."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
#: Of the tests themselves only one starts a real server, by tests.support.
MODULES = sorted(path for path in FOLDER.glob("*.py") if path.name != "test_compare.py")
_OWN = ("streamproc", "schemas", "batch")
_ALLOWED = ("tests.warehouse", "tests.support.truth_check", "tests.oracle.unseal")


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            names.add(node.module or "")
    return names


def test_no_module_names_the_product() -> None:
    """In the text: also imports inside functions count."""
    assert len(MODULES) > 20
    wrong = {
        f"{path.name}: {name}"
        for path in MODULES
        for name in _imports(path)
        if name.split(".")[0] in _OWN or (name.startswith("tests") and not name.startswith(_ALLOWED))
    }
    assert not wrong


def test_nothing_of_the_product_is_loaded() -> None:
    """In the process: also what imports import counts."""
    code = (
        "import sys, tests.warehouse.month, tests.warehouse.compare\n"
        f"print(*[m for m in sys.modules if m.split('.')[0] in {_OWN}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=FOLDER.parents[1], check=True
    )
    assert done.stdout.split() == []
