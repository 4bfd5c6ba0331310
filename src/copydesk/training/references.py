"""Reference log-probabilities on disk: computed once for a model and a log, then reused by every method and run."""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.data.record import EditRecord
from copydesk.model_registry import cache_folder
from copydesk.models.load import ModelInfo
from copydesk.training.encode import Triple
from copydesk.training.logprobs import TripleLogProbs
from copydesk.training.policy_file import compute_data_sha256

logger = logging.getLogger(__name__)

REFERENCES_FORMAT = 1


@dataclass(frozen=True)
class ReferenceCacheKey:
    """All that decides the reference log-probabilities of a log; see `build_reference_cache_key`.

    Attributes:
        weights: SHA-256 of the weight files, or the commit on the hub.
        config: SHA-256 of the model's configuration.
        dtype: of the weights.
        tokenizer: SHA-256 of what decides the tokens of a text.
        template: SHA-256 of the chat template, or `none`.
        log: `compute_data_sha256` of the records.
        max_length: of `encode_log`.
        cut_answers: of `encode_log`.
        format: version of the file's layout.
    """

    weights: str
    config: str
    dtype: str
    tokenizer: str
    template: str
    log: str
    max_length: int
    cut_answers: bool
    format: int = REFERENCES_FORMAT

    @property
    def json(self) -> str:
        """The key as the file keeps it."""
        return _to_canonical_json(asdict(self))

    @property
    def digest(self) -> str:
        """The key in 64 hexadecimal digits, the name of its file."""
        return _hash_text(self.json)


def build_reference_cache_key(
    info: ModelInfo,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Iterable[EditRecord],
    *,
    max_length: int,
    truncate_answers: bool = False,
) -> ReferenceCacheKey | None:
    """The key of the scores that `model`, as `load_model` gave it, has for a log that `encode_log` encodes.

    Versions of torch and of Transformers are not part of it: they change a score by rounding only.

    Returns:
        `None` where nothing names the weights for good: an adapter, whose hash leaves out its base, or a model from
        the hub whose commit is not known.
    """
    weights = None if info.kind == "adapter" else info.weights_sha256 or info.revision
    if weights is None:
        return None
    template = tokenizer.chat_template
    return ReferenceCacheKey(
        weights=weights,
        config=_hash_text(_to_canonical_json(_relevant_config(model))),
        dtype=str(model.dtype).removeprefix("torch."),
        tokenizer=_hash_text(_to_canonical_json(_tokenizer_state(tokenizer))),
        template="none" if template is None else _hash_text(_to_canonical_json(template)),
        log=compute_data_sha256(records),
        max_length=max_length,
        cut_answers=truncate_answers,
    )


def load_or_compute_references(
    key: ReferenceCacheKey | None,
    triples: Sequence[Triple],
    compute: Callable[[], TripleLogProbs],
    folder: Path | None = None,
) -> TripleLogProbs:
    """The reference log-probabilities of all triples of a log, read from the cache, or computed and then kept in it.

    A file is used only when it was written for this key and these very tokens, and its checksum holds; any other is
    named in a warning and replaced. A cache that cannot be written to is a warning, never a failure. Several processes
    may share a cache: a file appears whole under its name, or not at all. A file holds 8 bytes for each row.

    Args:
        key: `None` always computes, and keeps nothing.
        triples: in the order of the log and before any split, so that the scores serve every split of it.
        compute: scores `triples`; called at most once. Scores that are not finite numbers are not kept.
        folder: the cache; `cache_folder()` by default.

    Returns:
        What `compute` gives, now or in an earlier run: float32 on CPU, shape [n].
    """
    if key is None:
        return compute()
    path = (folder or cache_folder()) / "references" / f"{key.digest}.safetensors"
    rows = _hash_token_rows(triples)
    try:
        scores = _read_scores(path, key, rows, len(triples))
    except FileNotFoundError:
        pass
    except (OSError, SafetensorError, ValueError) as exc:
        logger.warning("%s: cannot be used (%s); computing the reference log-probabilities again", path, exc)
    else:
        logger.info("reference log-probabilities of %d rows: reused from %s", len(triples), path)
        return scores
    scores = compute()
    if _all_finite(scores):
        _write_scores(path, key, rows, scores)
    else:
        logger.warning("some reference log-probabilities are not finite numbers, so they are not kept")
    return scores


def _read_scores(path: Path, key: ReferenceCacheKey, rows: str, count: int) -> TripleLogProbs:
    """The scores in a file.

    Raises:
        OSError: it is missing or cannot be read.
        SafetensorError: it is not whole.
        ValueError: it holds something else than was asked for.
    """
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        # Cloned, since the tensors of a file may be the file itself, mapped into memory.
        scores = TripleLogProbs(file.get_tensor("edit").clone(), file.get_tensor("response").clone())
    if about.get("key") != key.json:
        raise ValueError("it does not say that it was made for this model and log")
    if any(tensor.dtype != torch.float32 or tensor.shape != (count,) for tensor in scores):
        raise ValueError(f"it does not hold {count} float32 numbers twice")
    if about.get("checksum") != _compute_checksum(scores, rows):
        raise ValueError("it is damaged, or was made for other tokens")
    if not _all_finite(scores):
        raise ValueError("it holds numbers that are not finite")
    return scores


def _write_scores(path: Path, key: ReferenceCacheKey, rows: str, scores: TripleLogProbs) -> None:
    """Keep scores under a name, or say why not."""
    # Cloned, since safetensors refuses two tensors that are one in memory.
    tensors = {name: tensor.clone().contiguous() for name, tensor in scores._asdict().items()}
    contents = save(tensors, {"key": key.json, "checksum": _compute_checksum(scores, rows)})
    temporary = path.with_name(f".{key.digest}-{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as exc:
        reason = (exc.strerror or str(exc)).lower()
        logger.warning(
            "%s: the reference log-probabilities cannot be kept there (%s) and will be computed again next time; "
            "point COPYDESK_CACHE at a folder you may write to",
            path.parent,
            reason,
        )
    finally:
        with suppress(OSError):
            temporary.unlink()


def _all_finite(scores: TripleLogProbs) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in scores)


def _compute_checksum(scores: TripleLogProbs, rows: str) -> str:
    return hashlib.sha256(_to_bytes(scores.edit) + _to_bytes(scores.response) + rows.encode()).hexdigest()


def _to_bytes(tensor: Tensor) -> bytes:
    return tensor.cpu().numpy().tobytes()


def _hash_token_rows(triples: Sequence[Triple]) -> str:
    """A hash of what the scores are of: every row's id and tokens, in order."""
    total = hashlib.sha256()
    for triple in triples:
        total.update(_to_canonical_json([triple.id, triple.context, triple.response, triple.edit]).encode() + b"\n")
    return total.hexdigest()


def _relevant_config(model: PreTrainedModel) -> dict[str, Any]:
    """A model's configuration without what changes no score: it decides what the same weights compute."""
    incidental = {"transformers_version", "_name_or_path", "use_cache"}
    return {name: value for name, value in model.config.to_dict().items() if name not in incidental}


def _tokenizer_state(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """What decides the tokens of a text, as JSON values."""
    special = [tokenizer.special_tokens_map, getattr(tokenizer, "split_special_tokens", False)]
    if not tokenizer.is_fast:
        added = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
        return [type(tokenizer).__name__, tokenizer.get_vocab(), added, *special]
    pipeline = json.loads(tokenizer.backend_tokenizer.to_str())
    # How the last batch was padded and truncated is remembered there, and belongs to that batch alone.
    return [{name: part for name, part in pipeline.items() if name not in ("padding", "truncation")}, *special]


def _to_canonical_json(value: Any) -> str:
    """One text for one value, whatever the order of its keys."""
    return json.dumps(value, sort_keys=True, default=str)


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
