"""Email writing: notes of four kinds become an email. Most tastes are near the reference policy."""

from collections.abc import Mapping, Sequence

from copydesk.simulate.tasks import scripted
from copydesk.simulate.tasks.grammar import DocumentKind, ResponsePart
from copydesk.simulate.tasks.scripted import Facet, ScriptedTask, StyleAttribute

EMAIL_STYLE_ATTRIBUTES = (
    StyleAttribute(
        "greeting",
        {"dear": 0.62, "hi": 0.25, "none": 0.13},
        {"dear": "a formal greeting", "hi": "an informal greeting", "none": "no greeting"},
    ),
    StyleAttribute(
        "opening",
        {"none": 0.66, "wish": 0.20, "thanks": 0.14},
        {"none": "straight to the point", "wish": "good wishes at the beginning", "thanks": "thanks at the beginning"},
    ),
    StyleAttribute(
        "layout",
        {"prose": 0.66, "bullets": 0.22, "numbered": 0.12},
        {"prose": "running text", "bullets": "bullet points", "numbered": "numbered points"},
    ),
    StyleAttribute(
        "wording",
        {"full": 0.62, "casual": 0.25, "clipped": 0.13},
        {"full": "full sentences without contractions", "casual": "a casual tone", "clipped": "notes, not sentences"},
    ),
    StyleAttribute(
        "action",
        {"none": 0.60, "ask": 0.24, "urge": 0.16},
        {"none": "no call to action", "ask": "a question for the reader's opinion", "urge": "an urgent call to action"},
    ),
    StyleAttribute(
        "closing",
        {"regards": 0.50, "thanks": 0.20, "cheers": 0.15, "none": 0.15},
        {
            "regards": "a formal closing",
            "thanks": "a thankful closing",
            "cheers": "a casual closing",
            "none": "no closing",
        },
    ),
)
PARTS_BEFORE_BODY = (
    ResponsePart("greeting", "greeting", {"dear": "Dear {to},", "hi": "Hi {to},"}),
    ResponsePart("opening", "opening", {"wish": "I hope you are well.", "thanks": "Thank you for your message."}),
)
PARTS_AFTER_BODY = (
    ResponsePart(
        "action",
        "action",
        {"ask": "Let me know what you think.", "urge": "Please answer by tomorrow."},
    ),
    ResponsePart(
        "closing",
        "closing",
        {"regards": "Best regards, {sender}", "thanks": "With many thanks, {sender}", "cheers": "Cheers, {sender}"},
    ),
)


def _make_email_kind(
    name: str, slots: Mapping[str, Sequence[str]], notes: Sequence[Sequence[str]], facts: Mapping[str, Sequence[str]]
) -> DocumentKind:
    body = tuple(
        ResponsePart(fact, "wording", dict(zip(("full", "casual", "clipped"), wordings, strict=True)), body=True)
        for fact, wordings in facts.items()
    )
    return DocumentKind(
        name=name,
        slots={"to": scripted.RECIPIENTS, "sender": scripted.SENDERS, **slots},
        lines=[["to: {to}", "recipient: {to}"], ["from: {sender}", "sender: {sender}"], *notes],
        parts=(*PARTS_BEFORE_BODY, *body, *PARTS_AFTER_BODY),
        layouts=("prose", "bullets", "numbered"),
        opening_lines=2,
    )


PROBLEM = _make_email_kind(
    "problem",
    {"item": scripted.ITEMS, "room": scripted.ROOMS, "day": scripted.DAYS, "need": scripted.NEEDS},
    [
        ["broken: {item}", "gave up: the {item}"],
        ["where: {room}", "it stands in the {room}"],
        ["since: {day}", "began on {day}"],
        ["wants: {need}", "would help: some {need}"],
    ],
    {
        "what": (
            "I am writing because the {item} in the {room} is broken.",
            "I'm writing as that {item} in our {room} gave up.",
            "Broken: {item}, {room}.",
        ),
        "when": ("It has been like this ever since {day}.", "It's been like this since {day}.", "Since: {day}."),
        "need": (
            "I would be very grateful for some {need}.",
            "I'd really love to have some {need}.",
            "Needed: {need}.",
        ),
    },
)
PAPER = _make_email_kind(
    "paper",
    {"topic": scripted.TOPICS, "method": scripted.RESEARCH_METHODS, "gain": scripted.NUMBERS, "city": scripted.CITIES},
    [
        ["highlight: a study of {topic} data", "paper on {topic} data"],
        ["highlight: a {method} model", "method is a {method} model"],
        ["highlight: errors down {gain} percent", "error drops by {gain} percent"],
        ["highlight: tested in {city}", "trial was run in {city}"],
    ],
    {
        "topic": (
            "I am writing about our new study of {topic} data.",
            "I'm writing about that paper on {topic} data.",
            "Topic: {topic} data.",
        ),
        "method": (
            "We propose the use of a {method} model for the problem.",
            "There's a neat use of a {method} model in it.",
            "Method: {method} model.",
        ),
        "gain": (
            "It reduces the error by {gain} percent in our tests in {city}.",
            "It's cut the error by {gain} percent in a trial in {city}.",
            "Gain: {gain} percent, {city}.",
        ),
    },
)
REVIEW = _make_email_kind(
    "review",
    {
        "topic": scripted.TOPICS,
        "strength": scripted.REVIEW_STRENGTHS,
        "weakness": scripted.REVIEW_WEAKNESSES,
        "score": scripted.REVIEW_SCORES,
    },
    [
        ["manuscript about {topic}", "reviewed: a manuscript on {topic}"],
        ["good: the {strength}", "pro: {strength}"],
        ["poor: the {weakness}", "con: {weakness}"],
        ["score: {score} of ten", "mark is {score} of ten"],
    ],
    {
        "strength": (
            "The strongest point of the manuscript on {topic} is the {strength}.",
            "What's best in that manuscript on {topic} is the {strength}.",
            "Strength, {topic} manuscript: {strength}.",
        ),
        "weakness": (
            "The weakest point, and the one to work on, is the {weakness}.",
            "What's not there yet, and the one to work on, is the {weakness}.",
            "Weakness: {weakness}.",
        ),
        "score": (
            "I have therefore given it a score of {score}.",
            "So I've given it a score of {score}.",
            "Score: {score}.",
        ),
    },
)
TALK = _make_email_kind(
    "talk",
    {"event": scripted.EVENTS, "city": scripted.CITIES, "month": scripted.MONTHS, "minutes": scripted.NUMBERS},
    [
        ["news: our work is at the {event}", "accepted for the {event}"],
        ["in {city}", "place: {city}"],
        ["in {month}", "month: {month}"],
        ["talk of {minutes} minutes", "slot: {minutes} minutes"],
    ],
    {
        "event": (
            "I am glad to say that our work will be presented at the {event}.",
            "I'm glad to say that we'll present our work at the {event}.",
            "Event: {event}.",
        ),
        "place": (
            "The talk takes place in {city} in {month}.",
            "The talk's going to be in {city} in {month}.",
            "Place: {city}, {month}.",
        ),
        "minutes": (
            "It will last for {minutes} minutes.",
            "It'll last {minutes} minutes.",
            "Length: {minutes} minutes.",
        ),
    },
)

EMAIL = ScriptedTask(
    name="email",
    instruction="Write an email from these notes.",
    attributes=EMAIL_STYLE_ATTRIBUTES,
    kinds=(PROBLEM, PAPER, REVIEW, TALK),
    tastes={
        "problem": dict(greeting="hi", opening="none", layout="prose", wording="casual", action="none", closing="none"),
        "paper": dict(
            greeting="dear", opening="none", layout="bullets", wording="full", action="none", closing="regards"
        ),
        # Far from the default in nearly everything.
        "review": dict(
            greeting="hi", opening="thanks", layout="prose", wording="casual", action="urge", closing="cheers"
        ),
        "talk": dict(greeting="dear", opening="wish", layout="prose", wording="full", action="ask", closing="thanks"),
    },
    # In each pair of kinds both the greeting and the closing differ.
    facets={
        "problem": Facet("item", "paper"),
        "paper": Facet("topic", "review"),
        "review": Facet("topic", "talk"),
        "talk": Facet("event", "problem"),
    },
    paraphrases={
        "Dear {to},": "Good day {to},",
        "Hi {to},": "Hello {to},",
        "I hope you are well.": "I trust that all is well with you.",
        "Thank you for your message.": "Thanks for writing to me.",
        "Let me know what you think.": "Please tell me your opinion.",
        "Please answer by tomorrow.": "I need a reply by tomorrow.",
        "Best regards,": "Kind regards,",
        "With many thanks,": "Yours gratefully,",
        "Cheers,": "All the best,",
        "I am writing because": "This is to tell you that",
        "I'm writing as": "Just to say that",
        "I am writing about": "This is about",
        "I'm writing about": "Just a note about",
        "It has been like this ever since": "This has been so since",
        "I would be very grateful for": "I would much appreciate",
        "I'd really love to have": "I could really do with",
        "We propose the use of": "We suggest",
        "There's a neat use of": "It's built on",
        "It reduces the error by": "The error falls by",
        "The strongest point of": "What I like best about",
        "The weakest point, and the one to work on,": "What needs more work",
        "I have therefore given it a score of": "My score is therefore",
        "So I've given it a score of": "So it's got a score of",
        "I am glad to say": "I have the pleasure to say",
        "I'm glad to say": "Good news:",
        "The talk takes place in": "I will speak in",
        "It will last for": "The talk takes",
    },
)
"""Write an email from notes."""
