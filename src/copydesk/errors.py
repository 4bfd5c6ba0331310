"""The one exception a person is meant to read."""


class InputError(Exception):
    """Something the caller gave is wrong and they can mend it.

    The message is one line that says what is wrong, where (file, line, field) and how to mend it. The command line
    prints it on stderr and exits with code 2; nothing has been written when it is raised.
    """
