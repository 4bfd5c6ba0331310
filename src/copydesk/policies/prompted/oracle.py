"""The oracle: a policy that is told what the person wants, as a bound on what one can learn of it."""

from collections.abc import Callable, Sequence

from copydesk.data.record import Context
from copydesk.policies.base import Policy, Sampling
from copydesk.policies.prompted.prompts import add_guidance, render_taste_guidance


class OraclePolicy:
    """Tells the writer, before each context, the person's true taste (the oracle of arXiv 2404.15269).

    Args:
        name: its name as an arm and in the log.
        writer: what answers.
        taste: the true taste of a context, as a simulation knows it; `None` where there is none.
    """

    def __init__(self, name: str, writer: Policy, taste: Callable[[Context], str | None]) -> None:
        self.name = name
        self.writer = writer
        self.taste = taste

    def respond(self, contexts: Sequence[Context], seeds: Sequence[Sequence[int]], sampling: Sampling) -> list[str]:
        """One response for each context, all of them in one request to the writer."""
        prompts = [add_guidance(context, render_taste_guidance(self.taste(context) or "")) for context in contexts]
        return self.writer.respond(prompts, seeds, sampling)
