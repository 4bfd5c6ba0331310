"""Policies that learn from edits through the prompt, without training.

They are the learners of PRELUDE (Gao et al., NeurIPS 2024, arXiv 2404.15269): ICL-edit, CIPHER, and an oracle whose
prompt holds the true taste. The prompts are Copydesk's own and independent of the task: they work on any log.
"""

from typing import TYPE_CHECKING

__all__ = [
    "CipherPolicy",
    "Encoder",
    "IclPolicy",
    "Learner",
    "OraclePolicy",
    "PolicyEncoder",
    "RetrievalMemory",
    "SentenceEncoder",
]

if TYPE_CHECKING:
    from copydesk.policies.prompted.base import Learner, OraclePolicy
    from copydesk.policies.prompted.cipher import CipherPolicy
    from copydesk.policies.prompted.icl import IclPolicy
    from copydesk.policies.prompted.retrieval import Encoder, PolicyEncoder, RetrievalMemory, SentenceEncoder
else:
    from copydesk.utils.lazy import lazy_exports

    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "copydesk.policies.prompted.base": ["Learner", "OraclePolicy"],
            "copydesk.policies.prompted.cipher": ["CipherPolicy"],
            "copydesk.policies.prompted.icl": ["IclPolicy"],
            "copydesk.policies.prompted.retrieval": ["Encoder", "PolicyEncoder", "RetrievalMemory", "SentenceEncoder"],
        },
    )
