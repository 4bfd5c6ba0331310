"""`policy.json`: how a policy was trained, with the users it learned from as keyed hashes."""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from copydesk.data.record import EditRecord
from copydesk.data.strict_json import parse_value
from copydesk.errors import InputError
from copydesk.model_registry import collect_library_versions


class HashedUsers(BaseModel):
    """The users whose rows a policy was trained on or measured on, as keyed hashes.

    One can check whether a given user is among them, but not read who they are.

    Attributes:
        salt: the key of the hashes.
        users: of each user, the first 16 hex digits of the HMAC-SHA256 of their name, sorted.
        unnamed: number of rows without a user.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    salt: str
    users: tuple[str, ...]
    unnamed: int

    @classmethod
    def from_names(cls, names: Iterable[str | None], salt: str) -> Self:
        """The users of a log, one name for each row."""
        named: set[str] = set()
        unnamed = 0
        for name in names:
            if name is None:
                unnamed += 1
            else:
                named.add(name)
        return cls(salt=salt, users=tuple(sorted(_hash_user(name, salt) for name in named)), unnamed=unnamed)

    def contains(self, user: str) -> bool:
        """Whether this user is one of them."""
        return _hash_user(user, self.salt) in self.users


def _hash_user(name: str, salt: str) -> str:
    return hmac.new(salt.encode(), name.encode(), hashlib.sha256).hexdigest()[:16]


POLICY_FILE = "policy.json"
RUN_FILE = "run.json"
POLICY_FORMAT = 4  # 1 had no left_out, final or remarks; 2 no cost_model; 3 no people


class BaseModelRef(BaseModel):
    """The model a policy was trained from; the fields are those of `copydesk.models.load.ModelInfo`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str
    kind: str
    revision: str | None
    weights_sha256: str | None
    parameters: int


class TrainingData(BaseModel):
    """The log a policy was trained on.

    `rows` counts rows with a known edit that were not left out for their length, `edited` those of them that were
    changed, `held_out` those that were not trained on (in simulations, rows beside the log). `pending` and `left_out`
    are not part of `rows`. `people` has the hashes of their users.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    rows: int
    edited: int
    pending: int
    held_out: int
    cut_contexts: int
    cut_answers: int
    left_out: int = 0
    people: HashedUsers | None = None


class CostModelRef(BaseModel):
    """The cost model a policy was trained against.

    `folder` is within the policy's own, `sha256` the hash of its weights, `metric` the cost it predicts, and `fit` and
    `pessimistic` the figures of f̂ and f̄ on its held-out rows; its `cost_model.json` says more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    sha256: str
    metric: str
    fit: dict[str, float]
    pessimistic: dict[str, float]


class PolicyFile(BaseModel):
    """The contents of `policy.json`.

    Attributes:
        format: version of this layout.
        name: the policy's name, that of its folder.
        method: how it was trained.
        base: the model it was trained from.
        data: the log it was trained on.
        settings: every setting of the run.
        before: metrics of the base on the held-out rows (see `compute_held_out_metrics`); empty if none were held out.
        after: the same metrics of the policy.
        history: log entries of the training.
        final: the last log entry.
        remarks: warnings to read before using the policy, in sentences.
        cost_model: the cost model it was trained against, with `rl`.
        versions: of the libraries that made it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = POLICY_FORMAT
    name: str
    method: str
    base: BaseModelRef
    data: TrainingData
    settings: dict[str, str | int | float | bool | None]
    before: dict[str, float]
    after: dict[str, float]
    history: list[dict[str, float]]
    final: dict[str, float] = Field(default_factory=dict)
    remarks: list[str] = Field(default_factory=list)
    cost_model: CostModelRef | None = None
    versions: dict[str, str] = Field(default_factory=lambda: collect_library_versions())

    def write(self, folder: Path) -> None:
        """Write `policy.json` into a folder that is not in use yet."""
        (folder / POLICY_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_policy_file(folder: Path | str) -> PolicyFile:
    """Read `policy.json` from a policy's folder.

    Raises:
        InputError: there is none, it is damaged, or a newer Copydesk wrote it.
    """
    path = Path(folder) / POLICY_FILE
    try:
        contents: Any = parse_value(path.read_text(encoding="utf-8"))
    except OSError:
        raise InputError(f"{path}: cannot be read; give a folder that `copydesk train` wrote") from None
    except ValueError as exc:
        raise InputError(f"{path}: not JSON ({exc}); train the policy again") from None
    if isinstance(contents, dict) and isinstance(contents.get("format"), int) and contents["format"] > POLICY_FORMAT:
        raise InputError(f"{path}: written in format {contents['format']} by a newer Copydesk; upgrade copydesk")
    try:
        return PolicyFile.model_validate(contents)
    except ValidationError as exc:
        first = exc.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the document"
        raise InputError(f"{path}: field {field}: {first['msg']}; train the policy again") from None


def compute_data_sha256(records: Iterable[EditRecord]) -> str:
    """A hash of the fields of a log that training reads: id, context, response and edit of every row, in order."""
    total = hashlib.sha256()
    for record in records:
        row = record.model_dump_json(include={"id", "context", "response", "edit"})
        total.update(row.encode() + b"\n")
    return total.hexdigest()
