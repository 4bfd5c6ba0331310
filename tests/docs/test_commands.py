"""The tutorial and the how-to pages are run as they are, block by block.

A page is one shell: its `sh` blocks run in their order, its `python` blocks between them, in a folder of its own. A
`text` block after one of them is what it prints: its lines must be there in their order, `…` standing for anything and
a line `...` for lines left out. A block below `<!-- not run: why -->` is left to `test_command_lines.py`.
`<!-- fixture: postgres -->` gives the page an empty database, `DATABASE_URL`.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.command_server import command_server
from tests.support.databases import new_database
from tests.support.fences import Fence, fences

pytestmark = pytest.mark.docs_commands

DOCS = Path(__file__).parents[2] / "docs"
RUN = [DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md"))]
SECONDS = 300
PORT = "8040"  # the pages' own; a test listens on one that is free


def runs(block: Fence) -> bool:
    return block.language in ("sh", "python") and not block.note.startswith("not run")


@pytest.fixture(scope="module")
def commands() -> Iterator[Path]:
    """A folder with `copydesk` and `python`, which have loaded what is slow to load."""
    with tempfile.TemporaryDirectory(prefix="cd") as folder, command_server(Path(folder)) as programs:
        yield programs


@pytest.mark.parametrize("page", [page for page in RUN if any(map(runs, fences(page)))], ids=lambda page: page.stem)
def test_a_page_prints_what_it_shows(
    page: Path, tmp_path: Path, commands: Path, request: pytest.FixtureRequest
) -> None:
    blocks = fences(page)
    port = str(free_port())
    outputs = run(blocks, tmp_path, environment(page, tmp_path, commands, request), port)
    last = -1
    for number, block in enumerate(blocks):
        if runs(block):
            last = number
        elif block.language == "text" and not block.note.startswith("not run"):
            missing = first_missing(block.text.replace(PORT, port), outputs[last])
            assert missing is None, f"{page.name}:{block.line}: {missing!r} is not in\n{outputs[last]}"


def environment(page: Path, folder: Path, commands: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of the page's shell: this `copydesk`, a home folder of its own, and no access to the hub."""
    variables = {
        "PATH": os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(folder / "home"),
        "COPYDESK_CACHE": str(folder / "home" / "cache"),
        "COLUMNS": "110",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "HF_HUB_OFFLINE": "1",
        "NO_COLOR": "1",
        "OMP_NUM_THREADS": "1",
    }
    if "<!-- fixture: postgres -->" in page.read_text(encoding="utf-8"):
        variables["DATABASE_URL"] = new_database(request.getfixturevalue("postgres"))
    return os.environ | variables


def run(blocks: list[Fence], folder: Path, environment: dict[str, str], port: str) -> dict[int, str]:
    """Run the blocks in one shell and stop what they left running; what each printed, by its number."""
    work = folder / "work"
    work.mkdir()
    (folder / "home").mkdir()
    script = folder / "page.sh"
    script.write_text("".join(iter_script(blocks, port)), encoding="utf-8")
    log = folder / "page.log"
    with log.open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", str(script)],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=SECONDS)
        finally:
            stop(shell.pid)
    parts = re.split(r"^=== block (\d+)$\n?", log.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    outputs = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    if code:
        failed = max(outputs)
        pytest.fail(f"the block at line {blocks[failed].line} ended with {code}:\n{outputs[failed]}", pytrace=False)
    return outputs


def iter_script(blocks: list[Fence], port: str) -> Iterator[str]:
    for number, block in enumerate(blocks):
        if runs(block):
            text = block.text.replace(PORT, port)
            text = re.sub(r"^copydesk serve\b", f"copydesk serve --port {port}", text, flags=re.MULTILINE)
            yield f"\necho; echo '=== block {number}'\n"
            yield text if block.language == "sh" else f"python - <<'END OF PYTHON'\n{text}END OF PYTHON\n"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def stop(group: int) -> None:
    """End the page's shell and all it started."""
    with contextlib.suppress(ProcessLookupError):  # all of them have ended
        os.killpg(group, signal.SIGKILL)


def first_missing(expected: str, output: str) -> str | None:
    """The first line of an expected output that was not printed after those before it."""
    rest = iter(normalize_lines(output))
    for line in normalize_lines(expected):
        pattern = ".*".join(map(re.escape, line.split("…")))
        if line != "..." and not any(re.fullmatch(pattern, one) for one in rest):
            return line
    return None


def normalize_lines(text: str) -> list[str]:
    """The lines without the blanks and rules that lay out a table; empty ones are left out."""
    lines = (" ".join(re.sub(r"[━─│┃┏┓┗┛┡┩└┘╇┴┳╈┬┼╷╵]+", " ", line).split()) for line in text.splitlines())
    return [line for line in lines if line]


def test_the_check_of_an_output_can_fail() -> None:
    assert first_missing("mean  0.…\n...\nlast\n", "head\nmean 0.25\nmore\nlast\n") is None
    assert first_missing("mean 0.…\n", "mean 1.25\n") == "mean 0.…"
    assert first_missing("last\nmean\n", "mean\nlast\n") == "mean"
