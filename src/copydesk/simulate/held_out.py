"""How good a policy's own texts are, measured on held-out edits, so that no user has to be asked again.

A policy writes greedily for the held-out contexts, and its texts are compared with the edits that the user made of the
reference policy's responses to the same contexts. Words are those of `split_words`. The log-losses, which need the
model, are computed in `copydesk.simulate.held_out_losses`. Loads no torch.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise

from copydesk.data.cost import split_words
from copydesk.data.record import EditRecord
from copydesk.errors import InputError

_USUAL_PERCENT = 95
"""The percentage of the held-out edits whose number of unknown bigrams counts as usual."""

_REPEATED_WORDS = 4
"""The words in a row whose repetition is counted."""


@dataclass(frozen=True)
class TextMetrics:
    """A policy's texts for the held-out contexts, compared with the held-out edits.

    Attributes:
        unfixed: of the words that an edit added to the response or removed from it, the share that the policy's text
            does not have as the edit has them: added words that are missing, and removed words that are present. 0 if
            everything is fixed. The mean over edited rows, weighted by their number of changed words. Words are
            counted, not aligned: moving a word changes nothing, and of a word that the edit keeps once and removes
            once, one is to be in the text.
        unknown_bigrams: the share of the word bigrams of all texts that occur in no response and in no edit of the
            log. A text's beginning and end count as words.
        strange: the share of texts with more unknown bigrams than 95% of the held-out edits have.
        strange_edits: that share of the held-out edits themselves, at most 5%.
        repetition: the share of texts in which some four words in a row occur more often than any four words do in any
            held-out edit; of the held-out edits themselves it is 0.
    """

    unfixed: float
    unknown_bigrams: float
    strange: float
    strange_edits: float
    repetition: float

    def to_json(self) -> dict[str, float]:
        """The metrics as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class HeldOutMetrics(TextMetrics):
    """A policy measured on held-out edits: its texts, and its log-losses in nats.

    Attributes:
        log_loss: the mean over edited rows of -log π(y'|x), summed over the tokens of y' with its end of turn. The
            paper chooses settings by it.
        log_loss_per_token: the same, as a mean over all tokens of these rows.
        changed_log_loss: the mean over edited rows of -log π of the tokens that the user changed, summed; see
            `find_changed_tokens`.
        changed_log_loss_per_token: the same, as a mean over all changed tokens of these rows.
    """

    log_loss: float
    log_loss_per_token: float
    changed_log_loss: float
    changed_log_loss_per_token: float


def compute_text_metrics(
    texts: Sequence[str], held_out: Sequence[EditRecord], log: Sequence[EditRecord]
) -> TextMetrics:
    """Compare a policy's texts with held-out edits.

    Args:
        texts: what the policy writes for the context of each held-out row, before repetitions are cut off.
        held_out: rows that the policy was not trained on, none of them pending.
        log: the rows that it was trained on.

    Raises:
        InputError: there is not one text for each held-out row, a held-out row is pending, or none is edited.
    """
    if len(texts) != len(held_out):
        raise InputError(f"{len(texts)} texts for {len(held_out)} held-out rows; give one text for each row")
    for record in held_out:
        if record.pending:
            raise InputError(f"held-out row {record.id!r}: its edit is still pending; leave it out")
    if not any(record.edited for record in held_out):
        raise InputError("no held-out row is edited, so there is nothing to measure; hold out more rows")
    written = [split_words(text) for text in texts]
    responses = [split_words(record.response) for record in held_out]
    edits = [split_words(str(record.edit)) for record in held_out]
    known = _collect_bigrams(log)
    unknown = [_count_unknown_bigrams(words, known) for words in written]
    unknown_in_edits = [_count_unknown_bigrams(words, known) for words in edits]
    usual = _find_usual_count(unknown_in_edits)
    most_repeated = max(map(_count_repetitions, edits))
    return TextMetrics(
        unfixed=_compute_unfixed_share(written, responses, edits),
        unknown_bigrams=sum(unknown) / sum(len(words) + 1 for words in written),
        strange=sum(count > usual for count in unknown) / len(unknown),
        strange_edits=sum(count > usual for count in unknown_in_edits) / len(edits),
        repetition=sum(_count_repetitions(words) > most_repeated for words in written) / len(written),
    )


def _compute_unfixed_share(
    texts: Sequence[Sequence[str]], responses: Sequence[Sequence[str]], edits: Sequence[Sequence[str]]
) -> float:
    """The share of the words added and removed by the edits that the texts do not have as the edits have them."""
    changed = unfixed = 0
    for text, response, edit in zip(texts, responses, edits, strict=True):
        ours, before, after = Counter(text), Counter(response), Counter(edit)
        added, removed = after - before, before - after
        changed += added.total() + removed.total()
        unfixed += (added & (after - ours)).total() + (removed & (ours - after)).total()
    # Edits may have moved words and changed none.
    return unfixed / changed if changed else 0.0


def _iter_bigrams(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The bigrams of a text; an empty word, which no text has, stands before it and after it."""
    return pairwise(chain([""], words, [""]))


def _collect_bigrams(log: Sequence[EditRecord]) -> frozenset[tuple[str, str]]:
    texts = {text for record in log for text in (record.response, record.edit) if text is not None}
    return frozenset(bigram for text in texts for bigram in _iter_bigrams(split_words(text)))


def _count_unknown_bigrams(words: Sequence[str], known: frozenset[tuple[str, str]]) -> int:
    return sum(bigram not in known for bigram in _iter_bigrams(words))


def _find_usual_count(counts: Sequence[int]) -> int:
    """The smallest number that at least 95% of the counts do not exceed."""
    larger = len(counts) * (100 - _USUAL_PERCENT) // 100
    return sorted(counts)[len(counts) - 1 - larger]


def _count_repetitions(words: Sequence[str]) -> int:
    """How often the most frequent four words in a row occur."""
    runs = zip(*(words[start:] for start in range(_REPEATED_WORDS)), strict=False)
    return max(Counter(runs).values(), default=0)
