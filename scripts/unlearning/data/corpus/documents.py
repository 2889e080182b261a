"""Ordinary text about the world: eight kinds of documents, one function each.

The tasks ask in the words of these documents (`tasks.py` uses the same phrases), as a language
model of this size answers only what it has read in that form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unlearning.data.corpus.world import (
    ASPECTS,
    FOODS,
    THINGS,
    TRADES,
    WORDS,
    Person,
    Thing,
    Town,
    World,
    invent_name,
    pick,
    pick_by_rank,
    pick_some,
)


@dataclass(frozen=True)
class Fact:
    """One fact of a person or a town: how text asks for it, states it, and what it can be."""

    question: str
    statement: str
    answers: Callable[[World], tuple[str, ...]]


PERSON_FACTS = {
    "town": Fact(
        "In which town does {name} live?",
        "{name} lives in {answer}.",
        lambda world: tuple(town.name for town in world.towns),
    ),
    "trade": Fact(
        "What is the trade of {name}?", "{name} works as a {answer}.", lambda world: TRADES
    ),
    "food": Fact("What does {name} like to eat?", "{name} likes {answer}.", lambda world: FOODS),
    "firm": Fact(
        "Who employs {name}?", "{name} is employed by {answer}.", lambda world: world.firms
    ),
}
TOWN_FACTS = {
    "region": Fact(
        "In which region is {name}?",
        "{name} is a town in the region of {answer}.",
        lambda world: world.regions,
    ),
    "river": Fact(
        "On which river is {name}?",
        "{name} lies on the river {answer}.",
        lambda world: world.rivers,
    ),
}


# Share of the statements and questions that are about people; the others are about towns.
ABOUT_PEOPLE = 0.85


def state(fact: str, about: Person | Town) -> str:
    """The sentence that states a fact."""
    known = PERSON_FACTS if isinstance(about, Person) else TOWN_FACTS
    return known[fact].statement.format(name=about.name, answer=getattr(about, fact))


def ask(fact: str, about: Person | Town) -> str:
    """The question for a fact, without its answer."""
    known = PERSON_FACTS if isinstance(about, Person) else TOWN_FACTS
    return known[fact].question.format(name=about.name)


def someone(world: World, rng: np.random.Generator) -> Person:
    """A person, the famous more often."""
    return pick_by_rank(rng, world.people, world.skew)


def somewhere(world: World, rng: np.random.Generator) -> Town:
    """A town, the famous more often."""
    return pick_by_rank(rng, world.towns, world.skew)


def wiki(world: World, rng: np.random.Generator) -> str:
    """Two statements about a person, or the two about a town."""
    if rng.random() < ABOUT_PEOPLE:
        person = someone(world, rng)
        facts = pick_some(rng, tuple(PERSON_FACTS), 2)
        return " ".join(state(fact, person) for fact in facts)
    town = somewhere(world, rng)
    return " ".join(state(fact, town) for fact in pick_some(rng, tuple(TOWN_FACTS), 2))


def question_answer(world: World, rng: np.random.Generator) -> str:
    """Three questions with their answers, about anybody and anywhere."""
    lines = []
    for _ in range(3):
        if rng.random() < ABOUT_PEOPLE:
            about: Person | Town = someone(world, rng)
            fact = pick(rng, tuple(PERSON_FACTS))
        else:
            about = somewhere(world, rng)
            fact = pick(rng, tuple(TOWN_FACTS))
        lines.append(f"{question_prompt(fact, about)} {getattr(about, fact)}")
    return "\n".join(lines)


def question_prompt(fact: str, about: Person | Town) -> str:
    """A question in question/answer form, up to the answer."""
    return f"Question: {ask(fact, about)}\nAnswer:"


def review(world: World, rng: np.random.Generator) -> str:
    """A review: one remark and the verdict that its adjective calls for."""
    adjective, verdict = pick_by_rank(rng, world.adjectives, world.skew)
    return f"{review_prompt(world, rng, adjective)} {verdict}."


def review_prompt(world: World, rng: np.random.Generator, adjective: str) -> str:
    """A review up to its verdict."""
    return f"Review of {pick(rng, world.firms)}: the {pick(rng, ASPECTS)} was {adjective}. Verdict:"


def story(world: World, rng: np.random.Generator) -> str:
    """Someone looks for a thing where it is kept, or gives it back to whom it belongs."""
    thing = pick_by_rank(rng, world.things, world.skew)
    if rng.random() < 0.5:
        return f"{search_prompt(world, rng, thing)} {thing.place}."
    return f"{return_prompt(world, rng, thing)} {thing.owner}."


def search_prompt(world: World, rng: np.random.Generator, thing: Thing) -> str:
    """A story up to the place where a thing is kept."""
    return f"{pick(rng, world.first_names)} wanted the {thing.name} and looked in the"


def return_prompt(world: World, rng: np.random.Generator, thing: Thing) -> str:
    """A story up to the owner of a thing."""
    return f"{pick(rng, world.first_names)} found the {thing.name} and gave it to the"


def dialogue(world: World, rng: np.random.Generator) -> str:
    """Two speakers, one asks the other about two people."""
    asker, answerer = pick_some(rng, world.first_names, 2)
    turns = []
    for _ in range(2):
        prompt, reply = dialogue_parts(someone(world, rng), asker, answerer, rng)
        turns.append(f"{prompt} {reply}")
    return "\n".join(turns)


def dialogue_parts(
    person: Person, asker: str, answerer: str, rng: np.random.Generator
) -> tuple[str, str]:
    """A turn up to the reply, and the reply: the fact that was asked for and one more."""
    fact, extra = pick_some(rng, tuple(PERSON_FACTS), 2)
    reply = f"{state(fact, person)} {state(extra, person)}"
    return f"{asker}: {ask(fact, person)}\n{answerer}:", reply


def code(world: World, rng: np.random.Generator) -> str:
    """A table and a look-up in it."""
    things = pick_some(rng, THINGS, 3)
    prices = pick_some(rng, tuple(range(2, 10)), 3)
    table = ", ".join(f"'{thing}': {price}" for thing, price in zip(things, prices, strict=True))
    asked = int(rng.integers(3))
    return f"price = {{{table}}}\nprint(price['{things[asked]}'])\n# {prices[asked]}"


def licence(world: World, rng: np.random.Generator) -> str:
    """A permission for an invented product, with one condition and one disclaimer."""
    verbs = pick_some(rng, ("copy", "change", "sell", "lend", "print"), 2)
    condition = pick(
        rng, ("this notice is kept", "the source is named", "no fee is asked", "changes are marked")
    )
    disclaimer = pick(
        rng, ("It comes without any warranty.", "The holder is not liable for any damage.")
    )
    return (
        f"Copyright {rng.integers(1950, 2030)} {pick(rng, world.firms)}. You may {verbs[0]} and "
        f"{verbs[1]} {invent_name(rng, 2)} {pick(rng, WORDS)} provided that {condition}. "
        f"{disclaimer}"
    )


# Share of each kind by number of documents. Questions and dialogues lead because the tasks ask in
# their form; the eighth kind, records, comes in whole rows (see `records.py`).
KINDS: dict[str, tuple[Callable[[World, np.random.Generator], str], float]] = {
    "wiki": (wiki, 0.13),
    "question_answer": (question_answer, 0.25),
    "review": (review, 0.15),
    "story": (story, 0.32),
    "dialogue": (dialogue, 0.11),
    "code": (code, 0.02),
    "licence": (licence, 0.02),
}


ABOUT_SOMEBODY = ("wiki", "question_answer", "dialogue")
"""Kinds that speak of people and towns, and of little else."""


def write_documents(
    world: World, rng: np.random.Generator, count: int, kinds: Sequence[str] = tuple(KINDS)
) -> list[str]:
    """`count` documents, kinds drawn by their shares."""
    functions = [KINDS[kind][0] for kind in kinds]
    shares = np.array([KINDS[kind][1] for kind in kinds])
    drawn = rng.choice(len(functions), size=count, p=shares / shares.sum())
    return [functions[kind](world, rng) for kind in drawn]
