"""The language models of B2NER are asked in and answer in: render, answer, parse.

    render   Given the label set ... \\nLabel Set: person, city \\n\\nText: Ann, Rome. \\nAnswer:
    answer    person: Ann; city: Rome
    parse    -> Mention("person", "Ann"), Mention("city", "Rome")

Tagging, training and scoring share this one wire format (byte-exact with the reference
implementation's instruction_config_ml.json). Strings only: no tokenizer, no model. Text is
inserted once and never formatted, so braces and template words in a document are just text.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from b2ner_cli import templates
from b2ner_cli.document import Completion, Mention
from b2ner_cli.errors import UsageError
from b2ner_cli.labels import LabelSet, Language, as_language
from b2ner_cli.templates import NER as TEMPLATES
from b2ner_cli.templates import Task, Template


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model reads: the part all documents of a label set share, then the document's own.

    The cut falls before the space that precedes the document, a token boundary, so the two parts
    can be tokenised apart and the first computed once. `labels` and `about` say once more which
    labels are asked for and in which text, for engines that hold answers to them.
    """

    prefix: str
    own: str
    labels: tuple[str, ...] = ()
    about: str = ""

    @property
    def text(self) -> str:
        return self.prefix + self.own


NONE = " None"  # the empty answer, an English word in every language
_NOTHING = re.compile(r"(none|无|没有|keine?|geen|ninguna?)[^\w:：]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Example:
    """A text with its answer, shown before the question; `event` is the type its answer is of."""

    text: str
    mentions: tuple[Mention, ...]
    event: str | None = None

    def renamed(self, names: Mapping[str, str]) -> Example:
        """The example with other names for some of its labels."""
        said = tuple(m._replace(label=names.get(m.label, m.label)) for m in self.mentions)
        return replace(self, mentions=said)


@dataclass(frozen=True, slots=True)
class Form:
    """How is asked: for what, after which examples and, where the task wants one, of which event.

    `event` and `trigger` are the event's type and the word that stands for it.
    """

    task: Task = "NER"
    examples: tuple[Example, ...] = ()
    event: str = ""
    trigger: str = ""

    def without(self, text: str) -> Form:
        """The form with no example of that text: a question must not show its answer."""
        if not self.examples:
            return self
        kept = tuple(each for each in self.examples if each.text.strip() != text.strip())
        return replace(self, examples=kept)


ZERO_SHOT = Form()


def render(labels: LabelSet, text: str, language: Language, form: Form = ZERO_SHOT) -> Prompt:
    """Ask for `labels` in `text`; descriptions and examples, where there are any, have forms of
    their own.

    German, Dutch and Spanish have none of these: they are asked in English then. Raises
    UsageError for a form that the models were never asked in.
    """
    before, after = prefix(labels, language, form), own(labels, text, language, form)
    return Prompt(before, after, labels.names, text)


def prefix(labels: LabelSet, language: Language, form: Form = ZERO_SHOT) -> str:
    """The part of a prompt that all documents of a label set share."""
    template = _template(labels, language, form)
    names = ", ".join(labels.names)
    if form.examples:
        assert template.shown is not None  # _template sees to that
        shown = "".join(example(each, labels, language, form) for each in form.examples)
        head = _of_event(template.shown, form)
        return f"{head}{names}{template.shown_labels}{shown}{template.text}"
    if not labels.descriptions:
        return _of_event(template.instruction, form) + names + template.labels + template.text
    means = "; ".join(
        f'{name} {template.means} "{labels.descriptions[name]}"'
        for name in labels.names
        if name in labels.descriptions
    )
    return (
        f"{template.described}{names}{template.description}{means}{template.labels}{template.text}"
    )


def own(labels: LabelSet, text: str, language: Language, form: Form = ZERO_SHOT) -> str:
    """The part of a prompt that is the document's own."""
    return f" {text}{_template(labels, language, form).answer}"


def example(shown: Example, labels: LabelSet, language: Language, form: Form) -> str:
    """An example as it stands in a prompt: of its answer what the label set asks for."""
    template = _template(labels, language, form)
    said = [mention for mention in shown.mentions if mention.label in labels.names]
    return f"{template.text} {shown.text}{template.answer}{answer(said, form.task)} \n\n"


def check(labels: LabelSet, form: Form) -> None:
    """Raise UsageError if no language has a prompt of that form for the labels."""
    language = "zh" if "en" not in templates.TEMPLATES[form.task] else "en"
    _template(labels, as_language(language), form)


def _template(labels: LabelSet, language: Language, form: Form) -> Template:
    if form is ZERO_SHOT and not labels.descriptions:
        return TEMPLATES[language]
    template = templates.template(form.task, language)
    if form.examples and labels.descriptions:
        raise UsageError(
            "no prompt has both examples and descriptions of labels",
            "leave out --examples, or the descriptions",
        )
    if (form.examples and template.shown is None) or (
        labels.descriptions and template.described is None
    ):
        template = templates.template(form.task, "en")
        what = "examples" if form.examples else "descriptions of labels"
        if (template.shown if form.examples else template.described) is None:
            raise UsageError(f"task {form.task.lower()} has no prompt with {what}")
    return template


def _of_event(instruction: str, form: Form) -> str:
    if form.task not in templates.ABOUT_EVENTS:
        return instruction
    # One pass over the template alone: what is inserted is never looked at again.
    head, _, rest = instruction.partition(templates.TYPE)
    between, trigger, tail = rest.partition(templates.TRIGGER)
    return head + form.event + between + (form.trigger + tail if trigger else "")


def answer(mentions: Iterable[Mention], task: Task = "NER") -> str:
    """The answer that says `mentions`, in their order, repeats kept; leading space included."""
    if task in templates.LABELS_ONLY:
        said = "; ".join(dict.fromkeys(mention.label for mention in mentions))
    else:
        said = "; ".join(f"{mention.label}: {mention.surface}" for mention in mentions)
    return f" {said}" if said else NONE


def labels_said(answered: str) -> list[str]:
    """What an answer has before its colons, whether it was asked for or not."""
    pieces = re.split("[;；]", answered)
    parts = (re.split("[:：]", piece, maxsplit=1) for piece in pieces)
    return [name for part in parts if len(part) == 2 and (name := part[0].strip())]


def parse(
    completion: Completion, labels: Sequence[str], text: str
) -> tuple[list[Mention], list[str]]:
    """Read the mentions of an answer about `text`, and the problems met in reading it.

    Full-width punctuation, missing spaces, letter case of labels and a cut-off tail are
    tolerated. A piece without a label continues the piece before it where the two joined stand
    in the text (a surface that holds ``;``); otherwise it is a problem, as is an unknown label.
    """
    answered = completion.text
    if ":" not in answered and _NOTHING.fullmatch(answered.strip()):
        return [], []
    known = _known(tuple(labels))
    ends, logprobs = completion.ends, completion.logprobs
    mentions: list[Mention] = []
    problems: list[str] = []
    # Offsets hold in both: what is read off the one is cut out of the other.
    plain = answered if answered.isascii() else answered.replace("；", ";").replace("：", ":")
    pieces = plain.split(";")
    if completion.stop == "length":
        pieces.pop()  # its surface may be half a word
        problems.append(f"answer cut off after {len(ends)} tokens")
    end = -1
    opened = ""  # the last mention: its label, where that and where its surface begins
    opening = surface_start = 0
    for piece in pieces:
        start, end = end + 1, end + 1 + len(piece)
        before, colon, _ = piece.partition(":")
        named = before.strip()
        label = known.get(named) or known.get(fold(named)) if colon else None
        if label is not None:
            opened, opening, surface_start = label, start, start + len(before) + 1
            surface = answered[surface_start:end].strip()
            mentions.append(Mention(label, surface, _score(ends, logprobs, start, end)))
        elif not piece.strip():
            continue  # two separators in a row, or one at the end
        elif mentions and (surface := answered[surface_start:end].strip()) in text:
            mentions[-1] = Mention(opened, surface, _score(ends, logprobs, opening, end))
        else:
            said = named if colon else answered[start:end].strip()
            what = "label not in the label set" if colon else "answer piece without a label"
            problems.append(f"{what}: {said[:80]!r}")
    if not all([mention.surface for mention in mentions]):
        problems += [f"label {m.label!r} without an entity" for m in mentions if not m.surface]
        mentions = [mention for mention in mentions if mention.surface]
    return mentions, problems


@lru_cache(maxsize=256)
def _known(labels: tuple[str, ...]) -> Mapping[str, str]:
    """The labels by what an answer may call them."""
    # A label as it stands in the set comes before one that differs in case or spaces.
    return {fold(name): name for name in labels} | {name: name for name in labels}


def fold(label: str) -> str:
    """What spellings of a label that answers do not tell apart have in common."""
    return " ".join(label.replace("->", " -> ").split()).casefold()


def score(completion: Completion, start: int, end: int) -> float | None:
    """Geometric mean probability of the tokens that spell a part of an answer."""
    return _score(completion.ends, completion.logprobs, start, end)


def _score(ends: Sequence[int], logprobs: Sequence[float], start: int, end: int) -> float | None:
    """Geometric mean probability of the answer tokens that spell characters [start, end)."""
    spelling = logprobs[bisect_right(ends, start) : bisect_left(ends, end) + 1]
    if not spelling:
        return None
    mean = sum(spelling) / len(spelling)
    return math.exp(mean) if mean < 0 else 1.0
