import pytest

from copydesk.data.record import EditRecord, Message
from copydesk.diagnose.privacy import LeakDetector
from copydesk.errors import InputError


def row(response: str, context: str | list[Message] = "x", edit: str | None = None) -> EditRecord:
    return EditRecord(id="a", context=context, response=response, edit=edit)


@pytest.mark.parametrize("text", ["ann.lee+x@example.org", "Write to <bo@mail.example.co.uk>.", "a_b@x-y.io, please"])
def test_e_mail_addresses_are_found(text: str) -> None:
    search = LeakDetector()
    response, _ = search.add(1, row(text))
    assert search.result().emails == 1
    assert "@" not in response


@pytest.mark.parametrize("text", ["@ann", "ann@home", "3 @ 4.50 each", "a@b", "user@@example.org", "no address"])
def test_other_uses_of_the_sign_are_not_e_mail_addresses(text: str) -> None:
    search = LeakDetector()
    assert search.add(1, row(text))[0] == text
    assert search.result().emails == 0


def test_findings_are_counted_by_rows_and_masked() -> None:
    search = LeakDetector()
    messages = [Message(role="user", content="I am zoe@example.org"), Message(role="user", content="or zo@example.org")]
    search.add(1, row("nothing"))
    search.add(2, row("ok", context=messages))
    response, edit = search.add(3, row("ask bo@example.org now", edit="ask bo@example.org or cy@example.org"))
    leaks = search.result()
    assert leaks.emails == 2
    assert [(leak.row, leak.field, leak.masked) for leak in leaks.first] == [
        (2, "context", "z…"),
        (3, "response", "b…"),
    ]
    assert (response, edit) == ("ask b… now", "ask b… or c…")
    assert "example" not in repr(leaks)


def test_only_the_first_few_findings_are_kept() -> None:
    search = LeakDetector()
    for number in range(1, 101):
        search.add(number, row("x@example.org"))
    assert search.result().emails == 100
    assert len(search.result().first) == 5


def test_phone_numbers_are_found_by_region_and_with_a_country_anywhere() -> None:
    pytest.importorskip("phonenumbers")
    here, there = LeakDetector("US"), LeakDetector("GB")
    for search in (here, there):
        search.add(1, row("call +44 20 7946 0958 or write"))
        search.add(2, row("call (650) 253-0000"))
        search.add(3, row("in 2026 there were 1,234,567 rows, 12/11/2026"))
    assert here.result().phones == 2
    assert there.result().phones == 1
    assert here.add(4, row("call (650) 253-0000 now"))[0] == "call (… now"


def test_a_region_that_does_not_exist() -> None:
    pytest.importorskip("phonenumbers")
    with pytest.raises(InputError, match=r"--region ZZ: there is no such region"):
        LeakDetector("ZZ")


def test_without_the_library_phone_numbers_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "phonenumbers", None)
    search = LeakDetector()
    search.add(1, row("call (650) 253-0000"))
    assert search.result().phones is None
