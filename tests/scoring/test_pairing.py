"""Which documents are scored against which, and what cannot be paired."""

from pathlib import Path

import pytest

from b2ner_cli.errors import B2nerError, InputError, UsageError
from b2ner_cli.formats.fields import Fields
from b2ner_cli.formats.predictions import FILE_NAME
from tests.scoring.predicted import ANN, FOUND, GOLD, entity, evaluate, five_sets, jsonl


def test_gold_field_of_the_same_record(tmp_path):
    record = {**FOUND, "entities_in": GOLD["entities"]}
    path = jsonl(tmp_path / "docs.jsonl", record)
    assert evaluate(path, fields=Fields(gold="entities_in")).data_sets[0].scores.total.tp == 1
    renamed = {"body": ANN, "entities": [], "mine": []}
    path = jsonl(tmp_path / "docs.jsonl", renamed)
    assert evaluate(path, fields=Fields("body", gold="mine")).f1 == 0.0


CONLL = "Ann\tB-person\nLee\t{}\nmet\tO\nBob\tB-person\n\nRome\tB-city\n"


def test_conll_pairs_by_order(tmp_path):
    gold, found = tmp_path / "gold.conll", tmp_path / "found.conll"
    gold.write_text(CONLL.format("I-person"))
    found.write_text(CONLL.format("O"))
    report = evaluate(found, gold=gold)
    (only,) = report.data_sets
    assert only.data_set.key == "found"
    assert (only.scores.total.tp, only.scores.total.fp, only.scores.total.fn) == (2, 1, 1)
    assert evaluate(gold, gold=gold).f1 == 1.0


def test_conll_pairs_by_id_with_jsonl(tmp_path):
    gold = tmp_path / "gold.conll"
    gold.write_text("# id = b\nRome\tB-city\n\n# id = a\nBob\tB-person\n\n")
    found = jsonl(
        tmp_path / "found.jsonl",
        {"id": "a", "text": "Bob", "entities": [entity("Bob", "Bob", "person")]},
        {"id": "b", "text": "Rome", "entities": []},
    )
    (only,) = evaluate(found, gold=gold).data_sets
    assert (only.scores.total.tp, only.scores.total.fn) == (1, 1)


def test_a_missing_prediction_counts_as_missed_and_is_named(tmp_path):
    other = {**GOLD, "id": "2"}
    report = evaluate(
        jsonl(tmp_path / "docs.jsonl", GOLD), gold=jsonl(tmp_path / "gold.jsonl", GOLD, other)
    )
    assert report.data_sets[0].missing == ("2",)
    assert report.as_dict()["datasets"]["docs"]["missing"] == ["2"]
    assert report.data_sets[0].scores.total.recall == 0.5
    assert report.notes == ("docs: no prediction for '2': what they hold is missed",)


def test_repeated_ids_match_in_their_order(tmp_path):
    records = [{"id": 1, "text": text, "entities": []} for text in "abc"]
    gold = jsonl(tmp_path / "gold.jsonl", *records)
    assert evaluate(jsonl(tmp_path / "docs.jsonl", *records), gold=gold).notes == ()
    with pytest.raises(InputError, match="the text of '1' is not the gold text"):
        evaluate(jsonl(tmp_path / "docs.jsonl", *records[::-1]), gold=gold)


def test_records_without_ids_match_in_their_order(tmp_path):
    records = [{"text": text, "entities": []} for text in "abc"]
    gold = jsonl(tmp_path / "gold.jsonl", *records)
    report = evaluate(jsonl(tmp_path / "docs.jsonl", *records[:2]), gold=gold)
    assert report.data_sets[0].missing == (f"{gold}:3",)


def test_a_directory_stands_for_its_prediction_file(tmp_path):
    (tmp_path / "eval-1").mkdir()
    five_sets(tmp_path / "eval-1" / FILE_NAME)
    assert len(evaluate(tmp_path / "eval-1", metric="paper").data_sets) == 5
    with pytest.raises(InputError, match="in this directory") as caught:
        evaluate(tmp_path)
    assert "eval-1" in caught.value.hint


NO_ENTITIES = {"id": "1", "text": ANN}


@pytest.mark.parametrize(
    ("found", "gold", "options", "kind", "message"),
    [
        ([FOUND], None, {}, UsageError, "no gold entities to compare with"),
        ([FOUND], None, {"fields": Fields(gold="mine")}, InputError, "no gold field 'mine'"),
        ([FOUND], None, {"fields": Fields(gold="entities")}, UsageError, "holds the predictions"),
        ([FOUND], [GOLD], {"fields": Fields(gold="mine")}, UsageError, "not from both"),
        ([{**FOUND, "mine": 3}], None, {"fields": Fields(gold="mine")}, InputError, "not a list"),
        ([NO_ENTITIES], [GOLD], {}, InputError, "no 'entities' in this record"),
        ([GOLD], [NO_ENTITIES], {}, InputError, "no 'entities' in this record"),
        ([GOLD, {**GOLD, "id": "9"}], [GOLD], {}, InputError, "no gold for '9'"),
        ([{**GOLD, "text": ANN + "."}], [GOLD], {}, InputError, "the text of '1' is not"),
        ([], [GOLD], {}, InputError, "nothing in the file to score"),
        ([GOLD, [1]], [GOLD], {}, InputError, "docs.jsonl:2"),
    ],
)
def test_what_cannot_be_paired_is_an_error(tmp_path, found, gold, options, kind, message):
    path = jsonl(tmp_path / "docs.jsonl", *found)
    gold_path = jsonl(tmp_path / "gold.jsonl", *gold) if gold else None
    with pytest.raises(kind) as caught:
        evaluate(path, gold=gold_path, **options)
    assert message in caught.value.message


def test_answer_files_take_no_gold(tmp_path):
    path = five_sets(tmp_path / "p.jsonl")
    with pytest.raises(UsageError, match="brings its gold"):
        evaluate(path, fields=Fields(gold="x"))
    with pytest.raises(InputError, match="not of gold"):
        evaluate(jsonl(tmp_path / "docs.jsonl", FOUND), gold=path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("docs.csv", "id,text\n1,x\n", "format csv cannot be scored"),
        ("docs.txt", "hello\n", "format txt cannot be scored"),
        ("docs.jsonl", '{"id": 1, "te', "malformed JSON"),
        ("missing.jsonl", None, "no such file"),
    ],
)
def test_unreadable_files(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(B2nerError, match=message):
        evaluate(path, gold=jsonl(tmp_path / "gold.jsonl", GOLD))


def test_a_pipe_is_refused():
    with pytest.raises(UsageError, match="not from a pipe"):
        evaluate(Path("-"))
