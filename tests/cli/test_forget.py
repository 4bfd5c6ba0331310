"""`copydesk forget`: what it erases, lists, asks and checks, and that a running gateway notices."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from sqlalchemy import update
from tests.support.commands import error_of
from tests.support.gateways import Scripted, app_of, ask, running, until
from typer.testing import CliRunner, Result

from copydesk.cli.ensemble import ensemble_app
from copydesk.cli.forget import forget_command
from copydesk.cli.users import users_app
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.gateway import state
from copydesk.model_registry import cache_folder
from copydesk.store import EditStore, read_edits, tables
from copydesk.store.imports import ImportedRow, append_imported_rows, compute_content_digest
from copydesk.store.write import append_arm_change
from copydesk.training.policy_file import BaseModelRef, HashedUsers, PolicyFile, TrainingData


def run(*words: str, stdin: str | None = None) -> Result:
    app = typer.Typer()
    app.command("forget")(forget_command)
    app.add_typer(ensemble_app, name="ensemble")
    app.add_typer(users_app, name="users")
    return CliRunner().invoke(app, list(words), input=stdin)


def said(*words: str) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def forgotten(*words: str) -> dict[str, Any]:
    return said("forget", *words)


def forget_error(*words: str) -> str:
    return error_of(run("forget", *words))


def write_policy(folder: Path, people: HashedUsers | None) -> Path:
    folder.mkdir(parents=True)
    data = TrainingData(
        sha256="cd", rows=3, edited=2, pending=1, held_out=1, cut_contexts=0, cut_answers=0, people=people
    )
    base = BaseModelRef(spec="embedded", kind="embedded", revision=None, weights_sha256=None, parameters=1)
    PolicyFile(
        name=folder.name, method="sft", base=base, data=data, settings={}, before={}, after={}, history=[]
    ).write(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Three rows of ann's, one of them another tenant's, one of bob's; policies in their folder, and an arm."""
    monkeypatch.chdir(tmp_path)
    opened = EditStore.open("copydesk.db")
    with opened.begin_write() as tx:
        for tenant, names in (("default", ["ann", "ann", "bob"]), ("acme", ["ann"])):
            records = [
                EditRecord(id=f"{tenant}-{i}", context="c", response=f"{name} {i}", edit="e" if i else None, user=name)
                for i, name in enumerate(names)
            ]
            rows = [
                ImportedRow(one, compute_content_digest(one, tenant), None if one.edit is None else 0.5)
                for one in records
            ]
            append_imported_rows(tx, rows, "m", tenant, since=0, at=0.0)
        served = write_policy(tmp_path / "elsewhere" / "served", HashedUsers.from_names(["ann"], "s"))
        append_arm_change(tx, "served", "add", str(served), at=0.0)
    opened.close()
    write_policy(tmp_path / "policies" / "sft-1", HashedUsers.from_names(["ann", "bob"], "s"))
    write_policy(tmp_path / "policies" / "dpo-1", HashedUsers.from_names(["bob"], "s"))
    write_policy(tmp_path / "policies" / "older", None)
    return "copydesk.db"


def left(store: str) -> list[str]:
    opened = EditStore.open(store)
    with opened.begin_read() as connection:
        found = [one.record.id for one in read_edits(connection, pending=True)]
    opened.close()
    return found


EVERYTHING = ["default-0", "default-1", "default-2", "acme-0"]


def test_everything_of_a_person_goes_and_is_told(store: str) -> None:
    references = cache_folder() / "references"
    references.mkdir(parents=True)
    (references / "a.safetensors").touch()
    document = forgotten("--user", "ann")
    assert document["erased"] == {"completions": 3, "edits": 1}
    assert document["caches"] == 1
    assert {one["name"]: one["certain"] for one in document["policies"]} == {
        "sft-1": True, "served": True, "older": False,
    }  # fmt: skip
    (entry,) = document["entries"]
    assert entry["erased"] == document["erased"]
    assert entry["policies"] == ["served", "sft-1"]
    assert left(store) == ["default-2"]
    assert not list(references.iterdir())
    assert not any(b"ann 1" in file.read_bytes() for file in Path().glob("copydesk.db*"))
    assert [one["user"] for one in said("users")["users"]] == ["bob"]


def test_what_was_erased_is_shown(store: str) -> None:
    shown = run("forget", "--user", "ann", "--store", store).stdout
    for words in ("3 completions, 1 edit", "sft-1", "served", "possibly:", "copydesk policies retire"):
        assert words in " ".join(shown.split())
    assert "dpo-1" not in shown


def test_one_tenants_user_alone(store: str) -> None:
    assert forgotten("--user", "ann", "--tenant", "acme")["erased"] == {"completions": 1}
    assert left(store) == EVERYTHING[:3]
    assert forgotten("--user", "ann", "--tenant", "acme", "--check")["entries"] == 1
    assert "holds 2 completions" in forget_error("--user", "ann", "--tenant", "default", "--check")


def test_policies_are_looked_for_where_it_is_said(store: str, tmp_path: Path) -> None:
    write_policy(tmp_path / "more" / "late", HashedUsers.from_names(["ann"], "s"))
    found = forgotten("--user", "ann", "--policies", "more", "--dry-run")["policies"]
    assert [one["name"] for one in found] == ["served", "late"]
    assert "--policies missing: there is no such folder" in forget_error("--user", "ann", "--policies", "missing")
    assert left(store) == EVERYTHING


def test_a_dry_run_erases_nothing(store: str) -> None:
    document = forgotten("--user", "ann", "--dry-run")
    assert document["there"] == {"completions": 3, "edits": 1}
    assert {one["name"] for one in document["policies"]} == {"sft-1", "served", "older"}
    shown = run("forget", "--user", "ann", "--dry-run").stdout
    assert "copydesk.db holds 3 completions, 1 edit of 'ann'. Nothing was erased." in " ".join(shown.split())
    assert left(store) == EVERYTHING
    assert forgotten("--check")["entries"] == 0


def test_it_can_be_checked(store: str) -> None:
    assert "holds 3 completions" in forget_error("--user", "ann", "--check")
    forgotten("--user", "ann")
    forgotten("--user", "bob")
    assert forgotten("--check") == {"store": document_name(store), "entries": 2, "forgotten": []}
    (entry,) = forgotten("--user", "ann", "--check")["forgotten"]
    assert entry["erased"] == {"completions": 3, "edits": 1}
    shown = " ".join(run("forget", "--user", "ann", "--check").stdout.split())
    assert "forgotten users: 2, all seals valid. Nothing of 'ann' is in" in shown
    assert "does not say that they were ever forgotten" in forget_error("--user", "zoe", "--check")
    opened = EditStore.open(store)
    with opened.begin_write() as tx:
        tx.connection.execute(update(tables.forgettings).values(policies="[]"))
    opened.close()
    for words in (["--check"], ["--user", "ann", "--check"]):
        assert "entry 1 of forgotten users" in forget_error(*words)


def document_name(store: str) -> str:
    opened = EditStore.open(store)
    opened.close()
    return opened.name


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "--user: name the user to forget"),
        (["--user", "zoe"], "--user zoe: nothing in sqlite:///copydesk.db is theirs"),
        (["--user", "ann", "--store", "missing.db"], "missing.db: there is no such file"),
        (["--check", "--store", "missing.db"], "missing.db: there is no such file"),
    ],
)
def test_wrong_arguments(store: str, words: list[str], says: str) -> None:
    assert says in forget_error(*words)
    assert left(store) == EVERYTHING
    assert not Path("missing.db").exists()


def test_on_a_terminal_it_asks_first(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("copydesk.cli.forget.sys", type("", (), {"stdin": Terminal()}))
    refused = run("forget", "--user", "ann", stdin="n\n")
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception) == "nothing was erased"
    assert "Erase 3 completions, 1 edit of 'ann' from sqlite:///copydesk.db?" in refused.stderr
    assert left(store) == EVERYTHING
    assert run("forget", "--user", "ann", stdin="y\n").exit_code == 0
    assert left(store) == ["default-2"]
    asked = run("forget", "--user", "bob", "--yes", stdin="")
    assert (asked.exit_code, asked.stderr) == (0, "")
    assert left(store) == []


def test_a_running_gateway_forgets_too(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its statistics are those of the log at once; soon after, nothing it remembers is of the person."""
    monkeypatch.setattr(state, "_SYNC_INTERVAL", 0.05)
    made = app_of(EditStore.open("served.db"), Scripted("a"), Scripted("b"))
    with running(made) as url, httpx.Client(base_url=url, timeout=30) as client:
        late = ""
        for user in ("ann", "bob", "ann", "cy", "ann", "bob"):
            reply = ask(client, user=user).json()
            late = reply["id"] if user == "ann" else late
            assert late in made.state.gateway._recent_completions
            edit = {"completion_id": reply["id"], "edit": f"{user} wrote"}
            assert client.post("/v1/edits", json=edit).status_code == 200
        document = forgotten("--user", "ann", "--store", "served.db")
        assert document["erased"] == {"completions": 3, "edits": 3, "choices": 3}
        until(lambda: late not in made.state.gateway._recent_completions)
        assert client.post("/v1/edits", json={"completion_id": late, "edit": "again"}).status_code == 404
        arms = client.get("/v1/ensemble").json()["arms"]
        assert sum(arm["observed"] for arm in arms) == 3
        checked = said("ensemble", "verify", "--store", "served.db", "--url", url)
        assert checked["live"] is True
        assert ask(client, user="bob").status_code == 200
        assert said("ensemble", "verify", "--store", "served.db", "--url", url)["live"] is True
    assert forgotten("--user", "ann", "--store", "served.db", "--check")["entries"] == 1
