"""The command line in processes that a test can signal and kill.

Loading torch and its kin takes ten times as long as what most of these tests are about. So one server loads them once,
and each command is forked from it (`forkserver` of the standard library). From there on it is a process like any other.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from copydesk.cli import main

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["copydesk.training.train", "copydesk.simulate.run", "copydesk.gateway.backends.local"])


class Command:
    """`copydesk` with these words, in a folder; it begins at once."""

    def __init__(self, *words: str | Path, folder: Path | None = None, starts_processes: bool = False) -> None:
        self._said = tempfile.TemporaryDirectory(prefix="said")
        self._files = [Path(self._said.name) / name for name in ("out", "err")]
        for file in self._files:
            file.touch()
        # It ends with the tests at the latest, unless it starts processes of its own, which a daemon may not.
        self._process = _FORKED.Process(
            target=_run,
            args=([str(word) for word in words], folder or Path.cwd(), dict(os.environ), self._files),
            daemon=not starts_processes,
        )
        self._process.start()

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._files[0].read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._files[1].read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended: an exit code, or the number of a signal below 0."""
        return self._process.exitcode

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 120) -> int:
        """Wait for its end; how it ended.

        Raises:
            TimeoutExpired: it has not ended. It is killed.
        """
        self._process.join(seconds)
        if self._process.exitcode is None:
            self.send(signal.SIGKILL)
            raise subprocess.TimeoutExpired(self._process.name, seconds, self.out, self.err)
        return self._process.exitcode


def become_command(words: list[str], folder: str | Path, environment: dict[str, str]) -> None:
    """Give a forked process the arguments, the folder and the environment of a command."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)  # it read OMP_NUM_THREADS when it was loaded
    sys.argv = words


def _run(words: list[str], folder: Path, environment: dict[str, str], files: list[Path]) -> None:
    for file, stream in zip(files, (1, 2), strict=True):
        opened = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, stream)
        os.close(opened)
    become_command(["copydesk", *words], folder, environment)
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # a forked process leaves them out
