"""The language models of B2NER are asked in and answer in: render, answer, parse.

    render   Given the label set ... \\nLabel Set: person, city \\n\\nText: Ann, Rome. \\nAnswer:
    answer    person: Ann; city: Rome
    parse    -> Mention("person", "Ann"), Mention("city", "Rome")

Tagging, training and scoring share this one wire format (byte-exact with the reference
implementation's instruction_config_ml.json). Strings only: no tokenizer, no model. Text is
inserted once and never formatted, so braces and template words in a document are just text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from b2ner_cli.core import tasks
from b2ner_cli.core.document import Mention
from b2ner_cli.core.engine import Prompt
from b2ner_cli.core.language import Language, as_language
from b2ner_cli.core.tasks import Task
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts import templates
from b2ner_cli.prompts.templates import NER as TEMPLATES
from b2ner_cli.prompts.templates import Template

NONE = " None"  # the empty answer, an English word in every language


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
    if form.task not in tasks.ABOUT_EVENTS:
        return instruction
    # One pass over the template alone: what is inserted is never looked at again.
    head, _, rest = instruction.partition(templates.TYPE)
    between, trigger, tail = rest.partition(templates.TRIGGER)
    return head + form.event + between + (form.trigger + tail if trigger else "")


def answer(mentions: Iterable[Mention], task: Task = "NER") -> str:
    """The answer that says `mentions`, in their order, repeats kept; leading space included."""
    if task in tasks.LABELS_ONLY:
        said = "; ".join(dict.fromkeys(mention.label for mention in mentions))
    else:
        said = "; ".join(f"{mention.label}: {mention.surface}" for mention in mentions)
    return f" {said}" if said else NONE
