"""The fixed words of prompts: a template for each task and language the models were taught in.

    NER        Given the label set of entities, ...       -> person: Ann; city: Rome
    RE         Given the label set of relations, ...      -> author: Emma, Austen
    EET        Given the label set of events, ...         -> attack: bombed
    EEA        Given event type, trigger word and ...     -> attacker: rebels; place: Aleppo
    newEET     the same as EET without triggers           -> attack
    newEEA     the same as EEA without the trigger
    Sentiment  one label for the whole text               -> 积极

Byte for byte those of the reference's instruction_config_ml.json, spaces before newlines
included: adapters were trained on exactly these. Strings only; `prompts` puts them together.
"""

from __future__ import annotations

from dataclasses import dataclass

from b2ner_cli.core.language import Language
from b2ner_cli.core.tasks import Task
from b2ner_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Template:
    """The fixed words of one task in one language.

    A prompt is `instruction`, the labels, `labels`, then `text`, the document and `answer`. The
    forms with descriptions and with examples have instructions of their own, `described` and
    `shown`, None where there is no such form; `shown_labels` stands for `labels` there. In the
    instructions of `ABOUT_EVENTS`, TYPE and TRIGGER are to be replaced.
    """

    instruction: str
    labels: str
    text: str
    answer: str
    described: str | None = None
    description: str = ""
    means: str = ""
    shown: str | None = None
    shown_labels: str = " \n\n"


TYPE, TRIGGER = "{event_type}", "{event_trigger}"

_EN_FORMAT = 'The answer format should be "{0}: {1}; {0}: {1}". '
_EN_SHOWN = "Below are some examples. "
_EN_LABELS = "\nLabel Set: "
_ZH_FORMAT = '答案格式为 "{0}: {1}; {0}: {1}"。'
_ZH_SHOWN = "下面有一些例子。 "
_ZH_LABELS = "\n标签范围: "


def _en(instruction: str, labels: str, shown: str | None = None, described: str = "") -> Template:
    return Template(
        instruction=instruction + labels,
        labels=" \n\n",
        text="Text:",
        answer=" \nAnswer:",
        described=described + labels if described else None,
        description=" \nLabel Description: ",
        means="means",
        shown=shown,
    )


def _zh(
    instruction: str,
    labels: str,
    shown: str | None = None,
    described: str = "",
    after: str = "\n\n",
    after_shown: str = " \n\n",
) -> Template:
    return Template(
        instruction=instruction + labels,
        labels=after,
        text="文本:",
        answer=" \n答案:",
        described=described + labels if described else None,
        description="\n标签描述: ",
        means="是指",
        shown=shown,
        shown_labels=after_shown,
    )


_EN_ENTITIES = _EN_FORMAT.format("entity label", "entity")
_EN_NER = (
    "Given the label set of entities, please recognize all the entities in the text. "
    + _EN_ENTITIES
)
_EN_RE = (
    "Given the label set of relations, please extract the two entities and relation label from "
    "the text. " + _EN_FORMAT.format("relation label", "entity, entity")
)
_EN_ARGUMENTS = (
    "the label set of event arguments, please extract all event arguments of corresponding events "
    "from the text. " + _EN_FORMAT.format("argument label", "entity")
)
_EN_EET = (
    "Given the label set of events, please recognize all the events that belong to these labels "
    "in the text. " + _EN_FORMAT.format("event label", "trigger word")
)
_ZH_ENTITIES = _ZH_FORMAT.format("实体标签", "实体")
_ZH_NER = f"给定实体的标签范围，请识别文本中属于这些标签的所有实体。{_ZH_ENTITIES}"
_ZH_RE = "给定关系的标签范围，请提取文本中存在关系的两个实体以及关系的标签。" + _ZH_FORMAT.format(
    "关系标签", "实体, 实体"
)
_ZH_ARGUMENTS = "请提取文本中所有对应事件的事件参数。" + _ZH_FORMAT.format("参数标签", "实体")
_ZH_EET = "给定事件的标签范围，请识别文本中属于这些标签的所有事件。"
_ZH_SENTIMENT = '给定情感的类别范围，请判断文本中的情感倾向。输出格式为 "情感类别"。'

NER: dict[Language, Template] = {
    "en": _en(
        _EN_NER,
        _EN_LABELS,
        shown=_EN_NER + _EN_SHOWN + _EN_LABELS,
        described="Given the label set of entities and their descriptions, please recognize all "
        f"the entities in the text. {_EN_ENTITIES}",
    ),
    "zh": _zh(
        _ZH_NER,
        _ZH_LABELS,
        shown=_ZH_NER + _ZH_SHOWN + _ZH_LABELS,
        described="给定实体的标签范围以及对每个标签的描述，请识别文本中属于这些标签的所有实体。"
        + _ZH_ENTITIES,
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

TEMPLATES: dict[Task, dict[Language, Template]] = {
    "NER": NER,
    "RE": {
        "en": _en(_EN_RE, _EN_LABELS, shown=_EN_RE + _EN_SHOWN + _EN_LABELS),
        "zh": _zh(_ZH_RE, f" {_ZH_LABELS}", shown=_ZH_RE + _ZH_SHOWN + _ZH_LABELS, after=" \n\n"),
    },
    "EET": {
        "en": _en(_EN_EET, _EN_LABELS),
        "zh": _zh(_ZH_EET + _ZH_FORMAT.format("事件标签", "触发词"), _ZH_LABELS),
    },
    "EEA": {
        "en": _en(
            f"Given event type, trigger word and {_EN_ARGUMENTS}",
            f"\nEvent type: {TYPE}, Trigger word: {TRIGGER}{_EN_LABELS}",
        ),
        "zh": _zh(
            f"给定事件类型、触发词和事件参数的标签范围，{_ZH_ARGUMENTS}",
            f"\n事件类型: {TYPE}, 触发词: {TRIGGER}{_ZH_LABELS}",
        ),
    },
    "newEET": {"zh": _zh(f'{_ZH_EET}答案格式为 "事件标签; 事件标签"。', _ZH_LABELS)},
    "newEEA": {
        "en": _en(
            f"Given event type and {_EN_ARGUMENTS}",
            f"\nEvent type: {TYPE}{_EN_LABELS}",
            shown=f"Given event type and {_EN_ARGUMENTS}{_EN_SHOWN}\nEvent type: {TYPE} "
            + _EN_LABELS,
        ),
        "zh": _zh(
            f"给定事件类型和事件参数的标签范围，{_ZH_ARGUMENTS}",
            f"\n事件类型: {TYPE}{_ZH_LABELS}",
            shown=f"给定事件类型和事件参数的标签范围，{_ZH_ARGUMENTS}{_ZH_SHOWN}"
            f"\n事件类型: {TYPE}{_ZH_LABELS}",
            after_shown="\n\n",
        ),
    },
    "Sentiment": {
        "zh": _zh(
            _ZH_SENTIMENT,
            " \n类别范围: ",
            shown=f"{_ZH_SENTIMENT}{_ZH_SHOWN}\n类别范围: ",
            after=" \n\n",
        )
    },
}


def template(task: Task, language: Language) -> Template:
    """The template of a task: in the language, or in English, which stands in for the others.

    Raises UsageError where there is neither.
    """
    found = TEMPLATES[task].get(language)
    if found is None and language != "zh":
        found = TEMPLATES[task].get("en")
    if found is None:
        there = " ".join(TEMPLATES[task])
        raise UsageError(
            f"there is no prompt for task {task.lower()} in language {language}",
            f"ask in another: --lang {there}",
        )
    return found
