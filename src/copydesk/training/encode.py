"""Encode a log as token triples (context, response, edit) and split off the held-out rows."""

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from transformers import PreTrainedTokenizerBase

from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.models.chat import encode_context, find_end_of_turn, tokenize_plain

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Triple:
    """One row (x, y, y') as token ids; y and y' end with the token that ends a turn.

    Attributes:
        id: the row's id in the log.
        context: x, at least one token.
        response: y, at least one token.
        edit: y', at least one token.
        weight: how much the row counts in every mean; the usual row counts 1.
        cost: c, what the edit cost; `None` where no method asked for it.
    """

    id: str
    context: tuple[int, ...]
    response: tuple[int, ...]
    edit: tuple[int, ...]
    weight: float = 1.0
    cost: float | None = None

    @property
    def edited(self) -> bool:
        """Whether y and y' differ for the model: only then does the row hold a preference."""
        return self.response != self.edit

    @cached_property
    def fork(self) -> int:
        """How many tokens at their beginning y and y' have in common, which a model needs to read only once.

        Of an edited row at least one token is left in each branch, even where an answer cut short is all beginning of
        the other. Of an unedited row it is the whole answer: there are no branches.
        """
        if not self.edited:
            return len(self.edit)
        most = min(len(self.response), len(self.edit)) - 1
        return next((i for i in range(most) if self.response[i] != self.edit[i]), most)


@dataclass(frozen=True)
class EncodedLog:
    """The triples of a log, and counts of rows that were cut or left out.

    Attributes:
        triples: in the order of the log, without the rows left out.
        pending: rows left out because their edit is not known yet.
        cut_contexts: rows whose context lost its beginning.
        cut_answers: rows where even an answer alone was too long and lost its end, as was asked.
        left_out: rows left out because even an answer alone was too long.
        users: of each triple, whose row it was; `None` where that is not known.
    """

    triples: list[Triple]
    pending: int
    cut_contexts: int
    cut_answers: int
    left_out: int = 0
    users: tuple[str | None, ...] = ()

    @property
    def shared_tokens(self) -> int:
        """Tokens that y and y' of the edited rows have in common at their beginning, summed over the rows."""
        return sum(triple.fork for triple in self.triples if triple.edited)


def encode_log(
    records: Iterable[EditRecord],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    truncate_answers: bool = False,
    weights: Mapping[str, float] | None = None,
    costs: Mapping[str, float] | None = None,
) -> EncodedLog:
    """Turn the rows of a log into token triples of at most `max_length` tokens (context plus the longer answer).

    A row that is too long loses tokens from the start of its context, the same for y and y' (a leading begin-of-text
    token stays). A row is left out when one of its answers alone is too long, since a model trained on an answer
    without its end would not learn to stop. All losses are counted and reported in a warning.

    Args:
        records: the log.
        tokenizer: of the model that is to read the triples.
        max_length: in tokens, at least 2: one to read and one to write.
        truncate_answers: keep the rows that would be left out; their answers lose their end.
        weights: the weight of a row by its id; a row that is not in it weighs 1.
        costs: the cost of a row by its id, of the whole texts, whatever is cut off; see `compute_row_costs`.

    Raises:
        InputError: the tokenizer has no token that ends a turn, or no row is left of those whose edit is known.
    """
    end = find_end_of_turn(tokenizer)
    room_for_answer = max_length - 1  # an answer's first token is predicted from one before it
    triples: list[Triple] = []
    users: list[str | None] = []
    pending = cut = shortened = left_out = 0
    for record in records:
        if record.edit is None:
            pending += 1
            continue
        context = encode_context(record.context, tokenizer)
        response = tokenize_plain(tokenizer, record.response) + end
        edit = tokenize_plain(tokenizer, record.edit) + end
        longest = max(len(response), len(edit))
        if longest > room_for_answer and not truncate_answers:
            left_out += 1
            continue
        shortened += longest > room_for_answer
        room_for_context = max(max_length - longest, 1)
        cut += len(context) > room_for_context
        users.append(record.user)
        triples.append(
            Triple(
                record.id,
                tuple(_keep_last(context, room_for_context, tokenizer)),
                tuple(response[:room_for_answer]),
                tuple(edit[:room_for_answer]),
                1.0 if weights is None else weights.get(record.id, 1.0),
                None if costs is None else costs[record.id],
            )
        )
    if left_out and not triples:
        raise InputError(
            f"none of the {left_out} edited or accepted rows fits: each has an answer of more than {room_for_answer} "
            f"tokens; raise --max-length (now {max_length}), or keep them without their end with --cut-answers"
        )
    if cut:
        logger.warning(
            "%d of %d contexts were longer than --max-length %d allows and lost their beginning; raise it to keep them "
            "whole",
            cut,
            len(triples),
            max_length,
        )
    if shortened:
        logger.warning(
            "%d of %d rows have an answer longer than --max-length %d allows, which lost its end as --cut-answers "
            "asks; raise --max-length to keep it whole",
            shortened,
            len(triples),
            max_length,
        )
    if left_out:
        logger.warning(
            "%d of %d rows have an answer longer than --max-length %d allows and were left out; raise it, or keep them "
            "without their end with --cut-answers",
            left_out,
            left_out + len(triples),
            max_length,
        )
    return EncodedLog(triples, pending, cut, shortened, left_out, tuple(users))


def _keep_last(ids: list[int], count: int, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The last `count` ids; a begin-of-text token that stood first still does (models lose their footing without)."""
    if len(ids) <= count:
        return ids
    if count > 1 and ids[0] == tokenizer.bos_token_id:
        return [ids[0], *ids[len(ids) - count + 1 :]]
    return ids[len(ids) - count :]


def split_triples(triples: Sequence[Triple], held_out: float, seed: int) -> tuple[list[Triple], list[Triple]]:
    """Divide triples into those to train on and those to measure with, the same way every time.

    A row's place follows from its id and the seed alone, not from the order of the log. With `held_out` above 0 at
    least one row is kept where there are two, and at least one edited row stays to train on.

    Args:
        triples: all rows.
        held_out: the share to keep, at least 0 and less than 1.
        seed: another seed, another split.

    Returns:
        The rows to train on and the held-out rows, each in the order given.
    """
    order = sorted(range(len(triples)), key=lambda i: _hash_rank(triples[i].id, seed))
    count = min(math.ceil(len(triples) * held_out), len(triples) - 1)
    # The last edited row of the order is never held out: without it training would have nothing to learn.
    edited = [i for i in order if triples[i].edited]
    kept = set([i for i in order if i not in edited[-1:]][:count])
    train = [triple for i, triple in enumerate(triples) if i not in kept]
    return train, [triple for i, triple in enumerate(triples) if i in kept]


def _hash_rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
