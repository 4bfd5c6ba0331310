"""`copydesk users`, and what commands say that are asked about users and groups."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.support.commands import error_of
from tests.support.gateways import Opens, Scripted, app_of, running
from typer.testing import CliRunner, Result

from copydesk.cli._shared import load_records
from copydesk.cli.evaluate import evaluate_command
from copydesk.cli.policies import policies_app
from copydesk.cli.users import users_app
from copydesk.errors import InputError
from copydesk.store import EditStore, write
from copydesk.store.write import StoredCompletion


def run(*words: str) -> Result:
    app = typer.Typer()
    app.add_typer(users_app, name="users")
    app.add_typer(policies_app, name="policies")
    app.command("evaluate")(evaluate_command)
    return CliRunner().invoke(app, list(words))


def said(*words: str) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Two edits of ann's, one of bob's that costs more than is averaged with, and an answer bob has not edited."""
    opened = EditStore.open(str(tmp_path / "copydesk.db"))
    with opened.begin_write() as tx:
        write.append_config(tx, {"metric": "m"}, at=0.0)
        for number, (user, cost) in enumerate([("ann", 0.25), ("ann", 0.75), ("bob", 0.5), ("bob", None)]):
            name, asked = f"c{number}", [{"role": "user", "content": "x"}]
            write.append_completion(
                tx, StoredCompletion(name, 1e9, "default", user, "a", "a", 1.0, None, asked, {}, "y", "stop", None)
            )
            if cost is not None:
                metric = "m" if user == "ann" else "another"
                write.append_edit(tx, f"e{number}", name, "[z]", cost, metric, at=1e9 + 60)
    opened.close()
    return str(tmp_path / "copydesk.db")


def test_users_are_listed(store: str) -> None:
    document = said("users", "--store", store)
    ann, bob = document["users"]
    assert document["metric"] == "m"
    assert ann == {
        "tenant": "default", "user": "ann", "group": None, "completions": 2, "edits": 2, "pending": 0,
        "mean_cost": 0.5, "otherwise": 0, "last_seen": "2001-09-09T01:47:40+00:00", "arms": [],
    }  # fmt: skip
    assert (bob["edits"], bob["pending"], bob["mean_cost"], bob["otherwise"]) == (1, 1, None, 1)
    shown = run("users", "--store", store).output
    assert "0.500" in shown
    assert "1 edits have costs of another metric" in shown
    assert said("users", "--store", store, "--tenant", "acme")["users"] == []


def test_users_are_put_in_groups_and_taken_out(store: str) -> None:
    done = said("users", "group", "sales", "ann", "carl", "--store", store)
    assert done == {"group": "sales", "tenant": "default", "users": ["ann", "carl"], "changed": ["ann", "carl"]}
    assert said("users", "group", "sales", "ann", "--store", store)["changed"] == []
    found = {one["user"]: one["group"] for one in said("users", "--store", store)["users"]}
    assert found == {"ann": "sales", "bob": None, "carl": "sales"}
    assert said("users", "group", "--none", "ann", "--store", store)["changed"] == ["ann"]
    found = {one["user"]: one["group"] for one in said("users", "--store", store)["users"]}
    assert found == {"ann": None, "bob": None, "carl": "sales"}


def test_options_before_the_sub_command_count_for_it(store: str) -> None:
    done = said("users", "--store", store, "--tenant", "acme", "group", "sales", "ann")
    assert done["tenant"] == "acme"
    (ann,) = said("users", "--store", store, "--tenant", "acme")["users"]
    assert (ann["group"], ann["last_seen"]) == ("sales", None)


def test_a_group_needs_users(store: str) -> None:
    assert "name the users too" in error_of(run("users", "group", "sales", "--store", store))
    assert "no such file" in error_of(run("users", "--store", f"{store}.not"))


def test_the_edits_of_a_group_are_collected(store: str, tmp_path: Path) -> None:
    said("users", "group", "sales", "ann", "--store", store)
    records, _ = load_records(None, store, None, None, None, "sales")
    assert [record.id for record in records] == ["c0", "c1"]
    log = tmp_path / "log.jsonl"
    log.write_text('{"context": "a", "response": "b", "edit": "c"}\n')
    with pytest.raises(InputError, match=r"--group sales: it chooses rows of a store"):
        load_records(log, None, None, None, None, "sales")


def test_where_nothing_is_found_it_is_said_what_there_is(store: str) -> None:
    cases: list[tuple[dict[str, str], str]] = [
        ({"user": "zoe"}, r"no such edits of user 'zoe'; there are edits of 'ann' \(2\), 'bob' \(1\); see"),
        ({"user": "ann", "tenant": "x"}, r"of user 'ann' of tenant 'x'; there are none of anybody who is named; see"),
        ({"group": "sales"}, r"of group 'sales'; nobody is in a group yet; see"),
    ]
    for asked, words in cases:
        with pytest.raises(InputError, match=words):
            load_records(None, store, None, asked.get("user"), asked.get("tenant"), asked.get("group"))
    said("users", "group", "sales", "bob", "carl", "--store", store)
    error = error_of(run("evaluate", "--policy", "a", "--store", store, "--group", "support"))
    assert "of group 'support'; its groups are 'sales' (2); see `copydesk users`" in error
    assert "there are edits of" in error_of(run("evaluate", "--policy", "a", "--store", store, "--user", "zoe"))


def test_policies_for_some_are_added_and_listed(tmp_path: Path) -> None:
    opened = EditStore.open(str(tmp_path / "served.db"))
    shared = Scripted("shared")
    with running(app_of(opened, shared, opener=Opens(shared))) as url:
        said("policies", "add", "ann-1=script:ann-1", "--for", "ann", "--url", url)
        said("policies", "add", "sales-1=script:sales-1", "--for-group", "sales", "--url", url)
        audiences = {arm["name"]: arm["audience"] for arm in said("policies", "list", "--url", url)["arms"]}
        assert audiences == {
            "shared": None,
            "ann-1": {"tenant": "default", "user": "ann"},
            "sales-1": {"tenant": "default", "group": "sales"},
        }
        shown = run("policies", "list", "--url", url).output
        assert "everyone" in shown
        assert "group sales" in shown
        offered = said("policies", "list", "--user", "ann", "--url", url)["arms"]
        assert {arm["name"] for arm in offered} == {"shared", "ann-1"}
        error = error_of(run("policies", "add", "x=script:x", "--for", "ann", "--for-group", "sales", "--url", url))
        assert "one user or for one group" in error
    opened.close()
