"""What a model is trained on: annotated documents chosen from data sets and asked in groups.

    data sets -> choose: a capped, balanced pick of documents, the same for the same seed
                 (draw: as many of each as a task config says)
              -> group:  documents of one set that share one label list, and so one prompt prefix
              -> bundle: groups that make up one row, where label lists are shared by few

A group's prefix is computed once for all its documents. Label lists are made as in the
reference's training: at most 18 labels with the documents' own first, each dropped with
probability 0.10 along with its entities, shuffled; `Variation` makes them less regular than that.
Knows no tokenizer and no model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from b2ner_cli.core.document import Document, Mention
from b2ner_cli.core.language import Language
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import templates
from b2ner_cli.prompts.rendering import ZERO_SHOT, Example, Form
from b2ner_cli.training import augmentation
from b2ner_cli.training.augmentation import Variation
from b2ner_cli.training.selection import OTHER_NAMES, Pick


@dataclass(frozen=True, slots=True)
class Group:
    """Documents asked with one label list; `targets[i]` is what the answer to i must say."""

    labels: LabelSet
    language: Language
    texts: tuple[str, ...]
    targets: tuple[tuple[Mention, ...], ...] = field(repr=False)
    form: Form = ZERO_SHOT


def by_labels(pick: Pick) -> list[list[Document]]:
    """The documents of a pick by label list: most sets have one, but a document may have its own.

    What is no label of a document is not annotated there and must not be asked of it. Where an
    event is asked about, those of one event's words stand together: they stand in the prefix.
    """
    shared: dict[tuple[tuple[str, ...], Form], list[Document]] = {}
    for document in pick.documents:
        key = (document.labels or pick.labels, _form(pick, document))
        shared.setdefault(key, []).append(document)
    return list(shared.values())


def _form(pick: Pick, document: Document) -> Form:
    """How a document is asked about."""
    if pick.form.task not in ABOUT_EVENTS or not document.events:
        return pick.form
    (event,) = document.events
    trigger = event.trigger.text if event.trigger and pick.form.task == "EEA" else ""
    return replace(pick.form, event=event.label, trigger=trigger)


@dataclass(frozen=True, slots=True)
class Showing:
    """What prompts show: `few_shot` of the groups up to `most` examples, `described` of the others
    the descriptions of their labels.

    Examples are those given, else other documents of the set.
    """

    few_shot: float = 0.0
    most: int = 5
    described: float = 0.0
    examples: tuple[Example, ...] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("few_shot", "described"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} must be in [0, 1], not {getattr(self, name)}")

    def shares(self, task: Task) -> tuple[float, float]:
        """The shares of prompts with examples and with descriptions, of a task's prompts."""
        known = templates.TEMPLATES[task].values()
        return (
            self.few_shot if any(each.shown for each in known) else 0.0,
            self.described if any(each.described for each in known) else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Asking:
    """How a group's label list is made: at most `max_labels`, each dropped with probability
    `dropout`, how labels and texts are varied, and what prompts show beside them.
    """

    max_labels: int = 18
    dropout: float = 0.10
    variation: Variation = field(default_factory=Variation)
    showing: Showing = field(default_factory=Showing)


def bundles(
    picks: Sequence[Pick], size: int, asking: Asking, seed: str
) -> Iterator[tuple[Group, ...]]:
    """Yield every picked document once, in bundles of up to `size`, in a random order.

    A bundle is one group of documents of a set with one label list, or several of those that are
    too few to fill one. Documents of a group are of similar length, so that little is padded.
    """
    rng = random.Random(seed)
    found: list[tuple[Pick, list[list[Document]]]] = []
    for pick in picks:
        found += ((pick, bundle) for bundle in _bundles(pick, size, rng))
    rng.shuffle(found)
    surfaces = {pick.name: _surfaces(pick) for pick in picks if asking.variation.noise}
    for pick, bundle in found:
        known = surfaces.get(pick.name, {})
        yield tuple(_ask(pick, documents, asking, known, rng) for documents in bundle)


def count_bundles(pick: Pick, size: int) -> int:
    """How many bundles `bundles` makes of a pick, whatever the seed."""
    return len(_bundles(pick, size, random.Random(0)))


def _bundles(pick: Pick, size: int, rng: random.Random) -> list[list[list[Document]]]:
    """A pick's documents by label list, in full groups; then what is left over, put together."""
    full: list[list[list[Document]]] = []
    left: list[list[Document]] = []
    window = size * 16
    for documents in by_labels(pick):
        rng.shuffle(documents)
        for start in range(0, len(documents), window):
            near = sorted(documents[start : start + window], key=lambda d: len(d.text))
            for begin in range(0, len(near), size):
                piece = near[begin : begin + size]
                if len(piece) == size:
                    full.append([piece])
                else:
                    left.append(piece)
    rng.shuffle(left)
    left.sort(key=len, reverse=True)  # their number must not depend on the order
    together: list[list[list[Document]]] = []
    room = 0
    for piece in left:
        if len(piece) > room:
            together.append([])
            room = size
        together[-1].append(piece)
        room -= len(piece)
    return full + together


def _surfaces(pick: Pick) -> dict[str, list[str]]:
    """The surfaces each label has in a pick."""
    found: dict[str, dict[str, None]] = {}
    for document in pick.documents:
        for mention in document.mentions or ():
            found.setdefault(mention.label, {})[mention.surface] = None
    return {label: list(surfaces) for label, surfaces in found.items()}


def _ask(
    pick: Pick,
    documents: list[Document],
    asking: Asking,
    surfaces: dict[str, list[str]],
    rng: random.Random,
) -> Group:
    vary, form = asking.variation, _form(pick, documents[0])
    gold = list(dict.fromkeys(m.label for d in documents for m in d.mentions or ()))
    rng.shuffle(gold)
    listed = list(dict.fromkeys(documents[0].labels or pick.labels))
    if vary.subset and rng.random() < vary.subset:
        kept = augmentation.some(listed, gold, asking.max_labels, rng)
    else:
        others = [label for label in listed if label not in gold]
        labels = gold[: asking.max_labels]
        labels += rng.sample(others, min(len(others), asking.max_labels - len(labels)))
        kept = [label for label in labels if rng.random() >= asking.dropout]
        kept = kept or [rng.choice(labels)]
    rng.shuffle(kept)
    own_names = documents[0].meta.get(OTHER_NAMES)
    names = augmentation.rename(kept, pick.language, vary.rename, rng, own_names or {})
    texts, targets = [], []
    for document in documents:
        text, mentions = document.text, document.mentions or ()
        if vary.noise and form.task == "NER" and rng.random() < vary.noise:
            text, mentions = augmentation.disturb(text, mentions, surfaces, rng)
        texts.append(text)
        targets.append(
            tuple(
                mention._replace(label=names[mention.label])
                for mention in mentions
                if mention.label in names and ";" not in mention.surface
            )
        )
    asked = LabelSet(tuple(names.values()))
    few_shot, described = asking.showing.shares(form.task)
    if few_shot and rng.random() < few_shot:
        form = replace(form, examples=_examples(pick, documents, names, asking.showing, form, rng))
    elif described and rng.random() < described:
        known = asking.showing.descriptions
        asked = asked.described({names[n]: known[n] for n in names if n in known})
    return Group(asked, pick.language, tuple(texts), tuple(targets), form)


def _examples(
    pick: Pick,
    documents: list[Document],
    names: dict[str, str],
    showing: Showing,
    form: Form,
    rng: random.Random,
) -> tuple[Example, ...]:
    """Examples for a group, under the names its labels are asked by; none of its own texts."""
    asked = {document.text.strip() for document in documents}
    known: Sequence[Example] = showing.examples
    if not known:
        # More than are shown, because some of them are asked about.
        alike = [d for d in pick.documents if _form(pick, d) == form]
        some = rng.sample(alike, min(len(alike), showing.most + len(asked)))
        known = [Example(each.text, each.mentions or ()) for each in some]
    others = [
        each
        for each in known
        if each.text.strip() not in asked and each.event in (None, form.event)
    ]
    return tuple(
        replace(
            each,
            mentions=tuple(
                mention._replace(label=names[mention.label])
                for mention in each.mentions
                if mention.label in names and ";" not in mention.surface
            ),
        )
        for each in rng.sample(others, min(len(others), showing.most))
    )
