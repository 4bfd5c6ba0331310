"""Which arms an ensemble could choose from, at any place in its log and for any user."""

import json
from bisect import bisect_right
from functools import cache

from sqlalchemy import Connection, select

from copydesk.store.tables import arms, memberships
from copydesk.store.users import group_scope, user_scope


class ArmAvailability:
    """The arms of a log as they came and went, whom each is for, and the groups people were in.

    Attributes:
        specs: what each policy that ever was an arm is, by name.
    """

    def __init__(self, connection: Connection) -> None:
        self.specs: dict[str, str] = {}
        self._audiences: dict[str, str] = {}
        self._change_seqs: list[int] = []
        self._arms_after: list[frozenset[str]] = [frozenset()]  # before the first change, between, and after the last
        for row in connection.execute(select(arms).order_by(arms.c.seq)):
            if row.action == "add":
                self.specs[row.name] = row.spec or ""
                if row.audience is not None:
                    self._audiences[row.name] = row.audience
            before = self._arms_after[-1]
            self._change_seqs.append(row.seq)
            self._arms_after.append(before | {row.name} if row.action == "add" else before - {row.name})
        self._memberships: dict[str, list[tuple[int, str | None]]] = {}
        if self._audiences:
            for row in connection.execute(select(memberships).order_by(memberships.c.seq)):
                scope = None if row.group is None else group_scope(row.tenant, row.group)
                self._memberships.setdefault(user_scope(row.tenant, row.user), []).append((row.seq, scope))
        self._cached_arms = cache(self._resolve_arms)

    def arms_at(self, seq: int, tenant: str, user: str | None, excluded: str | None) -> frozenset[str]:
        """The arms that a choice with this number in the log was made from.

        Args:
            seq: the number.
            tenant: whose user asked.
            user: who asked, if it was said.
            excluded: the arms that could not answer, a list in JSON.
        """
        scopes: tuple[str | None, ...] = ()
        if self._audiences and user is not None:
            who = user_scope(tenant, user)
            joined = self._memberships.get(who, [])
            place = bisect_right(joined, seq, key=lambda one: one[0])
            scopes = (who, joined[place - 1][1] if place else None)
        return self._cached_arms(bisect_right(self._change_seqs, seq), scopes, excluded)

    def _resolve_arms(self, index: int, scopes: tuple[str | None, ...], excluded: str | None) -> frozenset[str]:
        out = {name for name, audience in self._audiences.items() if audience not in scopes}
        return self._arms_after[index].difference(out, json.loads(excluded or "[]"))
