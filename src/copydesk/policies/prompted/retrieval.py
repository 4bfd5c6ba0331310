"""Retrieve past edits by context: encoders of contexts, and a memory searched by cosine similarity."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import huggingface_hub
import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from safetensors import SafetensorError
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from copydesk import embedded
from copydesk.data.record import Context
from copydesk.errors import InputError
from copydesk.models.load import get_device, load_model
from copydesk.policies.base import Policy
from copydesk.policies.local import LocalPolicy
from copydesk.policies.prompted.base import unwrap_policy
from copydesk.policies.prompted.prompts import flatten_context

_BATCH_SIZE = 32


class Encoder(Protocol):
    """Computes embeddings of texts."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of norm 1 for each text, shape (texts, width)."""
        ...


class SentenceEncoder:
    """A Transformers encoder: the mean of its last states over a text's tokens (Sentence-BERT, arXiv 1908.10084).

    It reads all-mpnet-base-v2 and the other mean-pooled models of sentence-transformers. A text that is too long for
    the model is truncated. Only safetensors are read, and no code that comes with a model is run.

    Args:
        spec: a hub id, such as `sentence-transformers/all-mpnet-base-v2`, or a folder in the Transformers layout.

    Raises:
        InputError: there is no such encoder, it cannot be loaded, or the hub cannot be reached.
    """

    def __init__(self, spec: str) -> None:
        folder = Path(spec).expanduser()
        source = spec
        if folder.is_dir():
            source = str(folder)
        else:
            _check_hub(spec)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
            model: PreTrainedModel = AutoModel.from_pretrained(
                source, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            )
        except (OSError, ValueError, KeyError, ImportError, SafetensorError) as exc:
            first_line = (str(exc).strip() or type(exc).__name__).splitlines()[0]
            raise InputError(
                f"--encoder {spec}: cannot be loaded ({first_line}); give a hub id or a folder that holds config.json, "
                "*.safetensors and a tokenizer"
            ) from None
        self._model = model.to(get_device()).eval()  # type: ignore[arg-type]
        # A tokenizer without a limit has a huge one.
        limits = (self._tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None))
        self._longest = min((limit for limit in limits if limit and limit < 10**9), default=512)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of norm 1 for each text, shape (texts, width)."""
        padding = self._tokenizer.pad_token_id or 0
        rows = [self._tokenizer(text, truncation=True, max_length=self._longest)["input_ids"] for text in texts]
        return _mean_pool(self._model, [row or [padding] for row in rows], padding)


class PolicyEncoder:
    """Embeddings from a policy: the mean of its last hidden states over the tokens of a context.

    A context that is too long for the model is truncated. The states are computed with the policy's adapter.

    Args:
        policy: the policy; its model stays on its device.
    """

    def __init__(self, policy: LocalPolicy) -> None:
        self._policy = policy

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row of norm 1 for each text, shape (texts, width)."""
        model = self._policy.model
        bare: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        longest = getattr(bare.config.get_text_config(), "max_position_embeddings", None)
        rows = [tokens[:longest] for tokens in self._policy.encode(texts)]
        return _mean_pool(bare.base_model, rows, self._policy.end_of_turn[-1], use_cache=False)


def choose_encoder(writer: Policy, spec: str | None = None) -> Encoder:
    """The encoder of a spec; by default the writer's own states or, if it runs at a server, the embedded model's.

    Raises:
        InputError: the encoder cannot be loaded.
    """
    if spec is not None:
        return SentenceEncoder(spec)
    policy = unwrap_policy(writer)
    if not isinstance(policy, LocalPolicy):
        model, tokenizer, _ = load_model(embedded.NAME)
        policy = LocalPolicy(embedded.NAME, model, tokenizer)
    return PolicyEncoder(policy)


@torch.inference_mode()
def _mean_pool(model: Any, rows: Sequence[Sequence[int]], padding: int, **options: Any) -> NDArray[np.float32]:
    """The mean of the last states over each row's tokens, at norm 1; rows of similar length share a batch."""
    found = np.zeros((len(rows), model.config.get_text_config().hidden_size), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), _BATCH_SIZE):
            batch = order[start : start + _BATCH_SIZE]
            length = len(rows[batch[-1]])
            ids = torch.tensor([[*rows[row], *[padding] * (length - len(rows[row]))] for row in batch])
            mask = torch.tensor([[1] * len(rows[row]) + [0] * (length - len(rows[row])) for row in batch])
            ids, mask = ids.to(model.device), mask.to(model.device)
            states = model(input_ids=ids, attention_mask=mask, **options).last_hidden_state.float()
            sums = (states * mask.unsqueeze(-1)).sum(dim=1)  # at norm 1 the same as the means
            found[batch] = normalize(sums, dim=-1).cpu().numpy()
    finally:
        model.train(was_training)
    return found


def _check_hub(spec: str) -> None:
    """Ask the hub once whether it has an encoder, unless it is cached: loading would retry for a minute."""
    try:
        if not isinstance(huggingface_hub.try_to_load_from_cache(spec, "config.json"), str):
            huggingface_hub.model_info(spec, timeout=10)
    except Exception:  # the network's errors come from whichever HTTP library the hub's client builds on
        raise InputError(
            f"--encoder {spec}: not a folder here, and the hub has no such model or cannot be reached; check the name "
            "and the network, or give a local folder"
        ) from None


_Item = TypeVar("_Item")

# The rest of a batch changes a similarity by some 1e-7; smaller differences are ties.
_SIMILARITY_DECIMALS = 5


class RetrievalMemory(Generic[_Item]):
    """Items stored by context, retrieved by the cosine similarity of the contexts' embeddings.

    Args:
        encoder: computes the embeddings. A chat is embedded as the text of its messages.
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

        Of equally similar contexts the one added last comes first: preferences may have changed.
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
