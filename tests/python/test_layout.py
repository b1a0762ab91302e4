"""Files of the package use each other without circles: an import within a function would only hide one."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import warmstart

PACKAGE = Path(warmstart.__file__).parent


def uses(source: str, modules: set[str]) -> set[str]:
    """The modules of the package that a source imports, at any place and also for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            package, _, module = node.module.partition(".")
            if package == "warmstart":
                found |= {module.partition(".")[0]} if module else {name.name for name in node.names}
        if isinstance(node, ast.Import):
            tops = [name.name.split(".") for name in node.names]
            found |= {"".join(parts[1:2]) or "__init__" for parts in tops if parts[0] == "warmstart"}
    return {name if name in modules else "__init__" for name in found - {"_core"}}


def circle(sources: dict[str, str]) -> list[str]:
    """Modules of which each imports the next, and the last the first; none if there are no such."""
    graph = {name: uses(source, set(sources)) - {name} for name, source in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_files_form_no_circle():
    # Public names of the package are imported on first use: it is above all of them.
    sources = {path.stem: path.read_text() for path in PACKAGE.glob("*.py")}
    assert len(sources) > 40
    assert sum(len(uses(source, set(sources))) for source in sources.values()) > 150
    assert circle(sources) == []


@pytest.mark.parametrize(
    "low",
    [
        "from warmstart.high import High",
        "import warmstart.high",
        "def f():\n    from warmstart import high",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from warmstart.high import High",
        "from warmstart import High",
    ],
)
def test_circle_is_found_wherever_it_is_closed(low):
    sources = {"__init__": "from warmstart.high import High", "high": "from warmstart.low import low", "low": low}
    assert set(circle(sources)) >= {"high", "low"}
    assert circle(sources | {"low": "from warmstart import _core\nimport warmstarting"}) == []
