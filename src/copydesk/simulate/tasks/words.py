"""The words that fill the synthetic documents.

The lists of one document's slots are disjoint, so a fact can be told by its word alone, and every word is written
after a space in context and response alike, so that it is the same tokens in both.
"""


def _split_words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


RECIPIENTS = _split_words(
    "Alice Bruno Clara David Elena Felix Grace Hugo Irene Jonas Karin Louis Maria Nadia Oscar Paula"
)
SENDERS = _split_words(
    "Quinn Robert Sofia Tomas Ulrich Vera Walter Xenia Yusuf Zoe Bella Conrad Diana Edgar Fiona Gustav"
)
DAYS = _split_words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _split_words("January February March April May June July August September October November December")
CITIES = _split_words(
    "Oslo Lisbon Vienna Prague Dublin Madrid Warsaw Athens Helsinki Geneva Munich Naples Porto Riga Lyon Turin"
)
TOPICS = _split_words(
    "traffic weather protein speech crop ocean market language galaxy energy vision cancer robot music soil water"
)
RESEARCH_METHODS = _split_words(
    "graph kernel neural spectral hybrid sparse tree wavelet fuzzy linear random pruned modular causal quantum tiny"
)
NUMBERS = _split_words("12 14 15 18 20 24 25 30 35 36 40 45 48 50 60 75")
ITEMS = _split_words(
    "boiler laptop fridge heater washer printer oven phone lamp piano door window sofa bicycle fan clock"
)
ROOMS = _split_words("kitchen attic office garage hallway bathroom cellar garden bedroom studio pantry porch")
NEEDS = _split_words("advice tools money company patience time parts ideas comfort practice sleep luck")
REVIEW_STRENGTHS = _split_words(
    "clarity novelty theory writing scope design rigor figures setup motivation analysis proof"
)
REVIEW_WEAKNESSES = _split_words(
    "baseline length notation sample citation coverage abstract layout appendix argument table discussion"
)
REVIEW_SCORES = _split_words("two three four five six seven eight nine")
EVENTS = _split_words(
    "workshop festival seminar meetup congress forum symposium summit colloquium fair showcase retreat"
)
DISASTERS = _split_words(
    "flood fire storm blizzard quake landslide tornado blackout heatwave drought tsunami hurricane"
)
MAYORS = _split_words(
    "Berg Costa Duval Ferrari Gruber Hansen Ivanov Keller Lopez Moreau Novak Olsen Petrov Ricci Silva Weber"
)
SHELTERS = _split_words("schools churches stadiums hotels libraries barns tents museums theaters gyms")
RELATIVES = _split_words(
    "sister cousin brother neighbor roommate boss grandson friend colleague teacher nephew grandmother"
)
BELONGINGS = _split_words("guitar camera car tent drill jacket drone violin tablet ladder kayak suitcase")
FEELINGS = _split_words("angry sad worried hurt jealous tired guilty lonely calm ashamed bitter hopeful")
REPLIES = _split_words("nothing maybe sorry later never soon always sure")
TOWNS = _split_words(
    "Alden Brackley Corvale Dunmore Elmstead Farwick Glenrock Harwell Ivydale Kelso Lindale Marlow Norden Oakham"
)
COUNTRIES = _split_words(
    "Norway Portugal Austria Ireland Spain Poland Greece Finland Sweden Italy Latvia France Chile Peru"
)
YEARS = _split_words("1804 1812 1823 1837 1846 1851 1868 1879 1885 1892 1901 1913")
PRODUCTS = _split_words("cheese honey pottery wool glass bread candles lace salt wine paper boats")
RIVERS = _split_words("Arno Brenta Dee Ebro Havel Isar Loire Minho Neva Oder Po Rhone")
GENRES = _split_words("comedy thriller western musical drama mystery romance fantasy biopic documentary")
ACTORS = _split_words("Ashford Bellamy Carver Dalton Everett Farrow Garland Holloway Jennings Kingsley Langley Merrick")
MOVIE_MERITS = _split_words("ending script camera dialogue score casting humor chemistry mood finale")
MOVIE_FLAWS = _split_words("pacing subplot villain sound costume accent opening narrator lighting runtime")
