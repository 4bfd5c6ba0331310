"""Data cannot steer a terminal or forge a line of a log: control characters are escaped wherever they are printed."""

import logging
import sys
from io import StringIO
from pathlib import Path

import pytest
from tests.gateway.attacks.test_commands import fill
from typer.testing import CliRunner

from copydesk.cli import main
from copydesk.cli.app import app
from copydesk.store import EditStore
from copydesk.store.users import assign_group
from copydesk.utils.terminal import EscapingFormatter, escape_control_characters

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x7f\x9b31m\u202eabc\u2028\u2066"
HARMFUL = set(HOSTILE) - set("]0;owned[2J31mabc")


def test_every_control_character_is_escaped() -> None:
    every = [chr(code) for code in [*range(32), *range(127, 160), 0x061C, *range(0x2028, 0x202F), 0xD800, 0xDFFF]]
    for character in every:
        assert escape_control_characters(character).isascii() and (
            escape_control_characters(character).isprintable() or character in "\n\t"
        )
    assert escape_control_characters("é\n\t中🙂") == "é\n\t中🙂"
    assert escape_control_characters("a\nb", one_line=True) == "a\\nb"


@pytest.mark.parametrize("words", [["users"], ["users", "--json"]], ids=" ".join)
def test_names_from_the_store_are_escaped(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    fill("copydesk.db")
    store = EditStore.open("copydesk.db")
    with store.begin_write() as tx:
        assign_group(tx, HOSTILE, [HOSTILE], "default", at=3.0)
    store.close()
    printed = CliRunner().invoke(app, words).stdout
    assert not HARMFUL & set(printed)
    assert "owned" in printed


def test_errors_are_one_line_without_control_characters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["copydesk", "users", "--store", f"{HOSTILE}\nforged\ud800"])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr().err
    assert ended.value.code == 2
    assert printed.count("\n") == 1 and not HARMFUL & set(printed)


def test_a_log_line_cannot_be_forged() -> None:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(EscapingFormatter())
    log = logging.Logger("attacked")
    log.addHandler(handler)
    try:
        raise ValueError(f"{HOSTILE}\nforged in a traceback")
    except ValueError:
        log.exception("%s failed", f"a policy{HOSTILE}\nforged")
    printed = stream.getvalue()
    assert not (HARMFUL - {"\n"}) & set(printed)
    first, *rest = printed.splitlines()
    assert first.startswith("a policy") and first.endswith("\\nforged failed")
    assert all(line.startswith("  ") for line in rest)
