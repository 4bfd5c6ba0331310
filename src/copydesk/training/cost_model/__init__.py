"""The cost model: predicts the edit cost of a response, with a pessimistic estimate from its ensemble of heads."""

from typing import TYPE_CHECKING

__all__ = [
    "CostModel",
    "CostModelFile",
    "compute_pessimistic_cost",
    "fit_cost_model",
    "load_cost_model",
    "save_cost_model",
]

if TYPE_CHECKING:
    from copydesk.training.cost_model.fit import fit_cost_model
    from copydesk.training.cost_model.io import CostModelFile, load_cost_model, save_cost_model
    from copydesk.training.cost_model.model import CostModel, compute_pessimistic_cost
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.training.cost_model.fit": ["fit_cost_model"],
            "copydesk.training.cost_model.io": ["CostModelFile", "load_cost_model", "save_cost_model"],
            "copydesk.training.cost_model.model": ["CostModel", "compute_pessimistic_cost"],
        },
    )
