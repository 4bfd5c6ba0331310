"""The exceptions a person is meant to read."""


class InputError(Exception):
    """Something the caller gave is wrong and they can mend it.

    The message is one line that says what is wrong, where (file, line, field) and how to mend it. The command line
    prints it on stderr and exits with code 2; nothing half-written is left behind when it is raised.
    """


class Interrupted(BaseException):
    """Ctrl-C or a termination: unwinds like any exception, so that what was half-written is removed on the way.

    Attributes:
        number: of the signal; the command line exits with 128 and that number.
        message: one line that says what is left.
    """

    def __init__(self, number: int, message: str = "interrupted; nothing half-written was left behind") -> None:
        super().__init__(message)
        self.number = number
        self.message = message
