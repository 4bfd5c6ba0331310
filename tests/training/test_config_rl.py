from typing import Any

import pytest

from copydesk.errors import InputError
from copydesk.training.config import RlConfig


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"generations": 1}, "^--generations: "),
        ({"responses": 6}, "^--responses: "),
        ({"responses": 0}, "^--responses: "),
        ({"epochs": 0.0}, "^--rl-epochs: "),
        ({"max_new_tokens": 0}, "^--max-new-tokens: "),
        ({"vllm": "always"}, "^--vllm: .*off, colocate, server"),
        ({"vllm_url": "http://127.0.0.1:8000"}, "^--vllm-url: "),
    ],
)
def test_the_error_of_a_bad_value_names_the_flag(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RlConfig(**setting)
