import copy
import logging

import pytest
from transformers import PreTrainedTokenizerFast

from copydesk.errors import InputError
from copydesk.learn.encode import encode_context, encode_log, end_of_turn
from copydesk.log.record import EditRecord, Message


def row(context: str = "a b c d e f g h", response: str = "one", edit: str | None = "two") -> EditRecord:
    return EditRecord(id="r", context=context, response=response, edit=edit)


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
    assert plain_tokenizer.decode(end_of_turn(plain_tokenizer)) == "<eos>"
    assert chat_tokenizer.decode(end_of_turn(chat_tokenizer)) == "<|end|>"


def test_a_template_that_writes_no_special_token_falls_back_to_eos(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = copy.deepcopy(chat_tokenizer)
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    assert tokenizer.decode(end_of_turn(tokenizer)) == "<eos>"


def test_no_end_token_at_all_is_a_fault(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=plain_tokenizer.backend_tokenizer)
    with pytest.raises(InputError, match="eos_token"):
        encode_log([row()], bare, 64)


def test_an_empty_context_still_has_a_token_to_predict_from(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    (triple,) = encode_log([row(context="")], plain_tokenizer, 64).triples
    assert len(triple.context) == 1


def test_an_empty_edit_is_just_the_end(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    (triple,) = encode_log([row(edit="")], plain_tokenizer, 64).triples
    assert list(triple.edit) == end_of_turn(plain_tokenizer)


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


def test_an_answer_is_cut_only_when_it_alone_is_too_long(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode_log([row(response="x" * 90, edit="y")], plain_tokenizer, 20)
    (triple,) = encoded.triples
    assert encoded.cut_answers == 1
    assert (len(triple.context), len(triple.response)) == (1, 19)
    assert list(triple.edit)[-1:] == end_of_turn(plain_tokenizer)
