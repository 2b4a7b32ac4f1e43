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

import difflib
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from b2ner_cli import templates, variation
from b2ner_cli.document import Document, Mention
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.formats import asked, b2nerd
from b2ner_cli.label_map import LabelMap
from b2ner_cli.labels import LabelSet, Language, as_language
from b2ner_cli.prompts import ZERO_SHOT, Example, Form
from b2ner_cli.tasks import Part
from b2ner_cli.templates import Task
from b2ner_cli.variation import Variation

OTHER_NAMES = "other_names"  # key of a row: other names that fit its labels in this very text


@dataclass(frozen=True, slots=True)
class Caps:
    """How many documents to take: a set gives at most `per_set`, a label at most `per_label`
    documents of its set, documents without entities at most `empty` of a set's share, and texts
    over `longest` characters are passed over.
    """

    per_set: int = 800
    per_label: int = 200
    empty: float = 0.2
    longest: int = 1200


@dataclass(frozen=True, slots=True)
class Pick:
    """The documents chosen from one data set, and what was left aside and why."""

    name: str
    language: Language
    labels: tuple[str, ...]
    documents: tuple[Document, ...]
    read: int
    unsayable: int  # mentions that hold ';' and so cannot stand in an answer
    unfit: int = 0  # documents blank or too long, left aside before a task config's strategy
    form: Form = ZERO_SHOT


@dataclass(frozen=True, slots=True)
class Group:
    """Documents asked with one label list; `targets[i]` is what the answer to i must say."""

    labels: LabelSet
    language: Language
    texts: tuple[str, ...]
    targets: tuple[tuple[Mention, ...], ...] = field(repr=False)
    form: Form = ZERO_SHOT


def choose(
    root: Path, caps: Caps, seed: int, only: Sequence[str] = (), tasks: Sequence[Task] = ()
) -> list[Pick]:
    """Pick training documents from every set under `root` that one of `tasks` can be asked of, or
    from those named in `only`; without tasks, of the sets' own, named entities first.

    A set without a train split gives its dev split, a set with neither gives nothing.
    Raises DataError naming file and row for unusable data.
    """
    found = asked.by_task(b2nerd.datasets(root), tasks, only)
    known = {*found, *(f"{d.task}_{d.name}" for d, _ in found.values())}
    for name in only:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1) or sorted(found)
            hint = f"did you mean {', '.join(close)}?" if close else ""
            raise DataError(f"no data set {name} under {root}", hint)
    picks = []
    for key, (dataset, task) in found.items():
        if not asked.asked_for(key, dataset, only) or not {"train", "dev"} & set(dataset.splits):
            continue
        documents = list(asked.read_task(dataset, "train", task))
        chosen = _balanced(documents, caps, random.Random(f"{seed}/{key}"))
        picks.append(_pick(dataset, chosen, len(documents), task=task))
    return _checked(picks, root, tasks)


def draw(root: Path, parts: Sequence[Part], caps: Caps, seed: int, most: int) -> list[Pick]:
    """Pick training documents from the parts of a task config, whose strategies say how many.

    Of `caps` only `longest` holds; `most` is the cap of the strategy `random`.
    """
    picks = []
    for part in parts:
        documents = list(asked.read_task(part.dataset, "train", part.task))
        fit = [document for document in documents if _fits(document, caps)]
        chosen = part.draw(fit, seed, most)
        unfit = len(documents) - len(fit)
        picks.append(_pick(part.dataset, chosen, len(documents), unfit, part.task))
    return _checked(picks, root)


def renamed(pick: Pick, label_map: LabelMap) -> Pick:
    """A pick whose labels have the names that a map gives them.

    Raises DataError where two labels of a list would get one name.
    """
    for listed in {pick.labels, *(d.labels for d in pick.documents if d.labels)}:
        try:
            label_map.ask(LabelSet(tuple(dict.fromkeys(listed))))
        except UsageError as error:
            raise DataError(f"{pick.name}: {error.message}", error.hint) from None
    documents = tuple(map(label_map.document, pick.documents))
    return replace(pick, labels=tuple(map(label_map.asked, pick.labels)), documents=documents)


def _pick(
    dataset: b2nerd.DataSet,
    chosen: list[Document],
    read: int,
    unfit: int = 0,
    task: Task = "NER",
) -> Pick:
    _check_labels(dataset.labels, str(dataset.path / "labels.json"))
    for document in chosen:
        if document.labels:
            _check_labels(document.labels, document.origin)
    unsayable = sum(";" in m.surface for d in chosen for m in d.mentions or ())
    name, language = f"{dataset.task}_{dataset.name}", as_language(dataset.language)
    form = ZERO_SHOT
    if task != "NER":
        form = Form(task)
        name = "_".join([task, *dataset.task.split("_")[1:], dataset.name])
        templates.template(task, language)  # refused now, not in the middle of a run
    return Pick(name, language, dataset.labels, tuple(chosen), read, unsayable, unfit, form)


def _checked(picks: list[Pick], root: Path, tasks: Sequence[Task] = ()) -> list[Pick]:
    if not any(pick.documents for pick in picks):
        kind = asked.KINDS[tasks[0]] if tasks else "NER"
        read = ", ".join(f"{pick.name} of {pick.read} read" for pick in picks)
        raise DataError(
            f"no training documents under {root}" + (f": none in {read}" if read else ""),
            f"expected {kind}_<language>/<set>/train.json with labels.json beside it",
        )
    return picks


def _check_labels(labels: Sequence[str], where: str) -> None:
    """Refuse labels that no prompt can hold now, not in the middle of a training run."""
    try:
        LabelSet(tuple(dict.fromkeys(labels)))
    except UsageError as error:
        raise DataError(f"{where}: {error.message}", error.hint) from None


def _fits(document: Document, caps: Caps) -> bool:
    return bool(document.text.strip()) and len(document.text) <= caps.longest


def balanced(labels: Sequence[Collection[str] | None], caps: Caps, rng: random.Random) -> list[int]:
    """Take documents in random order while they hold a label that is still short of its cap.

    `labels` are those that each document has entities of, None for one to be passed over.
    """
    order = list(range(len(labels)))
    rng.shuffle(order)
    taken: list[int] = []
    seen: Counter[str] = Counter()
    empty = 0
    for index in order:
        if len(taken) == caps.per_set:
            break
        held = labels[index]
        if held is None:
            continue
        if not held:
            if empty >= caps.empty * caps.per_set:
                continue
            empty += 1
        elif all(seen[label] >= caps.per_label for label in held):
            continue
        seen.update(held)
        taken.append(index)
    return taken


def _balanced(documents: list[Document], caps: Caps, rng: random.Random) -> list[Document]:
    labels = [
        {mention.label for mention in document.mentions or ()} if _fits(document, caps) else None
        for document in documents
    ]
    return [documents[index] for index in balanced(labels, caps, rng)]


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
    if pick.form.task not in templates.ABOUT_EVENTS or not document.events:
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
        kept = variation.some(listed, gold, asking.max_labels, rng)
    else:
        others = [label for label in listed if label not in gold]
        labels = gold[: asking.max_labels]
        labels += rng.sample(others, min(len(others), asking.max_labels - len(labels)))
        kept = [label for label in labels if rng.random() >= asking.dropout]
        kept = kept or [rng.choice(labels)]
    rng.shuffle(kept)
    own_names = documents[0].meta.get(OTHER_NAMES)
    names = variation.rename(kept, pick.language, vary.rename, rng, own_names or {})
    texts, targets = [], []
    for document in documents:
        text, mentions = document.text, document.mentions or ()
        if vary.noise and form.task == "NER" and rng.random() < vary.noise:
            text, mentions = variation.disturb(text, mentions, surfaces, rng)
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
