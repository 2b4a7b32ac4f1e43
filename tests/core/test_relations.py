"""Relations: cut into head and tail, placed, merged, written, and read again as gold."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.core.chunking import Chunk
from b2ner_cli.core.document import Document, Mention, Relation, Result, Span
from b2ner_cli.core.structures.relations import ground, merge, split, surface
from b2ner_cli.datasets import b2nerd, task_documents
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.formats import gold, jsonl
from b2ner_cli.formats.fields import RecordError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts.rendering import Form, answer
from b2ner_cli.tagging.loop import Options, tag
from b2ner_cli.tagging.opening import choose_decoding
from tests.scripted import ScriptedEngine, Shell

TEXT = "Emma was written by Jane Austen of Steventon, Hampshire ."
LABELS = LabelSet(("author", "home"))
RE = Options(form=Form("RE"))


def span(words, text=TEXT):
    start = text.index(words)
    return Span(start, start + len(words), words)


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("Emma, Jane Austen", ("Emma", "Jane Austen")),
        ("Emma，Jane Austen", ("Emma", "Jane Austen")),
        ("Steventon, Hampshire, Emma", ("Steventon, Hampshire", "Emma")),
        ("Emma, Steventon, Hampshire", ("Emma", "Steventon, Hampshire")),
        ("Persuasion, Anne, Jane", ("Persuasion", "Anne, Jane")),
        ("Emma", None),
        ("Emma, ", None),
    ],
)
def test_split_at_the_comma_that_leaves_parts_of_the_text(said, parts):
    assert split(said, TEXT) == parts


words = st.text(st.characters(exclude_characters=",，\r\n"), min_size=1).filter(
    lambda s: s == s.strip()
)


@given(words, words)
def test_split_undoes_surface(head, tail):
    assert split(surface(head, tail), f"{head} {tail}") == (head, tail)


def test_an_entity_of_many_relations_has_one_place():
    mentions = [
        Mention("author", "Emma, Jane Austen", 0.9),
        Mention("home", "Jane Austen, Steventon", 0.8),
        Mention("home", "Jane Austen, Bath"),
        Mention("home", "Steventon"),
    ]
    found, lost = ground(TEXT, mentions)
    assert found == [
        Relation("author", span("Emma"), span("Jane Austen"), 0.9),
        Relation("home", span("Jane Austen"), span("Steventon"), 0.8),
    ]
    assert lost == mentions[2:]


def test_merge_moves_and_keeps_the_surest():
    low = Relation("author", Span(0, 1, "a"), Span(2, 3, "b"), 0.2)
    parts = [(Chunk(0, 3), [low]), (Chunk(0, 3), [low._replace(score=0.6)]), (Chunk(5, 8), [low])]
    assert merge(parts) == (
        low._replace(score=0.6),
        Relation("author", Span(5, 6, "a"), Span(7, 8, "b"), 0.2),
    )


def scripted(labels, text):
    return " author: Emma, Jane Austen; home: Jane Austen, Bath; river: Emma, Emma"


def test_tagged_and_written():
    raw = json.dumps({"text": TEXT, "relations": "mine"}).encode()
    document = Document("1", TEXT, meta=json.loads(raw), raw=raw)
    (result,) = tag([document], ScriptedEngine(scripted), LABELS, RE)
    assert not result.entities and [each.label for each in result.relations] == ["author"]
    line = json.loads(jsonl.encode(result))
    (relation,) = line["relations"]
    assert relation["head"] == {"start": 0, "end": 4, "text": "Emma"}
    assert TEXT[relation["tail"]["start"] : relation["tail"]["end"]] == "Jane Austen"
    assert 0 < relation["score"] <= 1
    assert line["unlocated"] == [{"label": "home", "text": "Jane Austen, Bath"}]
    assert line["problems"] == ["label not in the label set: 'river'"]
    assert line["relations_in"] == "mine" and "entities" not in line
    assert jsonl.continues(jsonl.encode(result), document, "RE")
    assert not jsonl.continues(jsonl.encode(result), document._replace(text="x", raw=b""), "RE")


def test_what_is_written_is_gold_that_can_be_read():
    relation = Relation("author", span("Emma"), span("Jane Austen"))
    line = json.loads(
        jsonl.encode(Result(Document("1", TEXT), (), task="RE", relations=(relation,)))
    )
    (read,) = gold.as_task(Document("1", TEXT, meta=line), "RE")
    assert read.mentions == (Mention("author", "Emma, Jane Austen"),)
    assert answer(read.mentions, "RE") == " author: Emma, Jane Austen"


def test_a_span_is_what_stands_there():
    wrong = Relation("author", Span(1, 5, "Emma"), span("Jane Austen"))
    with pytest.raises(ValueError, match="is not the document's"):
        Result(Document("1", TEXT), (), task="RE", relations=(wrong,)).checked()


@pytest.mark.parametrize(
    ("relations", "message"),
    [
        (None, "no 'relations'"),
        ({}, "'relations' is an object, not a list"),
        ([3], "relations hold a number"),
        ([{"head": {"text": "a"}, "tail": {"text": "b"}}], "no 'label' or 'type'"),
        ([{"label": "x", "head": "a", "tail": {"text": "b"}}], "'head' is a string"),
        ([{"label": "x", "head": {}, "tail": {"text": "b"}}], "neither 'text' nor a place"),
    ],
)
def test_bad_gold_is_named(relations, message):
    meta = {} if relations is None else {"relations": relations}
    with pytest.raises(RecordError, match=message):
        list(gold.as_task(Document("1", TEXT, meta=meta), "RE"))


def write_set(root, *labels, folder="RE_en/books"):
    rows = [
        {
            "sentence": TEXT,
            "entities": [],
            "relations": [
                {"type": "author", "head": {"name": "Emma"}, "tail": {"name": "Jane Austen"}},
                {"type": "NA", "head": {"name": "Emma"}, "tail": {"name": "Steventon"}},
            ],
        }
    ]
    path = root / folder
    path.mkdir(parents=True)
    (path / "labels.json").write_text(json.dumps(labels))
    for split_ in ("train", "test"):
        (path / f"{split_}.json").write_text(json.dumps(rows))


def test_sets_are_read_and_checked(tmp_path):
    write_set(tmp_path, "author")
    write_set(tmp_path, "home", folder="RE_en/wrong")
    good, wrong = b2nerd.datasets(tmp_path)
    (document,) = task_documents.read_task(good, "test", "RE")
    assert document.mentions == (Mention("author", "Emma, Jane Austen"),)
    with pytest.raises(DataError, match="'author' is not among the labels"):
        list(task_documents.read_task(wrong, "test", "RE"))


def test_sets_by_their_task(tmp_path):
    write_set(tmp_path, "author")
    alone = task_documents.by_task(b2nerd.datasets(tmp_path))
    assert {name: task for name, (_, task) in alone.items()} == {"RE_en_books": "RE"}
    write_set(tmp_path, "person", folder="NER_en/people")
    found = b2nerd.datasets(tmp_path)
    assert list(task_documents.by_task(found)) == ["NER_en_people"]
    assert list(task_documents.by_task(found, ["RE"])) == ["RE_en_books"]
    assert "RE_en_books" in task_documents.by_task(found, only=["RE_en_books"])


def test_answers_are_free():
    assert choose_decoding(None, None, "RE").value == "free"
    with pytest.raises(UsageError, match="re cannot be constrained"):
        choose_decoding(True, None, "RE")


def perfect():
    return ScriptedEngine(lambda labels, text: " author: Emma, Jane Austen")


def test_predict_and_eval(tmp_path):
    shell = Shell(tmp_path)
    write_set(tmp_path / "data", "author", "home")
    command = ["predict", "--data", "data", "--task", "re", "-o", "out"]
    done = shell.run(command, engine=perfect)
    assert done.code == 0, done.err
    line = json.loads((tmp_path / "out" / "predict_eval_predictions.jsonl").read_text())
    assert (line["Task"], line["Instance"]["ground_truth"]) == ("RE", " author: Emma, Jane Austen")
    assert line["Instance"]["instruction"].startswith("Given the label set of relations")
    assert line["relations"][0]["head"]["text"] == "Emma" and "entities" not in line
    for metric in ("paper", "strict"):
        done = shell.run(["eval", "out", "--metric", metric, "--json"])
        report = json.loads(done.out)
        assert report["datasets"]["RE_en_books"]["f1"] == 1.0, done.err
        assert report["datasets"]["RE_en_books"]["unlocated"] == 0


def test_only_jsonl_holds_relations(tmp_path):
    shell = Shell(tmp_path)
    (tmp_path / "docs.jsonl").write_text('{"text": "Ann"}\n')
    done = shell.run(
        ["tag", "docs.jsonl", "-l", "x", "--task", "re", "--to", "csv"], engine=perfect
    )
    assert done.code == 2 and "--to jsonl" in done.err
