"""Redaction: what is found, and that a row says afterwards what was edited in it."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copydesk.data.record import EditRecord, Message
from copydesk.data.redact import Redactor
from copydesk.errors import InputError

pytest.importorskip("presidio_analyzer")
pytest.importorskip("kingfisher_sdk")

# In two parts each, so that no scanner takes them for real ones.
TOKEN = "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"
CLOUD = "AKIA" + "Q3EGRIOSPODN7UVM"
CLOUD_SECRET = "wJalrXUtnFEMI" + "/K7MDENG/bPxRfiCYzzQ9pLKEYx"
SIGNED = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5M"
    "DIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
)
PRIVATE = (
    "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/ygWyF8PbnGy0AHB7MhgHcTz6sE2I2yPB\n"
    "aFDrBz9vFqU4yqkT1m8bZ0f3GyRN8m1UQbnN5vwqCkTzYqcJkz5cYqg0n1eE5iGl\n-----END RSA " + "PRIVATE KEY-----"
)


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor()


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Write to ann.lee+x@example.org.", "Write to [EMAIL_1]."),
        ("<bo@mail.example.co.uk>;cy@example.com", "<[EMAIL_1]>;[EMAIL_2]"),
        ("请联系ann@example.org谢谢", "请联系[EMAIL_1]谢谢"),
        ("ann@exämple.de", "[EMAIL_1]"),
        ("call (650) 253-0000 now", "call [PHONE_1] now"),
        ("or +44 20 7946 0958", "or [PHONE_1]"),
        ("card 4111 1111 1111 1111, 12/26", "card [CARD_1], 12/26"),
        ("to DE89 3704 0044 0532 0130 00 in 2 days", "to [IBAN_1] in 2 days"),
        ("from 192.168.0.1 and 2001:db8::1", "from [IP_1] and [IP_2]"),
        ("at 00:1A:2B:3C:4D:5E", "at [MAC_1]"),
        ("send it to 1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "send it to [WALLET_1]"),
        ("my number is 536-90-4399", "my number is [SSN_1]"),
        (f"use {TOKEN}, please", "use [KEY_1], please"),
        (f"你好 {TOKEN}", "你好 [KEY_1]"),
        (f"\ufeff{TOKEN}", "\ufeff[KEY_1]"),
        (f" {TOKEN}" + "\0x" * 40 + "\0", " [KEY_1]" + "\0x" * 40 + "\0"),
        (f"\ud800 {TOKEN}", "\ud800 [KEY_1]"),
        (f"cookie {SIGNED}", "cookie [KEY_1]"),
        (f"as follows:\n{PRIVATE}\nThanks", "as follows:\n[KEY_1]\nThanks"),
        (f"id {CLOUD}, aws_secret_access_key = '{CLOUD_SECRET}'", "id [KEY_1], aws_secret_access_key = '[KEY_2]'"),
        ("postgres://svc:0UAqFzWsDK4FrU@db.acme.io:5432/x", "postgres://svc:[KEY_1]@db.acme.io:5432/x"),
    ],
)
def test_each_kind_is_found_and_its_surroundings_are_kept(redactor: Redactor, text: str, redacted: str) -> None:
    assert redactor.redact_text(text)[0] == redacted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "on 2026-11-24 at 19:27:53, or 24/11/2026, or Nov. 24, 2026",
        "version 1.2.3, then 10.4.12-rc1; std::vector<int>; a :: b; 3:2",
        "see https://abcdefghijklmnopqrst.supabase.co",  # half of a credential, and no secret by itself
        "$1,234,567.89 for order 1234567, 20 000 000 people, ISBN 978-3-16-148410-0",
        "4111 1111 1111 1112",  # the check digit is wrong
        "DE88 3704 0044 0532 0130 00",
        "@ann, ann@home, 3 @ 4.50 each, user@@example",
        "commit 5f3c2a9d8e7b6a1c0d4e5f60718293a4b5c6d7e8 of main",
        "the password: correct horse battery staple; key = value, token: none",
        "naïve 中文 \U0001f600 \u0000 ½ ٣",
    ],
)
def test_what_only_looks_like_it_stays(redactor: Redactor, text: str) -> None:
    assert redactor.redact_text(text) == (text, {})


def test_a_row_has_one_placeholder_for_each_secret_in_the_order_of_appearance(redactor: Redactor) -> None:
    record = EditRecord(
        id="ann@example.org",
        context=[
            Message(role="user", content="I am bo@example.org", name="cy@example.org"),  # type: ignore[call-arg]
            Message(role="assistant", content="Hello"),
        ],
        response="Dear bo@example.org, call (650) 253-0000 or write to dan@example.org",
        edit="Bo (bo@example.org), call (650) 253-0001 or write to dan@example.org",
        user="ann@example.org",
        metadata={"from": ["cy@example.org", 3, None, {"bo@example.org": f"{TOKEN}"}]},
    )
    redacted, counts = redactor.redact_record(record)
    assert redacted == EditRecord(
        id="ann@example.org",
        context=[
            Message(role="user", content="I am [EMAIL_1]", name="[EMAIL_2]"),  # type: ignore[call-arg]
            Message(role="assistant", content="Hello"),
        ],
        response="Dear [EMAIL_1], call [PHONE_1] or write to [EMAIL_3]",
        edit="Bo ([EMAIL_1]), call [PHONE_2] or write to [EMAIL_3]",
        user="ann@example.org",
        metadata={"from": ["[EMAIL_2]", 3, None, {"bo@example.org": "[KEY_1]"}]},
    )
    assert counts == {"EMAIL": 7, "PHONE": 2, "KEY": 1}
    assert redactor.redact_record(redacted) == (redacted, {})


def test_what_one_text_gives_away_is_replaced_where_it_stands_alone_in_the_others(redactor: Redactor) -> None:
    secret = "0UAqFzWsDK4FrU"
    record = EditRecord(
        id="1",
        context=f"redis://svc:{secret}@db.acme.io/1",
        response=f"It is {secret}.",
        edit=f"It is {secret}, not {secret}x.",
    )
    redacted, _ = redactor.redact_record(record)
    assert redacted.response == "It is [KEY_1]."
    assert redacted.edit == f"It is [KEY_1], not {secret}x."


def test_placeholders_that_are_there_already_keep_their_numbers_to_themselves(redactor: Redactor) -> None:
    record = EditRecord(id="1", context="[EMAIL_2] [PHONE_7]", response="ann@example.org", edit="[EMAIL_1]")
    redacted, counts = redactor.redact_record(record)
    assert (redacted.context, redacted.response, redacted.edit) == ("[EMAIL_2] [PHONE_7]", "[EMAIL_3]", "[EMAIL_1]")
    assert counts == {"EMAIL": 1}


def test_a_placeholder_within_what_is_found_stays(redactor: Redactor) -> None:
    text = "https://bob:Mp48Y3tT3QDg[EMAIL_1]x@localhost/path, ann@example.org"
    assert redactor.redact_text(text)[0] == "https://bob:Mp48Y3tT3QDg[EMAIL_1]x@localhost/path, [EMAIL_2]"


def test_a_row_with_nothing_in_it_is_the_row_itself(redactor: Redactor) -> None:
    record = EditRecord(id="1", context="Hello", response="Dear Ann", edit=None, metadata={"n": 1})
    redacted, counts = redactor.redact_record(record)
    assert redacted is record
    assert not counts


def test_only_the_kinds_that_were_asked_for_are_replaced() -> None:
    text, counts = Redactor(kinds=["PHONE"]).redact_text(f"ann@example.org, (650) 253-0000, {TOKEN}")
    assert text == f"ann@example.org, [PHONE_1], {TOKEN}"
    assert counts == {"PHONE": 1}


def test_phone_numbers_without_a_country_are_those_of_the_region() -> None:
    here = Redactor("GB", kinds=["PHONE"])
    assert here.redact_text("call 020 7946 0958, not (650) 253-0000")[0] == "call [PHONE_1], not (650) 253-0000"


_PIECES = st.one_of(
    st.sampled_from(
        [
            *("ann@example.org", "bo@example.org", "x.ann@example.org", "(650) 253-0000", "650-253-0001", "10.0.0.1"),
            *("4111 1111 1111 1111", "536-90-4399", "DE89 3704 0044 0532 0130 00", TOKEN, "redis://a:", "p4ssW0rd9"),
            *("@db.acme.io/", "[EMAIL_1]", "[EMAIL_2]", "[KEY_1]", "[PHONE_1]", "[EMAIL_", "1]", "@", "+1 ", "12", "-"),
        ]
    ),
    st.sampled_from([" ", " ", ", ", "\n", ""]),
    st.text(max_size=4),
)
_TEXTS = st.lists(_PIECES, max_size=8).map("".join)


@settings(max_examples=150, deadline=None)
@given(context=_TEXTS, response=_TEXTS, edit=_TEXTS, kept=st.booleans())
def test_kept_is_kept_changed_is_changed_and_twice_is_once(
    redactor: Redactor, context: str, response: str, edit: str, kept: bool
) -> None:
    record = EditRecord(
        id="1", context=context, response=response, edit=response if kept else edit, metadata={"m": edit}
    )
    redacted, counts = redactor.redact_record(record)
    assert redacted.accepted == record.accepted
    assert (redacted.context == redacted.response) == (context == response)
    assert redactor.redact_record(redacted) == (redacted, {})
    assert bool(counts) == (redacted != record)
    if (context, response) == (redacted.context, redacted.response):
        return
    # Every number is new to the row, and numbers follow one another from the first that is free.
    old = re.findall(r"\[(\w+)_(\d+)\]", f"{context}\n{response}\n{edit}")
    new = set(re.findall(r"\[(\w+)_(\d+)\]", f"{redacted.context}\n{redacted.response}\n{redacted.edit}")) - set(old)
    for kind in {kind for kind, _ in new}:
        first = max((int(number) for name, number in old if name == kind), default=0) + 1
        numbers = sorted(int(number) for name, number in new if name == kind)
        assert numbers[0] >= first


def test_an_unknown_region_and_an_unknown_kind_are_input_errors() -> None:
    with pytest.raises(InputError, match=r"--region XX: there is no such region; give two letters such as US"):
        Redactor("XX")
    with pytest.raises(InputError, match=r"--redact NAME: there is no such kind; give one of KEY, IBAN, "):
        Redactor(kinds=["NAME"])


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "copydesk.data.redact_finders", raising=False)
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    with pytest.raises(InputError, match=r"pip install 'copydesk\[redact\]'"):
        Redactor()


def test_neither_the_network_nor_another_cache_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*address: object, **_: object) -> None:
        asked.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("tldextract.extract", refuse)  # what Presidio calls; it would fetch the list of suffixes
    monkeypatch.setenv("HOME", str(tmp_path))
    kinds = ["EMAIL", "PHONE", "IP"]
    assert Redactor(kinds=kinds).redact_text("ann@example.org, 10.0.0.1")[1] == {"EMAIL": 1, "IP": 1}
    assert not asked
    assert not list(tmp_path.iterdir())


def test_the_package_can_be_imported_without_the_libraries() -> None:
    code = "import sys, copydesk.data.redact; print([m for m in ('presidio_analyzer', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_real_logs_change_only_where_there_is_something(redactor: Redactor, shared_data: Path) -> None:
    changed = {}
    for name in ("defacto", "expertqa", "lamp"):
        with (shared_data / f"{name}.jsonl").open(encoding="utf-8") as file:
            records = [EditRecord.model_validate(json.loads(line)) for line in file]
        redacted = [redactor.redact_record(record) for record in records]
        assert all(new.accepted == old.accepted for (new, _), old in zip(redacted, records, strict=True))
        changed[name] = [sum(counts.values()) for _, counts in redacted if counts]
    # DeFacto's are the addresses and telephone numbers of a newsroom; the others hold none.
    assert changed["expertqa"] == changed["lamp"] == []
    assert 10 <= len(changed["defacto"]) <= 20
