"""Resume unfinished runs: a folder beside the policy's holds `run.json`, which identifies the run, and a checkpoint."""

import logging
import shutil
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from copydesk.errors import InputError
from copydesk.training.checkpoints import check_disk_space
from copydesk.training.policy_file import POLICY_FILE, RUN_FILE, BaseModelRef, PolicyFile, read_policy_file
from copydesk.utils.atomic import atomic_write, check_target_free

# Settings that do not change the result.
_MAY_DIFFER = {"save_every"}


class RunFile(BaseModel):
    """The contents of `run.json`: everything that determines the weights at the end of a training run.

    Attributes:
        settings: every setting of the run, from `TrainConfig.to_json`.
        base: the model it starts from.
        data_sha256: hash of the log, see `compute_data_sha256`.
        rows_sha256: hash of the rows trained on, as token ids.
        processes: number of processes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: dict[str, str | int | float | bool | None]
    base: BaseModelRef
    data_sha256: str
    rows_sha256: str
    processes: int = 1

    def write(self, folder: Path) -> None:
        """Write `run.json` into a run's folder, atomically.

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
    """Refuse to resume a run with other settings, rows or processes.

    Args:
        folder: of the run to resume.
        run: the run as requested now; only the interval between checkpoints may differ.

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
    """Everything that must not change, by name. The same model may have moved to another folder."""
    base = run.base
    return {
        "model": f"of hash {base.weights_sha256}" if base.weights_sha256 else f"{base.spec} at {base.revision}",
        **{name: value for name, value in run.settings.items() if name not in _MAY_DIFFER},
        "processes": run.processes,
        "log": f"of hash {run.data_sha256}",
        "token ids": f"of hash {run.rows_sha256}",
    }


logger = logging.getLogger(__name__)


def get_unfinished_folder(out: Path) -> Path:
    """The folder of the checkpoint of a run that will write the policy `out`: `out` with `.unfinished` appended."""
    return out.absolute().with_name(f"{out.absolute().name}.unfinished")


def check_can_start(out: Path, *, overwrite: bool, resume: bool) -> None:
    """Check before anything is loaded that a run can be started under this name.

    Raises:
        InputError: both `overwrite` and `resume` are given; neither is given and there is a policy or an unfinished run
            of that name; the folder holds other files or cannot be written to.
    """
    if overwrite and resume:
        raise InputError("--force starts over and --resume continues; give one of them")
    if not (resume and (out / POLICY_FILE).is_file()):
        check_target_free(out, marker=POLICY_FILE, overwrite=overwrite)
    folder = get_unfinished_folder(out)
    if folder.exists() and not (folder / RUN_FILE).is_file() and any(folder.iterdir()):
        raise InputError(f"--out {out}: {folder} holds other files; move it away or choose another name")
    if (folder / RUN_FILE).is_file() and not (overwrite or resume):
        raise InputError(
            f"--out {out}: a run of that name was not finished; continue it with --resume, or start over with --force"
        )
    check_disk_space(out, 0, "the policy")


def find_finished_policy(
    out: Path, settings: dict[str, str | int | float | bool | None], data_sha256: str
) -> PolicyFile | None:
    """The policy of a resumed run that has finished already, if it has.

    Raises:
        InputError: `out` holds a policy of another run.
    """
    if not (out / POLICY_FILE).is_file():
        return None
    policy = read_policy_file(out)
    if policy.data.sha256 != data_sha256:
        raise InputError(f"--out {out}: the policy there was trained on another log; choose another name, or --force")
    for name, value in settings.items():
        if name != "save_every" and policy.settings.get(name) != value:
            raise InputError(
                f"--out {out}: the policy there is finished, with {name} {policy.settings.get(name)} and not {value}; "
                "choose another name, or start over with --force"
            )
    return policy


def open_run(out: Path, run: RunFile, *, resume: bool) -> Path:
    """Create or find the folder of an unfinished run.

    Args:
        out: the policy's folder.
        run: identifies the run.
        resume: continue an existing run; otherwise it is removed.

    Returns:
        The folder, with `run.json` in it.

    Raises:
        InputError: the existing run is another one, or the folder cannot be written to.
    """
    folder = get_unfinished_folder(out)
    if (folder / RUN_FILE).is_file() and resume:
        check_same_run(folder, run)
        return folder
    if resume:
        logger.info("%s: no unfinished run there, so training starts at the beginning", out)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as exc:
        raise InputError(f"--out {out}: cannot be written ({(exc.strerror or str(exc)).lower()})") from None
    run.write(folder)
    return folder
