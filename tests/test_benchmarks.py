"""What `benchmarks/train_vs_trl.py` computes rather than measures."""

import importlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from copydesk.learn.encode import Triple
from copydesk.learn.packing import lay_out

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module


@pytest.fixture
def counting(load: Any) -> ModuleType:
    return load("_flops")


@pytest.fixture
def compare(load: Any) -> ModuleType:
    return load("train_vs_trl")


def as_rows(triples: list[Triple]) -> list[dict[str, Any]]:
    return [asdict(triple) for triple in triples if triple.edited]


def test_our_work_is_what_is_laid_out(counting: ModuleType, triples: list[Triple]) -> None:
    edited = [triple for triple in triples if triple.edited]
    batch = lay_out(edited, compare=True)
    work = counting.our_work(as_rows(triples))
    assert work.tokens == (batch["triple"] >= 0).sum()
    assert work.scored == len(batch["source"])
    assert work.learnt == (batch["part"] != 0).sum()
    runs = batch["runs"].tolist()
    assert work.pairs == sum(trunk**2 + one * (trunk + one) + two * (trunk + two) for _, trunk, one, two in runs)


def test_trl_work_is_what_trl_collates(counting: ModuleType, triples: list[Triple]) -> None:
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    rows = as_rows(triples)
    examples = [
        {"prompt_ids": list(row["context"]), "chosen_ids": list(row["edit"]), "rejected_ids": list(row["response"])}
        for row in rows
    ]
    for micro in (1, 4):
        batches = [
            DataCollatorForPreference(pad_token_id=0)(examples[start : start + micro])
            for start in range(0, len(rows), micro)
        ]
        work = counting.trl_work(rows, micro)
        assert work.tokens == sum(batch["input_ids"].numel() for batch in batches)
        assert work.pairs == sum(batch["input_ids"].shape[1] * batch["input_ids"].numel() for batch in batches)
        assert work.scored == work.learnt == sum(batch["input_ids"][:, 1:].numel() for batch in batches)
        compact = counting.trl_work(rows, micro, every_position=False)
        assert compact.scored == sum(batch["completion_mask"].sum() for batch in batches)


def test_flops_are_what_torch_counts(counting: ModuleType, tiny_model: LlamaForCausalLM) -> None:
    tiny_model.set_attn_implementation("eager")
    shape = counting.shape_of(tiny_model.config.to_dict())
    rows, length = 2, 40
    with FlopCounterMode(display=False) as counter:
        tiny_model(input_ids=torch.ones(rows, length, dtype=torch.long), use_cache=False).logits.sum().backward()
    tokens = rows * length
    expected = counting.flops(shape, counting.Work(tokens, rows * length**2, tokens, tokens))
    again = 2 * shape.head * tokens  # an ordinary model keeps its logits
    assert counter.get_total_flops() == pytest.approx(expected - again, rel=1e-3)


def test_a_common_beginning_is_not_learnt_from(counting: ModuleType) -> None:
    row = {"context": [1, 2, 3], "response": [4, 5, 6, 9], "edit": [4, 5, 7, 8, 9]}
    assert counting.our_work([row]) == counting.Work(tokens=10, pairs=25 + 2 * 7 + 3 * 8, scored=7, learnt=5)
    assert counting.trl_work([row], 4) == counting.Work(tokens=16, pairs=128, scored=14, learnt=14)
    assert counting.trl_work([row], 4, every_position=False).scored == 9


def test_sides_take_turns_in_going_first(compare: ModuleType) -> None:
    assert list(compare.turns(2)) == [(0, "ours"), (0, "trl"), (1, "trl"), (1, "ours")]


def test_summary_pairs_the_runs_of_a_repeat(compare: ModuleType) -> None:
    def run(seconds: float, peak: float, *losses: float) -> dict[str, Any]:
        return {"seconds": seconds, "peak": peak, "held": 1.0, "losses": losses}

    ours = [run(1.0, 50, 0.7, 0.4), run(2.0, 50, 0.7, 0.4), run(1.0, 60, 0.7, 0.4)]
    trl = [run(4.0, 100, 0.7, 0.5), run(6.0, 90, 0.7, 0.5), run(5.0, 100, 0.7, 0.5)]
    found = compare.summary(ours, trl, 10)
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == (4.0, 3.0, 5.0)
    assert (found["ours"], found["trl"]) == (10.0, 2.0)
    assert found["memory_ratio"] == 0.5
    assert found["loss_gap"] == pytest.approx(0.2)
    assert (found["ours_loss"], found["trl_loss"]) == (0.4, 0.5)


def test_overoptimisation_is_summed_up_over_seeds(load: Any) -> None:
    def curve(*true: float) -> list[dict[str, float]]:
        return [{"step": i, "pessimistic": 0.5, "fit": 0.4, "true": t, "malformed": 0.1} for i, t in enumerate(true)]

    seeds = [{"curves": {"max": curve(0.6, 0.3, 0.7)}}, {"curves": {"max": curve(0.8, 0.5, 0.5)}}]
    found = load("overoptimisation").summary(seeds, "max")
    assert found["start"]["mean"] == pytest.approx(0.7)
    assert found["best"]["mean"] == pytest.approx(0.4)
    assert found["end"]["mean"] == pytest.approx(0.6)
    assert found["gap"]["mean"] == pytest.approx(0.1)
    assert found["end"]["std"] == pytest.approx(0.2 / 2**0.5)
