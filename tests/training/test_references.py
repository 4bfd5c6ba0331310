import copy
import logging
import os
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import normalizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.data.record import EditRecord
from copydesk.model_registry import cache_folder
from copydesk.models.load import ModelInfo
from copydesk.training.encode import Triple
from copydesk.training.logprobs import TripleLogProbs
from copydesk.training.references import ReferenceCacheKey, build_reference_cache_key, load_or_compute_references

INFO = ModelInfo("model", "folder", None, "a" * 64, 10)
KEY = ReferenceCacheKey("w", "c", "float32", "t", "none", "l", 64, False)
TRIPLES = [Triple("a", (1, 2), (3, 9), (4, 9)), Triple("b", (1,), (9,), (9,)), Triple("c", (5,), (9,), (6, 9))]
SCORES = TripleLogProbs(torch.tensor([-1.5, -2.25, -3.125]), torch.tensor([-4.5, -2.25, -0.1]))


class Counted:
    """Computes the scores, and counts how often it was asked to."""

    def __init__(self, scores: TripleLogProbs = SCORES) -> None:
        self.scores = scores
        self.calls = 0

    def __call__(self) -> TripleLogProbs:
        self.calls += 1
        return TripleLogProbs(self.scores.edit.clone(), self.scores.response.clone())


def file_of(folder: Path, key: ReferenceCacheKey = KEY) -> Path:
    return folder / "references" / f"{key.digest}.safetensors"


def computed(folder: Path, key: ReferenceCacheKey | None = KEY, triples: list[Triple] = TRIPLES) -> bool:
    """Ask for the scores, check them, and say whether they had to be computed."""
    compute = Counted()
    scores = load_or_compute_references(key, triples, compute, folder)
    assert torch.equal(scores.edit, SCORES.edit) and torch.equal(scores.response, SCORES.response)
    assert scores.edit.dtype == scores.response.dtype == torch.float32
    assert compute.calls <= 1
    return compute.calls == 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache that holds the scores."""
    assert computed(tmp_path)
    return tmp_path


def test_a_second_run_reuses_the_scores_and_says_so(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert not computed(folder)
    assert f"reference log-probabilities of 3 rows: reused from {file_of(folder)}" in caplog.text


def test_the_scores_do_not_follow_the_file(folder: Path) -> None:
    scores = load_or_compute_references(KEY, TRIPLES, Counted(), folder)
    path = file_of(folder)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert torch.equal(scores.edit, SCORES.edit)


def test_one_tensor_for_both_can_be_kept(tmp_path: Path) -> None:
    same = TripleLogProbs(SCORES.edit, SCORES.edit)
    load_or_compute_references(KEY, TRIPLES, lambda: same, tmp_path)
    again = load_or_compute_references(KEY, TRIPLES, Counted(), tmp_path)
    assert torch.equal(again.response, SCORES.edit)


def test_a_log_without_rows_is_no_special_case(tmp_path: Path) -> None:
    none = Counted(TripleLogProbs(torch.zeros(0), torch.zeros(0)))
    for _ in range(2):
        assert load_or_compute_references(KEY, [], none, tmp_path).edit.shape == (0,)
    assert none.calls == 1


# Damage


def assert_rebuilt(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file is refused, named once, and whole afterwards."""
    caplog.clear()
    assert computed(folder)
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(file_of(folder)) in warning.getMessage() and "\n" not in warning.getMessage()
    assert not computed(folder)


def test_a_file_cut_short_anywhere_is_rebuilt(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = file_of(folder).read_bytes()
    for length in (0, 1, 8, 9, len(whole) // 2, len(whole) - 13, len(whole) - 1):
        file_of(folder).write_bytes(whole[:length])
        assert_rebuilt(folder, caplog)
    file_of(folder).write_bytes(whole + b"\0")
    assert_rebuilt(folder, caplog)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_bit_gives_other_scores(folder: Path, data: st.DataObject) -> None:
    computed(folder)
    flipped = bytearray(file_of(folder).read_bytes())
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file_of(folder).write_bytes(flipped)
    computed(folder)


def test_a_flipped_bit_of_a_score_is_seen(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    flipped = bytearray(file_of(folder).read_bytes())
    flipped[-1] ^= 1
    file_of(folder).write_bytes(flipped)
    assert_rebuilt(folder, caplog)


def rewrite(path: Path, metadata: Callable[[dict[str, str]], dict[str, str] | None], **tensors: torch.Tensor) -> None:
    with safe_open(path, framework="pt") as file:
        about = dict(file.metadata())
    held = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(held | tensors, path, metadata(about))


@pytest.mark.parametrize(
    "change",
    [lambda about: None, lambda about: {"key": about["key"]}, lambda about: {"checksum": about["checksum"]}],
    ids=["all", "checksum", "key"],
)
def test_a_file_without_its_metadata_is_rebuilt(
    change: Callable[[dict[str, str]], Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(file_of(folder), change)
    assert_rebuilt(folder, caplog)


@pytest.mark.parametrize(
    "response",
    [SCORES.response[:2], SCORES.response[:, None], SCORES.response.double(), SCORES.response.view(torch.int32)],
    ids=["short", "square", "double", "integers"],
)
def test_tensors_of_another_kind_are_rebuilt(
    response: torch.Tensor, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(file_of(folder), lambda about: about, response=response)
    assert_rebuilt(folder, caplog)


def test_a_file_of_another_key_is_rebuilt(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = replace(KEY, weights="w2")
    load_or_compute_references(other, TRIPLES, Counted(TripleLogProbs(-SCORES.edit, -SCORES.response)), folder)
    file_of(folder, other).replace(file_of(folder))
    assert_rebuilt(folder, caplog)


@pytest.mark.parametrize(
    "triples",
    [
        [TRIPLES[1], TRIPLES[0], TRIPLES[2]],
        [replace(TRIPLES[0], id="z"), *TRIPLES[1:]],
        [replace(TRIPLES[0], edit=(8, 9)), *TRIPLES[1:]],
        [replace(TRIPLES[0], context=(1,), response=(2, 3, 9)), *TRIPLES[1:]],
    ],
    ids=["order", "id", "token", "border"],
)
def test_scores_of_other_rows_are_rebuilt(
    triples: list[Triple], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert computed(folder, triples=triples)
    assert str(file_of(folder)) in caplog.text


def test_a_row_may_change_its_weight(folder: Path) -> None:
    assert not computed(folder, triples=[replace(triple, weight=3.0) for triple in TRIPLES])


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_scores_that_are_not_finite_are_not_kept(bad: float, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scores = TripleLogProbs(SCORES.edit, torch.tensor([0.0, bad, 0.0]))
    given_back = load_or_compute_references(KEY, TRIPLES, lambda: scores, tmp_path)
    assert given_back.response.isfinite().tolist() == [True, False, True]
    assert "not finite" in caplog.text
    assert not file_of(tmp_path).exists()


def test_a_file_of_scores_that_are_not_finite_is_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("copydesk.training.references._all_finite", lambda _: True)
        load_or_compute_references(KEY, TRIPLES, lambda: TripleLogProbs(SCORES.edit, SCORES.edit.log()), tmp_path)
    assert file_of(tmp_path).is_file()
    assert_rebuilt(tmp_path, caplog)


# Writing


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "fsync", interrupted)
        computed(tmp_path)
    assert list((tmp_path / "references").iterdir()) == []
    assert computed(tmp_path)


def test_the_half_file_of_a_killed_run_is_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    # As after SIGKILL: nothing tidies up, and the file never gets its name.
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "replace", killed)
        patch.setattr(Path, "unlink", killed)
        computed(tmp_path)
    assert [path.suffix for path in (tmp_path / "references").iterdir()] == [".tmp"]
    assert computed(tmp_path)
    assert not computed(tmp_path)


def test_a_full_disk_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert computed(tmp_path)
    assert "no space left" in caplog.text and "COPYDESK_CACHE" in caplog.text
    assert list((tmp_path / "references").iterdir()) == []


def test_a_cache_that_cannot_be_a_folder_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert computed(tmp_path / "file")
    assert len(caplog.records) == 1
    assert str(tmp_path / "file") in caplog.text


def test_a_folder_in_the_files_place_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file_of(tmp_path).mkdir(parents=True)
    assert computed(tmp_path)
    assert str(file_of(tmp_path)) in caplog.text
    assert list(file_of(tmp_path).parent.iterdir()) == [file_of(tmp_path)]


def test_two_runs_at_once_both_succeed(tmp_path: Path) -> None:
    def while_another_run_does_the_same() -> TripleLogProbs:
        assert computed(tmp_path)
        return SCORES

    scores = load_or_compute_references(KEY, TRIPLES, while_another_run_does_the_same, tmp_path)
    assert torch.equal(scores.edit, SCORES.edit)
    assert not computed(tmp_path)
    assert len(list((tmp_path / "references").iterdir())) == 1


# The key


def test_every_field_of_the_key_matters() -> None:
    others = {bool: lambda value: not value, int: lambda value: value + 1, str: lambda value: value + "!"}
    values = {field.name: getattr(KEY, field.name) for field in fields(KEY)}
    changed = [replace(KEY, **{name: others[type(value)](value)}) for name, value in values.items()]
    assert len({KEY.digest, *(key.digest for key in changed)}) == len(changed) + 1


def test_without_a_key_nothing_is_kept(tmp_path: Path) -> None:
    assert computed(tmp_path, key=None)
    assert computed(tmp_path, key=None)
    assert list(tmp_path.iterdir()) == []


MakeKey = Callable[..., ReferenceCacheKey | None]


@pytest.fixture
def make_key(
    tiny_model: LlamaForCausalLM, chat_tokenizer: PreTrainedTokenizerFast, records: list[EditRecord]
) -> MakeKey:
    """The key of a run, of which any part can be replaced."""
    usual = {"info": INFO, "model": tiny_model, "tokenizer": chat_tokenizer, "records": records, "max_length": 64}
    return lambda **changes: build_reference_cache_key(**(usual | changes))


def test_the_same_run_has_the_same_key(make_key: MakeKey, chat_tokenizer: PreTrainedTokenizerFast) -> None:
    key = make_key()
    assert key is not None and key.dtype == "float32"
    tokenizer = copy.deepcopy(chat_tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    padded = make_key(tokenizer=tokenizer)
    tokenizer(["a batch that", "is padded and cut"], padding=True, truncation=True, max_length=5)
    assert make_key(tokenizer=tokenizer) == padded
    assert make_key(info=replace(INFO, spec="elsewhere")) == key


def test_training_leaves_the_key_as_it_is(make_key: MakeKey, tiny_model: LlamaForCausalLM) -> None:
    key = make_key()
    tiny_model.config.use_cache = False
    tiny_model.config._name_or_path = "elsewhere"
    assert make_key() == key


def test_another_model_tokenizer_template_or_log_is_another_key(
    make_key: MakeKey,
    tiny_model: LlamaForCausalLM,
    chat_tokenizer: PreTrainedTokenizerFast,
    plain_tokenizer: PreTrainedTokenizerFast,
    records: list[EditRecord],
    tmp_path: Path,
) -> None:
    stretched = copy.deepcopy(tiny_model)
    stretched.config.rope_parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    lowercase, renamed, retold = (copy.deepcopy(chat_tokenizer) for _ in range(3))
    lowercase.backend_tokenizer.normalizer = normalizers.Lowercase()
    renamed.eos_token = "<|end|>"
    retold.chat_template = chat_tokenizer.chat_template.replace("assistant", "model")
    keys = [
        make_key(),
        make_key(info=replace(INFO, weights_sha256="b" * 64)),
        make_key(info=replace(INFO, kind="hub", weights_sha256=None, revision="c" * 40)),
        make_key(model=stretched),
        make_key(model=copy.deepcopy(tiny_model).to(torch.bfloat16)),
        make_key(tokenizer=lowercase),
        make_key(tokenizer=renamed),
        make_key(tokenizer=retold),
        make_key(tokenizer=plain_tokenizer),
        make_key(records=records[1:]),
        make_key(records=records[::-1]),
        make_key(max_length=65),
        make_key(truncate_answers=True),
    ]
    assert None not in keys
    assert all([computed(tmp_path, key) for key in keys])
    assert not any([computed(tmp_path, key) for key in keys])


def test_a_tokenizer_without_a_fast_pipeline_has_a_key(
    make_key: MakeKey, plain_tokenizer: PreTrainedTokenizerFast
) -> None:
    def slow(vocabulary: dict[str, int]) -> SimpleNamespace:
        return SimpleNamespace(
            is_fast=False,
            chat_template=None,
            special_tokens_map={"eos_token": "<eos>"},
            added_tokens_decoder=plain_tokenizer.added_tokens_decoder,
            get_vocab=lambda: vocabulary,
        )

    one = make_key(tokenizer=slow({"a": 0, "b": 1}))
    assert one == make_key(tokenizer=slow({"b": 1, "a": 0}))
    assert one != make_key(tokenizer=slow({"a": 1, "b": 0}))


@pytest.mark.parametrize("change", [{"kind": "adapter"}, {"kind": "hub", "weights_sha256": None}])
def test_weights_that_nothing_names_for_good_have_no_key(change: dict[str, Any], make_key: MakeKey) -> None:
    assert make_key(info=replace(INFO, **change)) is None


# The folder


@pytest.mark.parametrize(
    ("chosen", "shared", "expected"),
    [
        ("/chosen", "/shared", "/chosen"),
        ("~/chosen", "/shared", "/home/me/chosen"),
        ("", "/shared", "/shared/copydesk"),
        (None, "/shared", "/shared/copydesk"),
        (None, "relative", "/home/me/.cache/copydesk"),
        (None, "", "/home/me/.cache/copydesk"),
        (None, None, "/home/me/.cache/copydesk"),
    ],
)
def test_where_the_cache_is(
    chosen: str | None, shared: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in (("COPYDESK_CACHE", chosen), ("XDG_CACHE_HOME", shared)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_the_usual_folder_is_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COPYDESK_CACHE", str(tmp_path / "cache"))
    load_or_compute_references(KEY, TRIPLES, Counted())
    assert file_of(tmp_path / "cache").is_file()
