"""The edit cost Δ_edit(y, y'): how much a person had to change."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TypeVar, get_args

from copydesk import embedded
from copydesk.data.distance import compute_edit_distances
from copydesk.data.record import EditRecord
from copydesk.data.subtokens import compute_tokenizer_fingerprint, load_tokenizer, tokenize_texts
from copydesk.data.words import split_words
from copydesk.errors import InputError
from copydesk.utils.prefetch import ordered_map

CostUnit = Literal["subtoken", "word", "character"]
CostNormalization = Literal["response", "edit", "longest", "none"]
TextUnits = Sequence[int] | Sequence[str]

COST_BATCH_SIZE = 512
"""Edits that are costed together."""

_Item = TypeVar("_Item")
_Cost = TypeVar("_Cost")


@dataclass(frozen=True)
class EditCost:
    """Δ_edit of the paper (arXiv 2601.19055): the Levenshtein distance between a response and its edit.

    The distance counts insertions, deletions and substitutions of units. Two texts can have the same units, when only
    white space differs between words or when a tokenizer folds characters; a change that no unit shows counts as
    one. So the cost is 0 exactly when the edit is the response, and without normalisation and cap it is a metric.

    A length of 0 divides like a length of 1: writing n units where the response was empty costs n (before the cap).

    Attributes:
        unit: what is counted: the model's sub-tokens, words (`copydesk.data.words`; PRELUDE counts NLTK's) or
            characters (Unicode code points, so a letter and its combining mark are two).
        normalize: what the distance is divided by: the number of units in the response, in the edit, in the longer of
            the two (then the cost is at most 1), or nothing.
        cap: the largest cost there is, the paper's c_max; `None` for no cap. Divided by its length, a very short
            response can cost many times 1.
        tokenizer: whose sub-tokens: `"embedded"`, a model's folder, a `tokenizer.json`, or a name on the Hugging Face
            hub. Words and characters do not use it.

    Raises:
        InputError: a setting is not one of those; later, the tokenizer cannot be loaded.
    """

    unit: CostUnit = "subtoken"
    normalize: CostNormalization = "response"
    cap: float | None = None
    tokenizer: str = embedded.NAME

    def __post_init__(self) -> None:
        if self.unit not in get_args(CostUnit):
            raise InputError(f"edit cost: unit is {self.unit!r}; choose one of {', '.join(get_args(CostUnit))}")
        if self.normalize not in get_args(CostNormalization):
            choices = ", ".join(get_args(CostNormalization))
            raise InputError(f"edit cost: normalize is {self.normalize!r}; choose one of {choices}")
        if self.cap is not None and not (self.cap > 0 and math.isfinite(self.cap)):
            raise InputError(f"edit cost: cap is {self.cap}; give a number above 0, or none for no cap")

    def __call__(self, response: str, edit: str) -> float:
        """The cost of one edit."""
        return self._cost_pairs([(response, edit)])[0]

    def cost_of(self, record: EditRecord) -> float:
        """The cost of one logged edit.

        Raises:
            InputError: the record is pending; what is not known yet costs nothing knowable, least of all 0.
        """
        if record.edit is None:
            raise InputError(f"record {record.id!r}: its edit is still pending, so it has no cost yet; leave it out")
        return self(record.response, record.edit)

    def cost_batch(self, pairs: Iterable[tuple[str, str]]) -> list[float]:
        """The costs of (response, edit) pairs, in their order; faster than one call each."""
        return [cost for _, cost in self._iter_batched(self._cost_pairs, pairs)]

    def iter_costs(self, records: Iterable[EditRecord]) -> Iterator[tuple[EditRecord, float | None]]:
        """Every record with its cost, `None` while it is pending; a stream, in the order given.

        All cores work on it, so it reads a few hundred records for each of them ahead.
        """
        return self._iter_batched(self._cost_records, records)

    def split_units(self, text: str) -> TextUnits:
        """What the cost counts: token ids, words or characters."""
        return self._split_texts([text])[0]

    @property
    def name(self) -> str:
        """The metric, named so that equal names mean equal costs; stored beside every cost.

        For example `levenshtein/word/response` or `levenshtein/subtoken:embedded@1a2b3c4d/response/cap=2.0`, where the
        digits follow the tokenizer's content.
        """
        unit: str = self.unit
        if self.unit == "subtoken":
            label = Path(self.tokenizer).resolve().name if Path(self.tokenizer).exists() else self.tokenizer
            unit = f"subtoken:{label}@{compute_tokenizer_fingerprint(self.tokenizer)}"
        cap = [] if self.cap is None else [f"cap={float(self.cap)!r}"]
        return "/".join(["levenshtein", unit, self.normalize, *cap])

    def _iter_batched(
        self, costs: Callable[[Sequence[_Item]], Sequence[_Cost]], items: Iterable[_Item]
    ) -> Iterator[tuple[_Item, _Cost]]:
        """Each item with its cost, in their order, where `costs` knows those of a block of items.

        Tokenizing and counting leave Python to other threads. A tokenizer's own threads would do less: they stand still
        while records are read, and are off where `TOKENIZERS_PARALLELISM` says so or the process was forked.
        """
        if self.unit == "subtoken":
            load_tokenizer(self.tokenizer)  # once, before many threads ask for it
        for block, found in ordered_map(costs, _iter_blocks(items)):
            yield from zip(block, found, strict=True)

    def _cost_records(self, records: Sequence[EditRecord]) -> list[float | None]:
        known = [(record.response, record.edit) for record in records if record.edit is not None]
        costs = iter(self._cost_pairs(known))
        return [None if record.pending else next(costs) for record in records]

    def _cost_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Nothing is counted of what was not changed, and each text is cut into units once."""
        changed = [(response, edit) for response, edit in pairs if response != edit]
        texts = list(dict.fromkeys(chain.from_iterable(changed)))
        units = dict(zip(texts, self._split_texts(texts), strict=True))
        before = [units[response] for response, _ in changed]
        after = [units[edit] for _, edit in changed]
        costs = map(self._normalize_distance, compute_edit_distances(before, after), before, after)
        return [0.0 if response == edit else next(costs) for response, edit in pairs]

    def _split_texts(self, texts: list[str]) -> Sequence[TextUnits]:
        match self.unit:
            case "subtoken":
                return tokenize_texts(texts, self.tokenizer)
            case "word":
                return [split_words(text) for text in texts]
            case "character":
                return texts

    def _normalize_distance(self, distance: int, before: TextUnits, after: TextUnits) -> float:
        """The cost of a text that was changed, so that a distance of 0 is a change that no unit shows."""
        lengths = {"response": len(before), "edit": len(after), "longest": max(len(before), len(after)), "none": 1}
        cost = max(1, distance) / max(1, lengths[self.normalize])
        return cost if self.cap is None else min(cost, self.cap)


def _iter_blocks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    items = iter(items)
    while block := list(islice(items, COST_BATCH_SIZE)):
        yield block
