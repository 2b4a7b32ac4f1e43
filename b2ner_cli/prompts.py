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
from dataclasses import dataclass
from functools import lru_cache

from b2ner_cli.document import Completion, Mention
from b2ner_cli.labels import LabelSet, Language


@dataclass(frozen=True, slots=True)
class Template:
    """The fixed words of one language; `described` is None where no such form exists."""

    instruction: str
    labels: str
    text: str
    answer: str
    described: str | None = None
    description: str = ""
    means: str = ""


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


_FORMAT_EN = (
    'The answer format should be "entity label: entity; entity label: entity". \nLabel Set: '
)
_FORMAT_ZH = '答案格式为 "实体标签: 实体; 实体标签: 实体"。\n标签范围: '

TEMPLATES: dict[Language, Template] = {
    "en": Template(
        instruction="Given the label set of entities, please recognize all the entities in the "
        "text. " + _FORMAT_EN,
        labels=" \n\n",
        text="Text:",
        answer=" \nAnswer:",
        described="Given the label set of entities and their descriptions, please recognize all "
        "the entities in the text. " + _FORMAT_EN,
        description=" \nLabel Description: ",
        means="means",
    ),
    "zh": Template(
        instruction="给定实体的标签范围，请识别文本中属于这些标签的所有实体。" + _FORMAT_ZH,
        labels="\n\n",
        text="文本:",
        answer=" \n答案:",
        described="给定实体的标签范围以及对每个标签的描述，请识别文本中属于这些标签的所有实体。"
        + _FORMAT_ZH,
        description="\n标签描述: ",
        means="是指",
    ),
    "de": Template(
        instruction="Gegeben die Menge der Entitäten, erkenne alle Entitäten im Text. Das "
        'Antwortformat sollte sein "Entität Label: Entität; Entität Label: Entität". \nLabel Set: ',
        labels=" \n\n",
        text="Text:",
        answer=" \nAntwort:",
    ),
    "nl": Template(
        instruction="Gegeven de set van entiteiten, herken al de entiteiten in de tekst. Het "
        'antwoordformaat moet zijn "entiteit label: entiteit; entiteit label: entiteit". '
        "\nLabel Set: ",
        labels=" \n\n",
        text="Tekst:",
        answer=" \nAntwoord:",
    ),
    "es": Template(
        instruction="Dada la lista de entidades, reconoce todas las entidades en el texto. El "
        'formato de la respuesta debe ser "etiqueta de entidad: entidad; etiqueta de entidad: '
        'entidad". \nConjunto de Etiquetas: ',
        labels=" \n\n",
        text="Texto:",
        answer=" \nRespuesta:",
    ),
}

NONE = " None"  # the empty answer, an English word in every language
_NOTHING = re.compile(r"(none|无|没有|keine?|geen|ninguna?)[^\w:：]*", re.IGNORECASE)


def render(labels: LabelSet, text: str, language: Language) -> Prompt:
    """Ask for `labels` in `text`; descriptions, where the set has any, use that form.

    German, Dutch and Spanish have no form with descriptions: they are asked in English then.
    """
    return Prompt(prefix(labels, language), own(labels, text, language), labels.names, text)


def prefix(labels: LabelSet, language: Language) -> str:
    """The part of a prompt that all documents of a label set share."""
    template = _template(labels, language)
    names = ", ".join(labels.names)
    if not labels.descriptions:
        return template.instruction + names + template.labels + template.text
    means = "; ".join(
        f'{name} {template.means} "{labels.descriptions[name]}"'
        for name in labels.names
        if name in labels.descriptions
    )
    return (
        f"{template.described}{names}{template.description}{means}{template.labels}{template.text}"
    )


def own(labels: LabelSet, text: str, language: Language) -> str:
    """The part of a prompt that is the document's own."""
    return f" {text}{_template(labels, language).answer}"


def _template(labels: LabelSet, language: Language) -> Template:
    template = TEMPLATES[language]
    if labels.descriptions and template.described is None:
        return TEMPLATES["en"]
    return template


def answer(mentions: Iterable[Mention]) -> str:
    """The answer that says `mentions`, in their order, repeats kept; leading space included."""
    said = "; ".join(f"{mention.label}: {mention.surface}" for mention in mentions)
    return f" {said}" if said else NONE


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


def _score(ends: Sequence[int], logprobs: Sequence[float], start: int, end: int) -> float | None:
    """Geometric mean probability of the answer tokens that spell characters [start, end)."""
    spelling = logprobs[bisect_right(ends, start) : bisect_left(ends, end) + 1]
    if not spelling:
        return None
    mean = sum(spelling) / len(spelling)
    return math.exp(mean) if mean < 0 else 1.0
