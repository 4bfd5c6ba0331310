"""Made-up rounds, as Protocol 1 would play them."""

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
    columns: Sequence[str] = ("email/strong",), seeds: Sequence[int] = (0,), rounds: int = 200
) -> list[dict[str, Any]]:
    """Base, three policies and the late ensemble over them, with every field a round can have."""
    played: list[dict[str, Any]] = []
    for column in columns:
        for seed in seeds:
            rng = np.random.default_rng([seed, len(column)])
            ensemble = LateEnsemble(ARMS, Ucb(0.3))
            for t in range(1, rounds + 1):
                kind, name = KINDS[int(rng.integers(2))], NAMES[int(rng.integers(5))]
                world = {
                    "seed": seed, "t": t, "task": column.split("/")[0], "user": column.split("/")[1], "kind": kind,
                    "context": f"to: {name}\nfrom: Ada\nabout: the draft of part {t}\nday: Thursday at 4",
                }  # fmt: skip
                answers = {method: _answer(method, name, kind, t, rng) for method in MEANS}
                for method, answer in answers.items():
                    played.append({**world, "method": method, "policy": method, "propensity": 1.0, **answer})
                pull = ensemble.choose()
                ensemble.update(pull, answers[pull.arm]["cost"])
                played.append({**world, "method": "late", "policy": pull.arm, "propensity": 1.0, **answers[pull.arm]})
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


@pytest.fixture
def make_rounds() -> Callable[..., list[dict[str, Any]]]:
    return fake_rounds
