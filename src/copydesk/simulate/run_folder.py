"""The folder of a benchmark, from which a run that was stopped continues."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from copydesk.errors import InputError
from copydesk.method_registry import METHODS
from copydesk.simulate.config import MAY_EXTEND, ExperimentConfig
from copydesk.simulate.log_run import LogRun
from copydesk.simulate.protocol import Round
from copydesk.utils.atomic import atomic_write

CONFIG_FILE = "bench.json"
_SUBFOLDERS = ("logs", "policies", "answers", "rounds")


class RunFolder:
    """The files of a benchmark. Each is written whole or not at all, so a run may be killed at any time.

    `logs/`, `policies/` and `answers/` hold what belongs to one log, `rounds/` what was played in one column by one
    method with one seed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self, settings: ExperimentConfig, *, resume: bool) -> None:
        """Make the folder, or continue in one of the same settings.

        Raises:
            InputError: it cannot be written, holds other things, or holds a run that is not to be resumed or has other
                settings.
        """
        known = self.path / CONFIG_FILE
        ours = _comparable_config(settings)
        if not known.is_file():
            if self.path.is_file() or (self.path.is_dir() and any(map(_is_foreign, self.path.iterdir()))):
                raise InputError(f"--out {self.path}: holds other things; name a new or empty folder")
        elif not any(file for name in _SUBFOLDERS for file in (self.path / name).glob("*")):
            pass  # a run that ended before anything was finished
        elif not resume:
            raise InputError(
                f"--out {self.path}: there is a run already; continue it with --resume, or name a new folder"
            )
        else:
            theirs = self._read_config(known)
            differ = sorted(name for name in ours.keys() | theirs if ours.get(name) != theirs.get(name))
            if differ:
                name = differ[0]
                raise InputError(
                    f"--resume: the run in {self.path} had {name} {theirs.get(name)!r}, not {ours.get(name)!r}; give "
                    f"the same settings (only {', '.join(MAY_EXTEND)} may differ), or name a new folder"
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(known, ours)  # first of all: by this file a folder of ours is known
            for name in (*_SUBFOLDERS, "seconds"):
                (self.path / name).mkdir(exist_ok=True)
        except OSError as exc:
            raise InputError(
                f"--out {self.path}: cannot be written ({(exc.strerror or str(exc)).lower()}); choose another"
            ) from None

    def _read_config(self, known: Path) -> dict[str, Any]:
        try:
            read: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise InputError(f"{known}: damaged ({exc}); name a new folder") from None
        return read

    def log_path(self, log_run: LogRun) -> Path:
        """The log of a log run."""
        return self.path / "logs" / f"{log_run.name}.jsonl"

    def held_out_path(self, log_run: LogRun) -> Path:
        """The held-out edits of a log run."""
        return self.path / "logs" / f"{log_run.name}-held-out.jsonl"

    def policy_path(self, log_run: LogRun, method: str) -> Path:
        """A trained policy's folder."""
        return self.path / "policies" / log_run.name / method

    def answers_path(self, log_run: LogRun, method: str) -> Path:
        """The responses of a policy online."""
        return self.path / "answers" / f"{log_run.name}-{method}.json"

    def rounds_path(self, column: str, method: str, seed: int) -> Path:
        """The rounds a method played in a column."""
        return self.path / "rounds" / f"{column.replace('/', '-')}-{seed}-{method}.jsonl"

    def seconds_path(self, log_run: LogRun, part: str = "") -> Path:
        """The durations of the steps of a log run, or of a part of its work."""
        return self.path / "seconds" / f"{log_run.name}{f'+{part}' if part else ''}.json"

    def list_seconds_paths(self, log_run: LogRun) -> list[Path]:
        """The files with durations of a log run, those of all parts."""
        plain = self.seconds_path(log_run)
        return [*([plain] if plain.exists() else []), *sorted(plain.parent.glob(f"{log_run.name}+*.json"))]

    def compact(self, log_run: LogRun) -> None:
        """Keep the results of a run of one log: `log.jsonl`, the policies by method, and no unfinished work.

        A folder that is compact cannot be resumed.
        """
        for source, name in (
            (self.log_path(log_run), "log.jsonl"),
            (self.held_out_path(log_run), "held_out.jsonl"),
        ):
            if source.exists():
                source.replace(self.path / name)
        trained = self.path / "policies" / log_run.name
        if trained.exists():
            for folder in trained.iterdir():
                folder.rename(self.path / "policies" / folder.name)
            trained.rmdir()
        else:
            (self.path / "policies").rmdir()
        for name in ("logs", "answers", "rounds", "seconds"):
            shutil.rmtree(self.path / name)
        for file in (self.path / CONFIG_FILE, self.usage_path):
            file.unlink(missing_ok=True)

    @property
    def usage_path(self) -> Path:
        """The requests of LLM users, a line for each run and log run."""
        return self.path / "usage.jsonl"

    @property
    def replies_path(self) -> Path:
        """The answers of LLMs, by request."""
        return self.path / "replies.sqlite"


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file in one step."""
    with atomic_write(path) as file:
        file.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def write_rounds(path: Path, rounds: Iterable[Round]) -> None:
    """Write rounds, a line each, in one step."""
    with atomic_write(path) as file:
        file.writelines(json.dumps(one.to_json(), ensure_ascii=False) + "\n" for one in rounds)


def read_rounds(path: Path) -> list[Round]:
    """Read rounds that `write_rounds` wrote.

    Raises:
        InputError: the file is damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Round(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as exc:
        raise InputError(f"{path}: damaged ({exc}); remove it and run again with --resume") from None


def _is_foreign(entry: Path) -> bool:
    """Whether a file is not one that a run of ours leaves behind when it is killed at its start."""
    return not (entry.name.startswith(".copydesk-") and entry.suffix == ".tmp")


def _comparable_config(settings: ExperimentConfig) -> dict[str, Any]:
    """The settings that must not change, as they come out of a JSON file."""
    plain = {name: value for name, value in settings.to_json().items() if name not in (*MAY_EXTEND, "recipe")}
    # What methods are trained with counts for all of them, whether they are rows now or later.
    plain["recipe"] = settings.recipe_json(list(METHODS))
    found: dict[str, Any] = json.loads(json.dumps(plain))
    return found
