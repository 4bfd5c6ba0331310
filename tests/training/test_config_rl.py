from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.training.config import RlConfig


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"generations": 1}, "generations"),
        ({"responses": 6}, "responses"),
        ({"responses": 0}, "responses"),
        ({"epochs": 0.0}, "epochs"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"vllm": "always"}, "off, colocate, server"),
        ({"vllm_url": "http://127.0.0.1:8000"}, "vllm_url"),
    ],
)
def test_what_makes_no_sense_is_named(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        RlConfig(**setting)
