import json
from pathlib import Path

import pytest

from b2ner_cli.errors import B2nerError, InputError, UsageError
from b2ner_cli.formats.predictions import FILE_NAME, PredictionRecord, encode
from b2ner_cli.scoring.report import evaluate
from b2ner_cli.scoring.tables import table_rows

PROMPT = "Find them. \nLabel Set: person, city, organization -> company \n\nText: {} \nAnswer:"


def answers(path, *lines):
    """Write a prediction file of (language, data set, sentence, gold, predicted)."""
    records = (
        PredictionRecord(
            "NER", name, language, str(number), text, PROMPT.format(text), gold, predicted
        )
        for number, (language, name, text, gold, predicted) in enumerate(lines)
    )
    path.write_bytes(b"".join(map(encode, records)))
    return path


def jsonl(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def entity(text, surface, label):
    start = text.index(surface)
    return {"start": start, "end": start + len(surface), "label": label}


ANN = "Ann Lee met Bob in Rome"
GOLD = {
    "id": "1",
    "text": ANN,
    "entities": [
        entity(ANN, "Ann Lee", "person"),
        entity(ANN, "Bob", "person"),
        entity(ANN, "Rome", "city"),
    ],
}
FOUND = {
    **GOLD,
    "entities": [
        entity(ANN, "Ann", "person"),
        entity(ANN, "Bob", "person"),
        entity(ANN, "Rome", "person"),
    ],
    "unlocated": [{"label": "person", "text": "Carl"}],
}


def five_sets(path):
    return answers(
        path,
        ("en", "one", "Bob, Ann", "person: Bob; person: Ann", "person: Bob; person: Eve"),
        ("zh", "one", "a b c", "x: a; x: b", "x: a"),
        ("zh", "math-junior", "a", "x: a", "x: b"),
        ("en", "Two", "Bob", "person: Bob", "person: Bob"),
        ("zh", "two", "a", "x: a", "x: a"),
    )


@pytest.mark.parametrize("metric", ["paper", "strict"])
def test_averages_of_the_authors_tables(tmp_path, metric):
    report = evaluate(five_sets(tmp_path / "p.jsonl"), metric=metric).as_dict()
    assert list(report["datasets"]) == [
        "NER_en_one",
        "NER_en_Two",
        "NER_zh_math-junior",
        "NER_zh_one",
        "NER_zh_two",
    ]
    if metric == "paper":
        means = {name: round(mean, 4) for name, mean in report["averages"].items()}
        assert means == {"NER_en": 0.75, "NER_zh": 0.8333, "overall": 0.7917}
        assert report["datasets"]["NER_zh_math-junior"]["f1"] == 0.0


def test_report_as_json(tmp_path):
    report = evaluate(
        jsonl(tmp_path / "docs.jsonl", FOUND), gold=jsonl(tmp_path / "gold.jsonl", GOLD)
    )
    third = pytest.approx(1 / 3)
    line = {"f1": third, "precision": third, "recall": third, "tp": 1, "fp": 2, "fn": 2}
    two = {name: pytest.approx(2 / 3) for name in ("f1", "precision", "recall")}
    city = {"f1": 0.0, "precision": 0.0, "recall": 0.0, "tp": 0, "fp": 0, "fn": 1, "support": 1}
    person = {
        "f1": pytest.approx(0.4),
        "precision": third,
        "recall": 0.5,
        "tp": 1,
        "fp": 2,
        "fn": 1,
        "support": 2,
    }
    assert json.loads(json.dumps(report.as_dict())) == {
        "metric": "strict",
        "labels": "as given",
        "datasets": {
            "docs": {
                **line,
                "support": 3,
                "labels": {"person": person, "city": city},
                "boundary": {**two, "tp": 2, "fp": 1, "fn": 1, "support": 3},
                "type": {**two, "tp": 2, "fp": 1, "fn": 1, "support": 3},
                "mentions": 4,
                "unlocated": 0.25,
                "invalid_labels": None,
                "missing": [],
                "errors": {
                    "missed": 0,
                    "invented": 0,
                    "wrong_label": 1,
                    "wrong_boundary": 1,
                    "not_in_text": 1,
                    "not_in_labels": None,
                },
                "confusion": {
                    "person": {"person": 1, "(none)": 1},
                    "city": {"person": 1},
                    "(none)": {"person": 1},
                },
            }
        },
        "averages": {"overall": third},
        "macro": pytest.approx(0.2),
        "notes": [],
    }
    assert report.f1 == third


def test_paper_metric_on_documents_has_no_spans(tmp_path):
    lower = {
        **GOLD,
        "entities": [{**each, "label": each["label"].upper()} for each in GOLD["entities"]],
    }
    report = evaluate(
        jsonl(tmp_path / "docs.jsonl", lower),
        gold=jsonl(tmp_path / "gold.jsonl", GOLD),
        metric="paper",
    ).as_dict()
    assert report["averages"] == {"overall": 1.0}
    assert report["datasets"]["docs"]["boundary"] is None


def test_gold_field_of_the_same_record(tmp_path):
    record = {**FOUND, "entities_in": GOLD["entities"]}
    path = jsonl(tmp_path / "docs.jsonl", record)
    assert evaluate(path, gold_field="entities_in").data_sets[0].scores.total.tp == 1
    renamed = {"body": ANN, "entities": [], "mine": []}
    path = jsonl(tmp_path / "docs.jsonl", renamed)
    assert evaluate(path, gold_field="mine", text_field="body").f1 == 0.0


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


def test_gold_without_offsets_is_placed_by_name(tmp_path):
    gold = {**GOLD, "entities": [{"label": "person", "text": name} for name in ("Bob", "Carl")]}
    report = evaluate(
        jsonl(tmp_path / "docs.jsonl", GOLD), gold=jsonl(tmp_path / "gold.jsonl", gold)
    )
    assert report.data_sets[0].scores.total.tp == 1
    assert report.notes == ("docs: gold mentions without a place in their text, left out: 1",)


def test_answer_files_score_strictly_by_place(tmp_path):
    path = answers(
        tmp_path / "p.jsonl",
        ("en", "one", "Bob met Bob in Rome", "person: Bob; person: Bob; city: Rome", "person: Bob"),
    )
    (strict,) = evaluate(path).data_sets
    assert (strict.scores.total.tp, strict.scores.total.fn) == (1, 2)
    (paper,) = evaluate(path, metric="paper").data_sets
    assert (paper.scores.total.tp, paper.scores.total.fn) == (1, 1)


def test_answer_files_prefer_their_own_entities(tmp_path):
    path = answers(tmp_path / "p.jsonl", ("en", "one", "Bob and Bob", "person: Bob", "person: Bob"))
    line = json.loads(path.read_text())
    line["entities"] = [{"start": 8, "end": 11, "label": "person", "text": "Bob", "score": None}]
    jsonl(path, line)
    assert evaluate(path).f1 == 0.0
    assert evaluate(path, metric="paper").f1 == 1.0


def test_what_the_text_does_not_hold_counts_against_precision_by_the_papers_metric(tmp_path):
    path, gold = tmp_path / "p.jsonl", tmp_path / "g.jsonl"
    jsonl(path, {**GOLD, "unlocated": [{"label": "person", "text": "Carl"}]})
    jsonl(gold, GOLD)
    (report,) = evaluate(path, gold=gold, metric="paper").data_sets
    counts = report.scores.total
    assert (counts.tp, counts.fp, counts.fn) == (len(GOLD["entities"]), 1, 0)


def test_unlocated_and_invalid_are_shares_of_the_mentions(tmp_path):
    path = answers(
        tmp_path / "p.jsonl",
        (
            "en",
            "one",
            "Bob of ACME in Rome",
            "None",
            "person: Bob; Organization->company: Acme; planet: Rome; person: Eve; odd",
        ),
    )
    for metric in ("paper", "strict"):
        (values,) = evaluate(path, metric=metric).as_dict()["datasets"].values()
        assert (values["mentions"], values["unlocated"], values["invalid_labels"]) == (
            4,
            0.25,
            0.25,
        )


def test_labels_with_commas_are_valid(tmp_path):
    record = PredictionRecord(
        "NER",
        "one",
        "en",
        "0",
        "Rome",
        "\nLabel Set: person, city, state \n\n",
        "city, state: Rome",
        "city, state: Rome",
    )
    path = tmp_path / "p.jsonl"
    path.write_bytes(encode(record))
    report = evaluate(path)
    assert report.f1 == 1.0
    assert report.data_sets[0].audit.invalid == 0


def test_other_tasks_are_scored_alike_and_said_so(tmp_path):
    path = five_sets(tmp_path / "p.jsonl")
    path.write_text(path.read_text().replace('"Task":"NER"', '"Task":"EE"'))
    assert len(evaluate(path, metric="paper").notes) == 5


def test_a_directory_stands_for_its_prediction_file(tmp_path):
    (tmp_path / "eval-1").mkdir()
    five_sets(tmp_path / "eval-1" / FILE_NAME)
    assert len(evaluate(tmp_path / "eval-1", metric="paper").data_sets) == 5
    with pytest.raises(InputError, match="in this directory") as caught:
        evaluate(tmp_path)
    assert "eval-1" in caught.value.hint


def test_errors_file(tmp_path):
    errors = tmp_path / "errors.jsonl"
    good = {"id": "2", "text": "x", "entities": []}
    evaluate(
        jsonl(tmp_path / "docs.jsonl", FOUND, good),
        gold=jsonl(tmp_path / "gold.jsonl", GOLD, good),
        errors=errors,
    )
    (line,) = map(json.loads, errors.read_text().splitlines())
    assert line == {
        "dataset": "docs",
        "id": "1",
        "text": ANN,
        "missed": [],
        "invented": [],
        "not_in_text": [{"label": "person", "text": "Carl"}],
        "not_in_labels": [],
        "wrong_label": [
            {
                "gold": {"start": 19, "end": 23, "label": "city", "text": "Rome"},
                "predicted": {"start": 19, "end": 23, "label": "person", "text": "Rome"},
            }
        ],
        "wrong_boundary": [
            {
                "gold": {"start": 0, "end": 7, "label": "person", "text": "Ann Lee"},
                "predicted": {"start": 0, "end": 3, "label": "person", "text": "Ann"},
            }
        ],
    }


def test_errors_file_of_answers(tmp_path):
    errors = tmp_path / "errors.jsonl"
    evaluate(five_sets(tmp_path / "p.jsonl"), metric="paper", errors=errors)
    first = json.loads(errors.read_text().splitlines()[0])
    assert first["dataset"] == "NER_en_one"
    assert first["missed"] == [{"label": "person", "text": "ann"}]
    assert first["invented"] == []
    assert first["not_in_text"] == [{"label": "person", "text": "eve"}]


def test_errors_do_not_overwrite_the_input(tmp_path):
    path = five_sets(tmp_path / "p.jsonl")
    with pytest.raises(UsageError, match="overwrite"):
        evaluate(path, errors=path)


def test_table_of_one_data_set(tmp_path):
    report = evaluate(
        jsonl(tmp_path / "docs.jsonl", FOUND), gold=jsonl(tmp_path / "gold.jsonl", GOLD)
    )
    assert table_rows(report) == [
        ("labels as given", "F1", "precision", "recall", "support"),
        ("docs", "33.33", "33.33", "33.33", "3"),
        ("boundary", "66.67", "66.67", "66.67", "3"),
        ("type", "66.67", "66.67", "66.67", "3"),
        ("macro", "20.00", "", "", ""),
        ("person", "40.00", "33.33", "50.00", "2"),
        ("city", "0.00", "0.00", "0.00", "1"),
    ]


def test_table_of_several_data_sets(tmp_path):
    report = evaluate(five_sets(tmp_path / "p.jsonl"), metric="paper")
    assert [row[:2] for row in table_rows(report)[1:]] == [
        ("NER_en_one", "50.00"),
        ("NER_en_Two", "100.00"),
        ("NER_zh_math-junior", "0.00"),
        ("NER_zh_one", "66.67"),
        ("NER_zh_two", "100.00"),
        ("NER_en average", "75.00"),
        ("NER_zh average", "83.33"),
        ("overall average", "79.17"),
        ("macro", "73.33"),
    ]


NO_ENTITIES = {"id": "1", "text": ANN}


@pytest.mark.parametrize(
    ("found", "gold", "options", "kind", "message"),
    [
        ([FOUND], None, {}, UsageError, "no gold entities to compare with"),
        ([FOUND], None, {"gold_field": "mine"}, InputError, "no gold field 'mine'"),
        ([FOUND], None, {"gold_field": "entities"}, UsageError, "holds the predictions"),
        ([FOUND], [GOLD], {"gold_field": "mine"}, UsageError, "not from both"),
        ([{**FOUND, "mine": 3}], None, {"gold_field": "mine"}, InputError, "not a list"),
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
        evaluate(path, gold_field="x")
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
