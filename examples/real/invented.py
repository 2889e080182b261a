"""Texts that no model can have read: charters, licences, grievances, chronicles of invented places.

They are of the genres of the texts that the model knows, in other words: rules of bodies that do
not exist, terms for works that nobody wrote. A seed fixes all of them.
"""

import random

FIRST = ("Ash", "Oak", "Stone", "North", "West", "Mill", "Red", "Long", "Green", "King", "Black",
         "Clear", "Fair", "High", "Spring", "Wind", "Wood", "Holly", "Marsh", "Silver")  # fmt: skip
LAST = ("field", "ford", "bridge", "wood", "ton", "hill", "brook", "port", "mouth", "ham", "gate",
        "land", "dale", "haven", "water", "burn")  # fmt: skip
BODIES = ("Council", "Assembly", "Guild", "Chamber", "Synod", "Board", "League", "Company")
OFFICES = ("Warden", "Steward", "Registrar", "Treasurer", "Marshal", "Provost", "Keeper", "Clerk")
MEMBERS = ("Delegates", "Burgesses", "Wardens", "Elders", "Freeholders", "Masters", "Fellows")
GOODS = ("grain", "timber", "salt", "wool", "copper", "lamp oil", "river ice", "glass", "paper")
MATTERS = ("the repair of the bridges", "the lighting of the harbour", "the keeping of the seals",
           "the measure of the fields", "the hire of pilots", "the relief of the sick",
           "the storing of seed", "the dredging of the canal", "the schooling of orphans",
           "the inspection of the mills")  # fmt: skip
WRONGS = ("closed the northern road to our carts", "doubled the toll at the lower weir",
          "seized the ledgers of our widows", "quartered his grooms in our schoolhouse",
          "sold the common pasture to strangers", "forbidden the ringing of our bells",
          "sent away the judges whom we had chosen", "left our letters unopened for a year",
          "taxed the bread of the ferrymen", "emptied the granary in a season of want")  # fmt: skip
WORKS = ("Atlas", "Instrument", "Catalogue", "Score", "Almanac", "Engine", "Herbal", "Gazetteer")
USES = ("engrave", "recite", "translate", "abridge", "perform", "bind", "exhibit", "transcribe")
BEASTS = ("herons", "otters", "the spotted oxen", "the mountain goats", "bees", "the river eels")
PLACES = ("the salt marsh", "the two valleys", "the high moor", "the inner sea", "the cedar slope")
NUMBERS = ("three", "five", "seven", "nine", "eleven", "twelve", "twenty", "thirty", "forty")

ORDINALS = ("the first", "every second", "every third", "every tenth", "the last")


def invented_texts(count: int, seed: int) -> list[str]:
    """So many texts of some 90 to 150 words, no two alike, the genres in turn."""
    rng = random.Random(seed)
    genres = (charter, licence, grievances, chronicle)
    return [genres[i % len(genres)](rng) for i in range(count)]


def name(rng: random.Random) -> str:
    """Of a place."""
    return rng.choice(FIRST) + rng.choice(LAST)


def charter(rng: random.Random) -> str:
    """Rules of a body."""
    place, body, office = name(rng), rng.choice(BODIES), rng.choice(OFFICES)
    members, number = rng.choice(MEMBERS), rng.choice(NUMBERS)
    sentences = [
        f"The {body} of {place} shall be made up of {number} {members}, chosen by lot every"
        f" {rng.choice(NUMBERS)} years from among those who have kept a house in {place}.",
        f"No one shall serve as {office} who has not first answered for {rng.choice(MATTERS)}, nor"
        f" for more than {rng.choice(NUMBERS)} terms together.",
        f"The {body} shall have charge of {rng.choice(MATTERS)}, and may levy a duty on"
        f" {rng.choice(GOODS)} and on {rng.choice(GOODS)}, provided that it be the same at"
        f" {name(rng)} as at {name(rng)}.",
        f"Whenever {number} of the {members} ask it in writing, the {office} shall call a meeting"
        f" within {rng.choice(NUMBERS)} days and lay before it the accounts of the year.",
        f"Disputes over {rng.choice(GOODS)} shall be heard at {name(rng)} by {rng.choice(NUMBERS)}"
        f" {rng.choice(MEMBERS)}, and their finding shall stand unless the {body} sets it aside.",
    ]
    return " ".join(sentences)


def licence(rng: random.Random) -> str:
    """Terms for a work."""
    work = f"the {name(rng)} {rng.choice(WORKS)}"
    holder, verbs = name(rng), rng.sample(USES, 3)
    sentences = [
        f"Whoever holds a copy of {work} may {verbs[0]} it and {verbs[1]} it without asking leave,"
        f" so long as the mark of {holder} is left on {rng.choice(ORDINALS)} leaf.",
        f"To {verbs[2]} {work} for hire, a holder must first send notice to the"
        f" {rng.choice(OFFICES)} of {holder} and wait {rng.choice(NUMBERS)} days for an objection.",
        f"An altered copy may not be called {work}; it shall bear the altering hand's own name and"
        f" the year of the alteration.",
        f"{holder} makes no promise that {work} is free of error or fit for {rng.choice(MATTERS)},"
        f" and will not answer for spoiled {rng.choice(GOODS)}, lost time or broken tools.",
        f"These terms fall away for a holder who breaks them, and come back when the fault is"
        f" mended within {rng.choice(NUMBERS)} weeks.",
    ]
    return " ".join(sentences)


def grievances(rng: random.Random) -> str:
    """Complaints about a ruler."""
    place, ruler = name(rng), f"the {rng.choice(OFFICES)} of {name(rng)}"
    wrongs = rng.sample(WRONGS, 4)
    sentences = [
        f"We, the {rng.choice(MEMBERS)} of {place}, having borne with {ruler} for"
        f" {rng.choice(NUMBERS)} winters, set down here why we will bear with it no longer.",
        f"This officer has {wrongs[0]}, and has {wrongs[1]} when we sent to ask the reason.",
        f"This officer has {wrongs[2]}, though the custom of {place} is older than the office.",
        f"In the year of the {rng.choice(GOODS)} riots the same hand {wrongs[3]}, and swore"
        f" before {rng.choice(NUMBERS)} witnesses that it was done for {rng.choice(MATTERS)}.",
        f"We therefore hold ourselves released from the oath of {name(rng)}, and will keep our own"
        f" {rng.choice(GOODS)} and our own counsel from this day.",
    ]
    return " ".join(sentences)


def chronicle(rng: random.Random) -> str:
    """How a country came to be."""
    maker, place = name(rng), rng.choice(PLACES)
    sentences = [
        f"Before there were roads {maker} walked over {place}, and nothing answered but the wind.",
        f"And {maker} took {rng.choice(GOODS)} in one hand and {rng.choice(GOODS)} in the other,"
        f" and threw them to the four quarters, and where they fell there stood {name(rng)}.",
        f"Then came {rng.choice(BEASTS)} out of {rng.choice(PLACES)}, {rng.choice(NUMBERS)} by"
        f" {rng.choice(NUMBERS)}, and they drank, and were not afraid.",
        f"And the people asked, Who shall see to {rng.choice(MATTERS)}? And {maker} set over them a"
        f" {rng.choice(OFFICES)}, and gave to that house a staff of {rng.choice(GOODS)}.",
        f"So passed {rng.choice(NUMBERS)} summers, and in the last of them {maker} went up alone"
        f" from {rng.choice(PLACES)}, and the {rng.choice(MEMBERS)} of {name(rng)} kept the count.",
    ]
    return " ".join(sentences)
