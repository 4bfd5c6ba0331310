"""What the scripts of benchmarks/ and experiments/ compute, rather than measure."""

import importlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from copydesk.data import EditCost, load_log
from copydesk.training.encode import Triple
from copydesk.training.packing import lay_out

ROOT = Path(__file__).parents[1]
FOLDERS = [ROOT / "benchmarks", *sorted(path.parent for path in (ROOT / "experiments").glob("*/run.sh"))]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(folder)
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
    batch = lay_out(edited, with_response=True)
    work = counting.our_work(as_rows(triples))
    assert work.tokens == (batch["triple"] >= 0).sum()
    assert work.scored == len(batch["source"])
    assert work.learned == (batch["part"] != 0).sum()
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
        assert work.scored == work.learned == sum(batch["input_ids"][:, 1:].numel() for batch in batches)
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
    assert counting.our_work([row]) == counting.Work(tokens=10, pairs=25 + 2 * 7 + 3 * 8, scored=7, learned=5)
    assert counting.trl_work([row], 4) == counting.Work(tokens=16, pairs=128, scored=14, learned=14)
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


@pytest.mark.parametrize("name", ["delayed_feedback", "gateway_overhead", "log_scale", "check_coverage"])
def test_help_says_what_a_figure_means(load: Any, name: str, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        load(name).main()
    text = capsys.readouterr().out
    assert load(name).__doc__.strip() in text and "--quick" in text and "--json" in text


def test_without_delay_both_rules_are_algorithm_1(load: Any) -> None:
    found = load("delayed_feedback").row(seeds=3, rounds=200, delay=0, never=0.0, alpha=0.42)
    assert found["naive"] == found["ours"] > 0
    assert found["saved"] == found["saved_std"] == 0


def test_uncounted_pending_pulls_make_the_naive_rule_herd(load: Any) -> None:
    module = load("delayed_feedback")
    found = module.row(seeds=3, rounds=300, delay=50, never=0.3, alpha=0.42)
    assert found["ours"] < found["naive"]
    assert found["saved"] == pytest.approx(found["naive"] - found["ours"])
    costs, comes = module.draw(0, 60, 0.3)
    naive = module.LateEnsemble(list("0123"), module.Naive(module.Ucb(0.42)))
    assert module.play(naive, costs, comes, delay=50)[:50] == [0, 1, 2, 3] + [0] * 46


def test_an_edit_comes_after_the_choices_of_its_delay(load: Any) -> None:
    module = load("delayed_feedback")
    costs, comes = module.draw(0, 10, 0.5)
    assert 0 < comes.sum() < 10
    ensemble = module.LateEnsemble(list("0123"), module.Ucb(0.42))
    module.play(ensemble, costs, comes, delay=3)
    assert sum(state.n for state in ensemble.arms.values()) == comes[:7].sum()


def test_requests_are_due_at_a_fixed_rate(load: Any) -> None:
    assert load("_load").schedule(4.0, 1.5) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100), (0, 1)])
def test_percentile_is_the_nearest_rank(load: Any, percent: int, expected: int) -> None:
    percentile = load("gateway_overhead").percentile
    assert percentile(range(100, 0, -1), percent) == expected
    assert percentile([7.0], percent) == 7.0


def run_of(base: float, sent: int = 100) -> dict[str, Any]:
    """A hundred answers, each a millisecond later than the one before."""
    return {"sent": sent, "seconds": [base + i / 1000 for i in range(1, 101)]}


def test_added_latency_is_compared_round_by_round(load: Any) -> None:
    runs = {
        "direct": [run_of(0.0), run_of(0.1), run_of(0.0)],
        "ours": [run_of(0.01), run_of(0.12), run_of(0.03)],
        "litellm": [run_of(0.08), run_of(0.14), run_of(0.09)],
    }
    found = load("gateway_overhead").compared(runs)
    assert [found["ours"][name] for name in ("p99_ms", "p99_ms_low", "p99_ms_high")] == pytest.approx([20, 10, 30])
    assert found["litellm"]["p50_ms"] == pytest.approx(80)
    assert found["ratio_p99"] == pytest.approx(0.25)
    assert found["direct"]["p50_ms"] == pytest.approx(50)


@pytest.mark.parametrize(
    "litellm",
    [run_of(0.08, sent=102), run_of(0.98), {"sent": 100, "seconds": []}, run_of(-0.01)],
    ids=["lost", "late", "no answer", "noise"],
)
def test_no_ratio_without_two_systems_that_keep_up(load: Any, litellm: dict[str, Any]) -> None:
    module = load("gateway_overhead")
    runs = {"direct": [run_of(0.0)], "ours": [run_of(0.01)], "litellm": [litellm]}
    found = module.compared(runs)
    assert found["ratio_p99"] is None
    assert found["ours"]["p99_ms"] == pytest.approx(10)
    module.show({"rate": 20.0, "litellm_version": "1", "edits_per_s": {"sqlite": 5.0, "postgresql": None}, **found})
    del runs["litellm"]
    assert module.compared(runs)["litellm"] is module.compared(runs)["ratio_p99"] is None


def test_each_edit_is_another_than_the_one_before(load: Any) -> None:
    posted = [json.loads(body) for body in islice(load("gateway_overhead").edits_of(["a", "b", "c"]), 12)]
    assert [one["completion_id"] for one in posted] == list("abc") * 4
    for before, after in zip(posted, posted[3:], strict=False):
        assert before != after
    assert sum("accepted" in one for one in posted) == 4


def test_clients_ask_on_schedule_and_count_what_fails(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("gateway_overhead")
    monkeypatch.setattr(load("_load"), "LATE", 60.0)
    with module.running_stub(0.0) as url:
        for stream in (False, True):
            run = module.at_rate(url, module.request("stub", stream), rate=100.0, seconds=0.2, warm_up=0.1)
            assert run["sent"] == len(run["seconds"]) == 20
        answers, _ = module.as_fast_as_answered(url, module.PATH, [module.request("stub")] * 7, clients=3)
        assert [json.loads(answer)["choices"][0]["message"]["content"] for answer in answers] == [module.ANSWER] * 7
    run = module.at_rate(url, module.request("stub"), rate=100.0, seconds=0.1, warm_up=0.0)
    assert (run["sent"], run["seconds"]) == (10, []) and run["error"]


def test_a_tabular_world_is_played_as_it_is_known(load: Any) -> None:
    module = load("check_coverage")
    world = module.World.draw(np.random.default_rng(0), None)
    log = module.play(world, np.random.default_rng(1), 20_000)
    assert log.c.mean() == pytest.approx(world.costs[log.x, log.y].mean(), abs=0.01)
    share = np.bincount(log.x, minlength=module.CONTEXTS) / len(log.x)
    np.testing.assert_allclose(share, world.rho, atol=0.02)
    weights = (log.a == module.ARMS - 1) / log.p
    assert weights.mean() == pytest.approx(1, abs=0.05)
    assert (weights * log.c).mean() == pytest.approx(world.truth, abs=0.03)


def test_a_log_is_judged_and_summed_up(load: Any) -> None:
    module = load("check_coverage")
    logs = [module.tabular(0.8, seed, 300, 100) for seed in range(3)]
    assert list(logs[0]) == ["ips", "snips", "dr", "dr, cost model", "naive"]
    figures = module.summed("new", logs)["estimators"]["snips"]
    said = [log["snips"] for log in logs]
    assert (figures["logs"], figures["refused"]) == (3, 0)
    assert figures["rmse"] == pytest.approx((sum(one.error**2 for one in said) / 3) ** 0.5)
    assert figures["cover"] == sum(one.covers for one in said) / 3
    none = load("outcomes").summary([module.Outcome(True)] * 2)
    assert none["refused"] == 1 and none["cover"] is none["bias"] is None
    module.show("title", [module.summed("new", logs), {"kind": "x", "truth": None, "estimators": {"ips": none}}])


def test_the_bootstrap_holds_the_mean_it_is_made_from(load: Any) -> None:
    rng = np.random.default_rng(0)
    costs = rng.random(200)
    terms = {"mean": (costs, np.ones(200))}
    bootstrap = load("check_coverage").bootstrap
    assert bootstrap(terms, costs.mean(), rng, 200) == {"mean": True}
    assert bootstrap(terms, costs.mean() + 0.2, rng, 200) == {"mean": False}


def test_the_advice_is_judged_by_what_the_methods_then_cost(load: Any) -> None:
    module = load("judge_advice")
    costs = {"sft": 0.1, "dpo": 0.2, "rl": 0.5, "early": 0.12}
    other = {"sft": 0.4, "dpo": 0.3, "rl": 0.5, "early": 0.31}
    judged = [module.Judged("a", "sft", {}, {}, costs), module.Judged("b", "early", {}, {}, other)]
    ways = module.summed(judged)
    assert (ways["advice"]["hit"], ways["advice"]["near"]) == (0.5, 1.0)
    assert ways["advice"]["lost"] == pytest.approx(0.005)
    assert ways["always rl"]["lost"] == pytest.approx(0.3)
    assert 0 < ways["advice"]["hit_low"] < 0.5 < ways["advice"]["hit_high"] < 1


def test_the_rule_is_given_what_the_lab_knows(load: Any) -> None:
    module = load("judge_advice")
    weak, strong = module.judge_lab((0.2, 0.9), (6.0,), (200,), 2)
    assert weak.log == "lab-p0.2-6nats-n200"
    assert weak.facts["rows"] == 200 >= strong.facts["edited"] > weak.facts["edited"]
    assert weak.facts["consistency"] < 0.1 and strong.facts["consistency"] > 0.6
    assert weak.facts["high_cost"] == 0.6  # three preferences of five
    assert 0 < weak.facts["ess"] < 1 and weak.facts["margin_scale"] > 0.5
    assert set(weak.costs) == {"sft", "dpo", "rl", "early"}


def test_what_methods_cost_is_read_from_finished_runs(load: Any, tmp_path: Path) -> None:
    module = load("judge_advice")
    cells = {method: {"per_seed": [0.1, 0.2]} for method in module.METHODS}
    results = {
        "columns": ["email/strong", "email/strong-to-weak", "email/strong-n50"],
        "cells": dict.fromkeys(["email/strong", "email/strong-to-weak", "email/strong-n50"], cells),
        "settings": {"seeds": [3, 4], "edits": 300},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    found = module.embedded_logs([tmp_path])
    names = ["email-strong-n300-3", "email-strong-n300-4", "email-strong-n50-3", "email-strong-n50-4"]
    assert [name for name, _, _ in found] == names
    assert found[1][1:] == (tmp_path / "logs" / "email-strong-n300-4.jsonl", dict.fromkeys(module.METHODS, 0.2))
    with pytest.raises(SystemExit, match=r"diagnose: .*no finished run"):
        module.main([str(tmp_path / "none")])


def test_made_up_edits_are_of_the_size_they_are_said_to_be(load: Any, tmp_path: Path) -> None:
    module = load("log_scale")
    log = tmp_path / "log.jsonl"
    assert module.write_log(log, 300, 0) == pytest.approx(300, rel=0.02)
    records = load_log(log)
    assert len({record.response for record in records}) == len(records) == 300
    assert 0.25 < sum(record.accepted for record in records) / 300 < 0.42
    costs = [cost for cost in EditCost().cost_batch((r.response, str(r.edit)) for r in records) if cost]
    assert 0.05 < np.median(costs) < 0.15 and max(costs) < 0.6
    again = tmp_path / "again.jsonl"
    module.write_log(again, 300, 0)
    assert again.read_bytes() == log.read_bytes()


def test_distances_are_compared_turn_by_turn(load: Any, tmp_path: Path) -> None:
    module = load("log_scale")
    ratios = module.ratio_of({"ours": [1.0, 2.0, 1.0], "editdistance": [4.0, 6.0, 7.0]})
    assert ratios == {"ratio": 4.0, "ratio_low": 3.0, "ratio_high": 7.0}
    log = tmp_path / "log.jsonl"
    module.write_log(log, 60, 0)
    found = module.compare_distances(log, pairs=20, repeats=2)
    assert (found["pairs"], found["ratio_low"] <= found["ratio"] <= found["ratio_high"]) == (20, True)


@pytest.mark.slow
def test_a_command_is_measured_from_outside(load: Any, tmp_path: Path) -> None:
    module = load("log_scale")
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"context": "", "response": "a b", "edit": "a"}))
    seconds, peak = module.run(tmp_path, "cost", log, "--unit", "word")
    assert 0 < seconds < 60 and peak > 20
    with pytest.raises(module.Failed, match=r"missing\.jsonl: there is no such file"):
        module.run(tmp_path, "cost", tmp_path / "missing.jsonl", "--unit", "word")
    with pytest.raises(module.Failed, match=r"^copydesk: no such command 'costs'"):
        module.run(tmp_path, "costs")


def test_memory_is_compared_where_there_are_two_figures(load: Any) -> None:
    small = {"cost": {"peak_mib": 100.0}, "export": None, "diagnose": {"peak_mib": 50.0}}
    large = {"cost": {"peak_mib": 110.0}, "export": {"peak_mib": 1.0}, "diagnose": None}
    assert load("log_scale").memory_ratios(small, large) == {"cost": pytest.approx(1.1)}


def test_what_was_left_out_is_said(load: Any, capsys: Any) -> None:
    figures = {"rows_per_s": 1234.5, "peak_mib": 99.0}
    found = dict.fromkeys(("import_sqlite", "import_postgres", "export", "diagnose")) | {
        "cost": figures,
        "cost_ratio": 4.5,
        "cost_ratio_low": 4.0,
        "cost_ratio_high": 5.0,
        "memory_ratios": {"cost": 1.04},
        "left_out": {"import_postgres": "no [server]"},
        "settings": {"rows": 1000},
    }
    load("log_scale").show(found)
    said = capsys.readouterr().out
    assert "1,234" in said and "1.04" in said and "import_postgres is left out: no [server]" in said
    assert "4.50 times as fast (4.00 to 5.00)" in said
