"""What the gateway's benchmark sends and what answers it: a stub server, and clients that keep time."""

import asyncio
import json
import math
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

LATE = 1.0  # seconds after which an answer counts as none
PATH = "/v1/chat/completions"
SPAWN = multiprocessing.get_context("spawn")
ANSWER = (
    "Dear Dr Lindqvist, thank you for sending the minutes of Tuesday's meeting. I have read them and agree with all "
    "but the third point, where the budget should be 12,500 rather than 15,200. Could you correct that before they go "
    "out? I am away from Thursday on and would be glad to have them by Wednesday noon. Kind regards, Tom"
)
PROMPT = "Write a reply to this e-mail. Thank the sender, and correct the budget. " + "The e-mail: " + ANSWER


def stub(delay: float, port: Any) -> None:
    """Serve the stub, and say through `port` where."""
    import uvicorn

    chat: dict[str, Any] = {"id": "stub", "created": 0, "model": "stub"}
    usage = {"prompt_tokens": 120, "completion_tokens": 80, "total_tokens": 200}
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = json.dumps({**chat, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    deltas = [{"content": f"{word} "} for word in ANSWER.split()]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks = [json.dumps({**chat, "object": "chat.completion.chunk", "choices": [one]}) for one in choices]
    events = [f"data: {chunk}\n\n".encode() for chunk in (*chunks, "[DONE]")]
    models = json.dumps({"object": "list", "data": [{"id": "stub", "object": "model", "owned_by": "stub"}]}).encode()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        if scope["method"] == "GET":
            parts, kind = [models], "application/json"
        else:
            await asyncio.sleep(delay)
            stream = json.loads(body).get("stream", False)
            parts, kind = (events, "text/event-stream") if stream else ([whole], "application/json")
        headers = [(b"content-type", kind.encode())]
        if len(parts) == 1:
            headers.append((b"content-length", f"{len(parts[0])}".encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for left, part in zip(reversed(range(len(parts))), parts, strict=True):
            await send({"type": "http.response.body", "body": part, "more_body": left > 0})

    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port.send(listener.getsockname()[1])
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", loop="uvloop", http="httptools")
    uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def running_stub(delay: float) -> Iterator[str]:
    """A stub in a process of its own; gives its address."""
    receiver, sender = SPAWN.Pipe(duplex=False)
    process = SPAWN.Process(target=stub, args=(delay, sender), daemon=True)
    process.start()
    sender.close()
    try:
        yield f"http://127.0.0.1:{receiver.recv()}"
    finally:
        process.terminate()
        process.join()


def schedule(rate: float, seconds: float) -> list[float]:
    """When each request is due, in seconds from the start."""
    return [i / rate for i in range(round(rate * seconds))]


class Client:
    """Posts JSON over kept connections, as many as are needed at once."""

    def __init__(self, url: str) -> None:
        self.host, self.port = urlsplit(url).hostname, urlsplit(url).port
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes) -> bytes:
        """What a request is answered with; OSError or EOFError when that is not 200."""
        reader, writer = await self._connection()
        head = f"POST {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\ncontent-type: application/json\r\n"
        try:
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().splitlines()
            headers = dict(line.split(": ", 1) for line in lines if line)
            if headers.get("transfer-encoding") == "chunked":
                answer = b"".join([chunk async for chunk in _chunks(reader)])
            else:
                answer = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            writer.close()
            raise
        self.idle.append((reader, writer))
        if first.split()[1] != "200":
            raise OSError(f"{first}: {answer[:500].decode(errors='replace')}")
        return answer

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self.host, self.port)


async def _chunks(reader: asyncio.StreamReader) -> Any:
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readline()
    await reader.readline()


def at_rate(url: str, body: bytes, rate: float, seconds: float, warm_up: float) -> dict[str, Any]:
    """Send requests at a fixed rate; returns the `seconds` of those answered, and how many were `sent`.

    Those of the warm-up are sent too, but not counted. A thread keeps the time: an event loop's timers are a
    millisecond off.
    """
    due = schedule(rate, warm_up + seconds)
    sent = len(schedule(rate, seconds))
    taken: list[float] = []
    errors: list[str] = []

    async def run() -> None:
        client, loop = Client(url), asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        all_sent = asyncio.Event()

        async def ask(number: int, at: float) -> None:
            try:
                await client.post(PATH, body)
            except (OSError, EOFError, KeyError) as exc:
                errors.append(str(exc))
                return
            if number >= len(due) - sent:
                taken.append(time.perf_counter() - at)

        def launch(number: int, at: float) -> None:
            task = loop.create_task(ask(number, at))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        def pace() -> None:
            start = time.perf_counter() + 0.1
            for number, offset in enumerate(due):
                time.sleep(max(0.0, start + offset - time.perf_counter()))
                loop.call_soon_threadsafe(launch, number, start + offset)
            loop.call_soon_threadsafe(all_sent.set)

        threading.Thread(target=pace, daemon=True).start()
        await all_sent.wait()
        if tasks:
            _, late = await asyncio.wait(set(tasks), timeout=LATE)
            for task in late:
                task.cancel()

    _run(run())
    return {"seconds": taken, "sent": sent, "error": errors[0] if errors else None}


def as_fast_as_answered(
    url: str, path: str, bodies: Iterable[bytes], clients: int, seconds: float = math.inf
) -> tuple[list[bytes], float]:
    """Post all bodies, or what can be in that time, by several clients at once; returns the answers and the time."""
    answers: list[bytes] = []

    async def run() -> float:
        client, waiting, start = Client(url), iter(bodies), time.perf_counter()

        async def post() -> None:
            for body in waiting:
                answers.append(await client.post(path, body))
                if time.perf_counter() - start > seconds:
                    return

        await asyncio.gather(*(post() for _ in range(clients)))
        return time.perf_counter() - start

    taken = _run(run())
    return answers, taken


def _run(work: Any) -> Any:
    import uvloop

    return uvloop.run(work)
