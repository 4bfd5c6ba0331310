"""What a model reads before it answers, and how it ends a turn: the chat template applied by hand."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from copydesk.data.record import Context, Message
from copydesk.errors import InputError


def encode_context(context: Context, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens a model reads before it answers; at least one.

    With a chat template, text is one user's message and the template opens the assistant's turn. Without one, text is
    taken as it stands, and messages become paragraphs `role: content` with `assistant:` at the end.
    """
    if tokenizer.chat_template is not None:
        rendered = _render_chat(tokenizer, _to_messages(context), open_turn=True)
        ids = tokenize_plain(tokenizer, rendered)
    else:
        text = context if isinstance(context, str) else _format_paragraphs(context)
        ids = list(tokenizer(text)["input_ids"])
        if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids.pop()  # some tokenizers close every text; an answer is still to come here
    if not ids:
        # The first token of an answer needs something before it to be predicted from.
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else find_end_of_turn(tokenizer)[-1]
        ids = [first]
    return ids


def find_end_of_turn(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token ids that close an answer, which a model must learn to write or it would never stop.

    With a chat template it is what the template writes after the assistant's words, up to and including the first
    special token (some tokenizers' `eos_token` ends a document, not a turn). Otherwise it is `eos_token`.

    Raises:
        InputError: there is neither.
    """
    if tokenizer.chat_template is not None:
        words = "Copydesk"
        turn = [{"role": "user", "content": "?"}, {"role": "assistant", "content": words}]
        _, found, after = _render_chat(tokenizer, turn, open_turn=False).rpartition(words)
        ids = tokenize_plain(tokenizer, after) if found else []
        special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
        for position, token in enumerate(ids):
            if token in special:
                return ids[: position + 1]
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no end-of-text token; set eos_token in its tokenizer_config.json")
    return [int(tokenizer.eos_token_id)]


def _to_messages(context: Context) -> list[dict[str, str]]:
    if isinstance(context, str):
        return [{"role": "user", "content": context}]
    return [message.model_dump() for message in context]


def _format_paragraphs(messages: Sequence[Message]) -> str:
    return "".join(f"{message.role}: {message.content}\n\n" for message in messages) + "assistant:"


def _render_chat(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], open_turn: bool) -> str:
    """What the chat template makes of the messages, as text."""
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=open_turn))


def tokenize_plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a text, with none added before or after it."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
