"""A run that is not finished yet: a folder beside the policy's, with `run.json`, the newest checkpoint and no more."""

import logging
import shutil
from pathlib import Path

from copydesk.errors import InputError
from copydesk.training.checkpoints import check_disk_space
from copydesk.training.policy_file import POLICY_FILE, PolicyFile, read_policy_file
from copydesk.training.resume import RUN_FILE, RunFile, check_same_run
from copydesk.utils.staging import check_target_free

logger = logging.getLogger(__name__)


def get_unfinished_folder(out: Path) -> Path:
    """Where a run that is to become the policy `out` keeps its checkpoint: `out` with `.unfinished` behind its name."""
    return out.absolute().with_name(f"{out.absolute().name}.unfinished")


def check_can_start(out: Path, *, overwrite: bool, resume: bool) -> None:
    """Say before anything is loaded that a run cannot be started under this name.

    Raises:
        InputError: both `overwrite` and `resume` are asked for; there is a policy of that name, or an unfinished run,
            and neither is; the folder holds other things or cannot be written to.
    """
    if overwrite and resume:
        raise InputError("--force starts over and --resume goes on; give one of them")
    if not (resume and (out / POLICY_FILE).is_file()):
        check_target_free(out, overwrite=overwrite)
    folder = get_unfinished_folder(out)
    if folder.exists() and not (folder / RUN_FILE).is_file() and any(folder.iterdir()):
        raise InputError(f"--out {out}: {folder} holds other things; move it away or choose another name")
    if (folder / RUN_FILE).is_file() and not (overwrite or resume):
        raise InputError(
            f"--out {out}: a run of that name was not finished; go on with --resume, or start over with --force"
        )
    check_disk_space(out, 0, "the policy")


def find_finished_policy(
    out: Path, settings: dict[str, str | int | float | bool | None], data_sha256: str
) -> PolicyFile | None:
    """The policy that a resumed run has made already, if it has.

    Raises:
        InputError: `out` holds a policy that was made otherwise.
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
    """Make the folder of an unfinished run, or find it.

    Args:
        out: the policy's folder.
        run: what the run is.
        resume: go on with the run that is there; otherwise it is removed.

    Returns:
        The folder, with `run.json` in it.

    Raises:
        InputError: the run that is there is another, or the folder cannot be written to.
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
    except OSError as fault:
        raise InputError(f"--out {out}: cannot be written ({(fault.strerror or str(fault)).lower()})") from None
    run.write(folder)
    return folder
