import json
import shlex
import subprocess
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from b2ner_cli.cli.app import app
from b2ner_cli.cli.prompting import min_scores
from b2ner_cli.errors import B2nerError
from b2ner_cli.formats.predictions import FILE_NAME, PredictionRecord, encode

RECORD = PredictionRecord(
    "NER", "one", "en", "0", "Ann of New York, NY", "\nLabel Set: person, city \n\n",
    "person: Ann; city: New York, NY", "person: Ann; city: New York, NY",
)  # fmt: skip


@pytest.fixture
def out(tmp_path):
    write(tmp_path / "out", RECORD)
    return tmp_path / "out"


def write(folder, *records):
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_bytes(b"".join(map(encode, records)))


def run(*arguments):
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def test_one_file(out, tmp_path):
    found = run(out, "--metric", "both", "--bootstrap", 20, "--confusion", tmp_path / "c.csv")
    assert found.exit_code == 0, found.output
    assert "strict F1" in found.stdout
    assert "not in text" in found.stdout
    assert "100.00-100.00" in found.stdout
    assert (tmp_path / "c.csv").read_text().startswith("dataset,gold,")
    found = json.loads(run(out, "--bootstrap", 20, "--seed", 4, "--json").stdout)
    assert found["bootstrap"]["seed"] == 4
    assert found["bootstrap"]["averages"]["overall"] == [1.0, 1.0]
    assert found["datasets"]["NER_en_one"]["confusion"] == {
        "city": {"city": 1},
        "person": {"person": 1},
    }


def test_fixing_commas_is_asked_for_and_not_done_by_the_path(tmp_path):
    write(tmp_path / "gpt", RECORD)
    plain, fixed = (
        json.loads(run(tmp_path / "gpt", "--metric", "paper", "--json", *more).stdout)
        for more in ((), ("--fix-commas",))
    )
    assert plain["averages"]["overall"] == 1.0
    assert fixed["averages"]["overall"] == pytest.approx(0.4)  # "new york" and "ny" are wrong


def test_fixing_commas_needs_answers(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_text('{"id": "1", "text": "Ann", "entities": []}\n')
    error = run(path, "--gold", path, "--fix-commas").exception
    assert isinstance(error, B2nerError)
    assert "no commas to fix" in error.message


def test_several_runs(out, tmp_path):
    write(tmp_path / "second", replace(RECORD, predicted="person: Ann"))
    found = run(out, tmp_path / "second", "--metric", "both", "--reports", tmp_path / "reports")
    assert found.exit_code == 0, found.output
    assert found.stdout.count("deviation") == 2
    assert (tmp_path / "reports/second/report/report_NER_en.tsv").is_file()
    assert run(out, tmp_path / "second", "--min-f1", 0.9).exit_code == 1
    assert set(json.loads(run(out, tmp_path / "second", "--json").stdout)["runs"]) == {
        "out",
        "second",
    }
    error = run(out, tmp_path / "second", "--confusion", tmp_path / "c.csv").exception
    assert "--confusion is of one file" in error.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "Poetry"}, "unknown task 'Poetry' of data set 'one'"),
        (None, "no gold answer in it"),
    ],
)
def test_records_that_cannot_be_scored(tmp_path, change, message):
    write(tmp_path / "out", replace(RECORD, **(change or {})))
    if change is None:
        path = tmp_path / "out" / FILE_NAME
        line = json.loads(path.read_text())
        del line["Instance"]["label"], line["Instance"]["ground_truth"]
        path.write_text(json.dumps(line) + "\n")
    error = run(tmp_path / "out").exception
    assert f"{FILE_NAME}:1" in error.message
    assert message in error.message
    assert error.hint


def test_a_note_says_what_is_left_out(tmp_path):
    write(tmp_path / "run/eval-0", RECORD)
    (tmp_path / "run/eval-1").mkdir()
    assert "left out: eval-1" in run(tmp_path / "run").stderr
    assert run(tmp_path / "run", "--quiet").stderr == ""


# --thresholds -------------------------------------------------------------------------------------


def scored(tmp_path, label, scores=True):
    """Predictions whose lower half of scores is wrong, and their gold."""
    text = " ".join("abcdefghij")
    spans = [{"start": 2 * n, "end": 2 * n + 1, "label": label} for n in range(10)]
    found = [span | {"score": 0.5 + 0.04 * n} for n, span in enumerate(spans)] if scores else spans
    for name, entities in (("tagged", found), ("gold", spans[5:])):
        record = {"id": "1", "text": text, "entities": entities}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(record) + "\n")
    return tmp_path / "tagged.jsonl", "--gold", tmp_path / "gold.jsonl", "--thresholds"


@pytest.mark.parametrize("label", ["person", "city, town", "a=b", 'say "$HOME"', "it's `date`"])
def test_thresholds_are_printed_as_an_option_that_tag_takes(tmp_path, label):
    found = run(*scored(tmp_path, label))
    assert found.exit_code == 0, found.output
    option, said = shlex.split(found.stdout.splitlines()[-1])
    assert option == "--min-score"
    assert min_scores(said, None) == (0.0, {label: 0.67})
    assert "66.67" in found.stdout
    assert "100.00" in found.stdout
    assert "cross-validated F1" in found.stderr
    as_json = json.loads(run(*scored(tmp_path, label), "--json").stdout)
    assert as_json["min_score"] == said
    assert as_json["labels"][label]["f1"] == 1.0
    assert f"no better on other documents, cross-validated: {label}" in found.stderr
    echoed = subprocess.run(
        ["sh", "-c", f"printf %s {found.stdout.splitlines()[-1].partition(' ')[2]}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert echoed.stdout == said


def test_thresholds_need_scores_and_one_file_of_entities(tmp_path, out):
    assert "no score" in run(*scored(tmp_path, "x", scores=False)).exception.message
    assert "no score" in run(out, "--thresholds").exception.message
    arguments = scored(tmp_path, "x")
    for more, message in (
        ([out], "one file"),
        (["--metric", "both"], "by place"),
        (["--task", "re"], "by place"),
        (["--min-f1", "0.5"], "no use for --min-f1"),
        (["--bootstrap", 5], "no use for --bootstrap"),
    ):
        assert message in run(*arguments, *more).exception.message


def test_thresholds_say_what_they_leave_out(tmp_path):
    tagged, _, gold, _ = scored(tmp_path, "x")
    gold.write_text(gold.read_text().replace('"x"', '"y"', 3))
    found = run(tagged, "--gold", gold, "--thresholds")
    assert "no label is better with one" in found.stdout
    assert "left out, with under 5 mentions in gold or found: y, x" in found.stderr
    assert run(tagged, "--gold", gold, "--thresholds", "--quiet").stderr == ""
