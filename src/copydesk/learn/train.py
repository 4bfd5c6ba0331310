"""From a log and the name of a model to a policy's folder."""

import logging
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.errors import InputError
from copydesk.learn.encode import Encoded, encode_log
from copydesk.learn.evaluate import evaluate
from copydesk.learn.fit import fit, reference_logprobs
from copydesk.learn.logprobs import TripleLogProbs, score_triples
from copydesk.learn.models import ModelInfo, load_model
from copydesk.learn.policy_file import FILE, Base, Data, PolicyFile, data_sha256
from copydesk.learn.settings import TrainSettings
from copydesk.learn.split import split
from copydesk.learn.staging import staged_folder
from copydesk.log.record import EditRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainReport:
    """What a training run made.

    Attributes:
        folder: where the policy is: an ordinary PEFT adapter or model, its tokenizer and `policy.json`.
        policy: the contents of `policy.json`.
        seconds: how long it took, loading the model included.
    """

    folder: Path
    policy: PolicyFile
    seconds: float


def train(
    records: Iterable[EditRecord], model: str, settings: TrainSettings, out: Path | str, *, overwrite: bool = False
) -> TrainReport:
    """Train a policy on a log of edits and write it to a folder.

    Rows whose edit is pending are left out, and a share of the others is held out to measure the policy on before and
    after. The folder appears whole when everything is done, or not at all.

    Args:
        records: the log.
        model: the reference policy the log was made with, as `load_model` takes it.
        settings: everything else.
        out: the folder to write; it must not exist yet, or be empty.
        overwrite: replace an existing policy of that name.

    Raises:
        InputError: the log holds nothing to learn from, the model cannot be loaded, or the folder cannot be written.
    """
    start = time.monotonic()
    log = list(records)
    check_log(log)
    with staged_folder(Path(out), overwrite=overwrite) as folder:
        base, tokenizer, info = load_model(model, settings.dtype, full=settings.full)
        if isinstance(base, PeftModel):
            raise InputError(f"--model {model}: an adapter; merge it into its model first (PEFT's merge_and_unload)")
        encoded = encode_log(log, tokenizer, settings.max_length)
        trained_on, held_out = split(encoded.triples, settings.held_out, settings.seed)
        rows = trained_on + held_out
        references = reference_logprobs(base, rows, settings.batch_size * 2)
        ours, theirs = _cut(references, len(trained_on))
        before = evaluate(held_out, theirs, theirs, settings)
        logger.info("training %s on %d rows, %d held out", settings.method, len(trained_on), len(held_out))
        policy, history = fit(base, trained_on, ours, settings, copy=False)
        scores = score_triples(policy, held_out, batch_size=settings.batch_size * 2, description="held out")
        after = evaluate(held_out, scores, theirs, settings)
        record = describe(
            Path(out).absolute().name,
            info,
            log,
            encoded,
            settings,
            history,
            held_out=len(held_out),
            before=before,
            after=after,
        )
        try:
            save_policy(policy, tokenizer, record, folder)
        except (OSError, SafetensorError) as fault:
            raise InputError(
                f"--out {out}: writing failed ({fault}); nothing was kept, mend that and run again"
            ) from None
    return TrainReport(Path(out), record, time.monotonic() - start)


def describe(
    name: str,
    info: ModelInfo,
    log: Iterable[EditRecord],
    encoded: Encoded,
    settings: TrainSettings,
    history: list[dict[str, float]],
    *,
    held_out: int = 0,
    before: dict[str, float] | None = None,
    after: dict[str, float] | None = None,
) -> PolicyFile:
    """What `policy.json` says of a policy trained on a log; see `PolicyFile`."""
    return PolicyFile(
        name=name,
        method=settings.method,
        base=Base(**asdict(info)),
        data=Data(
            sha256=data_sha256(log),
            rows=len(encoded.triples),
            edited=sum(triple.edited for triple in encoded.triples),
            pending=encoded.pending,
            held_out=held_out,
            cut_contexts=encoded.cut_contexts,
            cut_answers=encoded.cut_answers,
        ),
        settings=settings.to_json(),
        before=before or {},
        after=after or {},
        history=history,
    )


def check_log(records: list[EditRecord], where: str = "the log") -> None:
    """Refuse a log that says nothing about how to answer better; `where` names it in the fault, such as its file.

    Raises:
        InputError: it is empty, every row is pending, or nobody edited anything.
    """
    if not records:
        raise InputError(f"{where}: it is empty; log some edits first")
    if all(record.pending for record in records):
        raise InputError(f"{where}: all {len(records)} rows are pending (no edit yet); wait for the first edits")
    if not any(record.edited for record in records):
        raise InputError(
            f"{where}: nobody edited anything (every edit equals its response), so it holds nothing to learn from; "
            "log some edits first"
        )


def save_policy(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, record: PolicyFile, folder: Path
) -> None:
    """Write a policy into an empty folder: adapter or model, in safetensors; tokenizer; `policy.json`."""
    if isinstance(model, PeftModel):
        model.save_pretrained(str(folder), save_embedding_layers=False)  # an adapter never touches them
        (folder / "README.md").unlink(missing_ok=True)  # an empty model card
    else:
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    record.write(folder)
    for file in folder.iterdir():
        shutil.copymode(folder / FILE, file)  # weights come out readable by their owner alone


def _cut(scores: TripleLogProbs, count: int) -> tuple[TripleLogProbs, TripleLogProbs]:
    """The first `count` rows and the rest."""
    edit, response = scores
    return TripleLogProbs(edit[:count], response[:count]), TripleLogProbs(edit[count:], response[count:])
