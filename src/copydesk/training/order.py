"""The order in which an epoch's rows are trained on, the same for one process and for many."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """A shuffle that depends on the seed and the epoch alone, so that a resumed run meets the same rows.

    Several processes must have equally many batches. What the last ones lack is filled with the place `row_count`,
    where the trainer keeps a row of weight 0; repeating rows, as samplers usually do, would count some of them twice.

    Args:
        row_count: how many there are.
        multiple: the processes times the rows of a batch; 1 for one process.
        seed: another seed, another order.
    """

    def __init__(self, row_count: int, multiple: int, seed: int) -> None:
        self.row_count, self.multiple, self.seed = row_count, multiple, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Tell which epoch comes next, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.row_count // self.multiple) * self.multiple

    def __iter__(self) -> Iterator[int]:
        # The shuffle that Accelerate's own sampler gives.
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: list[int] = torch.randperm(self.row_count, generator=generator).tolist()
        yield from order
        yield from [self.row_count] * (len(self) - self.row_count)
