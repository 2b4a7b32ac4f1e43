"""From a document to the questions about it: label groups, chunks, prompts, keys of answers.

    document -> language, label groups (prefixes, room for text) -> chunks -> a prompt for each

Groups are worked out once for each label set and language. Knows an engine by its context and by
how it counts tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from b2ner_cli.core import chunking
from b2ner_cli.core.chunking import Chunk
from b2ner_cli.core.document import Document
from b2ner_cli.core.engine import Engine, Prompt
from b2ner_cli.core.language import Language, as_language, detect_language
from b2ner_cli.core.model_text import ModelText, model_text
from b2ner_cli.core.tasks import ABOUT_EVENTS
from b2ner_cli.core.text import no_surrogates
from b2ner_cli.errors import NOTICE, UsageError
from b2ner_cli.labels.better_names import improving
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.labels.label_set import LabelSet, group_labels
from b2ner_cli.prompts import rendering
from b2ner_cli.prompts.confidence import Calibration
from b2ner_cli.prompts.rendering import ZERO_SHOT, Example, Form
from b2ner_cli.tagging.answer_cache import key

log = logging.getLogger("b2ner")

CHUNK_TOKENS = 1024  # where nothing is known of the adapter's training
_SETS = 10_000  # label sets whose groups are remembered


@dataclass(frozen=True, slots=True)
class Options:
    """How documents are asked about and what is kept of the answers.

    `language` is a template's or "auto", for each document by its script. `chunk_tokens` is how
    much text one prompt holds, in whole sentences; a longer sentence stays whole up to
    `sentence_tokens`. None leaves both to what is known of the model. Entities under `min_score`
    are dropped, or under what `min_scores` has for their label. Labels are asked under the names
    that `label_map` gives them, with `improve_labels` all others under better ones where one is
    sure; results have their own. Of the examples in `form` a prompt shows as many as leave room for
    text, never the very text that it asks about. `descriptions` go with the labels that documents
    bring along; `roles` are the labels of an event's arguments, by its type. `calibration` turns
    what the model says of its own sureness into scores; None leaves it to the adapter, and scores
    are the tokens' mean probability where that has none.
    """

    language: str = "auto"
    all_occurrences: bool = False
    min_score: float = 0.0
    chunk_tokens: int | None = None
    sentence_tokens: int | None = None
    form: Form = ZERO_SHOT
    descriptions: Mapping[str, str] = field(default_factory=dict)
    label_map: LabelMap | None = None
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    min_scores: Mapping[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    improve_labels: bool = False

    def __post_init__(self) -> None:
        if self.language != "auto":
            as_language(self.language)
        if self.chunk_tokens is not None and self.chunk_tokens < 1:
            raise UsageError(f"no text fits chunks of {self.chunk_tokens} tokens")
        for score in (self.min_score, *self.min_scores.values()):
            if not 0 <= score <= 1:
                raise UsageError(f"a score is between 0 and 1, not {score}")
        if self.improve_labels and self.form.task != "NER":
            raise UsageError(
                f"better names are known for entities, not for task {self.form.task.lower()}",
                "leave out --improve-labels, or give names with --label-map",
            )

    def renaming(self, labels: Iterable[str], language: Language) -> LabelMap | None:
        """The names that a set of labels is asked under in a prompt of that language."""
        if not self.improve_labels:
            return self.label_map
        return improving(labels, language, self.label_map)


@dataclass(frozen=True, slots=True)
class LabelGroup:
    """A group of labels in one language, as it is asked: prefix and room for text in tokens.

    `given` leads from these labels to the user's own, where any is renamed.
    """

    labels: LabelSet
    language: Language
    prefix: str
    room: int
    given: Mapping[str, str]
    form: Form = ZERO_SHOT

    def without(self, text: str) -> LabelGroup:
        """The group without an example of that text."""
        form = self.form.without(text)
        prefix = rendering.prefix(self.labels, self.language, form)
        return replace(self, form=form, prefix=prefix)


@dataclass(slots=True)
class Question:
    """One prompt: a chunk of a document with a group of its labels.

    Where arguments are asked for, `event` is the number of theirs among the document's.
    """

    group: LabelGroup
    chunk: Chunk
    text: str
    own: str
    key: bytes
    event: int = 0

    def prompt(self) -> Prompt:
        """What the engine is asked."""
        names = self.group.labels.names
        return Prompt(self.group.prefix, self.own, names, no_surrogates(self.text))


class Planner:
    """Turns documents into questions; remembers the groups of each label set and language."""

    def __init__(self, engine: Engine, labels: LabelSet | None, options: Options) -> None:
        self._engine = engine
        self._labels = labels
        self.options = options
        self._chunk_tokens = options.chunk_tokens or CHUNK_TOKENS
        self._sentence_tokens = max(self._chunk_tokens, options.sentence_tokens or 0)
        shown = options.form.examples
        self._shown = {model_text(each.text).text.strip(): each.text for each in shown}
        self._groups: dict[tuple[tuple[str, ...] | None, Language, str, str], list[LabelGroup]] = {}

    def plan(self, document: Document) -> list[Question]:
        """Lay out a document's questions; a document of white space has none.

        Raises UsageError for labels or forms that cannot be asked.
        """
        read = model_text(document.text)
        text = read.text
        if not text or text.isspace():
            return []
        if self.options.form.task in ABOUT_EVENTS:
            return self._about_events(document, read)
        return self._questions(
            text, self._groups_of(document.labels, self._language(text), self.options.form)
        )

    def _about_events(self, document: Document, read: ModelText) -> list[Question]:
        """Questions about each event: where its trigger is known, in the chunks that hold it."""
        language = self._language(read.text)
        questions: list[Question] = []
        for number, event in enumerate(document.events or ()):
            names = self.options.roles.get(event.label, document.labels)
            trigger = event.trigger.text if event.trigger else ""
            if self.options.form.task == "EEA":
                form = replace(self.options.form, event=event.label, trigger=trigger)
            else:
                form = replace(self.options.form, event=event.label)
            about = self._questions(read.text, self._groups_of(names, language, form), number)
            known = event.trigger is not None and len(about) > 1
            place = read.position(event.trigger.start) if known and event.trigger else -1
            holding = [each for each in about if each.chunk.start <= place < each.chunk.end]
            questions += holding or about
        return questions

    def _questions(self, text: str, groups: list[LabelGroup], event: int = 0) -> list[Question]:
        room = groups[0].room if len(groups) == 1 else min(group.room for group in groups)
        budget = min(self._chunk_tokens, room)
        asked = no_surrogates(text)
        questions = []
        for chunk in chunking.split(asked, self._engine.count, budget, room):
            start, end = chunk.start, chunk.end
            asking = groups
            for asked_about in {text.strip(), text[start:end].strip()} & self._shown.keys():
                example = self._shown[asked_about]
                asking = [group.without(example) for group in asking]
            for group in asking:
                own = rendering.own(group.labels, asked[start:end], group.language, group.form)
                name = key(self._engine.identity, group.prefix, own)
                questions.append(Question(group, chunk, text[start:end], own, name, event))
        return questions

    def form(self, document: Document) -> Form:
        """How a document is asked about, in one chunk with its first labels; names are its own."""
        questions = self.plan(document) if self.options.form is not ZERO_SHOT else ()
        if not questions:
            return self.options.form
        group = questions[0].group
        own = tuple(each.renamed(group.given) for each in group.form.examples)
        return replace(group.form, examples=own)

    def _language(self, text: str) -> Language:
        if self.options.language != "auto":
            return as_language(self.options.language)
        # Most text needs no look at every letter to see that none is Chinese.
        return "en" if text.isascii() else detect_language(text)

    def _groups_of(
        self, names: tuple[str, ...] | None, language: Language, form: Form
    ) -> list[LabelGroup]:
        asked = (names, language, form.event, form.trigger)
        known = self._groups.get(asked)
        if known is None:
            labels, given = self._label_set(names), dict[str, str]()
            if renaming := self.options.renaming(labels.names, language):
                labels, given = renaming.ask(labels), renaming.back(labels.names)
                shown = tuple(each.renamed(renaming.names) for each in form.examples)
                form = replace(form, examples=shown) if shown else form
            least = min(self._sentence_tokens, max(1, self._engine.context // 4))
            if self._engine.context - self._engine.max_answer < least:
                raise UsageError(
                    f"answers of {self._engine.max_answer} tokens leave no room for text in the "
                    f"model's context of {self._engine.context}",
                    "give a smaller --max-answer",
                )
            bare = replace(form, examples=()) if form.examples else form
            known = []
            for group in group_labels(labels, lambda g: self._room(g, language, bare) >= least):
                fitting = self._fitting(group, language, form, least)
                prefix = rendering.prefix(group, language, fitting)
                room = self._room(group, language, fitting)
                known.append(LabelGroup(group, language, prefix, room, given, fitting))
            if len(self._groups) >= _SETS:  # a file of nothing but distinct label sets
                self._groups.clear()
            self._groups[asked] = known
        return known

    def _fitting(self, labels: LabelSet, language: Language, form: Form, least: int) -> Form:
        """The form with those examples, in their order, that leave `least` tokens for text."""
        count = self._engine.count
        if form.event:  # an example of another type would not show what is asked
            alike = tuple(e for e in form.examples if e.event in (None, form.event))
            form = replace(form, examples=alike)
        if not form.examples:
            return form
        kept: list[Example] = []
        shown = [rendering.example(each, labels, language, form) for each in form.examples]
        first = replace(form, examples=form.examples[:1])
        room = self._left(labels, language, first) + count(shown[0]) - least
        for each, words in zip(form.examples, shown, strict=True):
            tokens = count(words) + 1  # one where two texts meet
            if tokens <= room:
                room -= tokens
                kept.append(each)
        if len(kept) < len(form.examples):
            fit = f"{len(kept)} of {len(shown)} examples fit into a prompt"
            log.log(NOTICE, "%s in the model's context of %d", fit, self._engine.context)
        return replace(form, examples=tuple(kept))

    def _label_set(self, names: tuple[str, ...] | None) -> LabelSet:
        if names is None:
            if self._labels is None:
                raise UsageError("no labels given", 'name them: --labels "person, movie title"')
            return self._labels
        distinct = tuple(dict.fromkeys(names))
        described = {**(self._labels.descriptions if self._labels else {})}
        described |= self.options.descriptions
        return LabelSet(distinct, {n: described[n] for n in distinct if n in described})

    def _room(self, labels: LabelSet, language: Language, form: Form) -> int:
        """Tokens of text that a prompt may hold."""
        return min(self._left(labels, language, form), self._sentence_tokens)

    def _left(self, labels: LabelSet, language: Language, form: Form) -> int:
        """Tokens left for text beside the prompt's own words and the longest answer."""
        fixed = rendering.prefix(labels, language, form) + rendering.own(labels, "", language, form)
        # two more: the token before the prompt, and one where text and template meet
        return self._engine.context - self._engine.max_answer - self._engine.count(fixed) - 2
