"""What a model is trained on: annotated documents chosen from data sets and asked in groups.

    data sets -> choose: a capped, balanced selection of documents, the same for the same seed
                 (draw: as many of each as a task config says)
              -> group:  documents of one set that share one label list, and so one prompt prefix
              -> bundle: groups that make up one row, where label lists are shared by few

A group's prefix is computed once for all its documents. Label lists are made as in the
reference's training: at most 18 labels with the documents' own first, each dropped with
probability 0.10 along with its entities, shuffled; `Augmentation` makes them less regular.
Knows no tokenizer and no model.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from b2ner_cli.core.document import Document, Mention
from b2ner_cli.core.language import Language
from b2ner_cli.core.tasks import ABOUT_EVENTS, Task
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import templates
from b2ner_cli.prompts.rendering import ZERO_SHOT, Example, Form
from b2ner_cli.training import augmentation
from b2ner_cli.training.augmentation import Augmentation
from b2ner_cli.training.recipes import Recipe
from b2ner_cli.training.selection import DESCRIPTIONS, OTHER_NAMES, Selection


@dataclass(frozen=True, slots=True)
class Group:
    """Documents asked with one label list; `targets[i]` is what the answer to i must say."""

    labels: LabelSet
    language: Language
    texts: tuple[str, ...]
    targets: tuple[tuple[Mention, ...], ...] = field(repr=False)
    form: Form = ZERO_SHOT
    replayed: bool = False


def by_labels(selection: Selection) -> list[list[Document]]:
    """A selection's documents by label list: most sets have one, but a document may have its own.

    What is no label of a document is not annotated there and must not be asked of it. Where an
    event is asked about, those of one event's words stand together: they stand in the prefix.
    """
    shared: dict[tuple[tuple[str, ...], Form], list[Document]] = {}
    for document in selection.documents:
        key = (document.labels or selection.labels, _form(selection, document))
        shared.setdefault(key, []).append(document)
    return list(shared.values())


def _form(selection: Selection, document: Document) -> Form:
    """How a document is asked about."""
    if selection.form.task not in ABOUT_EVENTS or not document.events:
        return selection.form
    (event,) = document.events
    trigger = event.trigger.text if event.trigger and selection.form.task == "EEA" else ""
    return replace(selection.form, event=event.label, trigger=trigger)


@dataclass(frozen=True, slots=True)
class FewShot:
    """What prompts show beside a text: `share` of the groups up to `most` examples, `described` of
    the others the descriptions of their labels.

    Examples are those given, else other documents of the set. A document's own descriptions come
    before those given.
    """

    examples: tuple[Example, ...] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)
    share: float = 0.0
    most: int = 5
    described: float = 0.0

    @property
    def digest(self) -> str:
        """Names examples and descriptions; empty where there are none."""
        if not self.examples and not self.descriptions:
            return ""
        given = repr((self.examples, list(self.descriptions.items())))
        return hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()

    def shares(self, task: Task) -> tuple[float, float]:
        """The shares of prompts with examples and with descriptions, of a task's prompts."""
        known = templates.TEMPLATES[task].values()
        return (
            self.share if any(each.shown for each in known) else 0.0,
            self.described if any(each.described for each in known) else 0.0,
        )


NO_EXAMPLES = FewShot()


@dataclass(frozen=True, slots=True)
class PromptChoices:
    """How a group's label list is made: at most `max_labels`, each dropped with probability
    `dropout`, how labels and texts are varied, and what prompts show beside them.
    """

    max_labels: int = 18
    dropout: float = 0.10
    augmentation: Augmentation = field(default_factory=Augmentation)
    few_shot: FewShot = NO_EXAMPLES

    @classmethod
    def of(cls, recipe: Recipe, few_shot: FewShot = NO_EXAMPLES) -> Self:
        """The choices of a recipe, with the examples and descriptions that were given."""
        asked = recipe.experiments
        return cls(
            recipe.max_labels,
            recipe.label_dropout,
            Augmentation(asked.subset, asked.rename, asked.noise),
            replace(few_shot, share=asked.few_shot, most=asked.examples, described=asked.described),
        )


def bundles(
    selections: Sequence[Selection], size: int, choices: PromptChoices, seed: str
) -> Iterator[tuple[Group, ...]]:
    """Yield every picked document once, in bundles of up to `size`, in a random order.

    A bundle is one group of documents of a set with one label list, or several of those that are
    too few to fill one. Documents of a group are of similar length, so that little is padded.
    """
    rng = random.Random(seed)
    found: list[tuple[Selection, list[list[Document]]]] = []
    for selection in selections:
        found += ((selection, bundle) for bundle in _bundles(selection, size, rng))
    rng.shuffle(found)
    surfaces = {
        selection.name: _surfaces(selection)
        for selection in selections
        if choices.augmentation.noise
    }
    for selection, bundle in found:
        known = surfaces.get(selection.name, {})
        yield tuple(_ask(selection, documents, choices, known, rng) for documents in bundle)


def count_bundles(selection: Selection, size: int) -> int:
    """How many bundles `bundles` makes of a selection, whatever the seed."""
    return len(_bundles(selection, size, random.Random(0)))


def _bundles(selection: Selection, size: int, rng: random.Random) -> list[list[list[Document]]]:
    """A selection's documents by label list, in full groups; then what is left over, together."""
    full: list[list[list[Document]]] = []
    left: list[list[Document]] = []
    window = size * 16
    for documents in by_labels(selection):
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


def _surfaces(selection: Selection) -> dict[str, list[str]]:
    """The surfaces each label has in a selection."""
    found: dict[str, dict[str, None]] = {}
    for document in selection.documents:
        for mention in document.mentions or ():
            found.setdefault(mention.label, {})[mention.surface] = None
    return {label: list(surfaces) for label, surfaces in found.items()}


def _ask(
    selection: Selection,
    documents: list[Document],
    choices: PromptChoices,
    surfaces: dict[str, list[str]],
    rng: random.Random,
) -> Group:
    augment, form = choices.augmentation, _form(selection, documents[0])
    gold = list(dict.fromkeys(m.label for d in documents for m in d.mentions or ()))
    rng.shuffle(gold)
    listed = list(dict.fromkeys(documents[0].labels or selection.labels))
    if augment.subset and rng.random() < augment.subset:
        kept = augmentation.some(listed, gold, choices.max_labels, rng)
    else:
        others = [label for label in listed if label not in gold]
        labels = gold[: choices.max_labels]
        labels += rng.sample(others, min(len(others), choices.max_labels - len(labels)))
        kept = [label for label in labels if rng.random() >= choices.dropout]
        kept = kept or [rng.choice(labels)]
    rng.shuffle(kept)
    own_names = documents[0].meta.get(OTHER_NAMES)
    names = augmentation.rename(kept, selection.language, augment.rename, rng, own_names or {})
    texts, targets = [], []
    for document in documents:
        text, mentions = document.text, document.mentions or ()
        if augment.noise and form.task == "NER" and rng.random() < augment.noise:
            text, mentions = augmentation.disturb(text, mentions, surfaces, rng)
        texts.append(text)
        targets.append(_named(mentions, names))
    asked = LabelSet(tuple(names.values()))
    shown, described = choices.few_shot.shares(form.task)
    if shown and rng.random() < shown:
        form = replace(
            form, examples=_examples(selection, documents, names, choices.few_shot, form, rng)
        )
    elif described and rng.random() < described:
        own: Mapping[str, str] = documents[0].meta.get(DESCRIPTIONS) or {}
        known = {**choices.few_shot.descriptions, **own}
        asked = asked.described({names[n]: known[n] for n in names if n in known})
    return Group(asked, selection.language, tuple(texts), tuple(targets), form)


def _examples(
    selection: Selection,
    documents: list[Document],
    names: dict[str, str],
    few_shot: FewShot,
    form: Form,
    rng: random.Random,
) -> tuple[Example, ...]:
    """Examples for a group, under the names its labels are asked by; none of its own texts."""
    asked = {document.text.strip() for document in documents}
    known: Sequence[Example] = few_shot.examples
    if not known:
        # More than are shown, because some of them are asked about.
        alike = [d for d in selection.documents if _form(selection, d) == form]
        some = rng.sample(alike, min(len(alike), few_shot.most + len(asked)))
        known = [Example(each.text, each.mentions or ()) for each in some]
    others = [
        each
        for each in known
        if each.text.strip() not in asked and each.event in (None, form.event)
    ]
    return tuple(
        replace(each, mentions=_named(each.mentions, names))
        for each in rng.sample(others, min(len(others), few_shot.most))
    )


def _named(mentions: Iterable[Mention], names: Mapping[str, str]) -> tuple[Mention, ...]:
    """What an answer says of mentions: those asked for, under the names they are asked by."""
    return tuple(
        mention._replace(label=names[mention.label])
        for mention in mentions
        if mention.label in names and ";" not in mention.surface
    )
