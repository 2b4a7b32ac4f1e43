"""Every template of the reference, to the byte, and what stands in where there is none."""

import json
from pathlib import Path

import pytest

from b2ner_cli.core.tasks import TASKS, as_task
from b2ner_cli.errors import UsageError
from b2ner_cli.prompts.templates import TEMPLATES, template

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "instruction_config_ml.json").read_text(
        encoding="utf-8"
    )
)
WORDS = {"en": "Answer:", "zh": "答案:", "de": "Antwort:", "nl": "Antwoord:", "es": "Respuesta:"}
FORMS = [
    (language, task, form["instruction_type"], form["instruction"])
    for language, tasks in REFERENCE.items()
    for task, forms in tasks.items()
    for form in forms
]


def spelled(words, kind):
    """A template as the reference spells it."""
    end = f"{words.text} {{text}}{words.answer}"
    if kind == "zero-shot":
        return words.instruction + "{labels_str}" + words.labels + end
    if kind == "few-shot":
        return f"{words.shown}{{labels_str}}{words.shown_labels}@@examples@@{end}"
    described = words.description + "{label_descriptions_str}" + words.labels + end
    return words.described + "{labels_str}" + described


@pytest.mark.parametrize(("language", "task", "kind", "instruction"), FORMS)
def test_byte_exact(language, task, kind, instruction):
    assert spelled(TEMPLATES[task][language], kind) == instruction + WORDS[language]


def test_no_form_is_made_up():
    ours = set()
    for task, languages in TEMPLATES.items():
        for language, words in languages.items():
            ours.add((language, task, "zero-shot"))
            if words.shown:
                ours.add((language, task, "few-shot"))
            if words.described:
                ours.add((language, task, "zero-shot-with-description"))
    assert ours == {form[:3] for form in FORMS}


def test_names_in_any_case():
    assert [as_task(task.lower()) for task in TASKS] == list(TASKS)
    with pytest.raises(UsageError, match="no task 'nerd'") as caught:
        as_task("nerd")
    assert "neweet" in caught.value.hint


def test_english_stands_in_where_there_is_any():
    assert template("RE", "de") is TEMPLATES["RE"]["en"]
    with pytest.raises(UsageError, match="no prompt for task sentiment in language en") as caught:
        template("Sentiment", "en")
    assert caught.value.hint == "ask in another: --lang zh"
