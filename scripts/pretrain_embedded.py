"""Pretrain the embedded model from scratch on the tasks' synthetic documents.

    python scripts/pretrain_embedded.py --out first > scripts/pretrain_embedded.log
    python scripts/pretrain_embedded.py --start first --steps 2400 --learning-rate 1e-3 --echo 0 --seed 1 \
        --out src/copydesk/embedded/model >> scripts/pretrain_embedded.log

A Llama of about 1M parameters and a byte-level BPE of 2,000 tokens, seeded; about half an hour on two cores. Manners
are drawn with each task's shares, so what the model writes often, seldom and almost never is known: its coverage. The
loss is taken on the responses only. Every document is fresh: nothing is seen twice.
"""

import argparse
import itertools
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from copydesk.simulate.tasks import SCRIPTED_TASKS
from copydesk.simulate.tasks.base import Document
from copydesk.simulate.tasks.scripted import score_response

SPECIAL = ["<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def samples(seed: int) -> Iterator[tuple[str, Document, str]]:
    """(task, document, response) without end."""
    rng = np.random.default_rng(seed)
    tasks = list(SCRIPTED_TASKS.values())
    while True:
        task = tasks[int(rng.integers(len(tasks)))]
        document = task.draw_document(rng)
        yield task.name, document, task.write_response(document, task.draw_style(rng))


def train_tokenizer(vocabulary: int, seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE over a few thousand documents."""
    stream = samples(seed)
    texts = [
        text for _ in range(8_000) for _, document, response in [next(stream)] for text in (document.context, response)
    ]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=SPECIAL[1:3],
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """About 1M parameters, four layers of width 128."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.08,  # about 1 / sqrt(width); the usual 0.02 is for models many times as wide
    )
    model = LlamaForCausalLM(config)
    # Attention starts out copying: with W_O = W_V^T, and with one embedding for input and output, to attend to a token
    # is to make it likelier. Only where to look is left to learn, and copying comes within the first million tokens
    # instead of not at all in five.
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.copy_(layer.self_attn.v_proj.weight.T)
    return model


def batches(
    tokenizer: PreTrainedTokenizerFast, stream: Iterator[tuple[str, Document, str]], args: argparse.Namespace
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Token ids (size, length) and labels of the same shape, -100 outside the response; `args.steps` batches.

    At first most rows ask to repeat the document word for word, ever fewer until none does after a third of the steps:
    a model that can copy soon finds out what to copy. Eight batches are drawn at a time and their rows sorted by
    length, so that little of a batch is padding.
    """
    rng = np.random.default_rng(args.seed)
    for step in range(0, args.steps, 8):
        echo = max(0.0, args.echo * (1 - 3 * step / args.steps))
        rows = []
        for _, document, response in itertools.islice(stream, 8 * args.batch_size):
            context = document.context
            if rng.random() < echo:
                response = context.split("\n", 1)[1]
                context = f"Repeat these lines.\n{response}"
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": context}], add_generation_prompt=True, return_dict=False
            )
            answer = tokenizer(response, add_special_tokens=False)["input_ids"]
            rows.append((prompt, [*answer, tokenizer.eos_token_id]))
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        for at in rng.permutation(8):
            yield padded(rows[at * args.batch_size : (at + 1) * args.batch_size], tokenizer.pad_token_id)


def padded(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(prompt) + len(answer) for prompt, answer in rows)
    ids = torch.full((len(rows), length), pad)
    labels = torch.full((len(rows), length), -100)
    for row, (prompt, answer) in enumerate(rows):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : end] = torch.tensor(answer)
    return ids, labels


@torch.no_grad()
def examine(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, size: int) -> dict[str, object]:
    """Write responses to fresh documents at temperature 1; count right slots, slot by slot."""
    stream = samples(seed)
    rows = [next(stream) for _ in range(size)]
    prompts = tokenizer.apply_chat_template(
        [[{"role": "user", "content": document.context}] for _, document, _ in rows],
        add_generation_prompt=True,
        padding=True,
        tokenizer_kwargs={"padding_side": "left"},
        return_dict=True,
        return_tensors="pt",
    )
    model.eval()
    written = model.generate(
        **{name: prompts[name] for name in ("input_ids", "attention_mask")},
        do_sample=True, top_k=0, top_p=1.0, temperature=1.0, max_new_tokens=160,
    )  # fmt: skip
    model.train()
    texts = tokenizer.batch_decode(written[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
    slots: dict[str, list[bool]] = defaultdict(list)
    malformed = []
    for (task, document, _), text in zip(rows, texts, strict=True):
        reading = score_response(SCRIPTED_TASKS[task], document, text)
        malformed.append(reading.malformed)
        for slot, right in reading.correct_slots.items():
            slots[f"{task}/{document.kind}/{slot}"].append(right)
    accuracy = {slot: float(np.mean(right)) for slot, right in sorted(slots.items())}
    return {
        "malformed": float(np.mean(malformed)),
        "slots_right": float(np.mean([right for rights in slots.values() for right in rights])),
        "worst": sorted(accuracy.items(), key=lambda item: item[1])[:5],
        "slots": accuracy,
        "example": texts[0],
    }


def say(**facts: object) -> None:
    print(json.dumps(facts, ensure_ascii=False), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="go on from the model in this folder instead of from nothing")
    parser.add_argument("--echo", type=float, default=0.6, help="share of rows to repeat word for word at first")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--vocabulary", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    if args.start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(args.start)
        model = LlamaForCausalLM.from_pretrained(args.start)
    else:
        tokenizer = train_tokenizer(args.vocabulary, args.seed)
        model = new_model(tokenizer)
    settings = {name: value for name, value in vars(args).items() if name not in ("out", "start")}
    say(**settings, parameters=model.num_parameters(), threads=torch.get_num_threads())
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.learning_rate, total_steps=args.steps, pct_start=0.04, anneal_strategy="cos"
    )
    # The examinations use seeds of their own; the training stream never meets their documents but by chance.
    stream = batches(tokenizer, samples(args.seed + 1), args)
    started, tokens, losses = time.monotonic(), 0, []
    for step, (ids, labels) in enumerate(stream, start=1):
        mask = (ids != tokenizer.pad_token_id).long()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        tokens += int(mask.sum())
        losses.append(loss.item())
        if step % 100 == 0:
            seconds = time.monotonic() - started
            say(step=step, loss=round(float(np.mean(losses[-100:])), 4), tokens=tokens, seconds=round(seconds))
        if step % 750 == 0 and step != args.steps:
            found = examine(model, tokenizer, seed=10_000, size=96)
            del found["slots"]
            say(step=step, **found)
            save(model, tokenizer, args.out)
    save(model, tokenizer, args.out)
    say(final=True, seconds=round(time.monotonic() - started), **examine(model, tokenizer, seed=20_000, size=1000))


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    model.generation_config.do_sample = True
    model.generation_config.top_k = 0
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    sys.exit(main())
