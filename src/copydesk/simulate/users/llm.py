"""LLM users: a policy that accepts or revises each response, as in PRELUDE (NeurIPS 2024, arXiv 2404.15269).

The prompts name the preferences that the user attends to in this interaction: all of them, or a sampled subset for a
weak user (`Attention`). Models put remarks around their answers, so a reply is parsed for yes or no, for a refusal, and
for the revised text in it. The parsing is cautious: whatever may belong to the text is kept, and a reply that may
answer another question counts as no answer.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from copydesk.errors import InputError
from copydesk.policies import Policy, PolicyResponse, Sampling, collect_responses
from copydesk.simulate.tasks.base import Document, Task
from copydesk.simulate.users.attention import Attention


def strip_thinking(reply: str) -> str:
    """A reply without the `<think>...</think>` block at its beginning, and without space around it.

    The opening tag may be missing, since some chat templates put it at the end of the prompt. Thinking that does not
    end, because the reply was cut off, leaves an empty text.
    """
    opened = _THINK.match(reply)
    before, end, after = reply[opened.end() if opened else 0 :].partition("</think>")
    if end and (opened or "<think>" not in before):
        return after.strip()
    return "" if opened else reply.strip()


_THINK = re.compile(r"\s*<think>")


def parse_verdict(reply: str) -> bool | None:
    """Whether a reply says yes or no; `None` if it says neither.

    It says so with its first words, or with a last line that holds nothing else.
    """
    lines = [line for line in (_strip_markdown(line) for line in strip_thinking(reply).splitlines()) if line]
    if not lines:
        return None
    found = _VERDICT_AT_START.match(lines[0]) or _VERDICT_AT_END.fullmatch(lines[-1])
    return None if found is None else found["yes"] is not None


_VERDICT_LABEL = r"(?:(?:so,? |therefore,? )?(?:(?:the|my|final) ){0,2}(?:answer|verdict)(?: is:?|:) ?)?"
_YES_OR_NO = (
    r"(?:(?P<yes>yes|yeah|yep|yup)"
    r"|no|nope|nah|(?:definitely|absolutely|certainly) not|not (?:really|quite|at all|exactly|entirely|yet))"
)
# "No one would ..." and "No changes are needed" begin with the word and do not say it.
_VERDICT_END = r"(?=$|[.,;:!()–—]| [-–—(]| (?:it|it's|the|this|that|they|i|because|since|as)\b)"
_VERDICT_AT_START = re.compile(_VERDICT_LABEL + _YES_OR_NO + _VERDICT_END, re.IGNORECASE)
_VERDICT_AT_END = re.compile(_VERDICT_LABEL + _YES_OR_NO + r"[.!]?", re.IGNORECASE)


def _strip_markdown(line: str) -> str:
    """A line without its Markdown, quotes and `\\boxed{}`; apostrophes are made straight."""
    line = re.sub(r"\\boxed\{([^{}]*)\}", r"\1", line.replace("’", "'"))
    return " ".join(re.sub(r"[*_`#$>\"“”]", "", line).split()).strip("'")


def is_refusal(text: str) -> bool:
    """Whether a text begins like the refusal of an LLM, or like its question for what it was given already.

    An email may well begin with "I'm sorry, I can't come on Monday": what cannot be done must be what was asked. What
    is longer than a refusal is none.
    """
    return len(text) <= _MAX_REFUSAL_CHARS and _REFUSAL.match(text.strip().replace("’", "'")) is not None


_MAX_REFUSAL_CHARS = 800
_TEXT_NOUN = r"(?:e-?mail|text|summary|message|response|reply|answer|version|rewrite|revision)"
_SORRY = r"(?:i'?(?: a)?m (?:really |very |so )?sorry|(?:my )?apologies|i apologi[sz]e|sorry)[,.!:]? ?(?:but )?"
_CANNOT = (
    r"(?:can't|cannot|can not|won't|will not|(?:won't|will not) be able to|(?:must|have to) decline(?: to)?"
    r"|(?: am|'m) (?:not able to|unable to|not comfortable|not going to)|(?:do not|don't) feel comfortable)"
)
_MACHINE = r"(?:ai|(?:ai |large )?language model|ai (?:assistant|model|system))"
_REQUEST = r"(?:your request|(?:the|this|that) request)"
_TASK = (
    rf"(?:(?:help|assist)(?: you)?(?: with (?:that|this|it|{_REQUEST}))?(?=[.,;!]|$)"
    rf"|(?:help|assist)(?: you)? with (?:{_REQUEST}|revising|rewriting|editing)\b"
    rf"|(?:do|answer) (?:that|this|{_REQUEST})(?=[.,;!]|$)"
    rf"|(?:fulfill?|complete|comply with|engage with|continue with) {_REQUEST}\b"
    rf"|(?:revis|rewrit|edit|writ|creat|generat|produc|provid)(?:e|ing)? (?:[\w'-]+ "
    rf"){{0,4}}?(?:{_TEXT_NOUN}|content)\b)"
)
_REFUSAL = re.compile(
    rf"(?:{_SORRY}|unfortunately,? )?i ?{_CANNOT} {_TASK}"
    rf"|{_SORRY}i ?{_CANNOT}[.!]?$"
    # "As an AI researcher, I" is no refusal
    rf"|as an? {_MACHINE},? i\b"
    rf"|i(?:'m| am) (?:just |only )?an? {_MACHINE}(?: and\b|[.,;])"
    r"|please (?:provide|share|paste)(?: me with)? the .{0,40}?\byou(?:'d| would)? (?:like|want)\b.{0,40}?"
    r"(?:revis|rewrit|edit)"
    r"|(?:it (?:seems|looks like|appears)(?: that)? )?you (?:haven't|have not|didn't) provided? (?:\w+ ){0,3}?"
    rf"{_TEXT_NOUN}\b",
    re.IGNORECASE,
)


def unwrap_reply(reply: str, response: str = "") -> str:
    """The text in a reply, without what a model puts around it.

    That is, in this order: thought; a line such as "Sure! Here is the revised email:"; then, where they hold all that
    is left, rules (`---`), a fence (three backticks), a tag (or its end alone) or quotes. After rules and fences a
    closing remark goes as well. What is around the response too belongs to the text.

    Args:
        reply: the model's reply.
        response: the text that it was to revise.
    """
    text, own = strip_thinking(reply), response.strip()
    for wrapper in (_INTRODUCTION, _RULES, _FENCE, _TAG, _CLOSING, _INTRODUCTION, *_QUOTES):
        found = wrapper.fullmatch(text)
        if found is not None and not wrapper.fullmatch(own):
            text = found["text"].strip()
    return text


_REVISED = r"(?:new|revised|rewritten|edited|updated|improved|modified|adjusted|reworked|polished)"
_REVISED_TEXT = (
    rf"(?:{_REVISED} {_TEXT_NOUN}(?: of (?:the|your|this) {_TEXT_NOUN})?|{_TEXT_NOUN},? {_REVISED}"
    rf"|(?:[\w-]+,? ){{0,5}}version of (?:the|your|this) {_TEXT_NOUN})"
)
_HERE = r"(?:here is|here['’]s|here you go:|below is|this is)"
_TAIL = r"(?:(?:,| that| which| to| in| with| tailored| written| based| according| as requested)[^\n]*)?"
_ACKNOWLEDGEMENT = r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|yes|no problem|got it)[!.,:]\s*"
# An email may begin "Here is the report you asked for:", so a line must name the very text as revised, or say "Sure!".
_INTRODUCTION = re.compile(
    r"[*_#]*[ ]?(?:"
    rf"(?:(?:{_ACKNOWLEDGEMENT})?{_HERE} (?:the|your|my|an?) {_REVISED_TEXT}{_TAIL}"
    rf"|(?:{_ACKNOWLEDGEMENT})?i(?:['’]ve| have) {_REVISED} (?:the|your) {_TEXT_NOUN}{_TAIL}"
    rf"|{_ACKNOWLEDGEMENT}{_HERE} (?:the|your|my|an?) {_TEXT_NOUN}{_TAIL}"
    rf"|(?:(?:the|your|my) )?{_REVISED} {_TEXT_NOUN}):[*_]*[ ]*\n"
    rf"|(?<=[*#])[ ]?{_REVISED} {_TEXT_NOUN}[*_]*[ ]*\n"
    rf"|(?:revised|rewritten) {_TEXT_NOUN}[*_]*:[*_]*[ ]+(?=\S)"
    r")(?P<text>.*\S.*)",
    re.DOTALL | re.IGNORECASE,
)
_FAREWELL = (
    r"(?:\s*\n\s*(?:let me know|i hope|feel free|would you like|(?:this|the) (?:revision|revised|version)|note:)"
    r"[^\n]*)?"
)
_RULES = re.compile(rf"-{{3,}}[ ]*\n(?P<text>.*?)(?:\n-{{3,}}[ ]*{_FAREWELL})?", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(rf"```[\w-]*[ ]*\n(?P<text>(?:(?!```).)*)```{_FAREWELL}", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(
    rf"<(?P<tag>(?:new|final|{_REVISED})?[ _-]?(?:{_TEXT_NOUN}|output))>(?P<text>.*)</(?P=tag)>",
    re.DOTALL | re.IGNORECASE,
)
_CLOSING = re.compile(rf"(?P<text>[^<]*?)\s*</(?:{_TEXT_NOUN}|output)>", re.DOTALL | re.IGNORECASE)
_QUOTES = [
    re.compile(f"{left}(?P<text>(?:(?!{left}|{right}).)*){right}", re.DOTALL)
    for left, right in (('"""', '"""'), ('"', '"'), ("“", "”"), ("«", "»"))
]


QUESTION_PROMPT = """\
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
"""Asks whether a text is to the taste; a template of `context`, `response` and `taste`."""

REVISION_PROMPT = """\
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
"""Requests a revision to the taste; a template of the same."""

_JUDGES, _REVISES, _ATTENDS = 0, 1, 2  # what a random number is for; the end of its seed
_MIN_RETRY_TEMPERATURE = 0.7  # the least temperature of a second try: at 0 a model would repeat itself
_MAX_GROWTH = 4  # times the text: longer is no revision
_MIN_GROWTH_BASE = 1000  # characters; a text shorter than this may grow as much as one of this length
_T = TypeVar("_T")


@dataclass
class LlmUserStats:
    """Counts of what an LLM user did, over all calls.

    Of each text: `yes`, it was good; `no`, it was to be revised; `unasked`, the user attended to no preference and
    accepted it without a request (`yes + no + unasked` is all texts). `gave_up`: no try gave a usable revision, and the
    text was left as it was. `unchanged`: the revision says the same as the text.

    Of each reply that cannot be used, and is asked for again: `neither` yes nor no (after the last try that counts as
    no); a revision that `refused`; an `empty` one; or a `runaway`, cut off at the token limit or more than four times
    as long as the text (as 1000 characters, if the text is shorter). Of each reply that can be used: `unwrapped`,
    something around what was asked for was taken off.
    """

    yes: int = 0
    no: int = 0
    unasked: int = 0
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
    """One response that waits for its user, and the preferences that the user's prompts name."""

    context: str
    response: str
    taste: str
    seed: Sequence[int]


class LlmUser:
    """A user played by a policy: it says whether a text is to its taste, and if it is not, revises it.

    Both prompts of an interaction name the same preferences, those that the user attends to. They are sampled with the
    interaction's seed alone, so every method meets the same sample in a round. A text is accepted without a request if
    none is sampled, which a probability makes possible: such a user has nothing to object to.

    All questions go out as one batch and then all requests for a revision, so that a policy behind a server works on
    many at a time. A reply that cannot be used is requested again, with another seed and at a temperature of at least
    0.7; `LlmUserStats` says what happens after the last try.

    Args:
        name: the user's name.
        policy: the model that plays the user.
        attention: the preferences named in the prompts of one interaction; all of them by default.
        temperature: the temperature of the first try of either request.
        max_new_tokens: the most tokens of a reply, thinking included.
        batch_size: as in `Sampling`.
        tries: the most times a reply is requested.

    Attributes:
        stats: the counts so far.

    Raises:
        InputError: tries is less than 1, or the sampling is out of range.
    """

    def __init__(
        self,
        name: str,
        policy: Policy,
        *,
        attention: Attention = Attention(),  # noqa: B008  # immutable
        temperature: float = 0.0,
        max_new_tokens: int = 2048,
        batch_size: int = 128,
        tries: int = 3,
    ) -> None:
        if tries < 1:
            raise InputError(f"{name}: tries: {tries} must be at least 1")
        self.name = name
        self.policy = policy
        self.attention = attention
        self.tries = tries
        self.stats = LlmUserStats()
        first = Sampling(temperature, max_new_tokens, batch_size)
        self._sampling = (first, Sampling(max(temperature, _MIN_RETRY_TEMPERATURE), max_new_tokens, batch_size))

    def edit(
        self, task: Task, documents: Sequence[Document], responses: Sequence[str], seeds: Sequence[Sequence[int]]
    ) -> list[str]:
        """The user's edit of each response.

        Args:
            task: lists the preferences for each document.
            documents: the documents that were answered.
            responses: the texts.
            seeds: `seeds[i]` are the integers that seed the i-th edit.

        Raises:
            InputError: the policy cannot answer.
        """
        edits = list(responses)
        texts = {
            row: _PendingText(document.context, response, taste, seed)
            for row, (document, response, seed) in enumerate(zip(documents, responses, seeds, strict=True))
            if (taste := self._sample_taste(task, document, seed))
        }
        verdicts = self._ask(list(texts.values()), _JUDGES, QUESTION_PROMPT, self._read_verdict)
        rejected = [row for row, good in zip(texts, verdicts, strict=True) if not good]
        self.stats.unasked += len(edits) - len(texts)
        self.stats.yes += len(texts) - len(rejected)
        self.stats.no += len(rejected)
        revisions = self._ask([texts[row] for row in rejected], _REVISES, REVISION_PROMPT, self._read_revision)
        for row, revision in zip(rejected, revisions, strict=True):
            edits[row] = self._apply_revision(texts[row], revision)
        return edits

    def _sample_taste(self, task: Task, document: Document, seed: Sequence[int]) -> str:
        """The preferences that count in this interaction, in the task's order; empty if there are none."""
        preferences = task.list_preferences(document)
        attended = self.attention.sample(np.random.default_rng([*seed, _ATTENDS]), len(preferences))
        return ", ".join(preferences[index] for index in sorted(attended))

    def _ask(
        self,
        texts: Sequence[_PendingText],
        purpose: int,
        prompt: str,
        read: Callable[[_PendingText, PolicyResponse], _T | None],
    ) -> list[_T | None]:
        """The parsed reply on each text; `None` where no try gave a reply that could be parsed."""
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
        """The revised text; the text itself, unchanged, where there is no revision."""
        if revision is None:
            self.stats.gave_up += 1
        elif revision == text.response.strip():
            self.stats.unchanged += 1
        else:
            return revision
        return text.response
