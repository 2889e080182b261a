"""Mini tasks: do the unlearned models still know and read as well as before?

They ask what the training text states or shows, so they probe utility, not generalization.
Choices start with the space that separates them from the context.
"""

import numpy as np

from unlearning.corpus.documents import (
    PERSON_FACTS,
    TOWN_FACTS,
    belongings_parts,
    code_parts,
    dialogue_parts,
    question_prompt,
    review_parts,
    story_parts,
)
from unlearning.corpus.world import PLACES, VERDICTS, Person, Town, World, pick_some

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


def _story(world: World, rng: np.random.Generator) -> Item:
    prompt, places = story_parts(world, rng)
    absent = pick_some(rng, [place for place in PLACES if place not in places], OPTIONS - 3)
    return _choice(rng, prompt, places[0], [*places[1:], *absent])


def _review(world: World, rng: np.random.Generator) -> Item:
    prompt, verdict = review_parts(world, rng)
    return _choice(rng, prompt, verdict, [other for other in VERDICTS if other != verdict])


def _code(world: World, rng: np.random.Generator) -> Item:
    prompt, prices = code_parts(rng)
    return _choice(rng, prompt, str(prices[0]), [str(price) for price in prices[1:]])


def _last_word(world: World, rng: np.random.Generator) -> Item:
    prompt, owner = belongings_parts(world, rng)
    return {"context": prompt, "target": owner}


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
    return {
        "town": _knowledge(world, rng, "town", world.people, count),
        "trade": _knowledge(world, rng, "trade", world.people, count),
        "food": _knowledge(world, rng, "food", world.people, count),
        "firm": _knowledge(world, rng, "firm", world.people, count),
        "region": _knowledge(world, rng, "region", world.towns, count),
        "story": [_story(world, rng) for _ in range(count)],
        "review": [_review(world, rng) for _ in range(count)],
        "code": [_code(world, rng) for _ in range(count)],
        "last_word": [_last_word(world, rng) for _ in range(count)],
        "dialogue": [
            _dialogue(world, rng, world.people[i % len(world.people)]) for i in range(count)
        ],
        "perplexity": [{"text": text} for text in heldout[:count]],
    }
