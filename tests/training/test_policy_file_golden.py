"""`policy.json` keeps its layout: byte for byte what the last release before the settings became pydantic models wrote.

`golden/policy_settings.json` holds arguments of `TrainConfig` and the settings written for them, and
`golden/policy_*.json` two whole files; all of them were made with commit 244160f.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from copydesk.data.record import EditRecord
from copydesk.training.config import CostModelConfig, RlConfig, TrainConfig
from copydesk.training.policy_file import POLICY_FILE
from copydesk.training.train import train

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "policy_settings.json").read_text())
NESTED: dict[str, Any] = {"cost": CostModelConfig, "rl": RlConfig}


@pytest.mark.parametrize("case", CASES, ids=lambda case: json.dumps(case["config"]))
def test_settings_are_written_as_they_always_were(case: dict[str, Any]) -> None:
    given = {name: NESTED[name](**value) if name in NESTED else value for name, value in case["config"].items()}
    assert json.dumps(TrainConfig(**given).to_json()) == case["json"]


def mask(text: str) -> str:
    """Hide what differs between machines and library releases: paths, weights, versions and measured figures."""
    text = re.sub(r'("(?:spec|weights_sha256|metric)": )"[^"]*"', r'\1"*"', text)
    text = re.sub(r'("cost_model": \{\n    "folder": "[^"]*",\n    "sha256": )"[^"]*"', r'\1"*"', text)
    text = re.sub(r'("versions": \{)[^}]*\}', r"\1*}", text)
    settings = re.search(r'  "settings": \{.*?\n  \},\n', text, re.DOTALL)
    assert settings is not None
    masked = re.sub(r"-?\d+\.\d+(?:e-?\d+)?", "0.0", text)
    return re.sub(r'  "settings": \{.*?\n  \},\n', lambda _: settings[0], masked, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["early", "rl"])
def test_a_whole_policy_json_is_written_as_it_always_was(
    method: str, records: list[EditRecord], model_folder: Path, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"max_steps": 2, "batch_size": 4, "accumulate": 1, "learning_rate": 5e-3, "lora_r": 4}
    own: dict[str, Any] = {"lambda_cost": 0.5}
    if method == "rl":
        own = {
            "cost": CostModelConfig(members=1, epochs=1, lora_r=2),
            "rl": RlConfig(responses=8, generations=2, max_new_tokens=8),
        }
    settings = TrainConfig(method=method, held_out=0.25, **common, **own)
    folder = train(records, str(model_folder), settings, tmp_path / method).folder
    assert mask((folder / POLICY_FILE).read_text()) == (GOLDEN / f"policy_{method}.json").read_text()
