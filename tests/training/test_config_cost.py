from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.training.config import CostModelConfig


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"source": "field:"}, "source"),
        ({"source": "guess"}, "edit, field:NAME"),
        ({"unit": "page"}, "subtoken, word, character"),
        ({"pessimism": "always"}, "max, std, none"),
        ({"c_max": 0.0}, "c_max"),
        ({"epochs": -1.0}, "epochs"),
        ({"members": -1}, "members"),
        ({"gamma": float("nan")}, "gamma"),
        ({"layers": 0.0}, "layers"),
        ({"rows_per_step": 0}, "rows_per_step"),
    ],
)
def test_what_makes_no_sense_is_named(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        CostModelConfig(**setting)


def test_what_a_cost_is_can_be_told_apart_from_the_model_of_it() -> None:
    settings = CostModelConfig(source="field:minutes", members=2)
    assert settings.field == "minutes"
    assert settings.to_json(model=False) == {
        "source": "field:minutes", "unit": "subtoken", "normalize": "response", "c_max": 3.0,
    }  # fmt: skip
    assert CostModelConfig(**settings.to_json()) == settings  # type: ignore[arg-type]
