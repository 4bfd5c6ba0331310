"""Cache a policy's answers on disk, so that none is requested twice."""

import hashlib
import json
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from copydesk.data.record import Context
from copydesk.errors import InputError
from copydesk.policies.base import Policy, PolicyResponse, Sampling
from copydesk.policies.local import LocalPolicy
from copydesk.policies.openai_api import OpenAIPolicy

_APPLICATION_ID = 0x434F5059  # "COPY", which marks the file as ours
_LOCK_TIMEOUT = 60.0  # seconds for another process's commit


class CachedPolicy:
    """A policy whose answers are cached in a SQLite file, so that an interrupted run repeats no request.

    The key of an answer is the policy's identity, the context, the seed, the temperature and the token limit. The file
    holds answers as the policy wrote them; `Sampling.trim_repeats` cuts them when they are read. Answers are committed
    in groups as they arrive; those that arrived before an interrupt or an error are kept. Several processes may use one
    file.

    Args:
        policy: the policy, which also gives this one its name.
        identity: identifies the policy in the file, such as the spec it was opened from.
        file: the cache; created if it does not exist, in a folder that must exist.
        commit_every: answers in a group.

    Attributes:
        hits: contexts answered from the cache so far.
        misses: answers of the policy so far.

    Raises:
        InputError: the file is not such a cache, is damaged, or cannot be opened.
    """

    def __init__(self, policy: Policy, identity: str, file: Path, *, commit_every: int = 64) -> None:
        if commit_every < 1:
            raise InputError(f"commit_every: {commit_every} must be at least 1")
        self.policy = policy
        self.identity = identity
        self.file = file
        self.commit_every = commit_every
        self.hits = 0
        self.misses = 0
        with _open_cache(file):
            pass

    @property
    def name(self) -> str:
        """The policy's name as an arm and in the log."""
        return self.policy.name

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context, from the file or from the policy.

        Raises:
            InputError: the policy cannot answer, or the file is damaged.
        """
        return [answer.text for answer in self.collect_responses(contexts, seeds, sampling)]

    def collect_responses(
        self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[PolicyResponse]:
        """One answer for each context, from the file or from the policy; see `respond`."""
        keys = [self._key(context, seed, sampling) for context, seed in zip(contexts, seeds, strict=True)]
        with _open_cache(self.file) as connection:
            found = {key: answer for key in keys if (answer := _select_response(connection, key)) is not None}
            missing = {
                key: row for row, key in enumerate(keys) if key not in found
            }  # once, even if it occurs several times
            self.hits += len(keys) - len(missing)
            asked = [(key, contexts[row], seeds[row]) for key, row in missing.items()]
            arrived: list[tuple[str, PolicyResponse]] = []
            try:
                with closing(self._ask(asked, sampling)) as arriving:
                    for key, answer in arriving:
                        found[key] = answer
                        arrived.append((key, answer))
                        self.misses += 1
                        if len(arrived) >= self.commit_every:
                            _insert_responses(connection, arrived)
                            arrived.clear()
            finally:
                _insert_responses(connection, arrived)
        return [found[key].trim(sampling.trim_repeats) for key in keys]

    def _key(self, context: Context, seed: Sequence[int], sampling: Sampling) -> str:
        asked = {
            "identity": self.identity,
            "context": context if isinstance(context, str) else [message.model_dump() for message in context],
            "seed": [int(part) for part in seed],
            "temperature": float(sampling.temperature),
            "max_new_tokens": sampling.max_new_tokens,
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def _ask(
        self, asked: Sequence[tuple[str, Context, Sequence[int]]], sampling: Sampling
    ) -> Generator[tuple[str, PolicyResponse]]:
        """Untrimmed answers with their keys: a server's as they arrive, another policy's in groups."""
        sampling = replace(sampling, trim_repeats=0)
        remote = self.policy if isinstance(self.policy, OpenAIPolicy) else None
        size = max(self.commit_every, sampling.batch_size) if remote is None else max(len(asked), 1)
        for start in range(0, len(asked), size):
            keys, contexts, seeds = zip(*asked[start : start + size], strict=True)
            if remote is None:
                yield from zip(keys, collect_responses(self.policy, contexts, seeds, sampling), strict=True)
                continue
            with closing(remote.stream(contexts, seeds, sampling)) as arriving:
                for row, answer in arriving:
                    yield keys[row], answer


def collect_responses(
    policy: Policy, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling
) -> list[PolicyResponse]:
    """The policy's responses, and whether each was truncated or trimmed.

    A policy that does not report whether the token limit cut off its response counts as complete. Responses of every
    policy are trimmed here if `sampling` asks for it, also those of a policy that does not know how to.
    """
    if isinstance(policy, OpenAIPolicy | CachedPolicy):
        return policy.collect_responses(contexts, seeds, sampling)
    untrimmed = replace(sampling, trim_repeats=0)
    if isinstance(policy, LocalPolicy):
        written = policy.generate_tokens(policy.encode(contexts), seeds, untrimmed)
        responses = [PolicyResponse(policy.decode(one), not one.ended) for one in written]
    else:
        responses = [PolicyResponse(text, False) for text in policy.respond(contexts, seeds, untrimmed)]
    return [response.trim(sampling.trim_repeats) for response in responses]


def _select_response(connection: sqlite3.Connection, key: str) -> PolicyResponse | None:
    row = connection.execute("SELECT text, cut FROM answers WHERE key = ?", (key,)).fetchone()
    return None if row is None else PolicyResponse(row[0], bool(row[1]))


def _insert_responses(connection: sqlite3.Connection, arrived: Sequence[tuple[str, PolicyResponse]]) -> None:
    """Insert a group of answers in one transaction; answers that another process has inserted stay."""
    with connection:
        connection.executemany(
            "INSERT OR IGNORE INTO answers VALUES (?, ?, ?)",
            [(key, answer.text, answer.truncated) for key, answer in arrived],
        )


@contextmanager
def _open_cache(file: Path) -> Iterator[sqlite3.Connection]:
    """Open the cache, and create its table if the file is new; SQLite's errors become a one-line InputError."""
    try:
        # A transaction takes its lock at once, where it can wait; a lock taken halfway can fail.
        with closing(sqlite3.connect(file, timeout=_LOCK_TIMEOUT, isolation_level="IMMEDIATE")) as connection:
            if not _is_cache_file(connection):
                _create_cache(connection, file)
            with suppress(
                sqlite3.OperationalError
            ):  # other processes use the file; the next one to open it sets the mode
                connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            yield connection
    except sqlite3.Error as exc:
        raise InputError(
            f"{file}: cannot be used as a cache of answers ({exc}); name another file, or move this one away"
        ) from None


def _is_cache_file(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID)


def _create_cache(connection: sqlite3.Connection, file: Path) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if _is_cache_file(connection):  # another process has just created it
            return
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise InputError(f"{file}: this is another program's database, not a cache of answers; name another file")
        connection.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, text TEXT NOT NULL, cut INTEGER NOT NULL)")
        connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
