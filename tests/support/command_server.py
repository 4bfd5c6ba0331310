"""`copydesk` and `python -` for the shell of a page, without loading torch each time.

A server loads the slow libraries once and forks a process for every command; in the shell's PATH stand two small
programs that hand it their arguments, folder, environment and open files, pass on signals, and end as the command
does. When such a program is killed, so is its command.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path

from tests.support.processes import become_command

# No part of it may be slow to load: it takes the place of the console script.
_PROGRAM = """#!{python} -IS
import array, json, os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps({{"argv": sys.argv, "cwd": os.getcwd(), "env": dict(os.environ)}}).encode()
server.sendmsg([len(request).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
server.sendall(request)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: server.send(bytes([number])))
sys.exit((server.recv(1) or b"\\xff")[0])
"""


@contextlib.contextmanager
def command_server(folder: Path) -> Iterator[Path]:
    """Give a folder for the front of PATH, with `copydesk` and `python` in it, as long as the block runs."""
    address = str(folder / "socket")
    programs = folder / "bin"
    programs.mkdir()
    for name in ("copydesk", "python"):
        program = programs / name
        program.write_text(_PROGRAM.format(python=sys.executable, address=address), encoding="utf-8")
        program.chmod(0o755)
    server = subprocess.Popen([sys.executable, "-m", "tests.support.command_server", address], cwd=Path.cwd())
    try:
        deadline = time.monotonic() + 120
        while not Path(address).exists():
            assert server.poll() is None and time.monotonic() < deadline, "the command server does not start"
            time.sleep(0.05)
        yield programs
    finally:
        server.kill()
        server.wait()


def _serve(address: str) -> None:
    import copydesk.cli.app
    import copydesk.gateway.backends.local
    import copydesk.gateway.server
    import copydesk.training.train  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the commands
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.new")
    listener.listen(64)
    Path(f"{address}.new").rename(address)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            os._exit(_run(connection))
        connection.close()


def _run(connection: socket.socket) -> int:
    """The command of one connection, in this process; its exit code."""
    header, files, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb", buffering=0) as stream:
        request = json.loads(_read(stream, int.from_bytes(header, "big")))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, 0)
    words = [Path(request["argv"][0]).name, *request["argv"][1:]]
    become_command(words, request["cwd"], request["env"])
    threading.Thread(target=_follow, args=(connection,), daemon=True).start()
    code = 0
    try:
        _call(words)
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        if isinstance(exc.code, str):
            print(exc.code, file=sys.stderr)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    import atexit

    atexit._run_exitfuncs()  # a forked process leaves them out
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(bytes([code & 0xFF]))
    return code


def _call(argv: list[str]) -> None:
    if argv[0] == "copydesk":
        from copydesk.cli import main

        main()
    else:
        assert argv[1:] == ["-"], f"python {argv[1:]}: only a program on standard input is run here"
        program = sys.stdin.read()
        exec(compile(program, "<stdin>", "exec"), {"__name__": "__main__"})


def _follow(connection: socket.socket) -> None:
    """Signals of the program in the shell; its end is this command's end."""
    while number := connection.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


def _read(stream: RawIOBase, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.read(size - len(data))
        assert part, "the program ended before it had asked for anything"
        data += part
    return data


if __name__ == "__main__":
    _serve(sys.argv[1])
