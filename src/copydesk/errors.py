"""Exceptions whose message is shown to the user."""


class InputError(Exception):
    """An error in the caller's input.

    The message is one line: what is wrong, where (file, line, field) and how to fix it. The command line prints it on
    stderr and exits with code 2; no half-written file is left behind when it is raised.
    """


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, raised as an exception so that half-written files are removed on the way.

    Attributes:
        number: the signal's number; the command line exits with 128 plus this number.
        message: one line about what was left on disk.
    """

    def __init__(self, number: int, message: str = "interrupted; nothing half-written was left behind") -> None:
        super().__init__(message)
        self.number = number
        self.message = message
