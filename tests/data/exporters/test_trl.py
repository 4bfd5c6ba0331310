from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from copydesk.data import EditRecord
from copydesk.data.exporters.filters import ExportResult
from copydesk.data.exporters.trl import DatasetForm, DatasetFormat, iter_dataset_rows
from copydesk.errors import InputError

CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "u", "name": "ann"}]
CHANGED = EditRecord(id="a", context="c", response="r", edit="e")
ACCEPTED = EditRecord(id="b", context="d", response="same", edit="same")
PENDING = EditRecord(id="c", context="d", response="r")
IN_CHAT = EditRecord.model_validate({"id": "chat", "context": CHAT, "response": "r", "edit": "e"})


def rows(format: DatasetFormat, *records: EditRecord, form: DatasetForm = "auto") -> list[dict[str, Any]]:
    return list(iter_dataset_rows(records, format, form, ExportResult()))


def test_a_preference_is_an_edit_that_beats_its_response() -> None:
    done = ExportResult()
    found = list(iter_dataset_rows([CHANGED, ACCEPTED, PENDING], "preference", "auto", done))
    assert found == [{"prompt": "c", "chosen": "e", "rejected": "r"}]
    assert done.records == 1
    assert done.left_out == {"accepted, which is no preference": 1, "pending": 1}


def test_every_edit_is_a_completion() -> None:
    assert rows("prompt-completion", CHANGED, ACCEPTED, PENDING) == [
        {"prompt": "c", "completion": "e"},
        {"prompt": "d", "completion": "same"},
    ]


def test_edits_are_good_and_changed_responses_are_not() -> None:
    assert rows("kto", CHANGED, ACCEPTED, PENDING) == [
        {"prompt": "c", "completion": "e", "label": True},
        {"prompt": "d", "completion": "same", "label": True},
        {"prompt": "c", "completion": "r", "label": False},
    ]


def test_neighbours_in_a_kto_set_have_other_prompts_however_long_the_log() -> None:
    records = [EditRecord(id=str(i), context=f"c{i}", response="r", edit="e") for i in range(1234)]
    found = rows("kto", *records)
    assert sorted((row["prompt"], row["label"]) for row in found) == sorted(
        (record.context, label) for record in records for label in (False, True)
    )
    assert all(one["prompt"] != other["prompt"] for one, other in pairwise(found))


def test_a_kto_set_is_a_stream() -> None:
    def endless() -> Iterator[EditRecord]:
        while True:
            yield CHANGED

    assert next(iter_dataset_rows(endless(), "kto", "auto", ExportResult()))["label"] is True


@pytest.mark.parametrize("form", ["auto", "chat"])
def test_chats_are_lists_of_messages(form: DatasetForm) -> None:
    done = ExportResult()
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    answers = [[{"role": "assistant", "content": text}] for text in "er"]
    assert list(iter_dataset_rows([IN_CHAT], "preference", form, done)) == [
        {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]}
    ]
    assert done.cut_messages == 1  # a name
    assert rows("prompt-completion", IN_CHAT, form=form) == [{"prompt": prompt, "completion": answers[0]}]


def test_a_text_is_one_users_message_where_chats_are_wanted() -> None:
    found = rows("prompt-completion", CHANGED, IN_CHAT, CHANGED, form="chat")
    assert [len(row["prompt"]) for row in found] == [1, 2, 1]
    assert found[0] == {
        "prompt": [{"role": "user", "content": "c"}],
        "completion": [{"role": "assistant", "content": "e"}],
    }


@pytest.mark.parametrize(
    ("records", "form", "culprit"),
    [([CHANGED, IN_CHAT], "auto", "'chat'"), ([IN_CHAT, CHANGED], "auto", "'a'"), ([IN_CHAT], "text", "'chat'")],
)
def test_one_set_has_one_form(records: list[EditRecord], form: DatasetForm, culprit: str) -> None:
    with pytest.raises(InputError, match=rf"^record {culprit}: .*--form chat"):
        rows("prompt-completion", *records, form=form)


def test_what_is_left_out_decides_no_form() -> None:
    pending_chat = IN_CHAT.model_copy(update={"edit": None})
    assert rows("prompt-completion", pending_chat, CHANGED) == [{"prompt": "c", "completion": "e"}]
