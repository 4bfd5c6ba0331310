"""From a log and the name of a model to a policy's folder, or to one for each method."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.errors import InputError
from copydesk.learn import processes
from copydesk.learn.displacement import displaced
from copydesk.learn.encode import Encoded, Triple, encode_log
from copydesk.learn.evaluate import evaluate
from copydesk.learn.fit import fit, reference_logprobs
from copydesk.learn.logprobs import Forward, TripleLogProbs
from copydesk.learn.models import ModelInfo, load_model
from copydesk.learn.policy_file import FILE, Base, Data, PolicyFile, data_sha256
from copydesk.learn.probe import fitting_forward
from copydesk.learn.references import cache_key, cached_references
from copydesk.learn.run_file import RunFile
from copydesk.learn.scoring import longest
from copydesk.learn.settings import METHODS, Method, TrainSettings
from copydesk.learn.split import split
from copydesk.learn.staging import staged_folder
from copydesk.learn.unfinished import check_start, finished, open_run, unfinished_folder
from copydesk.learn.weights import row_weights
from copydesk.log.record import EditRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainReport:
    """What a training run made.

    Attributes:
        folder: where the policy is: an ordinary PEFT adapter or model, its tokenizer and `policy.json`.
        policy: the contents of `policy.json`.
        seconds: how long it took; what several methods share counts for the first.
    """

    folder: Path
    policy: PolicyFile
    seconds: float


@dataclass(frozen=True)
class Prepared:
    """What every method on a log and a model has in common: one tokenisation, one split, one reference pass.

    Attributes:
        model: π_ref.
        tokenizer: its tokenizer.
        info: which model it is.
        encoded: the log as tokens.
        sha256: hash of the log.
        trained_on: the rows to train on.
        held_out: the rows to measure with.
        forward: how to run the model.
        references: the reference log-probabilities of any of the rows.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo
    encoded: Encoded
    sha256: str
    trained_on: list[Triple]
    held_out: list[Triple]
    forward: Forward
    references: Callable[[Sequence[Triple]], TripleLogProbs]


def train(
    records: Iterable[EditRecord],
    model: str,
    settings: TrainSettings,
    out: Path | str,
    *,
    overwrite: bool = False,
    resume: bool = False,
) -> TrainReport:
    """Train a policy on a log of edits and write it to a folder.

    Rows whose edit is pending are left out, and a share of the others is held out to measure the policy on before and
    after. The folder appears whole when everything is done, or not at all. Until then the newest checkpoint is kept in
    a folder beside it, from which `resume` goes on after an interruption of any kind; on one CPU the resumed run ends
    with the same weights, bit for bit, as one that was never interrupted.

    Args:
        records: the log.
        model: the reference policy the log was made with, as `load_model` takes it.
        settings: everything else.
        out: the folder to write; it must not exist yet, or be empty.
        overwrite: replace an existing policy of that name, or start an unfinished run over.
        resume: go on with the unfinished run of that name. Where there is none, start at the beginning; where it was
            finished, only report it.

    Raises:
        InputError: the log holds nothing to learn from, the model cannot be loaded, or the folder cannot be written.
        Interrupted: SIGINT or SIGTERM came while training; a checkpoint was saved.
    """
    targets = {settings.method: Path(out)}
    return _train(records, model, settings, targets, overwrite=overwrite, resume=resume)[0]


def train_all(
    records: Iterable[EditRecord],
    model: str,
    settings: TrainSettings,
    out: Path | str,
    *,
    methods: Sequence[Method] = METHODS,
    overwrite: bool = False,
    resume: bool = False,
) -> list[TrainReport]:
    """Train a policy with every method, from one tokenisation and one reference pass.

    The policies are folders in `out`, named after their methods, and each appears whole as soon as it is done. The
    arguments are those of `train`; the method in `settings` is not read. Resumed, only what is missing is done.

    Raises:
        InputError: as in `train`, before anything is trained where it can be known.
        Interrupted: as in `train`.
    """
    if (Path(out) / FILE).is_file():
        raise InputError(f"--out {out}: a policy; with --method all name the folder that is to hold the policies")
    targets = {method: Path(out) / method for method in methods}
    return _train(records, model, settings, targets, overwrite=overwrite, resume=resume)


def _train(
    records: Iterable[EditRecord],
    model: str,
    settings: TrainSettings,
    targets: dict[Method, Path],
    *,
    overwrite: bool,
    resume: bool,
) -> list[TrainReport]:
    started = time.monotonic()
    log = list(records)
    check_log(log)
    each = {method: replace(settings, method=method) for method in targets}
    sha256 = data_sha256(log)
    done: dict[Method, PolicyFile] = {}
    for method, out in targets.items():
        if processes.is_main():
            check_start(out, overwrite=overwrite, resume=resume)
        if resume and (policy := finished(out, each[method].to_json(), sha256)):
            logger.info("%s: finished already", out)
            done[method] = policy
    missing = [method for method in targets if method not in done]
    trained: dict[Method, TrainReport] = {}
    if missing:
        prepared = prepare(log, sha256, model, settings)
        for method in missing:
            last = method == missing[-1]
            policy = _learn(prepared, each[method], targets[method], overwrite=overwrite, resume=resume, last=last)
            trained[method] = TrainReport(targets[method], policy, time.monotonic() - started)
            started = time.monotonic()
    return [trained.get(method) or TrainReport(targets[method], done[method], 0.0) for method in targets]


def prepare(log: Sequence[EditRecord], sha256: str, model: str, settings: TrainSettings) -> Prepared:
    """Load the model, turn the log (of that hash) into tokens and find the reference log-probabilities.

    Raises:
        InputError: the model cannot be loaded, or no row of the log can be used.
    """
    processes.join()
    base, tokenizer, info = load_model(model, settings.dtype, full=settings.full)
    if isinstance(base, PeftModel):
        raise InputError(f"--model {model}: an adapter; merge it into its model first (PEFT's merge_and_unload)")
    weights = row_weights(log, settings.weigh) if settings.weigh else None
    encoded = encode_log(log, tokenizer, settings.max_length, cut_answers=settings.cut_answers, weights=weights)
    forward = fitting_forward(base, longest(encoded.triples))
    key = cache_key(info, base, tokenizer, log, max_length=settings.max_length, cut_answers=settings.cut_answers)

    def compute() -> TripleLogProbs:
        return reference_logprobs(base, encoded.triples, settings.batch_size * 2, forward)

    scores = processes.once(lambda ready: cached_references(key, encoded.triples, ready), compute)
    place = {triple.id: number for number, triple in enumerate(encoded.triples)}

    def references(triples: Sequence[Triple]) -> TripleLogProbs:
        places = [place[triple.id] for triple in triples]
        return TripleLogProbs(scores.edit[places], scores.response[places])

    trained_on, held_out = split(encoded.triples, settings.held_out, settings.seed)
    return Prepared(base, tokenizer, info, encoded, sha256, trained_on, held_out, forward, references)


def _learn(
    prepared: Prepared, settings: TrainSettings, out: Path, *, overwrite: bool, resume: bool, last: bool
) -> PolicyFile:
    """One method's policy, from the first step to its folder; `last` if the reference policy is not needed again."""
    trained_on, held_out = prepared.trained_on, prepared.held_out
    run = RunFile(
        settings=settings.to_json(),
        base=Base(**asdict(prepared.info)),
        data_sha256=prepared.sha256,
        rows_sha256=_rows_sha256(trained_on),
        processes=processes.count(),
    )
    if processes.is_main():
        open_run(out, run, resume=resume)
    processes.wait()
    checkpoints = unfinished_folder(out)
    theirs = prepared.references(held_out)
    before = evaluate(held_out, theirs, theirs, settings)
    logger.info("training %s on %d rows, %d held out", settings.method, len(trained_on), len(held_out))
    fitted = fit(
        prepared.model,
        trained_on,
        prepared.references(trained_on),
        settings,
        # What processes share out is not put together again, so the next method needs a copy.
        copy=not last and (settings.full or processes.count() > 1),
        forward=prepared.forward,
        checkpoints=checkpoints,
    )
    scores = fitted.score(held_out, settings.batch_size * 2)
    remark = displaced(fitted.history)
    record = describe(
        out.absolute().name,
        prepared.info,
        prepared.sha256,
        prepared.encoded,
        settings,
        fitted.history,
        held_out=len(held_out),
        before=before,
        after=evaluate(held_out, scores, theirs, settings),
        remarks=[remark] if remark else [],
    )
    if processes.is_main():
        try:
            with staged_folder(out, overwrite=overwrite, within=checkpoints) as folder:
                save_policy(fitted.model, prepared.tokenizer, record, folder, fitted.weights)
        except (OSError, SafetensorError) as fault:
            raise InputError(
                f"--out {out}: writing failed ({fault}); what was learnt is kept: mend that and give --resume"
            ) from None
        shutil.rmtree(checkpoints, ignore_errors=True)
    processes.wait()
    if isinstance(fitted.model, PeftModel) and processes.count() == 1:
        fitted.model.unload()  # the next method starts at the reference policy again
    return record


def describe(
    name: str,
    info: ModelInfo,
    sha256: str,
    encoded: Encoded,
    settings: TrainSettings,
    history: list[dict[str, float]],
    *,
    held_out: int = 0,
    before: dict[str, float] | None = None,
    after: dict[str, float] | None = None,
    remarks: list[str] | None = None,
) -> PolicyFile:
    """What `policy.json` says of a policy trained on the log of a hash; see `PolicyFile`."""
    return PolicyFile(
        name=name,
        method=settings.method,
        base=Base(**asdict(info)),
        data=Data(
            sha256=sha256,
            rows=len(encoded.triples),
            edited=sum(triple.edited for triple in encoded.triples),
            pending=encoded.pending,
            held_out=held_out,
            cut_contexts=encoded.cut_contexts,
            cut_answers=encoded.cut_answers,
            left_out=encoded.left_out,
        ),
        settings=settings.to_json(),
        before=before or {},
        after=after or {},
        history=history,
        final=history[-1] if history else {},
        remarks=remarks or [],
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
        shutil.copymode(folder / FILE, file)  # weights come out readable by their owner alone


def _rows_sha256(triples: Sequence[Triple]) -> str:
    """A hash of the rows as they are trained on, weights and all."""
    total = hashlib.sha256()
    for triple in triples:
        row = [triple.id, triple.context, triple.response, triple.edit, triple.weight]
        total.update(json.dumps(row).encode() + b"\n")
    return total.hexdigest()
