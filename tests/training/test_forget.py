"""Forgetting a person altogether: the store, the caches, and the policies that learned from them."""

from pathlib import Path

import pytest

from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.model_registry import cache_folder
from copydesk.store import EditStore, read_edits
from copydesk.store.imports import ImportedRow, append_imported_rows, compute_content_digest
from copydesk.store.write import append_arm_change
from copydesk.training.forget import check_forgotten, clear_reference_cache, find_affected_policies, forget_person
from copydesk.training.policy_file import BaseModelRef, HashedUsers, PolicyFile, TrainingData


def write_policy(folder: Path, people: HashedUsers | None) -> Path:
    folder.mkdir(parents=True)
    data = TrainingData(
        sha256="cd", rows=3, edited=2, pending=1, held_out=1, cut_contexts=0, cut_answers=0, people=people
    )
    base = BaseModelRef(spec="embedded", kind="embedded", revision=None, weights_sha256=None, parameters=1)
    made = PolicyFile(
        name=folder.name, method="sft", base=base, data=data, settings={}, before={}, after={}, history=[]
    )
    made.write(folder)
    return folder


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """One that learned from ann, one that did not, one that does not say."""
    folder = tmp_path / "policies"
    write_policy(folder / "hers", HashedUsers.from_names(["ann", "bob"], "s"))
    write_policy(folder / "deep" / "his", HashedUsers.from_names(["bob"], "s"))
    write_policy(folder / "older", None)
    return folder


@pytest.fixture
def store(store_url: str):
    opened = EditStore.open(store_url)
    records = [
        EditRecord(id=f"{user}-{i}", context="c", response=f"{user} {i}", edit="e", user=user)
        for user in ("ann", "bob")
        for i in range(2)
    ]
    with opened.begin_write() as tx:
        rows = [ImportedRow(one, compute_content_digest(one, "default"), 0.5) for one in records]
        append_imported_rows(tx, rows, "m", "default", since=0, at=0.0)
    yield opened
    opened.close()


def test_a_damaged_policy_and_an_unfinished_run_may_have_learned(policies: Path) -> None:
    (policies / "deep" / "his" / "policy.json").write_text("{")
    run = policies / "sft-3.unfinished"
    run.mkdir()
    (run / "run.json").write_text("{}")
    found = {learner.name: learner.certain for learner in find_affected_policies("ann", [policies])}
    assert found == {"hers": True, "his": False, "older": False, "sft-3.unfinished": False}


def write_references() -> Path:
    folder = cache_folder() / "references"
    folder.mkdir(parents=True)
    for name in ("a.safetensors", "b.safetensors", "other"):
        (folder / name).touch()
    return folder


def ids(store: EditStore) -> list[str]:
    with store.begin_read() as connection:
        return [one.record.id for one in read_edits(connection)]


def test_policies_are_found_by_what_their_files_say(policies: Path) -> None:
    found = [
        (one.name, one.certain)
        for one in find_affected_policies("ann", [policies, policies / "deep", policies / "missing"])
    ]
    assert found == [("hers", True), ("older", False)]
    assert [one.name for one in find_affected_policies("bob", [policies / "deep"])] == ["his"]
    assert [one.name for one in find_affected_policies("bob", [policies])] == ["his", "hers", "older"]


def test_references_are_removed_and_nothing_else(tmp_path: Path) -> None:
    folder = write_references()
    assert clear_reference_cache() == 2
    assert [file.name for file in folder.iterdir()] == ["other"]
    assert clear_reference_cache() == clear_reference_cache(tmp_path / "missing") == 0


def test_everything_is_erased_and_reported(store: EditStore, policies: Path, tmp_path: Path) -> None:
    served = write_policy(tmp_path / "elsewhere" / "served", HashedUsers.from_names(["ann"], "t"))
    retired = write_policy(tmp_path / "elsewhere" / "retired", HashedUsers.from_names(["ann"], "t"))
    with store.begin_write() as tx:
        append_arm_change(tx, "a", "add", str(served), at=0.0)
        append_arm_change(tx, "b", "add", str(retired), at=0.0)
        append_arm_change(tx, "c", "add", "http://127.0.0.1/v1", at=0.0)
        append_arm_change(tx, "b", "retire", None, at=0.0)
    references = write_references()
    done = forget_person(store, "ann", folders=[policies])
    assert (done.erased, done.cache_files_removed) == ({"completions": 2, "edits": 2}, 2)
    assert {one.name: one.certain for one in done.affected_policies} == {
        "hers": True, "older": False, "served": True, "retired": True,
    }  # fmt: skip
    (entry,) = done.entries
    assert entry.policies == ("hers", "retired", "served")  # those that are sure
    assert ids(store) == ["bob-0", "bob-1"]
    assert not list(references.glob("*.safetensors"))
    assert check_forgotten(store, "ann") == (1, [entry])


def test_again_it_adds_no_entry_until_there_is_something_new(store: EditStore) -> None:
    first = forget_person(store, "ann")
    again = forget_person(store, "ann")
    assert (again.erased, again.entries) == ({}, first.entries)
    record = EditRecord(id="new", context="c", response="r", edit="e", user="ann")
    with store.begin_write() as tx:
        append_imported_rows(
            tx, [ImportedRow(record, compute_content_digest(record, "default"), 0.5)], "m", "default", since=0, at=0.0
        )
    with pytest.raises(InputError, match=r"--user ann: .* holds 1 completion.* of theirs; erase them"):
        check_forgotten(store, "ann")
    third = forget_person(store, "ann")
    assert (third.erased, len(third.entries)) == ({"completions": 1, "edits": 1}, 2)
    assert check_forgotten(store, None) == (2, [])


def test_an_unknown_user_is_an_error_and_nothing_is_changed(store: EditStore, policies: Path) -> None:
    references = write_references()
    for folders in ([], [policies]):  # a policy that does not say may have learned from anybody
        with pytest.raises(InputError, match=r"--user zoe: nothing in .* is theirs; `copydesk users`"):
            forget_person(store, "zoe", folders=folders)
    with pytest.raises(InputError, match=r"--user ann: nothing in .* is theirs"):
        forget_person(store, "ann", "other")
    assert len(list(references.glob("*.safetensors"))) == 2
    assert len(ids(store)) == 4
    with pytest.raises(InputError, match=r"does not say that they were ever forgotten"):
        check_forgotten(store, "zoe")


def test_who_is_known_to_a_policy_alone_is_forgotten_too(store: EditStore, tmp_path: Path) -> None:
    write_policy(tmp_path / "policies" / "p", HashedUsers.from_names(["zoe"], "s"))
    done = forget_person(store, "zoe", folders=[tmp_path / "policies"])
    assert (done.erased, [one.name for one in done.affected_policies]) == ({}, ["p"])
    assert check_forgotten(store, "zoe") == (1, done.entries)
