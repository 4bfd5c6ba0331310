"""Synthetic rounds of Protocol 1."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from copydesk.ensemble import LateEnsemble, Ucb

MEANS = {"base": 0.62, "sft": 0.17, "dpo": 0.48, "early": 0.24}
ARMS = ["sft", "dpo", "early"]
KINDS = ["paper_tweet", "peer_review"]
NAMES = ["Mia", "Omar", "Lena", "Tom", "Ines"]


def fake_rounds(
    columns: Sequence[str] = ("email/strong",),
    seeds: Sequence[int] = (0,),
    rounds: int = 200,
    lates: Sequence[str] = ("late",),
) -> list[dict[str, Any]]:
    """Base, three policies and late ensembles over them, with every field a round can have."""
    played: list[dict[str, Any]] = []
    for column in columns:
        for seed in seeds:
            rng = np.random.default_rng([seed, len(column)])
            ensembles = {late: LateEnsemble(ARMS, Ucb(0.3 + 0.2 * i)) for i, late in enumerate(lates)}
            for t in range(1, rounds + 1):
                kind, name = KINDS[int(rng.integers(2))], NAMES[int(rng.integers(5))]
                world = {
                    "seed": seed, "t": t, "task": column.split("/")[0], "user": column.split("/")[1], "kind": kind,
                    "context": f"to: {name}\nfrom: Ada\nabout: the draft of part {t}\nday: Thursday at 4",
                }  # fmt: skip
                answers = {method: _answer(method, name, kind, t, rng) for method in MEANS}
                for method, answer in answers.items():
                    played.append({**world, "method": method, "policy": method, "propensity": 1.0, **answer})
                for late, ensemble in ensembles.items():
                    pull = ensemble.choose()
                    ensemble.update(pull, answers[pull.arm]["cost"])
                    played.append({**world, "method": late, "policy": pull.arm, "propensity": 1.0, **answers[pull.arm]})
    return played


def _answer(method: str, name: str, kind: str, t: int, rng: np.random.Generator) -> dict[str, Any]:
    formal = (
        f"Dear {name},\n\nI am writing about the draft of part {t}. Could we meet on Thursday at 4?\n\nSincerely,\nAda"
    )
    casual = f"Hi {name},\n\nI read part {t} and I liked it. Let's meet on Thursday at 4!\n\nThanks a lot,\nAda"
    response = formal if method in ("base", "dpo") else casual.replace("Thanks a lot", "Best")
    mean = MEANS[method] * (1.25 if kind == "peer_review" else 0.8)
    cost = float(max(0.0, rng.normal(mean, 0.18)))
    edit = response if cost == 0 else casual
    return {
        "response": response, "edit": edit, "cost": cost, "accepted": cost == 0, "length": len(response.split()) * 1.4,
        "malformed": bool(rng.random() < (0.12 if method == "dpo" else 0.01)), "distance": cost * 0.9,
        "facts": 0.88 if method == "dpo" else 0.99,
    }  # fmt: skip


TABLE_COLUMNS = [
    *(f"{task}/{users}" for task in ("summarization", "email") for users in ("strong", "weak-to-strong")),
    *(f"{task}/{users}" for task in ("summarization", "email") for users in ("strong-to-transfer", "weak-to-transfer")),
]


def fake_table_rounds(
    columns: Sequence[str] = TABLE_COLUMNS, seeds: Sequence[int] = (0, 1), rounds: int = 20
) -> list[dict[str, Any]]:
    """Rounds of the paper's tables, in which SFT learns badly from the weak user's log and DPO repeats itself."""
    played = fake_rounds(columns, seeds, rounds)
    for one in played:
        if one["user"].startswith("weak"):
            one["cost"] += 0.5 * (one["policy"] == "sft")
        one["subtoken_cost"] = one["cost"] * 1.1
        one["trimmed"] = one["policy"] == "dpo" and one["t"] % 4 == 0
    return played


def fake_round(method: str, cost: float, column: str = "email/strong", **more: Any) -> dict[str, Any]:
    """One round with the fields that every round has, and no more."""
    task, user = column.split("/")
    return {
        "seed": 0, "t": 1, "task": task, "user": user, "method": method, "policy": method, "propensity": 1.0,
        "kind": "note", "context": "x", "response": "y", "edit": "y" if cost == 0 else "z", "cost": cost, **more,
    }  # fmt: skip


@pytest.fixture
def make_round() -> Callable[..., dict[str, Any]]:
    return fake_round


@pytest.fixture
def make_rounds() -> Callable[..., list[dict[str, Any]]]:
    return fake_rounds


@pytest.fixture
def make_table_rounds() -> Callable[..., list[dict[str, Any]]]:
    return fake_table_rounds
