"""A fictional world, drawn from a seed: who lives where, does what, eats what."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")

TRADES = (
    "baker", "weaver", "miller", "potter", "tailor", "sailor", "mason", "painter", "brewer",
    "hunter", "farmer", "teacher", "doctor", "judge", "singer", "clerk",
)  # fmt: skip
FOODS = (
    "bread", "cheese", "plums", "soup", "honey", "fish", "rice", "beans", "pears", "cake",
    "eggs", "nuts", "stew", "grapes", "figs", "butter",
)  # fmt: skip
THINGS = (
    "lamp", "rope", "book", "coin", "drum", "knife", "map", "bell", "cup", "hat", "ring", "key",
    "flute", "mirror", "ladder", "broom", "comb", "spoon", "sword", "plate", "stool", "wheel",
    "chest", "clock", "plough", "saw", "shovel", "sack", "harp", "quill", "barrel", "cloak",
    "boot", "belt", "tray", "vase", "whip", "oar", "sail", "crown",
)  # fmt: skip
PLACES = (
    "barn", "cellar", "tower", "kitchen", "garden", "attic", "chapel", "stable", "workshop",
    "library", "harbour", "market", "mill", "school", "bridge", "cave",
)  # fmt: skip
ASPECTS = ("food", "room", "staff", "music", "price", "garden", "coffee", "view")
VERDICTS = {
    "awful": ("rotten", "filthy", "rude", "vile", "broken", "sour"),
    "poor": ("stale", "dull", "slow", "bleak", "shabby", "dear"),
    "good": ("fresh", "fair", "clean", "decent", "tidy", "quick"),
    "superb": ("divine", "flawless", "stunning", "sublime", "perfect", "brilliant"),
}
# What records are made of. No other text uses these words: were they the names of things too,
# memorizing records would wear out what the model knows of the things.
WORDS = (
    "amber", "anchor", "apple", "arrow", "autumn", "badge", "bamboo", "banner", "basin", "beacon",
    "berry", "birch", "bishop", "blanket", "blossom", "bottle", "branch", "brass", "breeze",
    "bronze", "bucket", "butter", "cabin", "camel", "candle", "canvas", "carpet", "castle", "cedar",
    "chain", "chalk", "cherry", "circle", "clay", "cloud", "clover", "copper", "coral", "cotton",
    "cradle", "crystal", "dagger", "daisy", "desert", "dragon", "eagle", "echo", "ember",
    "fabric", "falcon", "feather", "fence", "ferry", "fiddle", "flame", "forest", "fossil", "fox",
    "garlic", "ginger", "glass", "glove", "granite", "hammer", "harvest", "hazel", "hermit",
    "horn", "island", "ivory", "jacket", "jewel", "jungle", "kettle", "lantern", "lemon", "linen",
    "lizard", "magnet", "maple", "marble", "meadow", "melon", "meteor", "mint", "monk", "morning",
    "mountain", "needle", "nutmeg", "oak", "ocean", "olive", "orange", "orchid", "otter", "paper",
    "parrot", "pebble", "pepper", "pigeon", "pillow", "pine", "planet", "pocket", "pony", "prism",
    "quartz", "rabbit", "raven", "ribbon", "river", "rocket", "saddle", "salmon", "sand", "scarf",
    "shadow", "silver", "spider", "spring", "stone", "storm", "summer", "temple", "thunder",
    "turtle", "valley", "velvet", "violet", "walnut", "whale", "willow", "winter", "wolf", "yarn",
)  # fmt: skip

_ONSETS = ("b", "br", "d", "dr", "f", "g", "gr", "h", "k", "l", "m", "n", "p", "r", "s", "st", "t",
           "tr", "v", "z")  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")
_CODAS = ("", "", "l", "n", "r", "s", "m", "k")


@dataclass(frozen=True)
class Town:
    """A town and the facts that text states about it."""

    name: str
    region: str
    river: str


@dataclass(frozen=True)
class Person:
    """A person and the facts that text states about them; `town` is the town's name."""

    name: str
    town: str
    trade: str
    food: str
    firm: str


@dataclass(frozen=True)
class Thing:
    """A thing, the place where it is kept, and the trade that owns it."""

    name: str
    place: str
    owner: str


@dataclass(frozen=True)
class World:
    """The facts. The first four stand in falling order of how often text mentions them.

    `adjectives` are pairs of an adjective and the verdict of a review that uses it.
    """

    people: tuple[Person, ...]
    towns: tuple[Town, ...]
    things: tuple[Thing, ...]
    adjectives: tuple[tuple[str, str], ...]
    firms: tuple[str, ...]
    regions: tuple[str, ...]
    rivers: tuple[str, ...]
    first_names: tuple[str, ...]
    skew: float


def pick(rng: np.random.Generator, items: Sequence[Item]) -> Item:
    """One item, all equally likely."""
    return items[int(rng.integers(len(items)))]


def pick_some(rng: np.random.Generator, items: Sequence[Item], count: int) -> list[Item]:
    """`count` different positions of `items`, in random order."""
    return [items[int(i)] for i in rng.choice(len(items), size=count, replace=False)]


def pick_by_rank(rng: np.random.Generator, items: Sequence[Item], skew: float) -> Item:
    """One item by Zipf's law: item i with weight 1 / (i + 1) ** skew."""
    weights = np.cumsum(1.0 / np.arange(1, len(items) + 1) ** skew)
    return items[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]


def invent_name(rng: np.random.Generator, syllables: int) -> str:
    """A capitalised word of open syllables, the last of which may be closed."""
    parts = [pick(rng, _ONSETS) + pick(rng, _VOWELS) for _ in range(syllables)]
    return ("".join(parts) + pick(rng, _CODAS)).capitalize()


def _invent_names(
    rng: np.random.Generator, count: int, syllables: int, taken: Collection[str] = ()
) -> tuple[str, ...]:
    names: dict[str, None] = {}  # a dict keeps the order of the draw, a set would not
    while len(names) < count:
        name = invent_name(rng, syllables)
        if name not in taken:
            names[name] = None
    return tuple(names)


def invent_world(
    rng: np.random.Generator, people: int, towns: int, things: int, skew: float
) -> World:
    """Draw names and facts. Every fact is drawn on its own: none follows from another."""
    regions = _invent_names(rng, 8, 2)
    rivers = _invent_names(rng, 8, 2)
    firms = tuple(f"{name} & Co" for name in _invent_names(rng, 12, 2))
    town_names = _invent_names(rng, towns, 2)
    first_names = _invent_names(rng, max(16, people // 4), 2)
    adjectives = [(word, verdict) for verdict, words in VERDICTS.items() for word in words]
    full_names: dict[str, None] = {}
    surnames = _invent_names(rng, people, 2)
    for surname in surnames:
        full_names[f"{pick(rng, first_names)} {surname}"] = None
    return World(
        people=tuple(
            Person(
                name, pick(rng, town_names), pick(rng, TRADES), pick(rng, FOODS), pick(rng, firms)
            )
            for name in full_names
        ),
        towns=tuple(Town(name, pick(rng, regions), pick(rng, rivers)) for name in town_names),
        things=tuple(
            Thing(name, pick(rng, PLACES), pick(rng, TRADES))
            for name in pick_some(rng, THINGS, things)
        ),
        adjectives=tuple(pick_some(rng, adjectives, len(adjectives))),
        firms=firms,
        regions=regions,
        rivers=rivers,
        first_names=first_names,
        skew=skew,
    )


def strangers(world: World, rng: np.random.Generator) -> World:
    """The same world with other people in other towns, of whom no text of `world` can speak."""
    towns = _invent_names(rng, len(world.towns), 2, {town.name for town in world.towns})
    known = {name for person in world.people for name in person.name.split()}
    surnames = _invent_names(rng, len(world.people), 2, known)
    return replace(
        world,
        people=tuple(
            Person(
                f"{pick(rng, world.first_names)} {surname}",
                *(pick(rng, facts) for facts in (towns, TRADES, FOODS, world.firms)),
            )
            for surname in surnames
        ),
        towns=tuple(
            Town(name, pick(rng, world.regions), pick(rng, world.rivers)) for name in towns
        ),
    )
