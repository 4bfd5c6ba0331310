"""What several processes need that share out a model's weights (FSDP2), and Accelerate leaves to be said."""

import os
from dataclasses import replace

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from transformers import Trainer


class ShardedTrainer(Trainer):
    """A `Trainer` that shards on CPUs too, and whose model's log-probabilities stay float32 in mixed precision."""

    def create_accelerator_and_postprocess(self) -> None:
        """As `Trainer` does; then see to it that FSDP is what the launcher asked for."""
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        wanted = os.environ.get("ACCELERATE_USE_FSDP") == "true"
        if wanted and self.accelerator.distributed_type == DistributedType.MULTI_CPU:
            # Without GPUs Accelerate would copy the model to every process instead, and say nothing.
            state.fsdp_plugin = FullyShardedDataParallelPlugin()
            if state.mixed_precision != "no":
                state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
            state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.is_fsdp_enabled = True
        policy = state.fsdp_plugin.mixed_precision_policy if self.is_fsdp_enabled else None
        if policy is not None:
            # Every output would be rounded to half precision, sums over an answer's tokens included.
            policy = replace(policy, reduce_dtype=torch.float32, output_dtype=None)
            state.fsdp_plugin.mixed_precision_policy = policy
