"""The shape of the package: sizes of files, unique names, no import circles."""

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
LONGEST = 450
"""Lines of a file, at most."""


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted((SOURCE / "copydesk").rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def imports(module: str) -> set[str]:
    """The modules of the package that this one imports, at any depth of its code."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules() else node.module)
    return found & set(modules()) - {module}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected groups of more than one module (Tarjan)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for other in graph[module]:
            if other not in index:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], index[other])
        if lowest[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in graph:
        if module not in index:
            visit(module)
    return found


@pytest.mark.slow
def test_no_modules_import_each_other() -> None:
    packages = {name for name, path in modules().items() if path.name == "__init__.py"}
    # A package's __init__ gathers the names of its modules; what it gathers does not import it for that.
    graph = {module: set() if module in packages else imports(module) for module in modules()}
    assert circles(graph) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_file_is_too_long_to_read() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_a_public_name_stands_for_one_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules():
        if ".migrations." not in module:  # each has an `upgrade`, as Alembic asks
            for node in tree(module).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                    "_"
                ):
                    places[node.name].append(module)
    assert places
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_every_package_says_what_is_public() -> None:
    silent = []
    for module, path in modules().items():
        if path.name == "__init__.py":
            assigned = [node.targets[0] for node in tree(module).body if isinstance(node, ast.Assign)]
            assigned += [node.target for node in tree(module).body if isinstance(node, ast.AnnAssign)]
            if "__all__" not in [target.id for target in assigned if isinstance(target, ast.Name)]:
                silent.append(module)
    assert silent == []
