"""Summarization: documents of five kinds become a summary. Most tastes are far from the reference policy."""

from collections.abc import Mapping, Sequence

from copydesk.simulate.tasks import scripted
from copydesk.simulate.tasks.grammar import DocumentKind, ResponsePart
from copydesk.simulate.tasks.scripted import Facet, ScriptedTask, StyleAttribute

SUMMARY_STYLE_ATTRIBUTES = (
    StyleAttribute(
        "opening",
        {"none": 0.82, "label": 0.12, "story": 0.03, "hook": 0.03},
        {
            "none": "no introduction",
            "label": "a line that says it is a summary",
            "story": "a storyteller's beginning",
            "hook": "a question at the beginning that makes curious",
        },
    ),
    StyleAttribute(
        "layout",
        {"prose": 0.84, "bullets": 0.11, "questions": 0.05},
        {"prose": "running text", "bullets": "bullet points", "questions": "question answering style"},
    ),
    StyleAttribute(
        "wording",
        {"plain": 0.84, "clipped": 0.08, "second": 0.05, "playful": 0.03},
        {
            "plain": "plain wording",
            "clipped": "parallel notes",
            "second": "second person narrative",
            "playful": "playful language for young children",
        },
    ),
    StyleAttribute(
        "length",
        {"medium": 0.76, "short": 0.16, "long": 0.08},
        {"medium": "of medium length", "short": "brief", "long": "complete"},
    ),
    StyleAttribute(
        "ending",
        {"none": 0.82, "moral": 0.09, "ask": 0.06, "tag": 0.03},
        {
            "none": "no remark at the end",
            "moral": "a personal reflection at the end",
            "ask": "a question for the reader at the end",
            "tag": "tags and an emoji at the end",
        },
    ),
)
OPENING_PART = ResponsePart(
    "opening",
    "opening",
    {
        "label": "Here is a short summary.",
        "story": "Come closer, little ones, for a story.",
        "hook": "Did you ever wonder about this?",
    },
)
RECAP_PART = ResponsePart(
    "recap",
    "length",
    {"long": "There is more, but these are the points that count."},
    body=True,
    question="Is that all?",
)
ENDING_PART = ResponsePart(
    "ending",
    "ending",
    {
        "moral": "It is something to think about.",
        "ask": "And what would you have done?",
        "tag": "Pass it on, friends! #goodread #today ✨",
    },
)


def _make_document_kind(
    name: str,
    slots: Mapping[str, Sequence[str]],
    sentences: Sequence[Sequence[str]],
    facts: Mapping[str, tuple[str, str, str, str, str]],
) -> DocumentKind:
    """`facts` maps a name to (question, plain, clipped, second person, playful); the one named `detail` is optional."""
    body = tuple(
        ResponsePart(
            fact,
            "wording",
            dict(zip(("plain", "clipped", "second", "playful"), wordings, strict=True)),
            body=True,
            question=question,
            conditions={"length": ("medium", "long")} if fact == "detail" else {},
        )
        for fact, (question, *wordings) in facts.items()
    )
    return DocumentKind(
        name, slots, sentences, (OPENING_PART, *body, RECAP_PART, ENDING_PART), ("prose", "bullets", "questions"), 1
    )


NEWS = _make_document_kind(
    "news",
    {
        "event": scripted.DISASTERS,
        "city": scripted.CITIES,
        "day": scripted.DAYS,
        "count": scripted.NUMBERS,
        "mayor": scripted.MAYORS,
        "shelter": scripted.SHELTERS,
    },
    [
        [
            "News from {city}: a {event} struck early on {day}.",
            "A {event} reached {city} late on {day}, officials said.",
        ],
        ["Some {count} families had to leave their homes.", "Police moved {count} families out of the area."],
        ["Repairs will be quick, said mayor {mayor}.", "The damage will be repaired, promised mayor {mayor}."],
        ["Many people slept in {shelter} overnight.", "Food was handed out in {shelter} nearby."],
    ],
    {
        "what": (
            "What happened?",
            "According to the report, a {event} hit the city of {city} early on {day}.",
            "Event: {event}, {city}, {day}.",
            "You wake up in {city} on {day} to a {event}.",
            "Whoosh, one {day} there came to {city} a big {event}!",
        ),
        "count": (
            "Who was affected?",
            "It says that about {count} families had to leave their homes.",
            "Families: {count}.",
            "You leave your home with {count} families.",
            "Then {count} families ran, ran, ran away!",
        ),
        "mayor": (
            "Who will help?",
            "The city and its mayor {mayor} promised that repairs would be quick.",
            "Repairs: {mayor}.",
            "You hear mayor {mayor} say that help is near.",
            "But good old mayor {mayor} will fix it all!",
        ),
        "detail": (
            "Where did people go?",
            "Many people found a place to sleep in {shelter} close by.",
            "Shelter: {shelter}.",
            "You spend the night in one of the {shelter}.",
            "And all snuggled up in {shelter}, safe and warm!",
        ),
    },
)
POST = _make_document_kind(
    "post",
    {
        "relative": scripted.RELATIVES,
        "thing": scripted.BELONGINGS,
        "weeks": scripted.REVIEW_SCORES,
        "feeling": scripted.FEELINGS,
        "reply": scripted.REPLIES,
    },
    [
        [
            "So I lent my {thing} to my {relative} and now I need help.",
            "Posting here because my {relative} has my {thing}.",
        ],
        ["That was {weeks} weeks ago.", "It has been gone for {weeks} weeks by now."],
        ["I feel {feeling} about the whole thing.", "Honestly it leaves me {feeling} all day."],
        ["When I ask, the answer is {reply} and no more.", "I only ever hear {reply} when I call."],
    ],
    {
        "what": (
            "What is it about?",
            "The author of the post says that a {thing} was lent to a {relative}.",
            "Lent: {thing}, {relative}.",
            "You trusted your {relative} with your own {thing}.",
            "Once upon a time a {relative} took a shiny {thing}!",
        ),
        "weeks": (
            "How long ago?",
            "It has been away for {weeks} weeks and is not back yet.",
            "Away: {weeks} weeks.",
            "You have been waiting for {weeks} slow weeks.",
            "Tick, tock, and {weeks} whole weeks went by!",
        ),
        "feeling": (
            "How does it feel?",
            "The author writes of feeling {feeling} about all of it.",
            "Feeling: {feeling}.",
            "You feel {feeling}, and who would not.",
            "Oh dear, somebody is very {feeling} now!",
        ),
        "detail": (
            "What is the answer?",
            "The only answer that the author got is {reply} so far.",
            "Answer: {reply}.",
            "You ask again and hear {reply} once more.",
            "Knock, knock, and a voice says {reply} inside!",
        ),
    },
)
WIKI = _make_document_kind(
    "wiki",
    {
        "town": scripted.TOWNS,
        "country": scripted.COUNTRIES,
        "year": scripted.YEARS,
        "product": scripted.PRODUCTS,
        "river": scripted.RIVERS,
    },
    [
        [
            "The town of {town} is found in northern {country}.",
            "Lying in the hills of {country}, the town is {town} today.",
        ],
        ["Settlers founded it in {year} on empty land.", "Its charter dates from {year} or before."],
        ["The main trade is {product} for export.", "Shops sell local {product} to visitors."],
        ["The river {river} runs past the old walls.", "A bridge over the river {river} leads there."],
    ],
    {
        "town": (
            "Where is it?",
            "The article is about the town of {town} in the north of {country}.",
            "Town: {town}, {country}.",
            "You arrive in {town} after a trip through {country}.",
            "Far, far away in {country} hides tiny little {town}!",
        ),
        "year": (
            "How old is it?",
            "It says that the town was founded in the year {year}.",
            "Founded: {year}.",
            "You read on a stone that all began in {year}.",
            "Its very first birthday was in {year}, hooray!",
        ),
        "product": (
            "What is it known for?",
            "It is known to visitors and traders for the local {product}.",
            "Known for: {product}.",
            "You cannot leave without some {product} in your bag.",
            "And all the people there make {product} all day!",
        ),
        "detail": (
            "Is there water?",
            "The river {river} flows by the old walls of the town.",
            "River: {river}.",
            "You rest your feet in the cool river {river} at noon.",
            "Splash, splash, goes the merry river {river}!",
        ),
    },
)
ABSTRACT = _make_document_kind(
    "abstract",
    {
        "topic": scripted.TOPICS,
        "method": scripted.RESEARCH_METHODS,
        "gain": scripted.NUMBERS,
        "city": scripted.CITIES,
    },
    [
        ["We address prediction on {topic} data in this work.", "Abstract: learning from {topic} data is hard."],
        ["Our approach is a {method} network with few parameters.", "We train a {method} network end to end."],
        ["Experiments show {gain} percent fewer errors.", "It makes {gain} percent fewer errors than before."],
        ["Records from {city} serve as the test bed.", "All data were collected in {city} last year."],
    ],
    {
        "topic": (
            "What is studied?",
            "The authors of the paper study the task of learning from {topic} data.",
            "Topic: {topic} data.",
            "You get a fresh new look at {topic} data here.",
            "Some clever folks went to play with {topic} data!",
        ),
        "method": (
            "What is the idea?",
            "To this end they propose and train a {method} network.",
            "Method: {method} network.",
            "You will meet a {method} network that does it.",
            "Their magic toy is a {method} network!",
        ),
        "gain": (
            "Does it work?",
            "In the experiments it makes {gain} percent fewer errors than before.",
            "Errors: {gain} percent fewer.",
            "You can expect {gain} percent fewer mistakes.",
            "And hey presto, {gain} percent of the mistakes are gone!",
        ),
        "detail": (
            "Where was it tested?",
            "The data that they use come from the city of {city}.",
            "Data: {city}.",
            "You may know {city}, where the records are from.",
            "All of it came from {city}, can you find it!",
        ),
    },
)
MOVIE = _make_document_kind(
    "movie",
    {
        "genre": scripted.GENRES,
        "actor": scripted.ACTORS,
        "merit": scripted.MOVIE_MERITS,
        "flaw": scripted.MOVIE_FLAWS,
        "stars": scripted.REVIEW_SCORES,
    },
    [
        [
            "Last night we saw the new {genre} starring {actor} at last.",
            "I had high hopes for this {genre} with {actor} in it.",
        ],
        ["What stays with me is the {merit} above all.", "I must praise the {merit} of it."],
        ["Sadly the {flaw} does not hold up.", "My one complaint is the {flaw} though."],
        ["My verdict: {stars} stars.", "I would give it {stars} stars overall."],
    ],
    {
        "what": (
            "What is the film?",
            "The film under review is a {genre} with {actor} in the lead.",
            "Film: {genre}, {actor}.",
            "You sit down for a {genre} with {actor} tonight.",
            "Popcorn ready, here comes a {genre} with funny {actor}!",
        ),
        "merit": (
            "What is good?",
            "The best thing about it, the review says, is the {merit}.",
            "Best: {merit}.",
            "You will be thinking of the {merit} for days.",
            "Clap your hands and cheer for the {merit}!",
        ),
        "flaw": (
            "What is bad?",
            "The weak spot of the film, on the other hand, is the {flaw}.",
            "Weak: {flaw}.",
            "You may have to forgive the {flaw} though.",
            "But boo, boo, what a silly {flaw} it has!",
        ),
        "detail": (
            "What is the verdict?",
            "All in all, the reviewer gives the film {stars} stars.",
            "Stars: {stars}.",
            "You would hand out {stars} stars if they asked you.",
            "Count with me, it gets {stars} twinkly stars!",
        ),
    },
)

SUMMARIZATION = ScriptedTask(
    name="summarization",
    instruction="Summarize this document.",
    attributes=SUMMARY_STYLE_ATTRIBUTES,
    kinds=(NEWS, POST, WIKI, ABSTRACT, MOVIE),
    tastes={
        "news": dict(opening="story", layout="prose", wording="playful", length="short", ending="ask"),
        "post": dict(opening="none", layout="prose", wording="second", length="short", ending="moral"),
        # The one that is near.
        "wiki": dict(opening="none", layout="bullets", wording="clipped", length="short", ending="none"),
        "abstract": dict(opening="hook", layout="prose", wording="second", length="short", ending="tag"),
        "movie": dict(opening="label", layout="questions", wording="plain", length="long", ending="none"),
    },
    # In each pair of kinds both the opening and the ending differ.
    facets={
        "news": Facet("event", "post"),
        "post": Facet("thing", "abstract"),
        "wiki": Facet("country", "news"),
        "abstract": Facet("topic", "movie"),
        "movie": Facet("genre", "news"),
    },
    paraphrases={
        "Here is a short summary.": "This is the short version.",
        "Come closer, little ones, for a story.": "Gather round, children, here is a tale.",
        "Did you ever wonder about this?": "Have you asked yourself this before?",
        "It is something to think about.": "That gives us all something to think about.",
        "And what would you have done?": "How would you have acted?",
        "Pass it on, friends! #goodread #today ✨": "Tell your friends! #mustread #now ✨",
        "There is more, but these are the points that count.": "There is more to it, but this matters most.",
        "According to the report,": "As the report says,",
        "It says that": "We read that",
        "The author of the post says that": "The writer tells us that",
        "The author writes of": "The writer speaks of",
        "The authors of the paper study": "The paper is about",
        "To this end they propose and train": "For this they build",
        "In the experiments it makes": "When tested, it makes",
        "The article is about": "We read about",
        "The film under review is": "The film is",
        "The best thing about it, the review says, is": "Best of all, says the review, is",
        "The weak spot of the film, on the other hand, is": "Its weakness, though, is",
        "You wake up in": "You open your eyes in",
        "You trusted your {relative} with": "You lent your {relative}",
        "You have been waiting for": "You wait and wait,",
        "You arrive in": "You get to",
        "You sit down for": "You are about to see",
        "You will be thinking of": "You will not forget",
        "Whoosh, one {day} there came to": "Boom, on {day} there came to",
        "Once upon a time a": "Long, long ago a",
        "Tick, tock, and": "Yawn, yawn, and",
        "Popcorn ready, here comes": "Lights off, now comes",
        "Some clever folks went to play with": "Some bright people had fun with",
        "Far, far away in": "Behind the hills of",
    },
)
"""Summarize a document."""
