"""Which token may see which in packed rows: as masks for SDPA and FlexAttention, and run by run.

A mask over a whole row costs the row's square, most of it for what is masked. FlexAttention skips that on GPUs.
Elsewhere attention goes run by run: the trunk to itself, then each branch to the trunk and itself.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from copydesk.training.packing import TRUNK


def can_attend(triple: Tensor, branch: Tensor, row: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Whether a query token may see a key token: it stands before it, in its triple, in the trunk or the same branch.

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
