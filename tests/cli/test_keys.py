"""`copydesk keys`: what follows from revoking the last key, and keys that can edit nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from copydesk.cli.app import app as cli
from copydesk.errors import InputError
from copydesk.store import EditStore
from copydesk.store.api_keys import create_key


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EditStore]:
    opened = EditStore.open(str(tmp_path / "copydesk.db"))
    yield opened
    opened.close()


def make_key(store: EditStore, **options) -> tuple[str, str]:
    """The id and the text of a new key."""
    with store.begin_write() as tx:
        key, text = create_key(tx.connection, "k", **options)
    return key.id, text


def command(*words: str) -> str:
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_revoking_the_last_key_is_asked_about(store: EditStore, tmp_path) -> None:
    where = ("--store", str(tmp_path / "copydesk.db"))
    assert "never been a key" in command("keys", "list", *where)
    admin, plain = make_key(store)[0], make_key(store, scopes=["read"])[0]
    elsewhere = make_key(store, tenant="other")[0]
    with pytest.raises(InputError, match="of tenant default with the scope admin"):
        command("keys", "revoke", admin, *where)
    command("keys", "revoke", elsewhere, *where, "--yes")
    with pytest.raises(InputError, match=r"last active key with the scope admin.*--yes"):
        command("keys", "revoke", admin, *where)
    command("keys", "revoke", admin, *where, "--yes")
    with pytest.raises(InputError, match=r"last active key; .*does not open the gateway.*--yes"):
        command("keys", "revoke", plain, *where)
    assert "No key is active" not in command("keys", "list", *where)
    command("keys", "revoke", plain, *where, "--yes")
    assert "No key is active: the gateway refuses all requests" in command("keys", "list", *where)


def test_a_key_that_can_edit_nothing_says_so(tmp_path) -> None:
    where = ("--store", str(tmp_path / "copydesk.db"))
    printed = " ".join(command("keys", "create", "--name", "page", "--scope", "edit", *where).split())
    assert "cannot edit any answer yet" in printed
    assert "--answers-of" in printed
    assert "cannot edit" not in command("keys", "create", "--name", "a", "--scope", "edit", "--user", "ann", *where)


def test_a_mistyped_key_is_not_repeated(store: EditStore, tmp_path) -> None:
    text = make_key(store)[1]
    with pytest.raises(InputError) as refused:
        command("keys", "revoke", text[:-1], "--store", str(tmp_path / "copydesk.db"))
    assert text[16:-1] not in str(refused.value)
