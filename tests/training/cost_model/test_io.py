import hashlib
import json
from pathlib import Path

import pytest
import torch

from copydesk.errors import InputError
from copydesk.models.load import load_model
from copydesk.training.config import TrainConfig
from copydesk.training.cost_model.fit import fit_cost_model
from copydesk.training.cost_model.io import (
    COST_MODEL_FILE,
    COST_MODEL_WEIGHTS,
    build_cost_model_file,
    load_cost_model,
    read_cost_model,
    save_cost_model,
)
from copydesk.training.cost_model.model import CostModel
from copydesk.training.encode import Triple


@pytest.fixture
def saved(model_folder: Path, costed: list[Triple], settings: TrainConfig, tmp_path: Path) -> tuple[CostModel, Path]:
    base, _, info = load_model(str(model_folder))
    model = fit_cost_model(base, costed[:9], settings)  # type: ignore[arg-type]
    file = build_cost_model_file(model, info, "levenshtein/word/response", "0" * 64, costed[:9], costed[9:])
    save_cost_model(model, file, tmp_path / "cost_model")
    return model, tmp_path / "cost_model"


def test_what_was_saved_predicts_the_same(saved: tuple[CostModel, Path], costed: list[Triple]) -> None:
    model, folder = saved
    loaded, tokenizer = load_cost_model(folder)
    asked = [(triple.context, triple.response) for triple in costed]
    assert torch.equal(loaded.predict(asked), model.predict(asked))
    assert torch.equal(
        loaded.compute_pessimistic(loaded.predict(asked)), model.compute_pessimistic(model.predict(asked))
    )
    assert loaded.settings == model.settings
    assert tokenizer.chat_template is not None


def test_the_file_says_what_it_is_and_how_good(saved: tuple[CostModel, Path], costed: list[Triple]) -> None:
    model, folder = saved
    file = read_cost_model(folder)
    assert (file.rows, file.held_out, file.metric) == (9, 3, "levenshtein/word/response")
    assert file.mean == pytest.approx(sum(triple.cost or 0 for triple in costed[:9]) / 9)
    assert file.within == model.within.tolist()
    assert {"mae", "mae_mean", "bias"} <= file.fit.keys() == file.pessimistic.keys()
    assert sum(one["rows"] for one in file.calibration) == 3
    assert file.to_ref().sha256 == file.weights_sha256
    assert hashlib.sha256((folder / COST_MODEL_WEIGHTS).read_bytes()).hexdigest() == file.weights_sha256


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cost_model\.json: cannot be read"):
        read_cost_model(tmp_path / "nothing")


def test_a_damaged_description_is_one_line(saved: tuple[CostModel, Path]) -> None:
    (saved[1] / COST_MODEL_FILE).write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        load_cost_model(saved[1])


@pytest.mark.parametrize("damage", ["gone", "cut", "foreign"])
def test_damaged_weights_are_one_line(damage: str, saved: tuple[CostModel, Path], model_folder: Path) -> None:
    weights = saved[1] / COST_MODEL_WEIGHTS
    if damage == "gone":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:100])
    else:
        weights.write_bytes((model_folder / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"cannot be used.*make the cost model again") as error:
        load_cost_model(saved[1])
    assert "\n" not in str(error.value)


def test_a_base_with_other_weights_is_refused(saved: tuple[CostModel, Path]) -> None:
    file = json.loads((saved[1] / COST_MODEL_FILE).read_text())
    file["base"]["weights_sha256"] = "1" * 64
    (saved[1] / COST_MODEL_FILE).write_text(json.dumps(file))
    with pytest.raises(InputError, match="other weights"):
        load_cost_model(saved[1])
