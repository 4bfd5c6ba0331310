"""A memory of contexts that gives back what was learnt from those nearest to a new one."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from copydesk.data.record import Context
from copydesk.policies.prompted.prompts import flatten_context
from copydesk.policies.prompted.retrieval import Encoder

_Item = TypeVar("_Item")

# Encoding in other company moves a similarity by some 1e-7; what differs by no more than that is a tie.
_SIMILARITY_DECIMALS = 5


class RetrievalMemory(Generic[_Item]):
    """Items under the contexts they were learnt from, retrieved by the cosine similarity of the contexts' embeddings.

    Args:
        encoder: turns contexts into embeddings. A chat is embedded as the text of its messages.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._items: list[_Item] = []
        self._embeddings: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def add(self, contexts: Sequence[Context], items: Sequence[_Item]) -> None:
        """Remember `items[i]` under `contexts[i]`."""
        pairs = list(zip(contexts, items, strict=True))
        if not pairs:
            return
        new = self._encoder.encode([flatten_context(context) for context, _ in pairs])
        self._embeddings = new if self._embeddings is None else np.concatenate([self._embeddings, new])
        self._items += [item for _, item in pairs]

    def find_nearest(self, contexts: Sequence[Context], k: int) -> list[list[_Item]]:
        """For each context the items of the k most similar ones (or of all, if fewer), the most similar first.

        Of contexts that are equally similar the one added last comes first: what people want may have changed.
        """
        if self._embeddings is None or not contexts:
            return [[] for _ in contexts]
        found = []
        newest_first = self._embeddings[::-1]
        for embedding in self._encoder.encode([flatten_context(context) for context in contexts]):
            similarity = np.round(newest_first @ embedding, _SIMILARITY_DECIMALS)
            nearest = np.argsort(-similarity, kind="stable")[:k]
            found.append([self._items[-1 - int(row)] for row in nearest])
        return found
