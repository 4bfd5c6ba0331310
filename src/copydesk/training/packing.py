"""Packed batches of triples, in which the common beginning of y and y' is computed once, and their attention.

A packed triple is one run of tokens: the trunk, which is x and the common beginning of y and y'; then the rest of y;
then the rest of y'. Attention keeps the two rests apart (see `attention`) and positions restart at the fork, so each
branch is computed as if it were alone. Several triples share a row, and attention keeps them apart as well.

       x            common    rest of y      rest of y'
    [ trunk . . . . . . . ][ response . ][ edit . . . . ]        position ids 0 1 2 ... 7 | 8 9 10 | 8 9 10 11

Attention over a whole row with a mask costs the square of the row, most of it for masked pairs. FlexAttention skips
those on GPUs. Elsewhere attention goes run by run: the trunk to itself, then each branch to the trunk and itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from copydesk.training.encode import Triple

Layout = Literal["packed", "separate"]
"""Packed rows, or one row for each y' and y, for models whose attention cannot take the mask of packed rows."""

# What a token belongs to. The trunk counts for both answers.
TRUNK, RESPONSE, EDIT = 0, 1, 2


@dataclass(frozen=True)
class TokenRun:
    """Tokens in a row of their own, or the part of a row that is one triple.

    Attributes:
        owner: which triple of the batch it is of.
        tokens: the trunk, then the branches.
        trunk: how many tokens the trunk holds.
        branches: for each branch, what it is (`RESPONSE` or `EDIT`) and how many tokens it holds.
        scored_from: the first token that is part of an answer.
        kind: what the answer's tokens in the trunk belong to.
    """

    owner: int
    tokens: tuple[int, ...]
    trunk: int
    branches: tuple[tuple[int, int], ...]
    scored_from: int
    kind: int


def build_packed_run(owner: int, triple: Triple, with_response: bool) -> TokenRun:
    """A triple as one run; without `with_response`, and where nothing was edited, it is x and y' with no branches."""
    context = len(triple.context)
    if not (with_response and triple.edited):
        tokens = triple.context + triple.edit
        return TokenRun(owner, tokens, len(tokens), (), context, TRUNK)
    shared = triple.fork
    response, edit = triple.response[shared:], triple.edit[shared:]
    tokens = triple.context + triple.edit[:shared] + response + edit
    branches = ((RESPONSE, len(response)), (EDIT, len(edit)))
    return TokenRun(owner, tokens, context + shared, branches, context, TRUNK)


def build_separate_runs(owner: int, triple: Triple, with_response: bool) -> list[TokenRun]:
    """A triple as a run for x and y', and one for x and y where they are compared and differ."""
    context = len(triple.context)
    if not (with_response and triple.edited):
        return [build_packed_run(owner, triple, with_response)]
    answers = ((EDIT, triple.edit), (RESPONSE, triple.response))
    return [
        TokenRun(owner, triple.context + answer, context + len(answer), (), context, kind) for kind, answer in answers
    ]


def lay_out(
    triples: Sequence[Triple], *, with_response: bool, layout: Layout = "packed", row_tokens: int | None = None
) -> dict[str, Tensor]:
    """Lay out B triples as R rows of L tokens, and say which tokens are to be scored.

    Args:
        triples: the batch of B.
        with_response: whether y is needed too; otherwise y' alone is laid out.
        layout: see `Layout`.
        row_tokens: rows are filled up to this number of tokens, or that of the longest triple; `None` for the latter.

    Returns:
        `input_ids` and `position_ids`, int64 of shape [R, L]; `triple`, int64 [R, L], the place of a token's triple in
        the batch, -1 on padding; `branch`, int64 [R, L], `TRUNK`, `RESPONSE` or `EDIT`. And for each of the N scored
        tokens, int64 of shape [N]: `source`, the place in the flattened [R x L] whose logits predict it; `target`, its
        id; `owner`, its triple's place in the batch; `part`, the answer it counts for, both where that is `TRUNK`.
        The fork predicts two tokens and so is a source twice. `runs`, int64 [runs, 4], says the same of rows as
        `triple` and `branch`, run by run as they stand: the row, then the tokens of the trunk and of up to two
        branches.
    """
    if layout == "packed":
        runs = [build_packed_run(owner, triple, with_response) for owner, triple in enumerate(triples)]
        rows = fill_rows([len(run.tokens) for run in runs], row_tokens)
    else:
        runs = [
            run for owner, triple in enumerate(triples) for run in build_separate_runs(owner, triple, with_response)
        ]
        rows = [[place] for place in range(len(runs))]
    width = max(sum(len(runs[place].tokens) for place in row) for row in rows)
    input_ids, position_ids, branch = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
    triple_ids = torch.full((len(rows), width), -1)
    scored: list[tuple[int, int, int, int]] = []
    for number, row in enumerate(rows):
        at = 0
        for run in (runs[place] for place in row):
            end = at + len(run.tokens)
            input_ids[number, at:end] = torch.tensor(run.tokens)
            triple_ids[number, at:end] = run.owner
            position_ids[number, at : at + run.trunk] = torch.arange(run.trunk)
            start = number * width + at
            for place in range(run.scored_from, run.trunk):
                scored.append((start + place - 1, run.tokens[place], run.owner, run.kind))
            first = run.trunk
            for kind, length in run.branches:
                position_ids[number, at + first : at + first + length] = torch.arange(run.trunk, run.trunk + length)
                branch[number, at + first : at + first + length] = kind
                for place in range(first, first + length):
                    source = run.trunk - 1 if place == first else place - 1
                    scored.append((start + source, run.tokens[place], run.owner, kind))
                first += length
            at = end
    source, target, owner, part = torch.tensor(scored).T.contiguous()
    return {
        "input_ids": input_ids,
        "position_ids": position_ids,
        "triple": triple_ids,
        "branch": branch,
        "source": source,
        "target": target,
        "owner": owner,
        "part": part,
        "runs": torch.tensor(
            [
                [number, runs[place].trunk, *[length for _, length in runs[place].branches or ((0, 0), (0, 0))]]
                for number, row in enumerate(rows)
                for place in row
            ]
        ),
    }


def fill_rows(lengths: Sequence[int], row_tokens: int | None = None) -> list[list[int]]:
    """Share out runs among rows, the longest first, each into the first row with room (first-fit decreasing).

    Args:
        lengths: of the runs, in tokens.
        row_tokens: the room of a row; a longer run has a row of its own. `None` is the longest run's length.

    Returns:
        For each row the places of its runs in `lengths`.
    """
    room = max(lengths) if row_tokens is None else row_tokens
    rows: list[list[int]] = []
    free: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        row = next((number for number, left in enumerate(free) if left >= lengths[place]), None)
        if row is None:
            rows.append([])
            free.append(room)
            row = len(rows) - 1
        rows[row].append(place)
        free[row] -= lengths[place]
    return rows


def can_attend(triple: Tensor, branch: Tensor, row: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Whether a query token may attend to a key token: an earlier one of its triple, in the trunk or the same branch.

    Args:
        triple: as `lay_out` gives it, shape [R, L].
        branch: likewise.
        row: which row both stand in; broadcasts with the places.
        query: places in the row.
        key: places in the row.

    Returns:
        bool, of the shape that `row`, `query` and `key` broadcast to.
    """
    same_triple = triple[row, query] == triple[row, key]
    same_branch = (branch[row, key] == TRUNK) | (branch[row, query] == branch[row, key])
    return (key <= query) & same_triple & same_branch


def build_dense_mask(triple: Tensor, branch: Tensor) -> Tensor:
    """What SDPA takes: true where a token may be seen.

    Args:
        triple: as `lay_out` gives it, shape [R, L].
        branch: likewise.

    Returns:
        bool of shape [R, 1, L, L].
    """
    rows, places = (torch.arange(size, device=triple.device) for size in triple.shape)
    return can_attend(triple, branch, rows[:, None, None], places[:, None], places[None, :])[:, None]


def build_block_mask(triple: Tensor, branch: Tensor) -> BlockMask:
    """The same for FlexAttention, which skips the blocks where nothing is seen; shapes as in `build_dense_mask`."""

    def mask_mod(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return can_attend(triple, branch, row, query, key)

    rows, length = triple.shape
    return create_block_mask(mask_mod, rows, None, length, length, device=triple.device)


RUN_BY_RUN: Final = "copydesk_run_by_run"
"""The name under which Transformers knows `attend_run_by_run`. Without `runs` it is SDPA as always."""


def attend_run_by_run(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    runs: list[list[int]] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention within each run of packed rows and nowhere else, as an attention function of Transformers.

    Args:
        module: the attention layer.
        query: shape [R, heads, L, D].
        key: shape [R, heads of keys, L, D].
        value: likewise.
        attention_mask: only read without `runs`.
        runs: `runs` of `lay_out`, as lists.
        options: scaling, dropout and whatever else SDPA takes.

    Returns:
        shape [R, L, heads, D]; 0 on padding.
    """
    if runs is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    pieces: list[list[Tensor]] = [[] for _ in query]
    ends = [0] * len(query)

    def attend(row: int, queries: slice, keys: Tensor, values: Tensor, mask: Tensor | None) -> None:
        found, _ = sdpa_attention_forward(module, query[row : row + 1, :, queries], keys, values, mask, **options)
        pieces[row].append(found)

    for row, trunk, *branches in runs:
        start, fork = ends[row], ends[row] + trunk
        k, v = key[row : row + 1, :, start:fork], value[row : row + 1, :, start:fork]
        attend(row, slice(start, fork), k, v, None)
        end = fork
        for length in branches:
            if length:
                here = slice(end, end + length)
                keys = torch.cat((k, key[row : row + 1, :, here]), dim=2)
                values = torch.cat((v, value[row : row + 1, :, here]), dim=2)
                seen = torch.ones(length, trunk + length, dtype=torch.bool, device=query.device).tril(trunk)
                attend(row, here, keys, values, seen[None, None])
                end += length
        ends[row] = end
    for row, end in enumerate(ends):
        if end < query.shape[2]:
            heads, size = query.shape[1], value.shape[3]
            pieces[row].append(query.new_zeros(1, query.shape[2] - end, heads, size))
    return torch.cat([torch.cat(row, dim=1) for row in pieces]), None


AttentionInterface.register(RUN_BY_RUN, attend_run_by_run)
AttentionMaskInterface.register(RUN_BY_RUN, sdpa_mask)
