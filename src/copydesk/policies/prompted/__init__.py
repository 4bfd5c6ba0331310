"""Policies that learn from edits without training: what they learnt goes into the prompt.

They are the learners of PRELUDE (Gao et al., NeurIPS 2024, arXiv 2404.15269): an oracle that is told the taste,
ICL-edit and CIPHER. The prompts are our own and know of no task: they work on any log.
"""

from copydesk.policies.prompted.base import Learner, OraclePolicy
from copydesk.policies.prompted.cipher import CipherPolicy
from copydesk.policies.prompted.icl import IclPolicy
from copydesk.policies.prompted.retrieval import Encoder, PolicyEncoder, RetrievalMemory, SentenceEncoder

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
