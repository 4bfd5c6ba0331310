"""The git command, run so that the settings of the user and of the caller change nothing."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from copydesk.data.importers.stream import CommandOutput
from copydesk.errors import InputError

# Whatever the user's own settings are, the output is to be the same.
_GIT_CONFIG = ("core.quotepath=off", "log.showRoot=true", "log.showSignature=false", "diff.interHunkContext=0")
_DROPPED_ENVIRONMENT = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_DIFF_OPTS",
    "GIT_EXTERNAL_DIFF",
    "GIT_NAMESPACE",
}


class GitRepository:
    """The git command on one repository."""

    def __init__(self, repository: str) -> None:
        self.repository = repository
        settings = [part for setting in _GIT_CONFIG for part in ("-c", setting)]
        self._command = ["git", "--no-pager", "--no-replace-objects", "-C", repository, *settings]
        self._environment = {key: value for key, value in os.environ.items() if key not in _DROPPED_ENVIRONMENT}
        self._environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}

    def resolve_commit(self, name: str) -> str:
        """The full name of the commit that a branch, a tag or another name stands for."""
        self.run("rev-parse", "--git-dir")
        try:
            return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except InputError:
            raise InputError(
                f"{self.repository}: there is no commit {name!a}; name a branch that has commits"
            ) from None

    def run(self, *arguments: str) -> str:
        """What a short command prints."""
        with self.stream(*arguments) as stream:
            return stream.read_rest().decode("utf-8", "replace").strip()

    @contextmanager
    def stream(self, *arguments: str) -> Iterator[CommandOutput]:
        """What a command prints, read while it runs; the command ends with the block.

        Raises:
            InputError: git is missing, or the command fails.
        """
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    [*self._command, *arguments],
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                )
            except FileNotFoundError:
                raise InputError(f"{self.repository}: reading a history takes git; install it") from None
            except (OSError, ValueError) as fault:
                raise InputError(f"{self.repository}: git cannot be run ({fault}); check the path") from None
            assert process.stdout is not None
            with process.stdout:
                try:
                    yield CommandOutput(process.stdout)
                    failed = process.wait() != 0
                except EOFError:
                    failed = True
                finally:
                    process.kill()
                    process.wait()
            if failed:
                said.seek(0)
                reason = said.read(2000).decode("utf-8", "replace").strip().splitlines()
                why = reason[0].removeprefix("fatal: ") if reason else "its output ends early"
                raise InputError(f"{self.repository}: git cannot read it ({why}); name the folder of a repository")
