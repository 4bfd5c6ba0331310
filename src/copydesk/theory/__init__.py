"""The tabular lab: users, learners and bounds that can be computed exactly."""

from typing import TYPE_CHECKING

__all__ = [
    "Bound",
    "PreferenceSpace",
    "Problem",
    "Study",
    "World",
    "dpo_bound",
    "late_bound",
    "make_world",
    "rl_bound",
    "run_study",
    "sft_bound",
]

if TYPE_CHECKING:
    from copydesk.theory.bounds import Bound, dpo_bound, late_bound, rl_bound, sft_bound
    from copydesk.theory.problem import PreferenceSpace, Problem
    from copydesk.theory.study import Study, run_study
    from copydesk.theory.users import World, make_world
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.theory.bounds": ["Bound", "dpo_bound", "late_bound", "rl_bound", "sft_bound"],
            "copydesk.theory.problem": ["PreferenceSpace", "Problem"],
            "copydesk.theory.study": ["Study", "run_study"],
            "copydesk.theory.users": ["World", "make_world"],
        },
    )
