from pathlib import Path
from typing import Any

import pytest

from copydesk.data.jsonl import write_jsonl
from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.policies import LocalPolicy, Sampling
from copydesk.policies import open as opening
from copydesk.policies.open import open_prompted_policy
from copydesk.policies.prompted import CipherPolicy, IclPolicy

SAMPLING = Sampling(max_new_tokens=8)


@pytest.fixture
def log(records: list[EditRecord], tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "log.jsonl", records)
    return tmp_path / "log.jsonl"


def test_a_spec_names_the_writer_and_the_log_it_learns_from(log: Path) -> None:
    icl = open_prompted_policy("icl", f"icl-3:embedded@{log}")
    assert isinstance(icl, IclPolicy) and isinstance(icl.writer, LocalPolicy)
    assert (icl.name, icl.k, len(icl.memory)) == ("icl", 3, 12)
    contexts = ["Tell Ada about the meeting", "Tell Zoe about the meeting"]
    first, second = icl.respond(contexts, [(1,), (2,)], SAMPLING)
    assert icl.respond(contexts[1:], [(2,)], SAMPLING) == [second]
    assert first != icl.writer.respond(contexts[:1], [(1,)], SAMPLING)[0]


def test_cipher_is_opened_alike_and_twice_the_same(log: Path) -> None:
    one, other = (open_prompted_policy("cipher", f"cipher-2:embedded@{log}") for _ in range(2))
    assert isinstance(one, CipherPolicy) and isinstance(other, CipherPolicy) and one.k == 2
    contexts = ["Tell Ada about the meeting", "Tell Zoe about the meeting"]
    assert one.infer_tastes(contexts) == other.infer_tastes(contexts)
    assert one.respond(contexts, [(1,), (2,)], SAMPLING) == other.respond(contexts, [(1,), (2,)], SAMPLING)


def test_the_writer_is_whatever_a_spec_opens_and_the_log_follows_the_last_at(
    log: Path, writer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(opening, "open_policy", lambda name, spec, keys: opened.append((name, spec)) or writer)
    for inner in ("m@http://127.0.0.1:1/v1", "best-of-2:base@costs", f"icl-1:embedded@{log}"):
        policy = open_prompted_policy("icl", f"icl-2:{inner}@{log}")
        assert isinstance(policy, IclPolicy) and policy.writer is writer
        assert opened[-1] == ("icl", inner)
    policy = open_prompted_policy("cipher", f"cipher-2:m@http://127.0.0.1:1/v1@{log}")
    assert isinstance(policy, CipherPolicy)
    assert len(writer.requests) == 1


def test_the_encoder_that_is_asked_for_retrieves(
    log: Path, tmp_path: Path, encoder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("copydesk.policies.open.choose_encoder", lambda writer, spec: asked.append(spec) or encoder)
    with pytest.warns(RuntimeWarning, match="invalid value"):  # none of the encoder's words is in this log
        open_prompted_policy("icl", f"icl-2:embedded@{log}", encoder="some/encoder")
    assert asked == ["some/encoder"] and len(encoder.texts) == 12


@pytest.mark.parametrize(
    "spec", ["embedded", "best-of-3:embedded@costs", "icl", "icl-folder", "hub/icl-3", "icl-2/x:y"]
)
def test_other_specs_are_not_prompted_policies(spec: str) -> None:
    assert open_prompted_policy("base", spec) is None


@pytest.mark.parametrize("number", ["0", "-1", "", "two", "1.5", "٣", "1000000"])
def test_k_is_a_number_of_at_least_one(number: str, log: Path) -> None:
    with pytest.raises(InputError, match=r"^cipher-.*: K is .*give cipher-K:SPEC@LOG\.jsonl") as wrong:
        open_prompted_policy("cipher", f"cipher-{number}:embedded@{log}")
    assert "\n" not in str(wrong.value)


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("embedded", "the log to learn from is missing"),
        ("@log.jsonl", "the log to learn from is missing"),
        ("", "the log to learn from is missing"),
        ("embedded@", "no log ''"),
        ("embedded@nowhere.jsonl", r"no log 'nowhere\.jsonl'"),
        ("m@http://127.0.0.1:1/v1", "no log 'http://127"),
    ],
)
def test_without_a_log_it_says_so(rest: str, says: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says) as wrong:
        open_prompted_policy("icl", f"icl-3:{rest}")
    assert "give icl-K:SPEC@LOG.jsonl" in str(wrong.value) and "\n" not in str(wrong.value)


def test_a_log_of_pending_rows_teaches_nothing(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "log.jsonl", [EditRecord(id="1", context="a", response="b")])
    with pytest.raises(InputError, match=r"no row is edited or accepted"):
        open_prompted_policy("icl", f"icl-3:embedded@{tmp_path / 'log.jsonl'}")
