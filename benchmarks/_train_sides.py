"""The runs of `train_vs_trl.py`, each done in a process of its own so that its memory is its own."""

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler, SequentialSampler
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from copydesk.data.jsonl import read_jsonl
from copydesk.data.record import EditRecord
from copydesk.models.load import get_device, load_model, quiet_libraries
from copydesk.simulate.protocol import build_log
from copydesk.simulate.tasks import EMAIL
from copydesk.simulate.users import STRONG
from copydesk.training.config import TrainConfig
from copydesk.training.encode import Triple, encode_log
from copydesk.training.logprobs import TripleLogProbs, score_triples
from copydesk.training.trainer import EditTrainer, build_examples

VOCABULARY = 49152  # SmolLM2's, whatever the tokenizer
BETA = 0.1
UNCUT = 1_000_000  # tokens that no row has


@dataclass(frozen=True)
class Job:
    """What a process is to do.

    Attributes:
        task: a name in `TASKS`.
        folder: where models, rows and reference log-probabilities are kept between the processes.
        model: the name of the model's folder in `folder`; for `prepare`, the names of all.
        data: the name of a log.
        batch: rows of an optimizer step.
        micro: rows of a forward pass; divides `batch`.
        steps: optimizer steps that are measured.
        warm_up: optimizer steps before them.
        rate: the learning rate, constant.
        threads: of torch.
        dtype: of the weights.
        logs: for `prepare`, the folder of the logs.
        gguf: for `prepare`, SmolLM2's file.
        longest: for `prepare`, the most tokens of context and longer answer in a row.
    """

    task: str
    folder: str
    model: str = ""
    data: str = ""
    batch: int = 4
    micro: int = 4
    steps: int = 1
    warm_up: int = 1
    rate: float = 1e-5
    threads: int = 2
    dtype: str = "float32"
    logs: str = ""
    gguf: str | None = None
    longest: int = 1024

    @property
    def rows(self) -> int:
        """Rows of the whole run; no row comes twice."""
        return (self.warm_up + self.steps) * self.batch


def prepare(job: Job) -> dict[str, Any]:
    """Save the models and the rows of a log as the other processes read them.

    No row is so long that either side would have to cut it.
    """
    folder = Path(job.folder)
    source, tokenizer, _ = load_model(job.gguf or "embedded", "float32")
    if job.gguf is not None:
        source.save_pretrained(folder / "smollm2")
        tokenizer.save_pretrained(folder / "smollm2")
    if job.gguf is None and "embedded" in job.model:
        source.save_pretrained(folder / "embedded")
        tokenizer.save_pretrained(folder / "embedded")
    if "random-18m" in job.model:
        save_random_model(folder / "random-18m", tokenizer)
    longest = {}
    for data in job.data.split(","):
        kept = choose_rows(read_log(job, data), tokenizer, job.rows, job.longest)
        if len(kept) < job.rows:
            sys.exit(f"{data}: it has {len(kept)} edited rows, {job.rows} are needed")
        (folder / f"{data}.json").write_text(json.dumps([asdict(triple) for triple in kept]))
        longest[data] = max(map(_length, kept))
    return {"device": get_device().type, "longest": longest}


def save_random_model(folder: Path, tokenizer: Any) -> None:
    """Save a model of 18M random weights with SmolLM2's vocabulary."""
    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4}
    end = tokenizer.eos_token_id
    config = LlamaConfig(vocab_size=VOCABULARY, tie_word_embeddings=True, **shape, bos_token_id=end, eos_token_id=end)
    config.max_position_embeddings = 8192
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def read_log(job: Job, data: str) -> list[EditRecord]:
    """The edited rows of a log in a random but fixed order; those of a scripted user for `simulated`."""
    if data == "simulated":
        documents = EMAIL.draw_offline(2 * job.rows, 0)
        tastes = list(EMAIL.tastes.values())
        responses = [EMAIL.write_response(one, tastes[at % len(tastes)]) for at, one in enumerate(documents)]
        records = build_log("scripted", EMAIL, STRONG, documents, responses, 0)
    else:
        records = list(read_jsonl(Path(job.logs) / f"{data}.jsonl"))
    edited = [record for record in records if record.edited]
    random.Random(0).shuffle(edited)
    return edited


def choose_rows(records: Sequence[EditRecord], tokenizer: Any, count: int, longest: int) -> list[Triple]:
    """The first rows with at most `longest` tokens; where there are too few, the shortest ones."""
    kept: list[Triple] = []
    others: list[Triple] = []
    for record in records:
        if len(kept) == count:
            break
        for triple in encode_log([record], tokenizer, max_length=UNCUT).triples:
            if triple.edited:
                (kept if _length(triple) <= longest else others).append(triple)
    return kept + sorted(others, key=_length)[: count - len(kept)]


def ours(job: Job) -> dict[str, Any]:
    """DPO with `EditTrainer`."""
    model, triples = load(job), read(job)
    file = Path(job.folder) / f"{job.model}-{job.data}-references.json"
    if not file.exists():
        scores = score_triples(model, triples, batch_size=job.batch)
        file.write_text(json.dumps([score.tolist() for score in scores]))
    references = TripleLogProbs(*(torch.tensor(score) for score in json.loads(file.read_text())))
    with tempfile.TemporaryDirectory() as scratch:
        return measured(job, edit_trainer(job, model, triples, references, "dpo", scratch))


def trl(job: Job) -> dict[str, Any]:
    """DPO with TRL; TRL itself keeps its reference log-probabilities beside the rows, for the next run."""
    model, triples = load(job), read(job)
    with tempfile.TemporaryDirectory() as scratch:
        rows = trl_rows(triples, Path(job.folder) / f"{job.model}-{job.data}-trl")
        return measured(job, dpo_trainer(job, model, rows, ["sigmoid"], scratch))


def all_ours(job: Job) -> dict[str, Any]:
    """Every method after one reference pass; loading the model and the rows is not counted."""
    methods: tuple[str, ...] = ("sft", "dpo", "early")
    triples = read(job)
    models = [load(job) for _ in methods]
    start = time.perf_counter()
    references = score_triples(models[0], triples, batch_size=job.batch)
    for model, method in zip(models, methods, strict=True):
        with tempfile.TemporaryDirectory() as scratch:
            edit_trainer(job, model, triples, references, method, scratch).train()
    return {"seconds": time.perf_counter() - start}


def all_trl(job: Job) -> dict[str, Any]:
    """The same policies with TRL, one after the other; its second DPO run finds the reference pass of the first."""
    triples = read(job)
    models = [load(job) for _ in range(3)]
    with tempfile.TemporaryDirectory() as scratch:
        rows = trl_rows(triples, Path(scratch) / "rows")
        start = time.perf_counter()
        sft_trainer(job, models[0], triples, f"{scratch}/sft").train()
        dpo_trainer(job, models[1], rows, ["sigmoid"], f"{scratch}/dpo").train()
        dpo_trainer(job, models[2], rows, ["sigmoid", "sft"], f"{scratch}/early").train()
        return {"seconds": time.perf_counter() - start}


TASKS = {"prepare": prepare, "ours": ours, "trl": trl, "all-ours": all_ours, "all-trl": all_trl}


def arguments(job: Job, scratch: str) -> dict[str, Any]:
    """The settings of every trainer. The optimizer is both libraries' default, fused AdamW without weight decay."""
    return {
        "output_dir": scratch,
        "max_steps": job.warm_up + job.steps,
        "per_device_train_batch_size": job.micro,
        "gradient_accumulation_steps": job.batch // job.micro,
        "train_sampling_strategy": "sequential",
        "learning_rate": job.rate,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "bf16": False,  # no autocast: the weights' own type is what is computed in
        "use_cpu": get_device().type == "cpu",
        "dataloader_pin_memory": get_device().type == "cuda",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def edit_trainer(
    job: Job, model: Any, triples: list[Triple], references: TripleLogProbs, method: str, scratch: str
) -> Trainer:
    class InOrder(EditTrainer):
        """Takes the rows in their order, as TRL's trainer does here, so that both see the same ones in every step."""

        def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
            return SequentialSampler(range(len(triples)))

    settings = TrainConfig(method=method, full=True, batch_size=job.micro, accumulate=job.batch // job.micro, beta=BETA)
    rows = build_examples(triples, references, method)
    return InOrder(model, TrainingArguments(**arguments(job, scratch)), rows, settings)


def dpo_trainer(job: Job, model: Any, rows: Any, losses: list[str], scratch: str) -> Trainer:
    """TRL's, at the settings that are best for speed among those it has.

    - `precompute_ref_log_probs`: no second model, and no second forward pass in a step.
    - `gradient_checkpointing=False` (its default is on): nothing is computed twice in the body.
    - `bf16=False` (its default is on): the same precision on both sides.
    - `max_length=None`: no row here is long enough to be cut, on either side.
    - `padding_free` is left off, since 1.16 ignores it with a warning, and so is `use_liger_kernel`, which is for GPUs
      and deprecated. Its output layer is fused and chunked without being asked.
    - No `torch.compile`, on either side.
    """
    from trl import DPOConfig, DPOTrainer

    class FromTokens(DPOTrainer):  # type: ignore[misc]
        """Takes token ids, where TRL would tokenise texts: both sides are to read the same."""

        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

    config = DPOConfig(
        **arguments(job, scratch), beta=BETA, loss_type=losses, max_length=None, precompute_ref_log_probs=True
    )
    tokenizer = AutoTokenizer.from_pretrained(Path(job.folder) / job.model)
    return FromTokens(model=model, args=config, train_dataset=rows, processing_class=tokenizer)


def sft_trainer(job: Job, model: Any, triples: list[Triple], scratch: str) -> Trainer:
    """TRL's, on y' alone, its loss on the answers. Packing and padding-free rows need FlashAttention, so neither."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(**arguments(job, scratch), max_length=None)
    rows = Dataset.from_dict(
        {
            "input_ids": [[*triple.context, *triple.edit] for triple in triples],
            "labels": [[-100] * len(triple.context) + list(triple.edit) for triple in triples],
        }
    )
    tokenizer = AutoTokenizer.from_pretrained(Path(job.folder) / job.model)
    return SFTTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer)


class Watch(TrainerCallback):  # type: ignore[misc]
    """Notes when each step ended, and what the process held when training began."""

    def __init__(self) -> None:
        self.held = 0.0
        self.ends: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.held = memory("VmRSS")

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if get_device().type == "cuda":
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def measured(job: Job, trainer: Trainer) -> dict[str, Any]:
    """Train; the clock runs from the end of the last warm-up step to the end of the last step.

    Returns:
        `seconds` of the measured steps; `losses` of all steps; in MiB the process's peak memory (`peak`) and what it
        held before training (`held`), on CUDA the device's peak.
    """
    watch = Watch()
    trainer.add_callback(watch)
    trainer.train()
    on_cuda = get_device().type == "cuda"
    return {
        "seconds": watch.ends[-1] - watch.ends[job.warm_up - 1],
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "peak": torch.cuda.max_memory_allocated() / 2**20 if on_cuda else memory("VmHWM"),
        "held": watch.held,
    }


def memory(field: str) -> float:
    """MiB that this process holds (`VmRSS`) or has held at most (`VmHWM`); without /proc always the latter.

    `getrusage` says the same of the peak, but on Linux counts what the parent held before it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith(field))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def load(job: Job) -> Any:
    dtype = getattr(torch, job.dtype)
    return AutoModelForCausalLM.from_pretrained(Path(job.folder) / job.model, dtype=dtype).to(get_device())


def read(job: Job) -> list[Triple]:
    rows = json.loads((Path(job.folder) / f"{job.data}.json").read_text())[: job.rows]
    return [Triple(row["id"], tuple(row["context"]), tuple(row["response"]), tuple(row["edit"])) for row in rows]


def trl_rows(triples: list[Triple], folder: Path) -> Any:
    """The rows in TRL's columns, on disk: beside a dataset on disk TRL caches reference log-probabilities."""
    from datasets import Dataset, load_from_disk

    if not folder.exists():
        columns = {"prompt_ids": "context", "chosen_ids": "edit", "rejected_ids": "response"}
        rows = {name: [list(getattr(triple, of)) for triple in triples] for name, of in columns.items()}
        Dataset.from_dict(rows).save_to_disk(folder)
    return load_from_disk(folder)


def _length(triple: Triple) -> int:
    return len(triple.context) + max(len(triple.response), len(triple.edit))


def do(job: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job, given as the fields of `Job`; called in a process of its own."""
    asked = Job(**job)
    torch.set_num_threads(asked.threads)
    quiet_libraries()
    return TASKS[asked.task](asked)
