"""Which token may see which in packed rows, as the masks that SDPA and FlexAttention take."""

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from copydesk.learn.packing import TRUNK


def may_see(triple: Tensor, branch: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """Whether a query token may see a key token: it stands before it, in its triple, in the trunk or the same branch.

    Args:
        triple: the triple each token of a row belongs to, shape [..., L].
        branch: the branch each token belongs to, shape [..., L].
        query: places in the row; broadcasts with `key`.
        key: places in the row.

    Returns:
        bool, of the shape that the arguments broadcast to.
    """
    same_triple = triple[..., query] == triple[..., key]
    same_branch = (branch[..., key] == TRUNK) | (branch[..., query] == branch[..., key])
    return (key <= query) & same_triple & same_branch


def dense_mask(triple: Tensor, branch: Tensor) -> Tensor:
    """What SDPA takes: true where a token may be seen.

    Args:
        triple: as `lay_out` gives it, shape [R, L].
        branch: likewise.

    Returns:
        bool of shape [R, 1, L, L].
    """
    places = torch.arange(triple.shape[1], device=triple.device)
    return may_see(triple, branch, places[:, None], places[None, :])[:, None]


def block_mask(triple: Tensor, branch: Tensor) -> BlockMask:
    """The same for FlexAttention, which skips the blocks where nothing is seen; shapes as in `dense_mask`."""

    def mask_mod(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same_triple = triple[row, query] == triple[row, key]
        same_branch = (branch[row, key] == TRUNK) | (branch[row, query] == branch[row, key])
        return (key <= query) & same_triple & same_branch

    rows, length = triple.shape
    return create_block_mask(mask_mod, rows, None, length, length, device=triple.device)
