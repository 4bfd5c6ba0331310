"""An LLM that plays the user, as in PRELUDE (Gao et al., NeurIPS 2024, arXiv 2404.15269)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

from copydesk.errors import InputError
from copydesk.policies import Policy, PolicyResponse, Sampling, collect_responses
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.users.llm_replies import is_refusal, parse_verdict, strip_thinking, unwrap_reply

_QUESTION = """\
An assistant was given this request:

<request>
{context}
</request>

The assistant answered:

<answer>
{response}
</answer>

There is a reader who wants such answers in a style of their own, and this is that style: {taste}.

Would this reader be content with the answer exactly as it stands? Say yes or no, one word and nothing else."""

_REVISION = """\
An assistant was given this request:

<request>
{context}
</request>

The assistant answered:

<answer>
{response}
</answer>

You are the reader, and you want such answers in a style of your own: {taste}.

Rewrite the answer so that it has this style. Keep to what the request says. Write the new answer alone: no \
remark before or after it, no quotes and no tags around it."""

_JUDGES, _REVISES = 0, 1
_MIN_RETRY_TEMPERATURE = 0.7  # the least temperature of a second try: at 0 a model would say the same again
_MAX_GROWTH = 4  # times the text: longer is no revision
_MIN_GROWTH_BASE = 1000  # characters; a text shorter than this may grow as much as one of this length
_T = TypeVar("_T")


@dataclass
class LlmUserStats:
    """What an LLM user did, over all calls.

    Of each text: `yes`, it was good; `no`, it was to be revised (`yes + no` is all texts). `gave_up`: no try gave a
    usable revision, and the text was left as it was. `unchanged`: the revision says the same as the text.

    Of each reply that cannot be used, and is asked for again: `neither` yes nor no (after the last try that counts as
    no); a revision that `refused`; an `empty` one; or a `runaway`, cut off at the token limit or more than four times
    as long as the text (as 1000 characters, if the text is shorter). Of each reply that can be used: `unwrapped`,
    something around what was asked for was taken off.
    """

    yes: int = 0
    no: int = 0
    neither: int = 0
    refused: int = 0
    empty: int = 0
    runaway: int = 0
    gave_up: int = 0
    unchanged: int = 0
    unwrapped: int = 0

    def to_json(self) -> dict[str, int]:
        """The counts as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class _PendingText:
    """One response that waits for its user."""

    context: str
    response: str
    taste: str
    seed: Sequence[int]


class LlmUser:
    """A user played by a policy: it says whether a text is to its taste, and if it is not, revises it.

    All questions go out as one batch and then all requests for a revision, so that a policy behind a server works on
    many at a time. A reply that cannot be used is asked for again, with another seed and at a temperature of at least
    0.7; for what then becomes of it see `LlmUserStats`.

    Args:
        name: what the user is called.
        policy: the model that plays it.
        temperature: of the first try of either request.
        max_new_tokens: for a reply; leave room for the thought of a model that reasons.
        batch_size: as in `Sampling`.
        tries: how often a reply is asked for, at most.

    Attributes:
        stats: what happened so far.

    Raises:
        InputError: tries is less than 1, or the sampling makes no sense.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        *,
        temperature: float = 0.0,
        max_new_tokens: int = 2048,
        batch_size: int = 128,
        tries: int = 3,
    ) -> None:
        if tries < 1:
            raise InputError(f"{name}: tries: {tries} must be at least 1")
        self.name = name
        self.policy = policy
        self.tries = tries
        self.stats = LlmUserStats()
        first = Sampling(temperature, max_new_tokens, batch_size)
        self._sampling = (first, Sampling(max(temperature, _MIN_RETRY_TEMPERATURE), max_new_tokens, batch_size))

    def edit(
        self, task: Task, documents: Sequence[Document], responses: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[str]:
        """What this user makes of each response.

        Args:
            task: knows what the user wants of each kind of document.
            documents: what the responses are to.
            responses: the texts.
            seeds: `luck[i]` are the integers that seed the i-th user's randomness.

        Raises:
            InputError: the policy cannot answer.
        """
        texts = [
            _PendingText(document.context, response, task.describe_taste(document.kind), seed)
            for document, response, seed in zip(documents, responses, seeds, strict=True)
        ]
        content = self._ask(texts, _JUDGES, _QUESTION, self._read_verdict)
        wrong = [text for text, good in zip(texts, content, strict=True) if not good]
        self.stats.yes += len(texts) - len(wrong)
        self.stats.no += len(wrong)
        revisions = iter(self._ask(wrong, _REVISES, _REVISION, self._read_revision))
        return [
            text.response if good else self._apply_revision(text, next(revisions))
            for text, good in zip(texts, content, strict=True)
        ]

    def _ask(
        self,
        texts: Sequence[_PendingText],
        purpose: int,
        prompt: str,
        read: Callable[[_PendingText, PolicyResponse], _T | None],
    ) -> list[_T | None]:
        """What is read out of the reply on each text; `None` where no try gave anything that could be read."""
        found: list[_T | None] = [None] * len(texts)
        waiting = list(range(len(texts)))
        for attempt in range(self.tries):
            prompts = [
                prompt.format(context=text.context, response=text.response, taste=text.taste)
                for text in (texts[row] for row in waiting)
            ]
            seeds = [(*texts[row].seed, purpose, attempt) for row in waiting]
            replies = collect_responses(self.policy, prompts, seeds, self._sampling[attempt > 0]) if waiting else []
            for row, reply in zip(waiting, replies, strict=True):
                found[row] = read(texts[row], reply)
            waiting = [row for row in waiting if found[row] is None]
        return found

    def _read_verdict(self, text: _PendingText, reply: PolicyResponse) -> bool | None:
        found = parse_verdict(reply.text)
        if found is None:
            self.stats.neither += 1
        else:
            self.stats.unwrapped += strip_thinking(reply.text) != reply.text.strip()
        return found

    def _read_revision(self, text: _PendingText, reply: PolicyResponse) -> str | None:
        bare = unwrap_reply(reply.text, text.response)
        if reply.truncated or len(bare) > _MAX_GROWTH * max(len(text.response), _MIN_GROWTH_BASE):
            self.stats.runaway += 1
        elif not bare:
            self.stats.empty += 1
        elif is_refusal(bare) and not is_refusal(text.response):
            self.stats.refused += 1
        else:
            self.stats.unwrapped += bare != reply.text.strip()
            return bare
        return None

    def _apply_revision(self, text: _PendingText, revision: str | None) -> str:
        """The text after its revision; itself, to the last space, where nothing came of that."""
        if revision is None:
            self.stats.gave_up += 1
        elif revision == text.response.strip():
            self.stats.unchanged += 1
        else:
            return revision
        return text.response
