"""Policies in this process: a Transformers model with or without an adapter, and best-of-n with a cost model."""

from collections.abc import Sequence

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from copydesk.data.record import Context
from copydesk.data.repetition import trim_repeats
from copydesk.errors import InputError
from copydesk.models.chat import encode_context, find_end_of_turn
from copydesk.models.generate import GeneratedTokens, generate
from copydesk.policies.base import Sampling
from copydesk.training.cost_model.model import CostModel
from copydesk.training.rl.trainer import predict_costs


class LocalPolicy:
    """A model and its tokenizer under a name."""

    def __init__(self, name: str, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.end_of_turn = find_end_of_turn(tokenizer)

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context, written in batches with a key-value cache.

        `seeds[i]` alone decides the randomness of the i-th response. Shows a progress bar on a terminal.
        """
        written = self.generate_tokens(self.encode(contexts), seeds, sampling)
        return [trim_repeats(self.decode(one), sampling.trim_repeats) for one in written]

    def encode(self, contexts: Sequence[Context]) -> list[list[int]]:
        """The prompt of each context, as token ids."""
        return [encode_context(context, self.tokenizer) for context in contexts]

    def generate_tokens(
        self, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[GeneratedTokens]:
        """One response to each prompt, as token ids."""
        return generate(
            self.model,
            prompts,
            seeds,
            end=self.end_of_turn[-1],
            temperature=sampling.temperature,
            max_new_tokens=sampling.max_new_tokens,
            batch_size=sampling.batch_size,
            description=f"{self.name} answers",
        )

    def decode(self, response: GeneratedTokens) -> str:
        """A response as text."""
        return str(self.tokenizer.decode(response.tokens, skip_special_tokens=True))


class BestOfNPolicy:
    """Samples n responses of a policy and returns the one with the least f̄, the pessimistic cost.

    Nothing is trained: more n, fewer edits and more time, until f̄ is exploited. Its KL from the policy is at most
    log n - (n - 1)/n (Beirami et al., arXiv 2401.01879).

    Args:
        name: the policy's name as an arm and in the log.
        policy: writes the drafts.
        cost_model: computes f̄; uses the policy's tokenizer.
        n: the number of drafts, at least 1.

    Raises:
        InputError: n is less than 1.
    """

    def __init__(self, name: str, policy: LocalPolicy, cost_model: CostModel, n: int) -> None:
        if n < 1:
            raise InputError(f"best-of-{n}: give a number of drafts of at least 1")
        self.name = name
        self.policy = policy
        self.cost_model = cost_model
        self.n = n

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context; the first draft is the policy's own response with these seeds.

        The costs are those of the whole drafts; the one that is chosen is then trimmed.

        Raises:
            InputError: several drafts at temperature 0, where all are the same.
        """
        if not contexts:
            return []
        if self.n > 1 and sampling.temperature == 0:
            raise InputError(
                f"{self.name}: at temperature 0 all {self.n} drafts are the same; give a temperature above 0"
            )
        prompts = [prompt for prompt in self.policy.encode(contexts) for _ in range(self.n)]
        draft_seeds = [seed if draft == 0 else (*seed, draft) for seed in seeds for draft in range(self.n)]
        drafts = self.policy.generate_tokens(prompts, draft_seeds, sampling)
        costs = predict_costs(self.cost_model, prompts, drafts, self.policy.end_of_turn).pessimistic
        best = costs.view(-1, self.n).argmin(dim=1).tolist()
        chosen = [self.policy.decode(drafts[row * self.n + draft]) for row, draft in enumerate(best)]
        return [trim_repeats(text, sampling.trim_repeats) for text in chosen]
