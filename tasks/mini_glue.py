"""Sentence tasks that need no download: English made from a grammar, so the truth is known, and length and difficulty are
settings. Synthetic: not GLUE, and never averaged with it.

No two examples of the training data have the same texts, and none has those of a test example.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from bench.contract import Mode, Places
from bench.registry import register_task
from tasks.metrics import ACCURACY, F1, MATTHEWS, PEARSON, SPEARMAN, Metric, mean_of
from tasks.sentences import Labelled, SentenceConfig, SentenceTask
from tasks.tables import Example

VERSION = 2  # raise it when the same settings give other examples than before

NOUNS = (
    ("dog", "dogs"), ("cat", "cats"), ("girl", "girls"), ("boy", "boys"), ("teacher", "teachers"), ("farmer", "farmers"),
    ("doctor", "doctors"), ("king", "kings"), ("singer", "singers"), ("baker", "bakers"), ("pilot", "pilots"),
    ("judge", "judges"),
)  # fmt: skip
PREPOSITIONS = ("near", "behind", "with", "beside")
ALONE = (("sleeps", "sleep"), ("laughs", "laugh"), ("arrives", "arrive"), ("sneezes", "sneeze"))
WITH_OBJECT = (("meets", "meet"), ("praises", "praise"), ("helps", "help"), ("annoys", "annoy"))
WITH_TWO = (("shows", "show"), ("sends", "send"), ("hands", "hand"))
THINGS = ("letter", "book", "picture", "key", "coin")
THINKS = (("says", "say"), ("thinks", "think"), ("hopes", "hope"))


@dataclass(frozen=True)
class MiniConfig(SentenceConfig):
    """See SentenceConfig.

    Attributes:
        clauses: most clauses (or facts) of a text: length.
        difficulty: what stands between a reader and the answer: nouns between subject and verb in acceptability, steps
            between broader and narrower words in entailment, rewritings in paraphrase and similarity.
        train_examples, test_examples: how many are drawn; the tuning split is cut from the former.
    """

    clauses: int = 2
    difficulty: int = 2
    train_examples: int = 6000
    test_examples: int = 1000
    tune_most: int = 600


Draw = Callable[[random.Random, MiniConfig], Example]


def load(name: str, draw: Draw, labels: tuple[str, ...], metrics: tuple[Metric, ...], config: MiniConfig) -> Labelled:
    for setting in ("clauses", "difficulty", "train_examples", "test_examples"):
        least = 0 if setting == "difficulty" else 1
        if getattr(config, setting) < least:
            raise ValueError(f"{name}: {setting}: {getattr(config, setting)}; at least {least}")
    source = random.Random(f"{name}/{VERSION}")  # one data set, whatever the seed of a training
    test = [draw(source, config) for _ in range(config.test_examples)]
    seen = {example.texts for example in test}
    drawn = [draw(source, config) for _ in range(config.train_examples)]
    train = list({example.texts: example for example in drawn if example.texts not in seen}.values())
    facts: dict[str, Any] = {
        "text": f"synthetic: {name}", "source": "generated from a grammar", "licence": "none needed", "url": "",
        "read_from": f"generator, version {VERSION}", "notes": ["synthetic sentences, not part of GLUE"],
    }  # fmt: skip
    return Labelled(train, {"test": test}, labels, metrics, facts)


# Acceptability: agreement and argument structure.


def acceptability(source: random.Random, config: MiniConfig) -> Example:
    """Half of the sentences have one fault: a verb that disagrees with its subject, an object too many or one missing."""
    clauses = source.randint(1, config.clauses)
    fault = source.choice(("number", "argument")) if source.random() < 0.5 else ""
    where = source.randrange(clauses)
    words: list[str] = []
    for clause in range(clauses):
        words += _clause(source, config.difficulty, clause == clauses - 1, fault if clause == where else "")
    return Example((" ".join(words),), float(not fault))


def _clause(source: random.Random, between: int, last: bool, fault: str) -> list[str]:
    """A clause; all but the last end with 'that'. Embedding verbs have one structure, so their fault is of number."""
    plural = source.random() < 0.5
    words = ["the", source.choice(NOUNS)[plural]]
    for _ in range(source.randint(0, between)):
        words += [source.choice(PREPOSITIONS), "the", source.choice(NOUNS)[source.random() < 0.5]]
    if not last:
        return [*words, source.choice(THINKS)[plural != bool(fault)], "that"]
    shown = plural != (fault == "number")
    kind = source.choice((ALONE, WITH_OBJECT, WITH_TWO))
    wrong = fault == "argument"
    words.append(source.choice(kind)[shown])
    person = ["the", source.choice(NOUNS)[source.random() < 0.5]]
    thing = ["the", source.choice(THINGS)]
    if kind is ALONE:
        return [*words, *person] if wrong else words
    if kind is WITH_OBJECT:
        return words if wrong else [*words, *person]
    return [*words, *thing] if wrong else [*words, *thing, "to", *person]


# Entailment: quantifiers over two taxonomies.

ANIMALS: dict[str, tuple[str, ...]] = {
    "poodle": (), "beagle": (), "dog": ("poodle", "beagle"), "siamese": (), "tabby": (), "cat": ("siamese", "tabby"),
    "robin": (), "raven": (), "bird": ("robin", "raven"), "pet": ("dog", "cat"), "animal": ("pet", "bird"),
}  # fmt: skip
PLACES: dict[str, tuple[str, ...]] = {
    "paris": (), "lyon": (), "france": ("paris", "lyon"), "rome": (), "milan": (), "italy": ("rome", "milan"),
    "tokyo": (), "kyoto": (), "japan": ("tokyo", "kyoto"), "europe": ("france", "italy"), "eurasia": ("europe", "japan"),
}  # fmt: skip
TREES = (ANIMALS, PLACES)
QUANTIFIERS = ("every", "some", "no", "not every")
ENTAILMENT = ("entailment", "neutral", "contradiction")


class Fact(NamedTuple):
    """`quantifier` animal is in place."""

    quantifier: str
    animal: str
    place: str

    @property
    def text(self) -> str:
        return f"{self.quantifier} {self.animal} is in {self.place}"

    @property
    def negation(self) -> Fact:
        other = {"every": "not every", "not every": "every", "some": "no", "no": "some"}
        return Fact(other[self.quantifier], self.animal, self.place)


@cache
def _leaves(tree: int, word: str) -> frozenset[str]:
    narrower = TREES[tree][word]
    return frozenset().union(*(_leaves(tree, n) for n in narrower)) if narrower else frozenset({word})


def possible(facts: list[Fact]) -> bool:
    """Whether all facts can be true together, where every kind of animal exists and is in one place at a time.

    A fact says of a set of (kind, place) pairs that it is empty, or that it is not. They agree unless a set that is not
    empty lies within those that are.
    """
    everywhere = _leaves(1, "eurasia")
    empty: set[tuple[str, str]] = set()
    filled = [{(kind, place) for place in everywhere} for kind in _leaves(0, "animal")]
    for quantifier, animal, place in facts:
        inside = _leaves(1, place)
        places = everywhere - inside if quantifier in ("every", "not every") else inside
        pairs = {(kind, p) for kind in _leaves(0, animal) for p in places}
        if quantifier in ("every", "no"):
            empty |= pairs
        else:
            filled.append(pairs)
    return all(not pairs <= empty for pairs in filled)


def verdict(premises: list[Fact], hypothesis: Fact) -> str:
    if not possible([*premises, hypothesis.negation]):
        return "entailment"
    return "neutral" if possible([*premises, hypothesis]) else "contradiction"


def entailment(source: random.Random, config: MiniConfig) -> Example:
    """Each answer is as frequent: hypotheses are drawn until one has the answer that was drawn first."""
    wanted = source.randrange(3)
    while True:
        facts = [
            Fact(source.choice(QUANTIFIERS), source.choice(list(ANIMALS)), source.choice(list(PLACES)))
            for _ in range(source.randint(1, config.clauses))
        ]
        if not possible(facts):
            continue
        for _ in range(30):
            about = source.choice(facts)
            found = Fact(
                source.choice(QUANTIFIERS),
                _moved(source, 0, about.animal, config),
                _moved(source, 1, about.place, config),
            )
            if found not in facts and verdict(facts, found) == ENTAILMENT[wanted]:
                return Example((" and ".join(fact.text for fact in facts), found.text), wanted)


def _moved(source: random.Random, tree: int, word: str, config: MiniConfig) -> str:
    """A broader or narrower word, up to `difficulty` steps away."""
    for _ in range(source.randint(0, config.difficulty)):
        near = [*TREES[tree][word], *(w for w, narrower in TREES[tree].items() if word in narrower)]
        word = source.choice(near)
    return word


# Paraphrase and graded similarity: one meaning, many wordings.

SAME = {
    "quick": "fast", "large": "big", "small": "little", "glad": "happy", "smart": "clever", "odd": "strange",
    "doctor": "physician", "child": "kid", "ship": "vessel", "road": "street", "stone": "rock", "coat": "jacket",
}  # fmt: skip
ADJECTIVES = ("quick", "large", "small", "glad", "smart", "odd")
ACTORS = ("doctor", "child", "teacher", "farmer", "king", "baker")
OBJECTS = ("ship", "road", "stone", "coat", "letter", "picture")
DEEDS = (("finds", "found"), ("paints", "painted"), ("buys", "bought"), ("loses", "lost"), ("hides", "hidden"))


class Event(NamedTuple):
    """Who does what to whom or what; the words are those of `SAME` and not its other wordings."""

    quality: str
    actor: str
    deed: int
    object_quality: str
    object: str


def _event(source: random.Random) -> Event:
    people = source.random() < 0.5  # then actor and object can be swapped and the sentence still makes sense
    what = source.choice(ACTORS if people else OBJECTS)
    deed = source.randrange(len(DEEDS))
    return Event(source.choice(ADJECTIVES), source.choice(ACTORS), deed, source.choice(ADJECTIVES), what)


def _worded(source: random.Random, event: Event, rewritings: int) -> str:
    """The event in words, with up to `rewritings` chances of the passive voice or of a synonym."""
    words = {slot: getattr(event, slot) for slot in ("quality", "actor", "object_quality", "object")}
    passive = False
    for _ in range(rewritings):
        slot = source.choice([*words, "voice"])
        if slot == "voice":
            passive = not passive
        else:
            words[slot] = SAME.get(words[slot], words[slot])
    actor, what = f"the {words['quality']} {words['actor']}", f"the {words['object_quality']} {words['object']}"
    active, participle = DEEDS[event.deed]
    return f"{what} is {participle} by {actor}" if passive else f"{actor} {active} {what}"


def _changed(source: random.Random, event: Event) -> Event:
    """Another meaning that is as near as can be: roles swapped where that makes sense, else one word."""
    swapped = Event(event.object_quality, event.object, event.deed, event.quality, event.actor)
    if event.object in ACTORS and swapped != event and source.random() < 0.5:
        return swapped
    while True:
        slot = source.choice(Event._fields)
        other = event._replace(**{slot: getattr(_event(source), slot)})
        if other != event:
            return other


def paraphrase(source: random.Random, config: MiniConfig) -> Example:
    """Half of the pairs say the same in other words; in the others one event differs."""
    events = [_event(source) for _ in range(source.randint(1, config.clauses))]
    same = source.random() < 0.5
    others = list(events)
    if not same:
        i = source.randrange(len(events))
        others[i] = _changed(source, others[i])
    source.shuffle(others)
    texts = [" and ".join(_worded(source, e, config.difficulty) for e in side) for side in (events, others)]
    return Example((texts[0], texts[1]), float(same))


def similarity(source: random.Random, config: MiniConfig) -> Example:
    """Five times the share of slots (qualities, actor, deed, object) that mean the same in both texts."""
    events = [_event(source) for _ in range(source.randint(1, config.clauses))]
    slots = [(i, slot) for i in range(len(events)) for slot in Event._fields]
    changed = source.sample(slots, source.randint(0, len(slots)))
    others = list(events)
    for i, slot in changed:
        choices = [v for v in _values(slot) if v != getattr(others[i], slot)]
        others[i] = others[i]._replace(**{slot: source.choice(choices)})
    texts = [" and ".join(_worded(source, e, config.difficulty) for e in side) for side in (events, others)]
    return Example((texts[0], texts[1]), 5 * (1 - len(changed) / len(slots)))


def _values(slot: str) -> tuple[Any, ...]:
    if slot == "deed":
        return tuple(range(len(DEEDS)))
    return {"actor": ACTORS, "object": (*ACTORS, *OBJECTS)}.get(slot, ADJECTIVES)


def _tasks() -> Iterator[tuple[str, Draw, tuple[str, ...], tuple[Metric, ...], str]]:
    yield (
        "mini_acceptability",
        acceptability,
        ("unacceptable", "acceptable"),
        (MATTHEWS, ACCURACY),
        "agreement and arguments",
    )
    yield "mini_entailment", entailment, ENTAILMENT, (ACCURACY,), "quantifiers over broader and narrower words"
    yield (
        "mini_paraphrase",
        paraphrase,
        ("different", "same"),
        (mean_of(F1, ACCURACY), F1, ACCURACY),
        "voice, synonyms, roles",
    )
    yield (
        "mini_similarity",
        similarity,
        (),
        (mean_of(PEARSON, SPEARMAN), PEARSON, SPEARMAN),
        "how much means the same, 0 to 5",
    )


def _register(name: str, draw: Draw, labels: tuple[str, ...], metrics: tuple[Metric, ...], summary: str) -> None:
    @register_task(name, config=MiniConfig, summary=f"synthetic sentences, no download: {summary}")
    def build(config: MiniConfig, mode: Mode, places: Places) -> SentenceTask:
        return SentenceTask(name, load(name, draw, labels, metrics, config), config, places.cache)


for _task in _tasks():
    _register(*_task)
