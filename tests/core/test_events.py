"""Events: types, triggers and arguments, from documents, from sets, and of events found before."""

import json

import pytest

from b2ner_cli.core.chunking import Chunk
from b2ner_cli.core.document import BadRecord, Document, Event, Mention, Span
from b2ner_cli.core.engine import Completion
from b2ner_cli.core.structures.events import ground, merge
from b2ner_cli.datasets.balance import Limits
from b2ner_cli.errors import InputError
from b2ner_cli.formats import gold, jsonl
from b2ner_cli.formats.fields import RecordError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.labels.reading import as_labels, read_roles
from b2ner_cli.prompts.parsing import parse_labels
from b2ner_cli.prompts.rendering import Form, answer, render
from b2ner_cli.scoring.scored_documents import paper_reader
from b2ner_cli.tagging.loop import Options, questions, tag
from b2ner_cli.training.groups import PromptChoices, bundles
from b2ner_cli.training.selection import choose
from tests.scripted import ScriptedEngine, Shell

TEXT = "Rebels bombed Aleppo and talks began in Geneva ."
ROLES = {"attack": ("attacker", "place"), "meet": ("place",)}
ROW = {
    "sentence": TEXT,
    "events": [
        {
            "type": "attack",
            "trigger": "bombed",
            "pos": [7, 13],
            "arguments": [
                {"role": "attacker", "name": "Rebels"},
                {"role": "place", "name": "Aleppo"},
            ],
        },
        {"type": "meet", "trigger": "talks", "arguments": [{"role": "place", "name": "Geneva"}]},
    ],
}


def place(words):
    return Span(TEXT.index(words), TEXT.index(words) + len(words), words)


def tagged(document, engine, task, labels, **more):
    (result,) = tag([document], engine, labels, Options(form=Form(task), **more))
    assert not isinstance(result, BadRecord), result
    return json.loads(jsonl.encode(result))


# What answers say ---------------------------------------------------------------------------------


def test_triggers_have_places():
    said = [Mention("attack", "bombed", 0.5), Mention("meet", "summit")]
    assert ground(TEXT, said) == ([Event("attack", place("bombed"), (), 0.5)], said[1:])


@pytest.mark.parametrize(
    ("said", "labels", "problems"),
    [
        (" attack; meet", ["attack", "meet"], 0),
        (" Attack；attack", ["attack"], 0),
        (" attack: bombed", ["attack"], 0),
        (" None", [], 0),
        ("", [], 0),
        (" storm; meet", ["meet"], 1),
        (" Attack ->  Raid", ["attack->raid"], 0),
    ],
)
def test_labels_alone(said, labels, problems):
    events, trouble = parse_labels(Completion(said), ["attack", "meet", "attack->raid"])
    assert [event.label for event in events] == labels and len(trouble) == problems


def test_labels_alone_undo_their_answer():
    mentions = [Mention("meet", ""), Mention("attack", ""), Mention("meet", "")]
    said = answer(mentions, "newEET")
    assert said == " meet; attack"
    assert [e.label for e in parse_labels(Completion(said), list(ROLES))[0]] == ["meet", "attack"]
    assert answer([], "newEET") == " None"


def test_a_cut_answer_loses_its_tail():
    cut = Completion(" attack; me", (-1.0,), (11,), "length")
    assert [e.label for e in parse_labels(cut, list(ROLES))[0]] == ["attack"]


def test_merge_moves_triggers_and_keeps_the_surest():
    event = Event("attack", Span(0, 1, "a"), (), 0.2)
    sure = event._replace(score=0.6)
    assert merge([(Chunk(3, 9), [event]), (Chunk(3, 9), [sure])]) == (
        sure._replace(trigger=Span(3, 4, "a")),
    )


# Tagging ------------------------------------------------------------------------------------------


def test_events_then_their_arguments():
    engine = ScriptedEngine(lambda labels, text: " attack: bombed; meet: talks")
    first = tagged(Document("1", TEXT), engine, "EET", as_labels(ROLES, "EET"))
    assert [e["label"] for e in first["events"]] == ["attack", "meet"]
    assert first["events"][0]["trigger"] == {"start": 7, "end": 13, "text": "bombed"}
    assert "arguments" not in first["events"][0]

    def arguments(labels, text):
        return " attacker: Rebels; place: Aleppo" if "attacker" in labels else " place: Geneva"

    document = gold.with_events(Document("1", TEXT, meta=first, raw=json.dumps(first).encode()))
    engine = ScriptedEngine(arguments)
    second = tagged(document, engine, "EEA", as_labels(ROLES, "EEA"), roles=ROLES)
    said = [[(a["label"], a["text"]) for a in e["arguments"]] for e in second["events"]]
    assert said == [[("attacker", "Rebels"), ("place", "Aleppo")], [("place", "Geneva")]]
    assert second["events"][1]["trigger"] == place("talks")._asdict()
    assert second["events_in"] == first["events"]
    asked = engine.calls[0][0]
    assert "Event type: attack, Trigger word: bombed\nLabel Set: attacker, place \n" in asked[0]


def test_without_triggers():
    document = Document("1", "他们在日内瓦会谈。", events=(Event("会谈"),))
    engine = ScriptedEngine(lambda labels, text: " 地点: 日内瓦")
    line = tagged(document, engine, "newEEA", LabelSet(("地点",)))
    assert line["events"][0]["arguments"][0]["text"] == "日内瓦"
    assert "trigger" not in line["events"][0] and "触发词" not in engine.calls[0][0][0]
    engine = ScriptedEngine(lambda labels, text: " 会谈")
    line = tagged(document, engine, "newEET", LabelSet(("会谈", "袭击")))
    assert [event["label"] for event in line["events"]] == ["会谈"]


def test_sentiment_is_one_label():
    document = Document("1", "很好！")
    labels = LabelSet(("积极", "消极"))
    line = tagged(document, ScriptedEngine(lambda *_: " 积极"), "Sentiment", labels)
    assert line["sentiment"]["label"] == "积极"
    line = tagged(document, ScriptedEngine(lambda *_: " None"), "Sentiment", labels)
    assert line["sentiment"] is None


def test_arguments_are_asked_for_where_the_trigger_stands():
    text = "Rebels bombed it .\n\n" + "Nothing else happened there . " * 3
    document = Document("1", text, events=(Event("attack", Span(7, 13, "bombed")),))
    options = Options(form=Form("EEA"), chunk_tokens=8)
    (prompts,) = questions([document], ScriptedEngine(), LabelSet(("attacker",)), options)
    assert [prompt.about for prompt in prompts] == ["Rebels bombed it ."]


def test_event_words_are_inserted_once():
    form = Form("EEA", event="{event_trigger}", trigger="{labels_str}")
    asked = render(LabelSet(("a",)), "x", "en", form).text
    assert "Event type: {event_trigger}, Trigger word: {labels_str}\nLabel Set: a \n" in asked


# Gold ---------------------------------------------------------------------------------------------


def test_a_document_an_event_for_arguments():
    document = Document("7", TEXT, meta=ROW)
    first, second = gold.as_task(document, "EEA", ROLES)
    assert (first.id, second.id) == ("7", "7.1")
    assert first.labels == ROLES["attack"] and first.events == (Event("attack", place("bombed")),)
    assert answer(first.mentions) == " attacker: Rebels; place: Aleppo"
    assert second.events[0].trigger == place("talks")  # found by its word
    (types,) = gold.as_task(document, "EET")
    assert answer(types.mentions, "EET") == " attack: bombed; meet: talks"
    (types,) = gold.as_task(document, "newEET")
    assert answer(types.mentions, "newEET") == " attack; meet"
    assert list(gold.as_task(document._replace(meta={"events": []}), "EEA")) == []


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"type": "attack", "trigger": "shelled"}, "'shelled' does not stand in the text"),
        ({"type": "attack", "trigger": 3}, "'trigger' is a number"),
        ({"type": "attack", "arguments": 3}, "'arguments' is a number"),
        ({"type": "attack", "arguments": [{"name": "x"}]}, "an argument has no 'label' or 'role'"),
        ({"type": "attack"}, "'attack' has no trigger"),
    ],
)
def test_bad_gold_is_named(event, message):
    with pytest.raises(RecordError, match=message):
        list(gold.as_task(Document("1", TEXT, meta={"events": [event]}), "EET"))


def test_roles_are_an_object_of_lists(tmp_path):
    path = tmp_path / "roles.json"
    path.write_text(json.dumps({event: list(roles) for event, roles in ROLES.items()}))
    assert read_roles(path) == ROLES
    path.write_text('["attack"]')
    with pytest.raises(InputError, match="not an object of lists"):
        read_roles(path)


def write_set(root):
    folder = root / "EE_en" / "war"
    folder.mkdir(parents=True)
    (folder / "labels.json").write_text(json.dumps(ROLES))
    for split in ("train", "test"):
        (folder / f"{split}.json").write_text(json.dumps([ROW] * 3))


def test_training_groups_say_which_event_is_asked_about(tmp_path):
    write_set(tmp_path)
    types, arguments = choose(tmp_path, Limits(), 1, tasks=("EET", "EEA"))
    assert (types.name, arguments.name) == ("EET_en_war", "EEA_en_war")
    assert (len(types.documents), len(arguments.documents)) == (3, 6)
    groups = [g for b in bundles([arguments], 4, PromptChoices(18, 0.0), "s") for g in b]
    said = {(g.form.event, g.form.trigger, frozenset(g.labels.names)) for g in groups}
    assert said == {
        ("attack", "bombed", frozenset(ROLES["attack"])),
        ("meet", "talks", frozenset(ROLES["meet"])),
    }
    assert {len(g.targets[0]) for g in groups} == {1, 2}


# Scores -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold_", "predicted", "right"),
    [
        ("attack: bombed; meet: talks", "meet: x; attack: y", True),
        ("attack: bombed", "Attack : shelled; attack: bombed", True),
        ("attack: bombed; meet: talks", "attack: bombed", False),
        ("None", "None", True),
        ("None", "attack: bombed", False),
    ],
)
def test_types_are_right_as_a_whole(gold_, predicted, right):
    assert (paper_reader("EET")(gold_) == paper_reader("EET")(predicted)) is right


def test_sentiment_may_be_named():
    assert paper_reader("Sentiment")("积极") == paper_reader("Sentiment")("情感: 积极")


def test_empty_gold_against_relations_is_no_crash():
    assert paper_reader("RE")("None") == frozenset() and len(paper_reader("RE")("a: b, c")) == 1


# The commands -------------------------------------------------------------------------------------


def answering(labels, text):
    if "attack" in labels:
        return " attack: bombed; meet: talks"
    return " attacker: Rebels; place: Aleppo" if "attacker" in labels else " place: Geneva"


def engine():
    return ScriptedEngine(answering)


def test_predict_and_eval(tmp_path):
    shell = Shell(tmp_path)
    write_set(tmp_path / "data")
    for task, key in (("eet", "EET_en_war"), ("eea", "EEA_en_war")):
        command = ["predict", "--data", "data", "--task", task, "-o", task]
        done = shell.run(command, engine=engine)
        assert done.code == 0, done.err
        for metric in ("paper", "strict"):
            report = json.loads(shell.run(["eval", task, "--metric", metric, "--json"]).out)
            assert report["datasets"][key]["f1"] == 1.0
    lines = (tmp_path / "eea" / "predict_eval_predictions.jsonl").read_text().splitlines()
    assert len(lines) == 6
    assert "Trigger word: talks\n" in json.loads(lines[1])["Instance"]["instruction"]


def test_one_command_after_the_other(tmp_path):
    shell = Shell(tmp_path)
    (tmp_path / "roles.json").write_text(json.dumps(ROLES))
    (tmp_path / "docs.jsonl").write_text(json.dumps({"text": TEXT}) + "\n")
    command = ["tag", "docs.jsonl", "-l", "@roles.json", "--task", "eet", "-o", "events.jsonl"]
    assert shell.run(command, engine=engine).code == 0
    done = shell.run(["tag", "events.jsonl", "-l", "@roles.json", "--task", "eea"], engine=engine)
    assert [len(e["arguments"]) for e in json.loads(done.out)["events"]] == [2, 1], done.err
    done = shell.run(["tag", "docs.jsonl", "-l", "@roles.json", "--task", "eea"], engine=engine)
    assert done.code == 1 and "--task eet" in done.err
