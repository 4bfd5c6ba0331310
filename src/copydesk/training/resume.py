"""`run.json`: which run the checkpoints beside it belong to."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from copydesk.errors import InputError
from copydesk.training.policy_file import BaseModelRef
from copydesk.utils.atomic import atomic_write

RUN_FILE = "run.json"

# What decides when a run is saved, but not what it gives.
_MAY_DIFFER = {"save_every"}


class RunFile(BaseModel):
    """The contents of `run.json`: all that decides which weights a training run ends with.

    Attributes:
        settings: every setting of the run, as `TrainSettings.to_json` gives them.
        base: the model it starts from.
        data_sha256: hash of the log, see `compute_data_sha256`.
        rows_sha256: hash of the rows trained on, as token ids.
        processes: how many share a step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: dict[str, str | int | float | bool | None]
    base: BaseModelRef
    data_sha256: str
    rows_sha256: str
    processes: int = 1

    def write(self, folder: Path) -> None:
        """Write `run.json` into a run's folder, whole or not at all.

        Raises:
            InputError: the folder is missing or cannot be written to.
        """
        with atomic_write(folder / RUN_FILE) as file:
            file.write(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the `run.json` of a run's folder.

        Raises:
            InputError: there is none, or it is damaged.
        """
        try:
            return cls.model_validate_json((folder / RUN_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{folder}: holds no run to resume; leave out --resume") from None
        except (OSError, ValidationError, UnicodeDecodeError):
            raise InputError(f"{folder / RUN_FILE}: cannot be read; start over with --force") from None


def check_same_run(folder: Path, run: RunFile) -> None:
    """Refuse to resume one run as another: it would end as neither.

    Args:
        folder: of the run to resume.
        run: the run as it is asked for now; only how often it is saved may differ.

    Raises:
        InputError: `folder` holds no run, or another; the message names the first difference.
    """
    then, now = _identity_fields(RunFile.read(folder)), _identity_fields(run)
    for name in then | now:
        if then.get(name) != now.get(name):
            raise InputError(
                f"{folder}: the run began with {name} {then.get(name)}, and now it is {now.get(name)}; use the same or "
                "start over with --force"
            )


def _identity_fields(run: RunFile) -> dict[str, str | int | float | bool | None]:
    """What must not change, under the names to tell it by. The same model may be found at another place."""
    base = run.base
    return {
        "model": f"of hash {base.weights_sha256}" if base.weights_sha256 else f"{base.spec} at {base.revision}",
        **{name: value for name, value in run.settings.items() if name not in _MAY_DIFFER},
        "processes": run.processes,
        "log": f"of hash {run.data_sha256}",
        "token ids": f"of hash {run.rows_sha256}",
    }
