"""Copydesk turns the edits people already make to an LLM's output into a better model.

The public names are imported when they are first used, so that `import copydesk` loads no torch.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

__version__ = version("copydesk")

__all__ = [
    "BestOfNPolicy",
    "Client",
    "CostModelConfig",
    "DatasetForm",
    "Diagnosis",
    "DiscountedUcb",
    "EditCost",
    "EditRecord",
    "EditStore",
    "EditTrainer",
    "EnsembleConfig",
    "Evaluation",
    "ExperimentConfig",
    "FieldMapping",
    "FixedShares",
    "GatewayConfig",
    "ImportResult",
    "InputError",
    "Interrupted",
    "LateEnsemble",
    "LocalPolicy",
    "OpenAIPolicy",
    "Policy",
    "Redactor",
    "RlConfig",
    "Sampling",
    "Thompson",
    "TrainConfig",
    "TrainReport",
    "Ucb",
    "__version__",
    "compute_early_ensemble_loss",
    "compute_offline_cost_loss",
    "compute_preference_loss",
    "compute_supervised_loss",
    "create_app",
    "diagnose_log",
    "evaluate",
    "export_records",
    "import_rows",
    "load_cost_model",
    "load_log",
    "load_model",
    "open_policy",
    "open_row_source",
    "read_edits",
    "read_jsonl",
    "read_policy_file",
    "run_experiment",
    "train",
    "train_all",
    "verify_log",
    "write_jsonl",
]

if TYPE_CHECKING:
    from copydesk.client import Client
    from copydesk.data.cost import EditCost
    from copydesk.data.exporters.export import export_records
    from copydesk.data.exporters.trl import DatasetForm
    from copydesk.data.importers.files import open_row_source
    from copydesk.data.jsonl import load_log, read_jsonl, write_jsonl
    from copydesk.data.mapping import FieldMapping
    from copydesk.data.record import EditRecord
    from copydesk.data.redact import Redactor
    from copydesk.diagnose.diagnose import Diagnosis, diagnose_log
    from copydesk.ensemble.config import EnsembleConfig
    from copydesk.ensemble.late import LateEnsemble
    from copydesk.ensemble.rules import DiscountedUcb, FixedShares, Thompson, Ucb
    from copydesk.ensemble.verify import verify_log
    from copydesk.errors import InputError, Interrupted
    from copydesk.gateway.app import create_app
    from copydesk.gateway.config import GatewayConfig
    from copydesk.models.load import load_model
    from copydesk.offpolicy.evaluate import Evaluation, evaluate
    from copydesk.policies.base import Policy, Sampling
    from copydesk.policies.local import BestOfNPolicy, LocalPolicy
    from copydesk.policies.open import open_policy
    from copydesk.policies.openai_api import OpenAIPolicy
    from copydesk.simulate.config import ExperimentConfig
    from copydesk.simulate.run import run_experiment
    from copydesk.store.import_rows import ImportResult, import_rows
    from copydesk.store.read import read_edits
    from copydesk.store.store import EditStore
    from copydesk.training.config import CostModelConfig, RlConfig, TrainConfig
    from copydesk.training.cost_model.io import load_cost_model
    from copydesk.training.objectives import (
        compute_early_ensemble_loss,
        compute_offline_cost_loss,
        compute_preference_loss,
        compute_supervised_loss,
    )
    from copydesk.training.policy_file import read_policy_file
    from copydesk.training.train import TrainReport, train, train_all
    from copydesk.training.trainer import EditTrainer
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.client": ["Client"],
            "copydesk.data.cost": ["EditCost"],
            "copydesk.data.exporters.export": ["export_records"],
            "copydesk.data.exporters.trl": ["DatasetForm"],
            "copydesk.data.importers.files": ["open_row_source"],
            "copydesk.data.jsonl": ["load_log", "read_jsonl", "write_jsonl"],
            "copydesk.data.mapping": ["FieldMapping"],
            "copydesk.data.record": ["EditRecord"],
            "copydesk.data.redact": ["Redactor"],
            "copydesk.diagnose.diagnose": ["Diagnosis", "diagnose_log"],
            "copydesk.ensemble.config": ["EnsembleConfig"],
            "copydesk.ensemble.late": ["LateEnsemble"],
            "copydesk.ensemble.rules": ["DiscountedUcb", "FixedShares", "Thompson", "Ucb"],
            "copydesk.ensemble.verify": ["verify_log"],
            "copydesk.errors": ["InputError", "Interrupted"],
            "copydesk.gateway.app": ["create_app"],
            "copydesk.gateway.config": ["GatewayConfig"],
            "copydesk.models.load": ["load_model"],
            "copydesk.offpolicy.evaluate": ["Evaluation", "evaluate"],
            "copydesk.policies.base": ["Policy", "Sampling"],
            "copydesk.policies.local": ["BestOfNPolicy", "LocalPolicy"],
            "copydesk.policies.open": ["open_policy"],
            "copydesk.policies.openai_api": ["OpenAIPolicy"],
            "copydesk.simulate.config": ["ExperimentConfig"],
            "copydesk.simulate.run": ["run_experiment"],
            "copydesk.store.import_rows": ["ImportResult", "import_rows"],
            "copydesk.store.read": ["read_edits"],
            "copydesk.store.store": ["EditStore"],
            "copydesk.training.config": ["CostModelConfig", "RlConfig", "TrainConfig"],
            "copydesk.training.cost_model.io": ["load_cost_model"],
            "copydesk.training.objectives": [
                "compute_early_ensemble_loss",
                "compute_offline_cost_loss",
                "compute_preference_loss",
                "compute_supervised_loss",
            ],
            "copydesk.training.policy_file": ["read_policy_file"],
            "copydesk.training.train": ["TrainReport", "train", "train_all"],
            "copydesk.training.trainer": ["EditTrainer"],
        },
        extras={
            "fastapi": ["copydesk.gateway.app"],
            "torch": [
                "copydesk.models.load",
                "copydesk.policies.local",
                "copydesk.policies.open",
                "copydesk.simulate.run",
                "copydesk.training.cost_model.io",
                "copydesk.training.objectives",
                "copydesk.training.train",
                "copydesk.training.trainer",
            ],
        },
    )
