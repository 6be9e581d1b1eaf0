"""Write every import of the project into one file, for pyright: `python tests/imports.py FILE`.

Over the project itself pyright infers types for two minutes to say whether imports resolve.
"""

import ast
import sys
from pathlib import Path

PARTS = ("harness", "models", "tasks", "results", "reports", "probes", "tests")


def imported(path):
    """Modules that it imports anywhere, without those beside it and those that mypy ignores."""
    text, found = path.read_text(), set()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if "# type: ignore[import" not in text.splitlines()[node.lineno - 1]:
            alone = isinstance(node, ast.Import)
            found |= {alias.name for alias in node.names} if alone else {node.module}
    return {name for name in found if not (path.parent / f"{name}.py").exists()}


if __name__ == "__main__":
    root = Path(__file__).parent.parent
    found = set().union(*(imported(p) for part in PARTS for p in (root / part).rglob("*.py")))
    Path(sys.argv[1]).write_text("".join(f"import {name}\n" for name in sorted(found)))
