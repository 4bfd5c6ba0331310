import copy
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

from copydesk.data.record import EditRecord, Message
from copydesk.errors import InputError
from copydesk.models.chat import encode_context, find_end_of_turn
from copydesk.training.encode import Triple, encode_log

# Few different tokens, so that answers often begin alike.
answers = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)
texts = st.text("ab é", max_size=30)


def row(context: str = "a b c d e f g h", response: str = "one", edit: str | None = "two") -> EditRecord:
    return EditRecord(id="r", context=context, response=response, edit=edit)


def triple(response: tuple[int, ...], edit: tuple[int, ...]) -> Triple:
    return Triple("r", (7,), response, edit)


@pytest.mark.parametrize(
    ("response", "edit", "fork"),
    [
        ((1, 2, 9), (1, 9), 1),
        ((9,), (1, 9), 0),
        ((1, 2, 9), (3, 9), 0),
        ((1, 2, 3, 4), (1, 2, 3), 2),  # an answer cut short: all of y' is the beginning of y
        ((1,), (1, 2), 0),
        ((1, 2, 9), (1, 2, 9), 3),
    ],
)
def test_the_fork_is_where_the_answers_part(response: tuple[int, ...], edit: tuple[int, ...], fork: int) -> None:
    assert triple(response, edit).fork == fork
    assert triple(edit, response).fork == fork


@given(answers, answers)
def test_before_the_fork_the_answers_are_one_and_after_it_each_has_tokens(
    response: tuple[int, ...], edit: tuple[int, ...]
) -> None:
    made = triple(response, edit)
    assert response[: made.fork] == edit[: made.fork]
    if made.edited:
        assert made.fork < min(len(response), len(edit))
        # No later fork would do.
        assert response[made.fork] != edit[made.fork] or made.fork == min(len(response), len(edit)) - 1
    else:
        assert made.fork == len(edit)


def test_a_triple_that_knows_its_fork_is_still_the_same_triple() -> None:
    known, new = triple((1, 9), (2, 9)), triple((1, 9), (2, 9))
    assert known.fork == 0
    assert known == new and hash(known) == hash(new)


def test_plain_text_is_context_then_answer_then_end(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    (triple,) = encode_log([row("Say hi", "hello", "hi")], plain_tokenizer, 64).triples
    assert plain_tokenizer.decode(triple.context + triple.edit) == "Say hihi<eos>"
    assert plain_tokenizer.decode(triple.response) == "hello<eos>"


def test_a_chat_reads_as_the_template_writes_it(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    (triple,) = encode_log([row("Say hi", "hello", "hi")], chat_tokenizer, 64).triples
    turn = [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "hi"}]
    written = chat_tokenizer.apply_chat_template(turn, tokenize=False)
    assert chat_tokenizer.decode(triple.context + triple.edit) == written.rstrip("\n")


def test_text_and_one_user_message_are_the_same_chat(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    messages = (Message(role="user", content="Say hi"),)
    assert encode_context(messages, chat_tokenizer) == encode_context("Say hi", chat_tokenizer)


def test_messages_without_a_template_become_paragraphs(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    messages = (Message(role="system", content="Be brief"), Message(role="user", content="Hi"))
    text = plain_tokenizer.decode(encode_context(messages, plain_tokenizer))
    assert text == "system: Be brief\n\nuser: Hi\n\nassistant:"


def test_the_turn_ends_with_the_templates_token_not_the_documents(
    plain_tokenizer: PreTrainedTokenizerFast, chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    assert plain_tokenizer.decode(find_end_of_turn(plain_tokenizer)) == "<eos>"
    assert chat_tokenizer.decode(find_end_of_turn(chat_tokenizer)) == "<|end|>"


def test_a_template_that_writes_no_special_token_falls_back_to_eos(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = copy.deepcopy(chat_tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    assert tokenizer.decode(find_end_of_turn(tokenizer)) == "<eos>"


def test_a_tokenizer_without_an_end_token_is_an_error(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=plain_tokenizer.backend_tokenizer)
    with pytest.raises(InputError, match="eos_token"):
        encode_log([row()], bare, 64)


def test_an_empty_context_still_has_a_token_to_predict_from(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    (triple,) = encode_log([row(context="")], plain_tokenizer, 64).triples
    assert len(triple.context) == 1


def test_an_empty_edit_is_just_the_end(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    (triple,) = encode_log([row(edit="")], plain_tokenizer, 64).triples
    assert list(triple.edit) == find_end_of_turn(plain_tokenizer)


def test_pending_rows_are_left_out_and_counted(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode_log([row(), row(edit=None)], plain_tokenizer, 64)
    assert (len(encoded.triples), encoded.pending) == (1, 1)


def test_a_long_context_loses_its_beginning(
    plain_tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    record = row(context="x" * 50 + " the end of it", response="short", edit="a somewhat longer answer")
    (whole,) = encode_log([record], plain_tokenizer, 200).triples
    with caplog.at_level(logging.WARNING):
        encoded = encode_log([record], plain_tokenizer, 32)
    (cut,) = encoded.triples
    assert (encoded.cut_contexts, encoded.cut_answers) == (1, 0)
    assert (cut.response, cut.edit) == (whole.response, whole.edit)
    assert len(cut.context) == 32 - max(len(cut.response), len(cut.edit))
    assert cut.context == whole.context[-len(cut.context) :]
    assert "1 of 1 contexts" in caplog.text


def test_a_begin_of_text_token_survives_the_cut(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = copy.deepcopy(plain_tokenizer)
    tokenizer.bos_token = "<|start|>"
    record = row(context="<|start|>" + "x" * 50)
    (cut,) = encode_log([record], tokenizer, 16).triples
    assert cut.context[0] == tokenizer.bos_token_id
    assert len(cut.context) + max(len(cut.response), len(cut.edit)) == 16


LONG, SHORT = row(response="x" * 90, edit="y"), row()


def test_a_row_with_an_answer_that_alone_is_too_long_is_left_out(
    plain_tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    encoded = encode_log([LONG, SHORT, row(edit=None)], plain_tokenizer, 20)
    assert (encoded.left_out, encoded.cut_answers, encoded.pending) == (1, 0, 1)
    assert encoded.triples == encode_log([SHORT], plain_tokenizer, 20).triples
    assert "1 of 2 rows" in caplog.text
    assert "--max-length 20" in caplog.text and "--cut-answers" in caplog.text


def test_an_answer_loses_its_end_when_that_is_asked(
    plain_tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    encoded = encode_log([LONG, SHORT], plain_tokenizer, 20, truncate_answers=True)
    cut, _ = encoded.triples
    (whole,) = encode_log([LONG], plain_tokenizer, 200).triples
    assert (encoded.left_out, encoded.cut_answers) == (0, 1)
    assert (len(cut.context), len(cut.response)) == (1, 19)
    assert cut.response == whole.response[:19]
    assert cut.edit == whole.edit
    assert "1 of 2 rows" in caplog.text and "--max-length 20" in caplog.text


def test_an_answer_that_just_fits_is_kept_whole(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    (whole,) = encode_log([LONG], plain_tokenizer, 200).triples
    room = len(whole.response) + 1
    encoded = encode_log([LONG, SHORT], plain_tokenizer, room)
    assert (encoded.left_out, encoded.triples[0].response) == (0, whole.response)
    assert encode_log([LONG, SHORT], plain_tokenizer, room - 1).left_out == 1


def test_a_log_of_which_no_row_fits_is_an_error(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(InputError, match=r"--max-length \(now 20\).*--cut-answers") as error:
        encode_log([LONG, LONG, row(edit=None)], plain_tokenizer, 20)
    assert "the 2 " in str(error.value) and "\n" not in str(error.value)


def test_a_log_of_pending_rows_has_no_triples(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    assert encode_log([row(edit=None)], plain_tokenizer, 20).triples == []


@given(rows=st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=4), max_length=st.integers(2, 40))
def test_only_contexts_lose_tokens_and_only_their_first(
    plain_tokenizer: PreTrainedTokenizerFast, rows: list[tuple[str, str, str]], max_length: int
) -> None:
    log = [EditRecord(id=str(i), context=x, response=y, edit=z) for i, (x, y, z) in enumerate(rows)]
    whole = {one.id: one for one in encode_log(log, plain_tokenizer, 1000).triples}
    too_long = [one for one in whole.values() if max(len(one.response), len(one.edit)) > max_length - 1]
    if len(too_long) == len(log):
        with pytest.raises(InputError):
            encode_log(log, plain_tokenizer, max_length)
        return
    encoded = encode_log(log, plain_tokenizer, max_length)
    assert encoded.left_out == len(too_long) == len(log) - len(encoded.triples)
    assert encoded.cut_answers == 0
    assert encoded.cut_contexts == sum(one.context != whole[one.id].context for one in encoded.triples)
    for one in encoded.triples:
        assert (one.response, one.edit) == (whole[one.id].response, whole[one.id].edit)
        assert 1 <= len(one.context) <= max_length - max(len(one.response), len(one.edit))
        assert whole[one.id].context[-len(one.context) :] == one.context


@given(rows=st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=4), max_length=st.integers(2, 40))
def test_when_asked_every_row_is_kept_and_fits(
    plain_tokenizer: PreTrainedTokenizerFast, rows: list[tuple[str, str, str]], max_length: int
) -> None:
    log = [EditRecord(id=str(i), context=x, response=y, edit=z) for i, (x, y, z) in enumerate(rows)]
    whole = encode_log(log, plain_tokenizer, 1000).triples
    encoded = encode_log(log, plain_tokenizer, max_length, truncate_answers=True)
    assert (len(encoded.triples), encoded.left_out) == (len(log), 0)
    for one, full in zip(encoded.triples, whole, strict=True):
        assert one.context and one.response and one.edit
        assert len(one.context) + max(len(one.response), len(one.edit)) <= max_length
        assert one.response == full.response[: max_length - 1]
        assert one.edit == full.edit[: max_length - 1]


def test_a_row_weighs_what_its_id_says_or_one(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    log = [row(), row().model_copy(update={"id": "heavy"})]
    triples = encode_log(log, plain_tokenizer, 64, weights={"heavy": 2.5}).triples
    assert [one.weight for one in triples] == [1.0, 2.5]
    assert [one.weight for one in encode_log(log, plain_tokenizer, 64).triples] == [1.0, 1.0]


def test_a_change_the_tokenizer_does_not_see_is_no_edit(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = copy.deepcopy(plain_tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    record = row(response="Hello", edit="hello")
    assert record.edited
    (unseen,) = encode_log([record], tokenizer, 64).triples
    (seen,) = encode_log([record], plain_tokenizer, 64).triples
    assert (unseen.edited, seen.edited) == (False, True)


def test_the_tokens_shared_are_those_of_edited_rows(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    log = [row(response="zzq", edit="zzk"), row(response="zq", edit="zk"), row(response="same", edit="same")]
    assert encode_log(log, plain_tokenizer, 64).shared_tokens == 3
