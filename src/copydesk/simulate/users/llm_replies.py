"""Reading what an LLM replies: is it yes or no, does it refuse, and where in it is the text that was asked for?

Models wrap what they were asked for in words of their own. All of this is cautious: where a reply might be the text
itself it is taken as it stands, and where it might be an answer to another question it is no answer.
"""

import re


def strip_thinking(reply: str) -> str:
    """A reply without the `<think>...</think>` that reasoning models begin with, and without space around it.

    The opening tag may be missing, as some chat templates write it themselves. Thought that never ends, because the
    reply was cut off, leaves nothing.
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
    rf"|(?:revis|rewrit|edit|writ|creat|generat|produc|provid)(?:e|ing)? (?:[\w'-]+ ){{0,4}}?(?:{_TEXT_NOUN}|content)\b)"
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
        reply: what the model said.
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
