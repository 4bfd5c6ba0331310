"""Data sets for TRL made of edits: preference, prompt-completion and KTO.

The formats are TRL's (https://huggingface.co/docs/trl/dataset_formats), each in two forms. In the *text* form prompt
and answer are texts that are concatenated as they are. In the *chat* form they are lists of messages, which TRL renders
with the model's chat template; a context that is text becomes one user message. `copydesk train` reads contexts the
same way: in the chat form where the model has a template, else in the text form.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

from copydesk.data.exporters.filters import ExportResult
from copydesk.data.record import EditRecord
from copydesk.errors import InputError

DatasetFormat = Literal["preference", "prompt-completion", "kto"]
DatasetForm = Literal["auto", "text", "chat"]
"""Whether the rows of a data set are text or chat messages; `auto` is the form of the first record."""

_KTO_BLOCK_SIZE = 500  # records whose good rows come first, then their bad rows


class DatasetExample(NamedTuple):
    """A record as texts, or as lists of messages."""

    prompt: Any
    response: Any
    edit: Any
    changed: bool


def iter_dataset_rows(
    records: Iterable[EditRecord], format: DatasetFormat, form: DatasetForm, done: ExportResult
) -> Iterator[dict[str, Any]]:
    """The rows of a data set; a stream.

    - `preference`: `prompt, chosen, rejected`, the edit and the response, of every record that was changed.
    - `prompt-completion`: `prompt, completion`, the edit, of every record that is not pending.
    - `kto`: `prompt, completion, label`: true for every edit, false for every response that was changed. The two rows
      of a record do not follow each other: TRL takes the completions of neighbours for unrelated ones.

    Only role and content of a message are written.

    Args:
        records: the log.
        format: the format of the data set.
        form: text or chat; `auto` is the form of the first record in the data set.
        done: counts the records.

    Raises:
        InputError: a record is a chat where the form is text, or text where `auto` found a chat first.
    """
    parts = _iter_examples(_iter_usable_records(records, format == "preference", done), form)
    match format:
        case "preference":
            for part in parts:
                yield {"prompt": part.prompt, "chosen": part.edit, "rejected": part.response}
        case "prompt-completion":
            for part in parts:
                yield {"prompt": part.prompt, "completion": part.edit}
        case "kto":
            while block := list(islice(parts, _KTO_BLOCK_SIZE)):
                good = ((part, part.edit, True) for part in block)
                bad = ((part, part.response, False) for part in block if part.changed)
                for part, completion, label in chain(good, bad):
                    yield {"prompt": part.prompt, "completion": completion, "label": label}


def _iter_usable_records(records: Iterable[EditRecord], only_changed: bool, done: ExportResult) -> Iterator[EditRecord]:
    for record in records:
        if record.pending:
            done.left_out["pending"] += 1
        elif only_changed and record.accepted:
            done.left_out["accepted, which is no preference"] += 1
        else:
            done.records += 1
            done.cut_messages += not isinstance(record.context, str) and any(one.model_extra for one in record.context)
            yield record


def _iter_examples(records: Iterable[EditRecord], form: DatasetForm) -> Iterator[DatasetExample]:
    mixed = form == "chat"
    for record in records:
        text = isinstance(record.context, str)
        if form == "auto":
            form = "text" if text else "chat"
        if text and form == "chat" and not mixed:
            raise InputError(
                f"record {record.id!a}: its context is text, and those before it are chats; add --form chat, which "
                "turns text into one user message"
            )
        if not text and form == "text":
            raise InputError(
                f"record {record.id!a}: its context is a chat, which the text form cannot hold; add --form chat, "
                "which turns text into one user message"
            )
        chat = form == "chat"
        response, edit = _build_completion(record.response, chat), _build_completion(str(record.edit), chat)
        yield DatasetExample(_build_prompt(record, chat), response, edit, record.edited)


def _build_prompt(record: EditRecord, chat: bool) -> Any:
    if isinstance(record.context, str):
        return [{"role": "user", "content": record.context}] if chat else record.context
    return [{"role": message.role, "content": message.content} for message in record.context]


def _build_completion(text: str, chat: bool) -> Any:
    return [{"role": "assistant", "content": text}] if chat else text
