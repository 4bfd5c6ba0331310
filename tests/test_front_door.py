"""What a newcomer reads first, and what runs on GitHub: the files are there, and what they say is true."""

import importlib
import importlib.util
import re
import shlex
import sysconfig
import tomllib
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

import copydesk

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
YAML = [ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml", *sorted(GITHUB.rglob("*.yml"))]
GUIDES = ["CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", ".github/PULL_REQUEST_TEMPLATE.md"]
FILES = [
    "README.md",
    "LICENSE",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "CODE_OF_CONDUCT.md",
    "CITATION.cff",
    ".editorconfig",
    ".pre-commit-config.yaml",
    ".github/PULL_REQUEST_TEMPLATE.md",
    ".github/dependabot.yml",
    *(f".github/workflows/{name}.yml" for name in ("ci", "newest", "docs", "release")),
    *(f".github/ISSUE_TEMPLATE/{name}.yml" for name in ("bug", "feature", "new_method", "config")),
]
FILE_NAME = re.compile(r"(?:[\w.-]+/)*(?:[\w.-]+\.(?:cff|css|html|lock|md|py|toml|ya?ml)|Makefile|LICENSE)")
FOLDER = re.compile(r"(?:[\w.-]+/)+[\w.-]*")


def read(name: str | Path) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def load_toml() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))


def id_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_there(name: str) -> None:
    assert read(name).strip()


@pytest.mark.parametrize("path", YAML, ids=id_of)
def test_yaml_parses(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


# Versions and the changelog


def changelog_releases() -> list[tuple[str, str]]:
    """The version and the date of every release in the changelog, in its order."""
    headings = re.findall(r"^## \[(\d[^\]]*)\] - (\d{4}-\d{2}-\d{2})(?: \(unreleased\))?$", read("CHANGELOG.md"), re.M)
    assert len(headings) == len(re.findall(r"^## (?!\[Unreleased\])", read("CHANGELOG.md"), re.M))
    return headings


def test_the_version_is_the_same_everywhere() -> None:
    version = load_toml()["project"]["version"]
    assert copydesk.__version__ == version, "reinstall: make install"
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version
    assert changelog_releases()[0][0] == version


def test_the_release_has_one_date() -> None:
    assert str(yaml.safe_load(read("CITATION.cff"))["date-released"]) == changelog_releases()[0][1]


def test_releases_are_listed_from_the_newest_to_the_oldest_and_linked() -> None:
    releases = changelog_releases()
    for newer, older in pairwise(releases):
        assert [int(part) for part in newer[0].split(".")] > [int(part) for part in older[0].split(".")]
        assert newer[1] >= older[1]
    for version, _ in releases:
        assert re.search(rf"^\[{re.escape(version)}\]: https://\S+v{re.escape(version)}$", read("CHANGELOG.md"), re.M)


def renamed_paths() -> list[tuple[str, str]]:
    """Old and new import paths of the changelog's tables."""
    rows = re.findall(r"^\| (`copydesk[^|]*) \| `(copydesk[^|`]*)` \|$", read("CHANGELOG.md"), re.M)
    return [(old, new) for olds, new in rows for old in re.findall(r"`([^`]+)`", olds)]


def resolve(path: str) -> Any:
    """The module or the attribute of a module that a dotted path names; raises `AttributeError` for any other."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as exc:
            if exc.name and (name == exc.name or name.startswith(f"{exc.name}.")):
                continue
            raise
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return found
    raise AssertionError(f"there is no {path}")


@pytest.mark.parametrize("path", sorted({new for _, new in renamed_paths()}))
def test_what_was_renamed_is_where_the_changelog_says(path: str) -> None:
    assert resolve(path) is not None


def test_a_path_that_does_not_exist_is_not_resolved() -> None:
    assert len(renamed_paths()) > 20
    with pytest.raises(AttributeError):
        resolve("copydesk.no_such_module.anything")


# The guides


@pytest.mark.parametrize("name", [*GUIDES, "CHANGELOG.md", "experiments/README.md", "examples/README.md"])
def test_relative_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(name)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), f"{name} links to {target}"
        if anchor:
            assert anchor in anchors(page), f"{name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", GUIDES)
def test_paths_in_backticks_exist(name: str) -> None:
    for path in inline_code(read(name)):
        if FILE_NAME.fullmatch(path) or FOLDER.fullmatch(path):
            inside = path if "/" in path or (ROOT / path).exists() else f"src/copydesk/**/{path}"
            assert any(ROOT.glob(inside)), f"{name} names {path}"


def test_the_layout_of_the_readme_exists() -> None:
    for path, _ in layout("README.md", "## What is where"):
        assert path.exists(), f"there is no {path.relative_to(ROOT)}"


def test_the_layout_names_every_package_and_nothing_else() -> None:
    named = dict(layout("CONTRIBUTING.md", "## Layout"))
    for path, comment in named.items():
        assert path.exists(), f"there is no {path.relative_to(ROOT)}"
        for inner in re.findall(r"(?:[\w]+/)+", comment):
            assert (path / inner).is_dir() or (ROOT / inner).is_dir(), f"{path.relative_to(ROOT)} has no {inner}"
    package = ROOT / "src" / "copydesk"
    packages = {path.parent for path in package.glob("*/__init__.py")}
    assert packages <= set(named), f"not in the layout: {sorted(path.name for path in packages - set(named))}"


def layout(page: str, heading: str) -> Iterator[tuple[Path, str]]:
    """Each path of the tree below a heading, with its comment."""
    folder = ROOT
    for line in block_below(page, heading):
        indent, name, comment = re.fullmatch(r"( *)(\S+)(?: {2,}(.*))?", line).groups()  # type: ignore[union-attr]
        if not indent:
            folder = ROOT / name if comment is None else ROOT
        yield (folder / name if indent else ROOT / name), comment or ""


def test_the_import_order_is_that_of_the_contract() -> None:
    contracts = load_toml()["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    expected = [{name.removeprefix("copydesk.") for name in re.split(r"\s*[|:]\s*", layer)} for layer in layers]
    assert [set(line.split(" | ")) for line in block_below("CONTRIBUTING.md", "### Imports point one way")] == expected


def block_below(page: str, heading: str) -> list[str]:
    """The lines of the first fenced block below a heading of a page."""
    _, _, rest = read(page).partition(f"{heading}\n")
    found = re.search(r"^```\w*\n(.*?)^```$", rest, re.M | re.S)
    assert found, f"{page} has no block below {heading!r}"
    return found[1].splitlines()


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


# Make targets


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][\w-]*)\s*:(?!=)", read("Makefile"), re.M))


def named_targets(code: str) -> set[str]:
    """The targets of every `make` in some shell code."""
    found = set()
    for words in re.findall(r"(?:^|[\s;&|(])make((?:[ \t]+[\w./=${}-]+)+)", code, re.M):
        found |= {word for word in words.split() if re.fullmatch(r"[a-z][\w-]*", word)}
    return found


def code_of(page: str) -> str:
    text = read(page)
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```$", text, re.M | re.S)
    return "\n".join([*blocks, *inline_code(text)])


@pytest.mark.parametrize("page", ["README.md", *GUIDES])
def test_every_make_target_on_a_page_is_in_the_makefile(page: str) -> None:
    assert named_targets(code_of(page)) <= make_targets()


def test_make_targets_are_found_in_code() -> None:
    assert named_targets("make test PYTHON=python3.13") == {"test"}
    assert named_targets("cd x && make lint docs\n.venv/bin/cmake-like\nmake -C y bench") == {
        "lint",
        "docs",
        "bench",
        "y",
    }
    assert {"install", "test"} <= named_targets(code_of("CONTRIBUTING.md"))


def load_requirements_script() -> Any:
    spec = importlib.util.spec_from_file_location("list_requirements", ROOT / "scripts" / "list_requirements.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_newest_releases_are_asked_for_with_and_without_upper_bounds() -> None:
    project = {
        "name": "thing",
        "dependencies": ["plain>=1", "bounded>=1.2, <2"],
        "optional-dependencies": {
            "one": ["extra[fast]>=3,<4; sys_platform != 'win32'"],
            "dev": ["thing[one]", "tool"],
        },
    }
    script = load_requirements_script()
    build = set(load_toml()["build-system"]["requires"])
    marker = "; sys_platform != 'win32'"
    assert set(script.list_requirements(project)) - build == {
        "plain>=1",
        "bounded>=1.2, <2",
        f"extra[fast]>=3,<4{marker}",
        "tool",
    }
    assert set(script.list_requirements(project, beyond=True)) - build == {
        "plain>=1",
        "bounded>=1.2",
        f"extra[fast]>=3{marker}",
        "tool",
    }


def test_test_fast_leaves_out_every_slow_marker() -> None:
    recipe = re.search(r"^test-fast:.*\n((?:\t.*\n)+)", read("Makefile"), re.M)
    assert recipe
    [expression] = re.findall(r'-m "([^"]+)"', recipe[1])
    markers = {marker.partition(":")[0] for marker in load_toml()["tool"]["pytest"]["ini_options"]["markers"]}
    assert set(re.findall(r"not (\w+)", expression)) == markers


# Pre-commit


def test_local_hooks_run_the_tools_of_the_environment() -> None:
    tools = Path(sysconfig.get_path("scripts"))
    repos = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert {repo["repo"] for repo in repos} > {"local"}
    for repo in repos:
        if repo["repo"] != "local":
            assert repo["repo"].startswith("https://") and repo["rev"]
            continue
        for hook in repo["hooks"]:
            program = Path(shlex.split(hook["entry"])[0])
            assert program.parent == Path(".venv/bin") and (tools / program.name).exists()
            assert hook["language"] == "system"


def test_hooks_are_the_steps_of_make_lint() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", read("Makefile"), re.M)
    assert recipe
    in_make = {tuple(shlex.split(line)[:2]) for line in re.findall(r"\$\(BIN\)/(.*)", recipe[1])}
    hooks = chain.from_iterable(repo["hooks"] for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"])
    in_hooks = {tuple(shlex.split(hook["entry"].removeprefix(".venv/bin/"))[:2]) for hook in hooks if "entry" in hook}
    assert in_hooks == in_make


# GitHub


def jobs_of(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return jobs


def steps_of(path: Path) -> list[dict[str, Any]]:
    """The steps of a workflow's jobs, or of an action."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    owners = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for owner in owners for step in owner.get("steps", [])]


@pytest.mark.parametrize("path", WORKFLOWS, ids=id_of)
def test_a_workflow_has_few_permissions_and_an_end(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}
    for job in jobs_of(path).values():
        assert "uses" in job or 0 < job["timeout-minutes"] <= 120


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=id_of)
def test_what_a_workflow_uses_is_pinned_or_here(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    called = [job["uses"] for job in document.get("jobs", {}).values() if "uses" in job]
    for used in [*called, *(step["uses"] for step in steps_of(path) if "uses" in step)]:
        if used.startswith("./"):
            assert (ROOT / used).is_file() or (ROOT / used / "action.yml").is_file()
        else:
            assert re.fullmatch(r"[\w-]+/[\w/-]+@(v\d+|release/v\d+)", used)


@pytest.mark.parametrize("path", [*WORKFLOWS, *ACTIONS], ids=id_of)
def test_make_targets_of_a_workflow_are_in_the_makefile(path: Path) -> None:
    for step in steps_of(path):
        assert named_targets(step.get("run", "")) <= make_targets()


def test_each_python_that_is_claimed_is_tested() -> None:
    claimed = {
        found[1]
        for classifier in load_toml()["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", classifier))
    }
    tested = jobs_of(GITHUB / "workflows" / "ci.yml")["test"]["strategy"]["matrix"]["python"]
    assert set(tested) == claimed


def test_only_publishing_can_ask_for_an_identity() -> None:
    jobs = jobs_of(GITHUB / "workflows" / "release.yml")
    assert [name for name, job in jobs.items() if "id-token" in job.get("permissions", {})] == ["publish"]
    assert jobs["publish"]["environment"] == "pypi"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert not any("uses" in step and "checkout" in step["uses"] for step in jobs["publish"]["steps"])


@pytest.mark.parametrize("path", FORMS, ids=id_of)
def test_an_issue_form_can_be_filled_in(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"] and form["description"]
    fields = [one for one in form["body"] if one["type"] != "markdown"]
    names = [one["id"] for one in fields]
    assert len(set(names)) == len(names)
    assert all(one["attributes"]["label"] for one in fields)
    assert any(one.get("validations", {}).get("required") for one in fields)


def test_the_citation_names_the_software_and_the_paper() -> None:
    citation = yaml.safe_load(read("CITATION.cff"))
    project = load_toml()["project"]
    assert citation["title"].lower() == project["name"]
    assert citation["license"] == project["license"]
    assert citation["authors"] == [{"name": "The Copydesk contributors"}]
    [paper] = citation["references"]
    assert "2601.19055" in paper["url"]
    assert [author["family-names"] for author in paper["authors"]] == ["Misra", "Pacchiano", "Chi", "Gao"]
