"""Examples and descriptions: read, shown as far as they fit, and never the question itself."""

import json

import pytest

from b2ner_cli.core.document import Document, Mention
from b2ner_cli.errors import InputError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.labels.reading import read_descriptions
from b2ner_cli.prompts.examples import read_examples
from b2ner_cli.prompts.rendering import Example, Form
from b2ner_cli.tagging.loop import Options, questions, tag
from tests.scripted import ScriptedEngine, Shell

PERSON = LabelSet(("person",))


def example(number, words=6):
    text = f"Person{number} " + "met " * (words - 2) + "."
    return Example(text, (Mention("person", f"Person{number}"),))


def asked(documents, engine, labels=PERSON, **more):
    options = Options(**more)
    return [p for each in questions(documents, engine, labels, options) for p in each]


def shown(prompt):
    return prompt.prefix.count("Answer:")


# Reading ------------------------------------------------------------------------------------------


def test_examples_are_documents_with_gold(tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text(
        '{"text": "Ann left .", "entities": [{"start": 0, "end": 3, "label": "person"}]}\n'
        '{"text": "a; b", "entities": [{"label": "person", "text": "a; b"}]}\n'
        '{"text": " ", "entities": []}\n'
    )
    first, second = read_examples(path)
    assert first == Example("Ann left .", (Mention("person", "Ann"),))
    assert second.mentions == ()  # no answer can say it


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "Ann"}', "examples.jsonl:1: no 'entities' in this example"),
        ('{"text": "Ann", "entities": []}\n{', "examples.jsonl:2: malformed JSON"),
        ("", "no examples in the file"),
    ],
)
def test_bad_examples_are_named(tmp_path, content, message):
    path = tmp_path / "examples.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_examples(path)


def test_descriptions_from_lines_and_from_json(tmp_path):
    lines, object_ = tmp_path / "d.txt", tmp_path / "d.json"
    lines.write_text("# ours\nperson: a human: any\n")
    object_.write_text('{"person": "a human: any"}')
    assert read_descriptions(lines) == read_descriptions(object_) == {"person": "a human: any"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("d.txt", "person", "label 'person' has none"),
        ("d.json", '{"person": 3}', "label 'person' has none"),
        ("d.json", "[]", "not an object"),
        ("d.json", "{", "malformed JSON"),
    ],
)
def test_bad_descriptions_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_descriptions(tmp_path / name)
    with pytest.raises(InputError, match="cannot read"):
        read_descriptions(tmp_path / f"no-{name}")


# Asking -------------------------------------------------------------------------------------------


def test_as_many_as_leave_room_for_text(caplog):
    caplog.set_level("INFO", "b2ner")
    engine = ScriptedEngine(context=400, max_answer=100)
    form = Form(examples=tuple(example(n, words=30) for n in range(20)))
    document = Document("1", "word " * 60)
    prompts = asked([document], engine, form=form)
    few = shown(prompts[0])
    assert 1 <= few < 20
    assert "examples fit" in caplog.text
    assert {prompt.prefix for prompt in prompts} == {prompts[0].prefix}
    # With the answer the prompt fits, and text gets the quarter of the context it needs.
    assert all(engine.count(prompt.text) + 100 <= 400 for prompt in prompts)
    assert len(prompts) == 1


def test_a_long_example_is_passed_over_for_a_short_one():
    engine = ScriptedEngine(context=300, max_answer=50)
    form = Form(examples=(example(1, words=400), example(2)))
    (prompt,) = asked([Document("1", "Ann .")], engine, form=form)
    assert "Person2" in prompt.prefix and "Person1" not in prompt.prefix


def test_a_question_is_never_shown_its_own_answer():
    form = Form(examples=(example(1), example(2)))
    same, other = Document("1", f" {example(1).text}\n"), Document("2", "Ann .")
    first, second = asked([same, other], ScriptedEngine(), form=form)
    assert "Person1" not in first.prefix and "Person2" in first.prefix
    assert shown(second) == 2


def test_a_chunk_is_not_shown_its_own_answer_either():
    form = Form(examples=(example(1), example(2)))
    long = Document("1", example(1).text + "\n\n" + "word " * 30 + ".")
    first, *others = asked([long], ScriptedEngine(), form=form, chunk_tokens=32)
    assert first.about == example(1).text and shown(first) == 1
    assert all(shown(prompt) == 2 for prompt in others) and others


def test_no_chunk_of_an_example_is_shown_the_example():
    text = "Person1 met Person2 . Then Person3 left ."
    form = Form(examples=(Example(text, (Mention("person", "Person1"),)), example(9)))
    prompts = asked([Document("1", text)], ScriptedEngine(), form=form, chunk_tokens=5)
    assert len(prompts) == 2
    assert all("Person9" in prompt.prefix and "Person2" not in prompt.prefix for prompt in prompts)


def test_results_are_those_of_the_answers():
    form = Form(examples=(example(1),))
    (result,) = tag([Document("1", "Person7 left .")], ScriptedEngine(), PERSON, Options(form=form))
    assert [(e.start, e.end, e.label) for e in result.entities] == [(0, 7, "person")]


def test_descriptions_go_with_the_labels_of_documents():
    document = Document("1", "Ann .", labels=("person", "city"))
    (prompt,) = asked([document], ScriptedEngine(), None, descriptions={"city": "a town"})
    assert 'Label Description: city means "a town"' in prompt.text


# The command --------------------------------------------------------------------------------------


def test_tag_with_examples_and_descriptions(tmp_path):
    shell = Shell(tmp_path)
    (shell.folder / "docs.jsonl").write_text('{"text": "Person7 left ."}\n')
    gold = {"text": "Person1 .", "entities": [{"text": "Person1", "label": "person"}]}
    (shell.folder / "examples.jsonl").write_text(json.dumps(gold) + "\n")
    (shell.folder / "described.txt").write_text("person: a human\ncity: a town\n")
    command = ["tag", "docs.jsonl", "-l", "person"]
    done = shell.run([*command, "--examples", "examples.jsonl"], engine=ScriptedEngine)
    assert (done.code, json.loads(done.out)["entities"][0]["text"]) == (0, "Person7"), done.err
    done = shell.run([*command, "--descriptions", "described.txt"], engine=ScriptedEngine)
    assert done.code == 0 and "no label 'city' is asked for" in done.err
    done = shell.run(
        [*command, "--examples", "examples.jsonl", "--descriptions", "described.txt"],
        engine=ScriptedEngine,
    )
    assert done.code == 2 and "both examples and descriptions" in done.err
