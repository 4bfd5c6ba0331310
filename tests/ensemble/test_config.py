"""The settings of an ensemble: what they accept, and the JSON of them that the store's log keeps."""

import json
from typing import Any

import pytest

from copydesk.ensemble import EnsembleConfig

_USUAL = (
    '{"rule": "ucb", "alpha": 0.42, "discount": 0.995, "shares": {}, "scope": "global", "prior": 10.0, '
    '"expiry": 604800.0, "window": 3600.0, "user_limit": 1000, "key_limit": 100000, '
    '"seed": 0, "metric": "", "cost": {}}'
)
GOLDEN: list[tuple[dict[str, Any], str]] = [
    ({}, _USUAL),
    (
        {
            "rule": "ucb",
            "alpha": 0.3,
            "scope": "user",
            "prior": 3.0,
            "expiry": None,
            "seed": 4,
            "window": 60,
            "user_limit": 5,
            "key_limit": 0,
        },
        '{"rule": "ucb", "alpha": 0.3, "discount": 0.995, "shares": {}, "scope": "user", "prior": 3.0, '
        '"expiry": null, "window": 60.0, "user_limit": 5, "key_limit": 0, "seed": 4, "metric": "", "cost": {}}',
    ),
    ({"rule": "thompson"}, _USUAL.replace('"ucb"', '"thompson"')),
    (
        {"rule": "discounted-ucb", "alpha": 0.1, "discount": 0.9},
        '{"rule": "discounted-ucb", "alpha": 0.1, "discount": 0.9, "shares": {}, "scope": "global", "prior": 10.0, '
        '"expiry": 604800.0, "window": 3600.0, "user_limit": 1000, "key_limit": 100000, '
        '"seed": 0, "metric": "", "cost": {}}',
    ),
    (
        {"rule": "fixed", "shares": {"b": 0.9, "a": 0.1}, "metric": "m", "cost": {"unit": "word", "cap": 3.0}},
        '{"rule": "fixed", "alpha": 0.42, "discount": 0.995, "shares": {"b": 0.9, "a": 0.1}, "scope": "global", '
        '"prior": 10.0, "expiry": 604800.0, "window": 3600.0, "user_limit": 1000, "key_limit": 100000, '
        '"seed": 0, "metric": "m", "cost": {"unit": "word", "cap": 3.0}}',
    ),
    (  # a rule that is not followed keeps its settings in the log
        {"rule": "thompson", "discount": 0.5, "shares": {"a": 1.0}, "scope": "group"},
        '{"rule": "thompson", "alpha": 0.42, "discount": 0.5, "shares": {"a": 1.0}, "scope": "group", '
        '"prior": 10.0, "expiry": 604800.0, "window": 3600.0, "user_limit": 1000, "key_limit": 100000, '
        '"seed": 0, "metric": "", "cost": {}}',
    ),
]


@pytest.mark.parametrize(("values", "line"), GOLDEN)
def test_the_json_of_the_log_stays_byte_for_byte(values: dict[str, Any], line: str) -> None:
    config = EnsembleConfig(**values)
    assert json.dumps(config.to_json()) == line
    assert EnsembleConfig.from_json(json.loads(line)) == config
    assert json.dumps(EnsembleConfig.from_json(json.loads(line)).to_json()) == line
