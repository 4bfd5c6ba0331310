import torch
from torch.nn.attention.flex_attention import create_mask, flex_attention

from copydesk.training.encode import Triple
from copydesk.training.packing import build_block_mask, build_dense_mask, lay_out

BATCH = lay_out(
    [
        Triple("a", tuple(range(1, 90)), (*range(90, 140), 0), (*range(90, 120), 7, 8, 0)),
        Triple("b", (1, 2, 3), (10, 11, 0), (10, 12, 13, 0)),
        Triple("c", (4, 5), (6, 0), (6, 0)),
    ],
    with_response=True,
    row_tokens=400,
)


def test_a_branch_sees_its_trunk_and_itself() -> None:
    batch = lay_out([Triple("b", (1,), (10, 11, 0), (10, 12, 0))], with_response=True)
    seen = build_dense_mask(batch["triple"], batch["branch"])[0, 0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 1, 1],
    ]


def test_triples_of_a_row_do_not_see_each_other() -> None:
    seen = build_dense_mask(BATCH["triple"], BATCH["branch"])[0, 0]
    triple = BATCH["triple"][0]
    assert not (seen & (triple[:, None] != triple[None, :])).any()
    assert seen.diagonal().all()


def test_block_masks_say_the_same_and_skip_blocks() -> None:
    triple, branch = BATCH["triple"], BATCH["branch"]
    mask = build_block_mask(triple, branch)
    whole = create_mask(mask.mask_mod, 1, 1, *mask.seq_lengths, device="cpu")
    assert torch.equal(whole, build_dense_mask(triple, branch))
    blocks = -(-triple.shape[1] // 128)
    assert blocks == 2 and mask.kv_num_blocks.sum() + mask.full_kv_num_blocks.sum() < blocks**2


def test_flex_attention_with_block_masks_is_sdpa_with_dense_ones() -> None:
    torch.manual_seed(0)
    triple, branch = BATCH["triple"], BATCH["branch"]
    query, key, value = torch.randn(3, 1, 2, triple.shape[1], 8)
    flex = flex_attention(query, key, value, block_mask=build_block_mask(triple, branch))
    dense = torch.nn.functional.scaled_dot_product_attention(query, key, value, build_dense_mask(triple, branch))
    assert torch.allclose(flex, dense, atol=1e-5)
