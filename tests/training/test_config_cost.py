from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.training.config import CostModelConfig


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"source": "field:"}, "^--costs: "),
        ({"source": "guess"}, "^--costs: .*edit, field:NAME"),
        ({"unit": "page"}, "^--cost-unit: .*subtoken, word, character"),
        ({"pessimism": "always"}, "^--pessimism: .*max, std, none"),
        ({"c_max": 0.0}, "^--c-max: "),
        ({"epochs": -1.0}, "^--cost-epochs: "),
        ({"members": -1}, "^--members: "),
        ({"gamma": float("nan")}, "^--gamma: "),
        ({"layers": 0.0}, "^--cost-layers: "),
        ({"rows_per_step": 0}, "^--cost-rows-per-step: "),
    ],
)
def test_the_error_of_a_bad_value_names_the_flag(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CostModelConfig(**setting)


def test_settings_that_define_a_cost_can_be_written_without_those_of_the_model() -> None:
    settings = CostModelConfig(source="field:minutes", members=2)
    assert settings.field == "minutes"
    assert settings.to_json(model=False) == {
        "source": "field:minutes", "unit": "subtoken", "normalize": "response", "c_max": 3.0,
    }  # fmt: skip
    assert CostModelConfig(**settings.to_json()) == settings  # type: ignore[arg-type]
