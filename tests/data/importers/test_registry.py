"""The table of importers, and the options they add to `copydesk import`."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from copydesk.cli._options import options_from_config
from copydesk.data.importers import (
    IMPORTERS,
    Importer,
    ImportSource,
    SourceRow,
    build_importer_options,
    open_import_source,
    registry,
)
from copydesk.errors import InputError
from copydesk.utils.config import Config


def test_every_importer_is_listed_under_its_name_with_a_one_line_description() -> None:
    for name, importer in IMPORTERS.items():
        assert importer.name == name
        assert importer.description.endswith(".") and "\n" not in importer.description
        assert importer.options() == importer.options()  # every option has a default


def test_the_table_loads_no_pyarrow_and_no_datasets() -> None:
    check = "import sys, copydesk.data.importers; print(sorted({'pyarrow', 'datasets', 'fsspec'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout == "[]\n"


def test_options_of_one_name_are_one_option_that_is_described_for_each_format() -> None:
    options = build_importer_options()
    assert options().model_dump() == dict.fromkeys(options.model_fields)
    described = str(options.model_fields["edits"].description)
    assert all(f"({name})" in described for name in ("openai", "langfuse", "tensorzero"))


class NotesOptions(Config):
    author: Annotated[str, Field(description="The author's name.")] = "somebody"
    most: Annotated[int, Field(gt=0, description="Most rows.")] = 10


def open_notes(given: str, options: NotesOptions) -> ImportSource:
    fields = {"context": given, "response": "r", "edit": "e", "user": options.author}
    rows = [SourceRow(number, fields) for number in range(1, options.most + 1)]
    return ImportSource(given, lambda: iter(rows), "row", Path("notes.rejected.jsonl"), has_record_fields=True)


def test_a_new_importer_is_one_entry_and_its_options_reach_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IMPORTERS, "notes", Importer("notes", "Notes.", open_notes, NotesOptions))
    seen = []
    app = typer.Typer()

    @app.command()
    @options_from_config(classes={"importer": build_importer_options()})
    def run(source: str, importer: Config, format: str | None = None) -> None:
        seen.append(open_import_source(source, format, importer.model_dump()))

    def invoke(*words: str) -> None:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None:
            raise result.exception

    invoke("diary", "--format", "notes", "--author", "ann", "--most", "2")
    assert [row.fields["user"] for row in seen[0].rows() if row.fields] == ["ann", "ann"]
    invoke("diary", "--format", "notes")
    assert len(list(seen[1].rows())) == 10
    with pytest.raises(InputError, match=r"^--most: 0 must be greater than 0$|^--most: -1 must be greater than 0$"):
        invoke("diary", "--format", "notes", "--most", "-1")
    with pytest.raises(InputError, match=r"^--most goes with --format notes; leave it out, or add that$"):
        invoke("diary", "--most", "2")
    assert "(git); the author's name (notes)" in CliRunner().invoke(app, ["--help"], env={"COLUMNS": "300"}).stdout


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("rss", {}, "--format rss: there is no such importer; choose from jsonl, json, csv"),
        ("csv", {"split": "test"}, "--split goes with --format dataset; leave it out, or add that"),
        (None, {"mark": ("x",)}, "--mark goes with --format git; leave it out, or add that"),
        ("csv", {"spilt": "test"}, "there is no importer with an option 'spilt'"),
        ("git", {"author": "nickname"}, "--author: 'nickname' is not one of name, email, none"),
        ("git", {"since": "yesterday"}, "--since yesterday: write a date such as 2026-01-31"),
        ("openai", {}, "--format openai: name the file with the edits of the completions with --edits FILE"),
    ],
)
def test_wrong_names_and_options_are_one_line(name: str | None, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as raised:
        open_import_source("log", name, options)
    assert str(raised.value).startswith(message)


def test_an_option_that_is_empty_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    spy = Importer("git", "Git.", lambda given, options: seen.append(options) or open_notes(given, NotesOptions()))
    monkeypatch.setitem(registry.IMPORTERS, "git", Importer("git", "Git.", spy.open, IMPORTERS["git"].options))
    open_import_source("app", "git", {"mark": (), "branch": None, "edits": ""})
    assert seen == [registry.IMPORTERS["git"].options()]
