"""Mini tasks: do the unlearned models still know and read as well as before?

They ask what the training text states or shows, so they probe utility, not generalization.
Choices start with the space that separates them from the context.
"""

import numpy as np

from unlearning.data.corpus.documents import (
    PERSON_FACTS,
    TOWN_FACTS,
    dialogue_parts,
    question_prompt,
    return_prompt,
    review_prompt,
    search_prompt,
)
from unlearning.data.corpus.world import PLACES, VERDICTS, Person, Thing, Town, World, pick_some

Item = dict[str, object]
OPTIONS = 4


def _choice(rng: np.random.Generator, context: str, gold: str, others: list[str]) -> Item:
    """An item whose gold answer stands at a random place among the options."""
    options = [gold, *others]
    order = rng.permutation(len(options))
    return {
        "context": context,
        "choices": [f" {options[i]}" for i in order],
        "gold": int(np.flatnonzero(order == 0)[0]),
    }


def _knowledge(
    world: World,
    rng: np.random.Generator,
    fact: str,
    entities: tuple[Person | Town, ...],
    count: int,
) -> list[Item]:
    """Questions for one fact; entities in turn, so the rare count as much as the frequent."""
    known = PERSON_FACTS if fact in PERSON_FACTS else TOWN_FACTS
    items = []
    for i in range(count):
        about = entities[i % len(entities)]
        gold = getattr(about, fact)
        wrong = [answer for answer in known[fact].answers(world) if answer != gold]
        others = pick_some(rng, wrong, OPTIONS - 1)
        items.append(_choice(rng, question_prompt(fact, about), gold, others))
    return items


def _story(world: World, rng: np.random.Generator, thing: Thing) -> Item:
    wrong = [place for place in PLACES if place != thing.place]
    others = pick_some(rng, wrong, OPTIONS - 1)
    return _choice(rng, search_prompt(world, rng, thing), thing.place, others)


def _review(world: World, rng: np.random.Generator, adjective: str, verdict: str) -> Item:
    others = [other for other in VERDICTS if other != verdict]
    return _choice(rng, review_prompt(world, rng, adjective), verdict, others)


def _last_word(world: World, rng: np.random.Generator, thing: Thing) -> Item:
    return {"context": return_prompt(world, rng, thing), "target": thing.owner}


def _dialogue(world: World, rng: np.random.Generator, person: Person) -> Item:
    asker, answerer = pick_some(rng, world.first_names, 2)
    prompt, reply = dialogue_parts(person, asker, answerer, rng)
    return {"context": prompt, "reference": reply}


def write_tasks(
    world: World, rng: np.random.Generator, count: int, heldout: list[str]
) -> dict[str, list[Item]]:
    """Every task's items, `count` each, in the formats of the evaluation suite.

    Args:
        world: the facts to ask for.
        rng: source of items, distractors and their order.
        count: items of each task; of held-out texts at most as many as there are.
        heldout: texts not trained on, for perplexity.

    Returns:
        task name to items: choice tasks {"context", "choices", "gold"}, last_word {"context",
        "target"}, dialogue {"context", "reference"}, perplexity {"text"}.
    """
    people = [world.people[i % len(world.people)] for i in range(count)]
    things = [world.things[i % len(world.things)] for i in range(count)]
    adjectives = [world.adjectives[i % len(world.adjectives)] for i in range(count)]
    return {
        "town": _knowledge(world, rng, "town", world.people, count),
        "trade": _knowledge(world, rng, "trade", world.people, count),
        "food": _knowledge(world, rng, "food", world.people, count),
        "story": [_story(world, rng, thing) for thing in things],
        "review": [_review(world, rng, *adjective) for adjective in adjectives],
        "last_word": [_last_word(world, rng, thing) for thing in things],
        "dialogue": [_dialogue(world, rng, person) for person in people],
        "perplexity": [{"text": text} for text in heldout[:count]],
    }
