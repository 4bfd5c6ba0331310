"""Load a model and its tokenizer: embedded, pulled, from a hub, a folder, an adapter's folder or a GGUF file."""

import contextlib
import hashlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
import torch
import transformers
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase

from copydesk import embedded, model_registry
from copydesk.errors import InputError
from copydesk.model_registry import Dtype

ModelKind = Literal["embedded", "folder", "hub", "gguf", "adapter"]

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")

_NAMED_MODELS = " or ".join(repr(name) for name in (embedded.NAME, *model_registry.PINNED_MODEL_NAMES))


@dataclass(frozen=True)
class ModelInfo:
    """Which model was loaded, exactly.

    Attributes:
        spec: the spec it was loaded by.
        kind: the kind of source that the spec names.
        revision: the commit on the hub; `None` for local files.
        weights_sha256: hash of the weight files; `None` for a model from the hub, which `revision` pins.
        parameters: number of parameters.
    """

    spec: str
    kind: ModelKind
    revision: str | None
    weights_sha256: str | None
    parameters: int


def quiet_libraries() -> None:
    """Silence the libraries' warnings to developers and, without a terminal, their progress bars."""
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if not sys.stderr.isatty():
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _hide_progress_bars() -> Iterator[None]:
    """Hide progress bars that have no setting to turn them off; log handlers keep their stream and are not affected."""
    if sys.stderr.isatty():
        yield
        return
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def get_device() -> torch.device:
    """The device for models: a CUDA device if there is one, another for each process, or else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def load_model(
    spec: str, dtype: Dtype = "auto", *, full: bool = False
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase, ModelInfo]:
    """Load a causal language model and its tokenizer, in evaluation mode.

    Only safetensors and GGUF weights are read, and no code that comes with a model is run.

    Args:
        spec: `embedded`, a model that `copydesk models pull` fetched (`smollm2`), a hub id, a folder in the
            Transformers layout, a folder with a PEFT adapter (its base is loaded too), or a `.gguf` file (its weights
            are unpacked to ordinary ones). `embedded` and `smollm2` mean these models even where a folder has such a
            name; `./smollm2` means the folder.
        dtype: of the weights; see `TrainConfig.dtype`.
        full: whether all weights are about to be trained; decides what `auto` means on CUDA.

    Raises:
        InputError: there is no such model, it has not been pulled, a part of it is missing or damaged, or the hub
            cannot be reached.
    """
    kind, source = _resolve_spec(spec)
    if kind == "adapter":
        return _load_adapter(spec, source, dtype)
    where: dict[str, Any] = {"pretrained_model_name_or_path": source}
    if kind == "gguf":
        file = Path(source)
        where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    elif kind == "hub":
        _check_hub(spec)
    else:
        _check_folder(spec, Path(source))
    extra: dict[str, Any] = {"quantization_config": GgufConfig(dequantize=True)} if kind == "gguf" else {}
    if kind != "gguf":
        extra["use_safetensors"] = True
    try:
        with _hide_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(**where, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(
                **where, **extra, dtype=_torch_dtype(dtype, full), trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as exc:
        raise InputError(_describe_load_error(spec, kind, exc)) from None
    if kind == "gguf":
        model = _dequantize(model, source)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.to(get_device()).eval()
    revision = getattr(model.config, "_commit_hash", None) if kind == "hub" else None
    sha256 = None if kind == "hub" else _hash_weights(Path(source))
    return model, tokenizer, ModelInfo(spec, kind, revision, sha256, model.num_parameters())


def _resolve_spec(spec: str) -> tuple[ModelKind, str]:
    """The kind of a spec, and its path or hub id."""
    if spec == embedded.NAME:
        return "embedded", str(embedded.path())
    if (folder := model_registry.find_pinned_model_folder(spec)) is not None:
        return "folder", str(folder.resolve())
    if not spec.strip():
        raise InputError(f"--model is empty; give a hub id, a folder, a .gguf file, {_NAMED_MODELS}")
    path = Path(spec).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"--model {spec}: there is no such file; check the path")
        return "gguf", str(path.resolve())
    if path.is_dir():
        kind: ModelKind = "adapter" if (path / "adapter_config.json").is_file() else "folder"
        return kind, str(path.resolve())
    if path.exists():
        raise InputError(f"--model {spec}: not a model; give a folder, a .gguf file, a hub id, {_NAMED_MODELS}")
    if spec.startswith((".", "/", "~")) or spec.count("/") > 1:
        raise InputError(f"--model {spec}: there is no such folder; check the path")
    return "hub", spec


def _check_hub(spec: str) -> None:
    """Ask the hub once for a model that is not cached: loading would retry for a minute."""
    if isinstance(huggingface_hub.try_to_load_from_cache(spec, "config.json"), str):
        return
    try:
        huggingface_hub.model_info(spec, timeout=10)
    except Exception as exc:  # network errors are those of the HTTP library that the hub client uses
        raise InputError(_describe_load_error(spec, "hub", exc)) from None


def _check_folder(spec: str, folder: Path) -> None:
    """Name the missing part of a model's folder in one line, before a library does in twenty."""
    if not (folder / "config.json").is_file():
        raise InputError(f"--model {spec}: {folder} has no config.json; give a folder saved with save_pretrained")
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"--model {spec}: {folder} has no *.safetensors; save the weights with save_pretrained")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise InputError(
            f"--model {spec}: {folder} has no tokenizer (tokenizer.json); save the model's tokenizer into it"
        )


def _describe_load_error(spec: str, kind: ModelKind, exc: Exception) -> str:
    """A loading error of a library as one line."""
    if kind == "hub":
        return (
            f"--model {spec}: not a folder here, and the hub has no such model or cannot be reached; "
            f"check the name and the network, or give a local folder, a .gguf file, {_NAMED_MODELS}"
        )
    first_line = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
    return f"--model {spec}: cannot be loaded ({first_line}); check that its files are complete"


def _dequantize(model: PreTrainedModel, source: str) -> PreTrainedModel:
    """The same weights in an ordinary model, which, unlike one that remembers its GGUF blocks, can be saved."""
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype)  # type: ignore[no-untyped-call]
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    plain.name_or_path = source
    return plain


def _load_adapter(
    spec: str, folder: str, dtype: Dtype
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase, ModelInfo]:
    """Load a model with its adapter; the tokenizer is that of the adapter's folder, if it has one."""
    try:
        base_spec = PeftConfig.from_pretrained(folder).base_model_name_or_path
    except (OSError, ValueError, TypeError) as exc:
        raise InputError(_describe_load_error(spec, "adapter", exc)) from None
    if not base_spec:
        raise InputError(f"--model {spec}: adapter_config.json names no base_model_name_or_path; add it")
    base, tokenizer, info = load_model(base_spec, dtype)
    try:
        model = PeftModel.from_pretrained(base, folder).eval()
        if any((Path(folder) / name).is_file() for name in _TOKENIZER_FILES):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as exc:
        raise InputError(_describe_load_error(spec, "adapter", exc)) from None
    return model, tokenizer, ModelInfo(spec, "adapter", info.revision, _hash_weights(Path(folder)), info.parameters)


def _torch_dtype(dtype: Dtype, full: bool) -> torch.dtype:
    if dtype != "auto":
        return torch.float32 if dtype == "float32" else torch.bfloat16
    return torch.bfloat16 if torch.cuda.is_available() and not full else torch.float32


def _hash_weights(path: Path) -> str:
    """SHA-256 over a weight file, or over a folder's weight files in the order of their names."""
    total = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(path.glob("*.safetensors")):
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
