import json

import pytest
from rich.text import Text

from copydesk.cli._shared import emit


def test_a_program_reads_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"text": "é[bold]"}, "for people", as_json=True)
    out = capsys.readouterr().out
    assert out.isascii()
    assert json.loads(out) == {"text": "é[bold]"}


def test_people_see_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    emit({}, "[bold]é :smile:", as_json=False)
    emit({}, Text("rendered", style="bold"), as_json=False)
    assert capsys.readouterr().out == "[bold]é :smile:\nrendered\n"
