"""The site builds without a warning, fetches nothing from other hosts, and its reference is complete."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer

from copydesk.cli.app import app
from copydesk.data.record import EditRecord
from copydesk.training.policy_file import PolicyFile

pytestmark = pytest.mark.slow

pytest.importorskip("mkdocs", reason="the site needs MkDocs: pip install 'copydesk[docs]'")

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "copydesk"
PACKAGES = sorted(str(path.parent.relative_to(SOURCE)).replace("/", ".") for path in SOURCE.glob("*/**/__init__.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={"PATH": "", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class FetchedAddresses(HTMLParser):
    """The addresses a browser fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        fetches = tag in ("script", "img", "iframe", "source") or (tag == "link" and values.get("rel") != "canonical")
        if fetches:
            self.addresses += [value for name in ("src", "href") if (value := values.get(name))]


def test_a_page_fetches_nothing_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        found = FetchedAddresses()
        found.feed(page.read_text(encoding="utf-8"))
        assert found.addresses
        assert not [address for address in found.addresses if re.match(r"(https?:)?//", address)], page


def test_every_command_and_every_option_is_described(site: Path) -> None:
    for name, command in typer.main.get_command(app).commands.items():
        page = (site / "reference" / "cli" / name / "index.html").read_text(encoding="utf-8")
        for title, one in tree(command, f"copydesk {name}"):
            assert f"{title}<a" in page
            for param in one.params:
                words = param.opts if param.param_type_name == "option" else [param.metavar or param.name.upper()]
                for word in words:
                    assert f"<code>{word}</code>" in page


def tree(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    yield name, command
    for inner, one in getattr(command, "commands", {}).items():
        yield from tree(one, f"{name} {inner}")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_of_a_package_is_described(site: Path, package: str) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (site / "reference" / "python").rglob("*.html"))
    described = set(re.findall(r'id="(copydesk\.[\w.]+)"', pages))
    missing = {name for name in exported(package) if f"copydesk.{package}.{name}" not in described}
    assert not missing


def test_every_public_name_of_copydesk_is_listed_and_described(site: Path) -> None:
    page = site / "reference" / "python" / "index.html"
    listed = re.findall(r'href="([^"#]*)#(copydesk[\w.]+)"[^>]*><code>(\w+)</code>', page.read_text(encoding="utf-8"))
    assert sorted(name for _, _, name in listed) == sorted(set(exported("")) - {"__version__"})
    for place, anchor, name in listed:
        assert anchor.endswith(f".{name}")
        assert f'id="{anchor}"' in (page.parent / place / "index.html").read_text(encoding="utf-8")


def exported(package: str) -> list[str]:
    """What a package's `__all__` lists, read without importing it."""
    source = (SOURCE / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"copydesk.{package} has no __all__")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_of_the_code_has_a_line_for_every_package(package: str) -> None:
    page = (ROOT / "docs" / "reference" / "code.md").read_text(encoding="utf-8")
    assert f"`{package.replace('.', '/')}/`" in page


@pytest.mark.parametrize("model", [EditRecord, PolicyFile])
def test_the_page_of_the_files_names_every_field(model: Any) -> None:
    page = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    for field in model.model_fields:
        assert f"`{field}`" in page
