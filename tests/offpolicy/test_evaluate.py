from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.support.small_models import shaken
from transformers import LlamaForCausalLM

from copydesk.data.record import EditRecord
from copydesk.errors import InputError
from copydesk.models.load import load_model
from copydesk.offpolicy.evaluate import EvaluationConfig, evaluate
from copydesk.offpolicy.weights import ImportanceWeights
from copydesk.training.config import CostModelConfig
from copydesk.training.cost_model.io import build_cost_model_file, save_cost_model
from copydesk.training.cost_model.model import CostModel
from copydesk.training.encode import encode_log
from copydesk.training.logprobs import ForwardPlan

DRAWN = {"temperature": 0.7, "max_tokens": 4}


def test_an_arm_costs_what_its_rows_do(log, two_arms: Callable[[int], None]) -> None:
    two_arms(240)
    log.answer("b", 0.75)
    found = evaluate(log.read(), "a")
    assert (found.weights, found.rows, found.pending, found.metric) == ("choice", 240, 1, "metric")
    for name, estimate in found.estimates.items():
        assert estimate is not None and estimate.low < estimate.value < estimate.high
        assert estimate.value == pytest.approx(0.2, abs=0.02), name
        less = found.differences[name]
        assert less is not None and less.value == pytest.approx(estimate.value - found.logged.value)
        assert less.high < 0
    assert found.logged.value == pytest.approx(0.5)
    assert [(arm.policy, arm.rows, arm.pending) for arm in found.arms] == [("a", 60, 0), ("b", 180, 1)]
    assert found.arms[0].cost is not None and found.arms[0].cost.value == pytest.approx(0.2)
    assert len(found.remarks) == 1 and "1 answers have no edit yet" in found.remarks[0]


def test_a_mixture_lies_between_its_arms(log, two_arms: Callable[[int], None]) -> None:
    two_arms(400)
    snips = evaluate(log.read(), "a=1,b=3").estimates["snips"]
    assert snips is not None and snips.value == pytest.approx(0.25 * 0.2 + 0.75 * 0.6, abs=0.01)
    with pytest.raises(InputError, match=r"no policy 'c' answered in this log; those that did are a, b"):
        evaluate(log.read(), "a=0.5,c=0.5")
    with pytest.raises(InputError, match=r"add up to 0"):
        evaluate(log.read(), "a=0,b=0")


def test_deterministic_choices_are_refused_for_another_arm(log) -> None:
    log.arm("a")
    log.arm("b")
    for number in range(100):
        log.answer("ab"[number % 2], 1.0, 0.3)
    with pytest.raises(InputError, match=r"in 50 rows another policy was certain.*--rule thompson"):
        evaluate(log.read(), "a")


def test_an_error_about_overlap_names_the_rows_left_out(log) -> None:
    log.arm("a")
    for _ in range(50):
        log.answer("a", 1.0, 0.3, chosen=False)
    with pytest.raises(InputError, match=r"0\.0 of 0 rows.*50 further rows were left out \(a policy was asked for by"):
        evaluate(log.read(), "a")


def test_an_empty_log_is_refused(log) -> None:
    with pytest.raises(InputError, match=r"holds no edits of such answers yet \(0 are pending\)"):
        evaluate(log.read(), "a")
    log.arm("a")
    log.answer("a", 1.0, 0.5)
    with pytest.raises(InputError, match=r"--samples: 0 must be at least 1"):
        evaluate(log.read(), "a", EvaluationConfig(samples=0))


@pytest.fixture
def texts(log, tiny_model: LlamaForCausalLM, model_folder: Path) -> None:
    """120 answers of a model in a folder, whose costs go up and down."""
    log.arm("old", str(model_folder))
    for number in range(120):
        log.answer("old", 1.0, 0.1 * (number % 5), parameters=DRAWN, response="Dear Ada", finish_reason="length")


def test_a_new_policy_is_weighted_by_the_texts(log, texts: None, model_folder: Path, tmp_path: Path) -> None:
    found = evaluate(log.read(), str(model_folder))
    assert found.weights == "text"
    assert found.overlap.effective == pytest.approx(120) == found.overlap.expected
    for estimate in found.estimates.values():
        assert estimate is not None and estimate.value == pytest.approx(0.2, abs=1e-3)
    model, tokenizer, _ = load_model(str(model_folder))
    shaken(model, 0.3, 1).save_pretrained(tmp_path / "far")
    tokenizer.save_pretrained(tmp_path / "far")
    with pytest.raises(InputError, match=r"overlap with the log is too small.*; serve it to a share of the traffic"):
        evaluate(log.read(), str(tmp_path / "far"))


def test_uneven_weights_come_with_a_warning(
    log, texts: None, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = log.read().rows[0]
    # 37% of the rows are effective, and then 23%.
    for weights, expected in ((np.repeat([0.35, 3.6], [240, 60]), []), (np.repeat([0.2, 5.0], [250, 48]), ["23%"])):
        weighed = ImportanceWeights([row] * len(weights), weights, {})
        monkeypatch.setattr(
            "copydesk.offpolicy.evaluate.compute_text_weights", lambda *_, weighed=weighed, **__: weighed
        )
        remarks = evaluate(log.read(), str(model_folder)).remarks
        assert [remark.split()[0] for remark in remarks] == expected


@pytest.mark.parametrize("spec", ["qwen@https://host/v1", "/nowhere"])
def test_a_logged_policy_that_cannot_be_opened_is_named(log, texts: None, model_folder: Path, spec: str) -> None:
    log.arm("gone", spec)
    log.answer("gone", 1.0, 0.1)
    with pytest.raises(InputError, match=r"^gone, which answered in this log, cannot be opened.*; serve it") as error:
        evaluate(log.read(), str(model_folder))
    assert "\n" not in str(error.value)


def test_a_policy_without_probabilities_is_refused(log, texts: None) -> None:
    with pytest.raises(InputError, match=r"no model in this process"):
        evaluate(log.read(), "qwen@https://host/v1")
    with pytest.raises(InputError, match=r"/nowhere"):
        evaluate(log.read(), "/nowhere")


@pytest.fixture
def cost_model(model_folder: Path, records: list[EditRecord], tmp_path: Path) -> Path:
    """One that says 0.3 of everything."""
    base, tokenizer, info = load_model(str(model_folder))
    triples = encode_log(records, tokenizer, 256, costs={record.id: 0.3 for record in records}).triples
    model = CostModel(base, CostModelConfig(members=1, lora_r=2), ForwardPlan(), initial_cost=0.3)  # type: ignore[arg-type]
    save_cost_model(model, build_cost_model_file(model, info, "metric", "0", triples, triples), tmp_path / "costs")
    return tmp_path / "costs"


def test_a_cost_model_judges_what_the_policy_writes(log, texts: None, model_folder: Path, cost_model: Path) -> None:
    for policy in (str(model_folder), "old"):
        found = evaluate(log.read(), policy, EvaluationConfig(cost_model=cost_model, samples=2))
        ips, dr = found.estimates["ips"], found.estimates["dr"]
        assert ips is not None and dr is not None
        # 0.3 + w (c - 0.3), with weights of 1
        assert dr.value == pytest.approx(np.mean([0.1 * (i % 5) for i in range(120)]), abs=1e-3)
        assert found.remarks == []


def test_a_policy_that_cannot_answer_has_no_doubly_robust_estimate(
    log, two_arms: Callable[[int], None], cost_model: Path
) -> None:
    two_arms(200)
    found = evaluate(log.read(), "a=0.5,b=0.5", EvaluationConfig(cost_model=cost_model))
    assert found.estimates["dr"] is found.differences["dr"] is None
    assert found.estimates["ips"] is not None and "cannot generate answers" in found.remarks[0]


def test_with_top_p_there_is_no_doubly_robust_estimate(log, texts: None, model_folder: Path, cost_model: Path) -> None:
    log.answer("old", 1.0, 0.1, parameters={"top_p": 0.999}, response="Dear Ada", finish_reason="length")
    found = evaluate(log.read(), str(model_folder), EvaluationConfig(cost_model=cost_model))
    assert found.estimates["dr"] is None and "top_p" in found.remarks[0]
