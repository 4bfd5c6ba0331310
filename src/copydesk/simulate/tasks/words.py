"""The words that fill the synthetic documents.

The lists of one document's slots are disjoint, so a fact can be told by its word alone, and every word is written
after a space in context and response alike, so that it is the same tokens in both.
"""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


RECIPIENTS = _words("Alice Bruno Clara David Elena Felix Grace Hugo Irene Jonas Karin Louis Maria Nadia Oscar Paula")
SENDERS = _words("Quinn Robert Sofia Tomas Ulrich Vera Walter Xenia Yusuf Zoe Bella Conrad Diana Edgar Fiona Gustav")
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = _words("January February March April May June July August September October November December")
CITIES = _words(
    "Oslo Lisbon Vienna Prague Dublin Madrid Warsaw Athens Helsinki Geneva Munich Naples Porto Riga Lyon Turin"
)
TOPICS = _words(
    "traffic weather protein speech crop ocean market language galaxy energy vision cancer robot music soil water"
)
METHODS = _words(
    "graph kernel neural spectral hybrid sparse tree wavelet fuzzy linear random pruned modular causal quantum tiny"
)
NUMBERS = _words("12 14 15 18 20 24 25 30 35 36 40 45 48 50 60 75")
ITEMS = _words("boiler laptop fridge heater washer printer oven phone lamp piano door window sofa bicycle fan clock")
ROOMS = _words("kitchen attic office garage hallway bathroom cellar garden bedroom studio pantry porch")
NEEDS = _words("advice tools money company patience time parts ideas comfort practice sleep luck")
STRENGTHS = _words("clarity novelty theory writing scope design rigor figures setup motivation analysis proof")
WEAKNESSES = _words(
    "baseline length notation sample citation coverage abstract layout appendix argument table discussion"
)
SCORES = _words("two three four five six seven eight nine")
EVENTS = _words("workshop festival seminar meetup congress forum symposium summit colloquium fair showcase retreat")
DISASTERS = _words("flood fire storm blizzard quake landslide tornado blackout heatwave drought tsunami hurricane")
MAYORS = _words(
    "Berg Costa Duval Ferrari Gruber Hansen Ivanov Keller Lopez Moreau Novak Olsen Petrov Ricci Silva Weber"
)
SHELTERS = _words("schools churches stadiums hotels libraries barns tents museums theaters gyms")
RELATIVES = _words("sister cousin brother neighbor roommate boss grandson friend colleague teacher nephew grandmother")
BELONGINGS = _words("guitar camera car tent drill jacket drone violin tablet ladder kayak suitcase")
FEELINGS = _words("angry sad worried hurt jealous tired guilty lonely calm ashamed bitter hopeful")
REPLIES = _words("nothing maybe sorry later never soon always sure")
TOWNS = _words(
    "Alden Brackley Corvale Dunmore Elmstead Farwick Glenrock Harwell Ivydale Kelso Lindale Marlow Norden Oakham"
)
COUNTRIES = _words("Norway Portugal Austria Ireland Spain Poland Greece Finland Sweden Italy Latvia France Chile Peru")
YEARS = _words("1804 1812 1823 1837 1846 1851 1868 1879 1885 1892 1901 1913")
PRODUCTS = _words("cheese honey pottery wool glass bread candles lace salt wine paper boats")
RIVERS = _words("Arno Brenta Dee Ebro Havel Isar Loire Minho Neva Oder Po Rhone")
GENRES = _words("comedy thriller western musical drama mystery romance fantasy biopic documentary")
ACTORS = _words("Ashford Bellamy Carver Dalton Everett Farrow Garland Holloway Jennings Kingsley Langley Merrick")
MERITS = _words("ending script camera dialogue score casting humor chemistry mood finale")
FLAWS = _words("pacing subplot villain sound costume accent opening narrator lighting runtime")
