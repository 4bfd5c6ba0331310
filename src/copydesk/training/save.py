"""Writing a policy: what `policy.json` says of it, and its folder."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.models.load import ModelInfo
from copydesk.training.config import TrainConfig
from copydesk.training.cost_model.io import CostModelFile
from copydesk.training.encode import EncodedLog
from copydesk.training.people import HashedUsers
from copydesk.training.policy_file import POLICY_FILE, BaseModelRef, PolicyFile, TrainingData


def build_policy_file(
    name: str,
    info: ModelInfo,
    sha256: str,
    encoded: EncodedLog,
    settings: TrainConfig,
    history: list[dict[str, float]],
    *,
    held_out: int = 0,
    before: dict[str, float] | None = None,
    after: dict[str, float] | None = None,
    remarks: list[str] | None = None,
    cost_model: CostModelFile | None = None,
) -> PolicyFile:
    """What `policy.json` says of a policy trained on the log of a hash; see `PolicyFile`."""
    return PolicyFile(
        name=name,
        method=settings.method,
        base=BaseModelRef(**asdict(info)),
        data=TrainingData(
            sha256=sha256,
            rows=len(encoded.triples),
            edited=sum(triple.edited for triple in encoded.triples),
            pending=encoded.pending,
            held_out=held_out,
            cut_contexts=encoded.cut_contexts,
            cut_answers=encoded.cut_answers,
            left_out=encoded.left_out,
            people=HashedUsers.from_names(encoded.users, salt=sha256[:32]),
        ),
        settings=settings.to_json(),
        before=before or {},
        after=after or {},
        history=history,
        final=history[-1] if history else {},
        remarks=remarks or [],
        cost_model=None if cost_model is None else cost_model.to_ref(),
    )


def save_policy(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    record: PolicyFile,
    folder: Path,
    weights: dict[str, Tensor] | None = None,
) -> None:
    """Write a policy into an empty folder: adapter or model, in safetensors; tokenizer; `policy.json`.

    `weights` are the model's, all of them, where it holds only a part itself.
    """
    options: dict[str, Any] = {} if weights is None else {"state_dict": weights}
    if isinstance(model, PeftModel):
        model.save_pretrained(str(folder), save_embedding_layers=False, **options)  # an adapter never touches them
        (folder / "README.md").unlink(missing_ok=True)  # an empty model card
    else:
        model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    record.write(folder)
    for file in folder.iterdir():
        shutil.copymode(folder / POLICY_FILE, file)  # weights come out readable by their owner alone
