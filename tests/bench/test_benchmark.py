"""`b2ner bench`: what it asks, counts and reports. How fast anything is, no test says."""

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from b2ner_cli.bench import benchmark, synthetic
from b2ner_cli.bench.benchmark import BenchSettings, run
from b2ner_cli.bench.comparison import compare
from b2ner_cli.bench.report import lines, table
from b2ner_cli.cli.app import app
from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.core.engine import Completion, Prompt
from b2ner_cli.engine import self_check
from b2ner_cli.errors import InputError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import loading
from b2ner_cli.tagging import loop
from tests.scripted import ScriptedEngine, Shell, numbered

LABELS = LabelSet(("person", "city"))


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return loading.load(str(tiny_llama), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def report(loaded):
    settings = BenchSettings(rounds=2, max_answer=6)
    return run(loaded, synthetic.documents(5), LABELS, settings, source="invented")


# Documents ----------------------------------------------------------------------------------------


def test_synthetic_documents_are_the_same_for_a_seed():
    documents = synthetic.documents(30)
    assert documents == synthetic.documents(30)
    assert documents[:4] == synthetic.documents(4)
    assert documents != synthetic.documents(30, seed=1)
    assert len({document.text for document in documents}) > 20
    for document in documents:
        assert document.text.strip() == document.text != ""
        assert "{" not in document.text


def test_a_global_seed_changes_nothing():
    random.seed(5)
    documents = synthetic.documents(3)
    random.seed(6)
    assert synthetic.documents(3) == documents


def test_it_asks_what_tag_asks():
    long = " ".join(f"Person{n} went to City{n} ." for n in range(60))
    documents = [Document("0", "Person1"), Document("1", " \n"), Document("2", long)]
    options = loop.Options(chunk_tokens=90)
    engine = ScriptedEngine()
    list(loop.tag(documents, engine, LABELS, options))
    asked = list(loop.questions(documents, engine, LABELS, options))
    assert [len(prompts) for prompts in asked][:2] == [1, 0]
    assert len(asked[2]) > 1
    assert [prompt.text for prompts in asked for prompt in prompts] == engine.calls[0][0]


def test_records_that_cannot_be_read_are_passed_on(loaded):
    bad, heard = BadRecord("x:1", "broken"), []
    settings = BenchSettings(rounds=1, max_answer=2, plain=False)
    report = run(loaded, [bad, Document("0", "Ann")], LABELS, settings, on_bad=heard.append)
    assert heard == [bad]
    assert report.documents == 1
    with pytest.raises(InputError, match="no document to measure with"):
        run(loaded, [bad, Document("0", " ")], LABELS, settings)


# Comparing ----------------------------------------------------------------------------------------


class Saying:
    """An engine that says the same of every prompt, and notes that it was asked."""

    def __init__(self, name, answer, heard):
        self.backbone = SimpleNamespace(device="cpu")
        self.name, self.answer, self.heard = name, answer, heard

    def generate(self, prompts):
        self.heard.append((self.name, [prompt.own for prompt in prompts]))
        for index in reversed(range(len(prompts))):  # in any order
            text = self.answer(prompts[index].own)
            yield index, Completion(text, (0.0, 0.0), (1, 2), "eos", 10 + index)


def test_engines_take_turns_and_their_answers_are_compared():
    heard, shown = [], []
    engines = {
        "fast": Saying("fast", lambda own: own, heard),
        "plain": Saying("plain", lambda own: "other" if own == "c2" else own, heard),
    }
    asked = [[Prompt("p", "a")], [Prompt("p", "b")], [Prompt("p", "c1"), Prompt("p", "c2")]]
    found = compare(engines, asked, 2, shown.append)
    assert heard[2:] == [
        ("fast", ["a", "b"]), ("plain", ["a", "b"]),
        ("plain", ["c1", "c2"]), ("fast", ["c1", "c2"]),
    ]  # fmt: skip
    assert (found.slices, found.answers, found.differing, found.truncated) == (2, 4, 1, 0)
    assert (found.prompt_tokens, found.answer_tokens) == (42, 8)
    assert found.ratio > 0
    assert [line.partition(",")[0] for line in shown] == ["slice 1 of 2", "slice 2 of 2"]


def test_more_rounds_than_documents_are_one_a_document():
    engines = {"fast": Saying("fast", str, [])}
    found = compare(engines, [[Prompt("p", own)] for own in "ab"], 9)
    assert found.slices == 2
    assert found.ratio is found.cpu_ratio is found.differing is None


# Reports ------------------------------------------------------------------------------------------


def test_both_engines_say_the_same_in_float32(report):
    assert report.compared.differing == 0
    assert not report.failed
    assert report.compared.ratio > 0
    assert list(report.compared.engines) == ["fast", "plain"]
    assert report.documents == report.compared.answers == 5
    assert report.chosen["decoding"] == "free"
    assert report.chosen["dtype"] == "float32"


def test_constrained_answers_are_the_same_too(loaded):
    settings = BenchSettings(rounds=1, max_answer=12, constrain=True)
    constrained = run(loaded, synthetic.documents(4), LABELS, settings)
    assert constrained.compared.differing == 0
    assert constrained.chosen["decoding"] == "constrained"


def test_needed_operations_are_two_a_weight_and_token(report, loaded):
    network, found = loaded.model, report.compared
    body = (
        sum(p.numel() for p in network.model.layers.parameters())
        + network.model.norm.weight.numel()
    )
    head = network.lm_head.weight.numel()
    ended = found.answers - found.truncated
    tokens = report.own_tokens + found.answer_tokens - found.truncated
    assert report.flops * 5 == 2 * (body * tokens + head * (found.answer_tokens + ended))
    constrained = benchmark.needed_flops(loaded, report.own_tokens, found, True)
    assert constrained == 2 * body * tokens
    assert (report.peak.inner, report.peak.outer) == (48, 64)  # a hidden state, blown up
    assert 0 < report.share_of_peak("fast") < 1


def test_answers_that_differ_fail_in_float32_only(report):
    differing = replace(report, compared=replace(report.compared, differing=2))
    assert differing.failed
    assert ("answers", "2 of 5 differ") in lines(differing)
    rounded = replace(differing, chosen={**report.chosen, "dtype": "bfloat16"})
    assert not rounded.failed
    assert any(line.startswith("60.0 % of 5 are equal") for _, line in lines(rounded))


def test_table_and_lines_say_what_the_dictionary_does(report):
    header, *rows = table(report)
    assert header == ["", "fast", "plain", "ratio"]
    assert {len(row) for row in rows} == {4}
    said = dict(lines(report))
    assert said["documents"] == "5 in slices of 3: invented"
    assert said["model"] == report.model
    assert said["labels"] == "person, city"
    adapted = replace(report, model="mini", adapter=Path("run/adapter"))
    assert lines(adapted)[0] == ("model", "mini with adapter")
    found = json.loads(json.dumps(report.as_dict()))
    assert found["engines"]["plain"]["documents_per_second"] > 0
    reasons = [line for name, line in lines(report) if name in ("chosen", "")]
    assert found["chosen"]["reasons"] == reasons
    assert any("tokens at once" in reason for reason in reasons)


def test_without_plain_nothing_is_compared(loaded):
    settings = BenchSettings(rounds=1, max_answer=3, plain=False)
    alone = run(loaded, synthetic.documents(2), LABELS, settings)
    assert list(alone.compared.engines) == ["fast"]
    assert alone.compared.ratio is alone.compared.differing is None
    assert not alone.failed
    assert {len(row) for row in table(alone)} == {2}
    assert ("answers", "2, not compared") in lines(alone)


def test_a_model_that_only_generate_runs_is_measured_so(loaded, monkeypatch):
    monkeypatch.setattr(self_check, "trouble", lambda engine: "it is odd")
    odd = run(loaded, synthetic.documents(2), LABELS, BenchSettings(rounds=1, max_answer=3))
    assert list(odd.compared.engines) == ["plain"]
    assert odd.chosen["engine"] == "plain"


def test_what_keeps_the_numbers_low_is_noted(report):
    small, cut = report.notes
    assert "give more --documents" in small
    assert cut == f"{report.compared.truncated} of 5 answers were cut off by --max-answer"


# The command --------------------------------------------------------------------------------------


def test_a_file_is_measured_and_printed_as_json(tmp_path, tiny_llama):
    (tmp_path / "docs.jsonl").write_bytes(numbered(9) + b"{}\n")
    shell = Shell(tmp_path)
    command = ["bench", "docs.jsonl", "-l", "person,city", "-m", tiny_llama, "--device", "cpu"]
    command += ["--dtype", "float32", "--max-answer", "5", "--rounds", "2", "--json"]
    done = shell.run([*command, "--documents", "4"])
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["documents"] == found["prompts"] == 4
    assert found["labels"] == ["person", "city"]
    assert found["source"] == "docs.jsonl"
    assert found["differing"] == 0
    assert found["ratio"] > 0
    assert found["peak"]["flops_per_second"] > 0
    assert {"prompt", "own", "answer"} == set(found["tokens_per_document"])
    for measured in found["engines"].values():
        assert measured["answer_tokens_per_second"] > 0
        assert measured["share_of_peak"] > 0
    for name in ("device", "dtype", "engine", "batch_tokens", "rows", "decoding", "chunk_tokens"):
        assert name in found["chosen"]
    assert "slice 2 of 2" in done.err
    assert not (tmp_path / "cache").exists()


def test_a_table_by_default_with_synthetic_documents(tmp_path, tiny_llama):
    done = Shell(tmp_path).run(
        ["bench", "-m", tiny_llama, "--max-answer", "2", "--documents", "2", "-q", "--skip-plain"]
    )
    assert (done.code, done.err) == (0, "")
    shown = done.out.decode()
    assert "documents a second" in shown
    assert "synthetic, invented sentences" in shown
    assert "person, location, organization, date" in shown


def test_bad_records_are_named_and_the_rest_is_measured(tmp_path, tiny_llama):
    rows = b'{"body": "Ann"}\n{"text": "Bob"}\n'
    (tmp_path / "docs.jsonl").write_bytes(rows)
    command = ["bench", "docs.jsonl", "-m", tiny_llama, "--max-answer", "2", "--skip-plain"]
    done = Shell(tmp_path).run([*command, "--json"])
    assert done.code == 0
    assert "docs.jsonl:1: no field 'text'" in done.err
    assert json.loads(done.out)["documents"] == 1
    none = Shell(tmp_path).run([*command, "--documents", "1"])
    assert none.code == 2
    assert "no document to measure with" in none.err
    other = Shell(tmp_path).run([*command, "--documents", "1", "--text-field", "body"])
    assert other.code == 0, other.err


def test_it_exits_with_1_where_float32_answers_differ(report, tiny_llama, monkeypatch):
    differing = replace(report, compared=replace(report.compared, differing=1))
    monkeypatch.setattr(benchmark, "run", lambda *_, **__: differing)
    done = CliRunner().invoke(app, ["bench", "-m", str(tiny_llama)])
    assert done.exit_code == 1
    assert "1 of 5 differ" in done.stdout
    assert "both engines must say the same" in done.stderr


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: no such file", ""),
        (["--from", "xml", "nowhere.jsonl"], "no format 'xml'", "formats to read"),
        (["-l", "a:b"], "label 'a:b' holds ':'", ""),
        (["--batch-tokens", "few"], "--batch-tokens few: not a number", "give auto or a number"),
        (["--dtype", "int4"], "unknown dtype 'int4'", "choose auto, float32"),
        (["--device", "tpu"], "unknown device 'tpu'", "choose auto, cpu, cuda"),
        (["--documents", "0"], "--documents", ""),
        (["--rounds", "0"], "--rounds", ""),
        (["--max-answer", "2048"], "leave no room for text", "smaller --max-answer"),
        (["--engine", "fast"], "No such option", ""),
    ],
)
def test_bad_options_are_refused(tmp_path, tiny_llama, options, message, hint):
    done = Shell(tmp_path).run(["bench", "-m", tiny_llama, *options])
    assert (done.code, done.out) == (2, b"")
    assert message in done.err
    assert hint in done.err
    assert "Traceback" not in done.err
