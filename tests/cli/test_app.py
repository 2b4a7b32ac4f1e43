"""The command line as a user meets it: streams, exit codes, formats, options, whole commands."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from b2ner_cli import __version__
from tests.scripted import ScriptedEngine, Shell, numbered

LABELS = ("-l", "person,city")
FIRST = {"id": 0, "text": "Person0 met Person1 in City0 ."}
SPANS = [(0, 7, "person", "Person0"), (12, 19, "person", "Person1"), (23, 28, "city", "City0")]


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "docs.jsonl").write_bytes(numbered(5))
    return Shell(tmp_path)


def tag(shell, *options, **more):
    """Tag with the scripted engine."""
    return shell.run(["tag", *options], engine=ScriptedEngine, **more)


def records(out):
    return [json.loads(line) for line in out.splitlines()]


# Streams ------------------------------------------------------------------------------------------


def test_stdout_is_data_and_stderr_one_summary(shell):
    done = tag(shell, "docs.jsonl", *LABELS)
    assert done.code == 0
    first, *_ = found = records(done.out)
    assert [record["id"] for record in found] == [0, 1, 2, 3, 4]
    assert {key: first[key] for key in FIRST} == FIRST
    places = [(e["start"], e["end"], e["label"], e["text"]) for e in first["entities"]]
    assert places == SPANS
    assert {e["score"] for e in first["entities"]} == {0.9048}
    (summary,) = done.err.splitlines()
    assert summary.startswith("tagged 5 documents (0 failed), 15 entities, 0.0% unlocated, ")
    assert summary.endswith(" docs/s, 0% from cache")


def test_a_second_run_is_answered_from_the_cache_unless_told_otherwise(shell):
    first = tag(shell, "docs.jsonl", *LABELS)
    second = tag(shell, "docs.jsonl", *LABELS)
    assert "100% from cache" in second.err
    assert second.out == first.out
    assert "0% from cache" in tag(shell, "docs.jsonl", *LABELS, "--no-cache").err
    assert "0% from cache" in tag(shell, "docs.jsonl", *LABELS, "--cache", "other.sqlite").err
    assert (shell.folder / "other.sqlite").exists()


def test_quiet_says_nothing_where_nothing_is_wrong(shell):
    done = tag(shell, "docs.jsonl", *LABELS, "-q")
    assert (done.code, done.err) == (0, "")
    assert len(records(done.out)) == 5


def test_standard_input_is_read_with_and_without_a_dash(shell):
    content = (shell.folder / "docs.jsonl").read_bytes()
    from_file = tag(shell, "docs.jsonl", *LABELS, "-q").out
    assert tag(shell, "-", *LABELS, "-q", stdin=content).out == from_file
    assert tag(shell, *LABELS, "-q", stdin=content).out == from_file
    lines = tag(shell, "-", *LABELS, "-q", stdin=b"Person1 sings\n\nCity1 sleeps").out
    assert [(r["id"], r["text"]) for r in records(lines)] == [
        ("stdin:1", "Person1 sings"), ("stdin:2", ""), ("stdin:3", "City1 sleeps"),
    ]  # fmt: skip


def test_colours_are_for_terminals_and_can_be_turned_off(shell):
    for environment in ({}, {"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        done = tag(shell, "docs.jsonl", "-l", "a:b", **environment)
        assert done.code == 2
        assert "\x1b[3" not in done.err


def test_brackets_in_names_are_not_taken_for_markup(shell):
    done = tag(shell, "[red]docs[/red].jsonl", *LABELS)
    assert "[red]docs[/red].jsonl: no such file" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_in_a_real_shell(tmp_path, tiny_llama):
    (tmp_path / "docs.jsonl").write_bytes(numbered(40))
    script = f"""
        b2ner() {{ "{sys.executable}" -m b2ner_cli "$@"; }}
        b2ner --version
        cat docs.jsonl | b2ner tag - -l a,b -q --no-cache -m "{tiny_llama}" --max-answer 4 | head -1
        echo "${{PIPESTATUS[*]}}"
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    version, record, codes = done.stdout.splitlines()
    assert version == f"b2ner {__version__}"
    assert json.loads(record)["text"] == FIRST["text"]
    assert codes == "0 0 0"
    assert done.stderr == ""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_reader_that_leaves_ends_the_run_quietly(shell):
    (shell.folder / "docs.jsonl").write_bytes(numbered(3000))
    pipe = shell.folder / "pipe"
    os.mkfifo(pipe)
    running = shell.start(["tag", "docs.jsonl", *LABELS], stdout=pipe, engine=ScriptedEngine)
    with open(pipe, "rb") as reader:
        assert json.loads(reader.readline())["text"] == FIRST["text"]
    done = running.wait()
    assert (done.code, done.err) == (0, "")


# Formats and fields -------------------------------------------------------------------------------


def test_csv_and_conll_come_by_option_and_by_suffix(shell):
    csv = tag(shell, "docs.jsonl", *LABELS, "-t", "csv", "--limit", "1", "-q").out
    assert csv == (
        b"id,start,end,label,text,score\n0,0,7,person,Person0,0.9048\n"
        b"0,12,19,person,Person1,0.9048\n0,23,28,city,City0,0.9048\n"
    )
    conll = tag(shell, "docs.jsonl", *LABELS, "--to", "conll", "--limit", "1", "-q").out
    assert b"# id = 0\n" in conll
    assert b"\nPerson0\tB-person\nmet\tO\n" in conll
    for name, same in (("out.csv", csv), ("out.conll", conll)):
        assert tag(shell, "docs.jsonl", *LABELS, "-o", name, "--limit", "1").code == 0
        assert (shell.folder / name).read_bytes() == same


def test_entities_that_tags_cannot_show_are_counted(shell):
    (shell.folder / "docs.jsonl").write_bytes(b'{"text": "Personcity1 sings"}\n')
    done = tag(shell, "docs.jsonl", "-l", "person,personcity", "-t", "conll")
    assert "1 entity that tags cannot show not written" in done.err


def test_lines_and_from_choose_how_files_are_read(shell):
    (shell.folder / "talk.txt").write_bytes(b"Person1 sings\nCity1 sleeps\n")
    whole = records(tag(shell, "talk.txt", *LABELS, "-q").out)
    assert [r["id"] for r in whole] == ["talk.txt"]
    for option in (["--lines"], ["--from", "lines"]):
        lines = records(tag(shell, "talk.txt", *LABELS, "-q", *option).out)
        assert [r["id"] for r in lines] == ["talk.txt:1", "talk.txt:2"]


def test_fields_and_limit(shell):
    (shell.folder / "t.csv").write_text("key,body,kind\n7,Person1 sings,a\n8,City1 sleeps,b\n")
    done = tag(shell, "t.csv", *LABELS, "--text-field", "body", "--id-field", "key", "--limit", "1")
    (record,) = records(done.out)
    assert list(record) == ["key", "body", "kind", "entities"]
    assert record["entities"][0]["text"] == "Person1"
    assert tag(shell, "docs.jsonl", *LABELS, "--limit", "0").out == b""


def test_labels_from_files_fields_and_lists(shell):
    (shell.folder / "labels.txt").write_text("person: a human\ncity\n")
    by_file = tag(shell, "docs.jsonl", "-l", "@labels.txt", "-q").out
    assert [e["label"] for e in records(by_file)[0]["entities"]] == ["person", "person", "city"]
    noted = tag(shell, "docs.jsonl", "-l", "labels.txt", "-l", "city, ship")
    assert noted.out == by_file
    assert "read as a file" in noted.err
    assert "'city' is given twice" in noted.err
    rows = b'{"text": "Person1 City1", "want": ["city"]}\n{"text": "Person1 City1"}\n'
    own = tag(shell, "-", "--labels-field", "want", "-l", "person", "-q", stdin=rows).out
    assert [[e["label"] for e in r["entities"]] for r in records(own)] == [["city"], ["person"]]


def test_min_score_and_all_occurrences(shell):
    assert not any(r["entities"] for r in records(
        tag(shell, "docs.jsonl", *LABELS, "--min-score", "0.95", "-q").out
    ))  # fmt: skip
    twice = b'{"text": "Person1 saw (Person1)"}\n'
    (once,) = records(tag(shell, "-", *LABELS, "-q", stdin=twice).out)
    (every,) = records(tag(shell, "-", *LABELS, "--all-occurrences", "-q", stdin=twice).out)
    assert [e["start"] for e in once["entities"]] == [0]
    assert [e["start"] for e in every["entities"]] == [0, 13]


# Output files -------------------------------------------------------------------------------------


def test_an_output_file_is_never_overwritten_unasked(shell):
    done = tag(shell, "docs.jsonl", *LABELS, "-o", "out.jsonl")
    assert (done.code, done.out) == (0, b"")
    written = (shell.folder / "out.jsonl").read_bytes()
    assert len(records(written)) == 5
    assert not (shell.folder / "out.jsonl.part").exists()

    refused = tag(shell, "docs.jsonl", *LABELS, "-o", "out.jsonl")
    assert refused.code == 2
    assert "out.jsonl is there already" in refused.err
    assert "--force overwrites it" in refused.err

    complete = tag(shell, "docs.jsonl", *LABELS, "-o", "out.jsonl", "--resume")
    assert complete.code == 0
    assert "out.jsonl is complete" in complete.err
    assert (shell.folder / "out.jsonl").read_bytes() == written

    forced = tag(shell, "docs.jsonl", *LABELS, "-o", "out.jsonl", "--force", "--limit", "2")
    assert forced.code == 0
    assert len(records((shell.folder / "out.jsonl").read_bytes())) == 2


# Options that cannot be ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["--lang", "fr"], "no template for language 'fr'", "choose from en zh de nl es"),
        (["--engine", "vllm"], "no engine 'vllm'", "choose from fast, plain"),
        (["--dtype", "int4"], "unknown dtype 'int4'", "choose auto, float32"),
        (["--device", "tpu"], "unknown device 'tpu'", "choose auto, cpu, cuda"),
        (["--device", "cuda:99"], "no device cuda:99", "try --device cpu"),
        (["--batch-tokens", "many"], "--batch-tokens many: not a number", "give auto or a number"),
        (["--batch-tokens", "0"], "--batch-tokens 0: not a number", "give auto or a number"),
        (["--to", "xml"], "no format 'xml'", "formats to write: jsonl, csv, conll"),
        (["--from", "xml"], "no format 'xml'", "formats to read: jsonl"),
        (["--tokens", "bpe"], "no tokens 'bpe'", "choose auto, whitespace or char"),
    ],
)
def test_unknown_values_are_refused_with_what_there_is(shell, tiny_llama, options, message, hint):
    done = shell.run(["tag", "docs.jsonl", *LABELS, "-m", tiny_llama, "-o", "o.jsonl", *options])
    assert (done.code, done.out) == (2, b"")
    assert f"Error: {message}" in done.err
    assert f"Hint:  {hint}" in done.err
    assert "Traceback" not in done.err
    assert not list(shell.folder.glob("o.jsonl*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "docs.jsonl", "--label", "x"], "No such option"),
        (["tag", "docs.jsonl", "-l", "x", "--min-score", "2"], "--min-score"),
        (["tag", "docs.jsonl", "-l", "x", "--max-answer", "0"], "--max-answer"),
        (["tagg"], "No such command"),
        (["eval", "nowhere.jsonl", "--metric", "fuzzy"], "no metric 'fuzzy'"),
        (["eval", "nowhere.jsonl", "--min-f1", "60"], "--min-f1"),
        (["train", "--data", "x", "-o", "run", "--recipe", "huge"], "no recipe 'huge'"),
        (["predict", "--data", "nowhere", "-o", "out"], "nowhere: no such folder"),
        (["predict", "--data", ".", "-o", "out", "--split", "all"], "no split 'all'"),
    ],
)
def test_usage_errors_are_2(shell, arguments, message):
    done = shell.run(arguments)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_an_answer_longer_than_the_context_is_refused(shell, tiny_llama):
    done = shell.run(["tag", "docs.jsonl", *LABELS, "-m", tiny_llama, "--max-answer", "2048"])
    assert done.code == 2
    assert "leave no room for text" in done.err
    assert "smaller --max-answer" in done.err


def test_help_and_version(shell):
    version = shell.run(["--version"])
    assert (version.code, version.out) == (0, f"b2ner {__version__}\n".encode())
    assert shell.run(["tag", "-h"]).code == 0
    assert b"b2ner tag docs.jsonl" in shell.run(["tag", "--help"]).out
    assert shell.run([]).code == 2


# With a model -------------------------------------------------------------------------------------


def test_a_model_tags_and_says_why_it_was_set_up_so(shell, tiny_llama):
    command = ["tag", "docs.jsonl", *LABELS, "-m", tiny_llama, "--max-answer", "6", "--no-cache"]
    done = shell.run([*command, "-v", "--dtype", "float32", "--device", "cpu"])
    assert done.code == 0
    assert [r["text"] for r in records(done.out)] == [
        r["text"] for r in records((shell.folder / "docs.jsonl").read_bytes())
    ]
    for reason in ("device cpu: asked for", "dtype float32: asked for", "engine fast: ", "chunks"):
        assert reason in done.err
    plain = shell.run([*command, "--engine", "plain", "--dtype", "float32", "--device", "cpu"])
    assert plain.out == done.out
    assert "chunks" not in plain.err
    by_environment = shell.run(
        [c for c in command if c not in ("-m", tiny_llama)],
        B2NER_MODEL=str(tiny_llama), B2NER_DEVICE="cpu",
    )  # fmt: skip
    assert by_environment.code == 0, by_environment.err


def test_a_dry_run_shows_prompts_and_needs_no_weights(shell, tiny_llama):
    bare = shutil.copytree(tiny_llama, shell.folder / "bare")
    (bare / "model.safetensors").unlink()
    rows = (
        b'{"text": "Person1", "l": ["city", "city"]}\n{"text": "Person2"}\n{}\n{"text": "\\u6211"}'
    )
    done = shell.run(
        ["tag", "-", *LABELS, "--labels-field", "l", "-m", bare, "--dry-run", "-o", "o"],
        stdin=rows,
    )
    assert done.code == 0, done.err
    shown = done.out.decode()
    assert "Label Set: city \n\nText: Person1 \nAnswer:" in shown
    assert "Label Set: person, city \n\nText: Person2 \nAnswer:" in shown
    assert "标签范围: person, city\n\n文本: 我 \n答案:" in shown
    assert "# stdin:3: no field 'text'" in shown
    assert shown.count(" own tokens, answer up to 256") == 3
    assert not (shell.folder / "o").exists()


def test_the_cache_can_be_looked_at_and_emptied(shell):
    def info(*options):
        return json.loads(shell.run(["cache", "info", "--json", *options]).out)

    assert info()["answers"] == 0
    assert not (shell.folder / "cache").exists()  # looking makes nothing
    tag(shell, "docs.jsonl", *LABELS)
    held = info()
    assert held["answers"] == 5
    assert held["bytes"] > 0
    assert b": 5 answers, " in shell.run(["cache", "info"]).out
    assert b": 5 answers cleared" in shell.run(["cache", "clear"]).out
    assert info()["answers"] == 0
    assert "0% from cache" in tag(shell, "docs.jsonl", *LABELS).err
    assert shell.run(["cache", "clear", "--cache", "no.sqlite"]).code == 0


# predict, eval, train -----------------------------------------------------------------------------


@pytest.fixture
def data(shell):
    """Two small invented data sets in B2NERD layout."""
    for task, name, template in (
        ("NER_en", "Zoo", "Keeper{} feeds Lion{} ."),
        ("NER_en", "Port", "Keeper{} watches Ship{} ."),
    ):
        folder = shell.folder / "data" / task / name
        folder.mkdir(parents=True)
        other = template.split()[2][:-2].lower()
        (folder / "labels.json").write_text(json.dumps(["keeper", other]))
        for split, count in (("train", 12), ("test", 4)):
            rows = []
            for number in range(count):
                words = template.format(number, number + 1).split()
                rows.append({
                    "sentence": " ".join(words),
                    "entities": [
                        {"name": words[0], "type": "keeper", "pos": [0, len(words[0])]},
                        {"name": words[2], "type": other},
                    ],
                })  # fmt: skip
            (folder / f"{split}.json").write_text(json.dumps(rows))
    return shell.folder / "data"


def test_predict_says_where_a_split_is_empty(shell, data):
    (data / "NER_en/Zoo/test.json").write_text("[]")
    done = shell.run(["predict", "--data", "data", "-o", "out"], engine=ScriptedEngine)
    assert done.code == 0 and "NER_en/Zoo: no documents in its test split" in done.err
    done = shell.run(["predict", "--data", "data/NER_en/Zoo", "-o", "none"], engine=ScriptedEngine)
    assert done.code == 2 and "no documents in its test split" in done.err
    assert not (shell.folder / "none").exists()


def test_predict_and_eval_give_the_same_bytes_again(shell, data):
    predict = ["predict", "--data", "data", "-o", "out", "--cache", "answers.db"]
    without = [each for each in predict if each not in ("--cache", "answers.db")] + ["--no-cache"]
    score = [
        "eval",
        "out",
        "--metric",
        "both",
        "--json",
        "--bootstrap",
        "50",
        "--errors",
        "e.jsonl",
    ]
    score += ["--confusion", "c.csv", "--reports", "reports"]
    seen = set()
    for command in (predict, predict, without, predict):  # filled, read, left aside, read
        done = shell.run([*command, "--force"], engine=ScriptedEngine)
        assert done.code == 0, done.err
        scored = shell.run(score)
        assert scored.code == 0, scored.err
        files = [
            shell.folder / "out/predict_eval_predictions.jsonl",
            *map(shell.folder.joinpath, ("e.jsonl", "c.csv")),
        ]
        files += sorted(p for p in (shell.folder / "reports").rglob("*") if p.is_file())
        assert len(files) > 4
        seen.add((scored.out, *(path.read_bytes() for path in files)))
    assert len(seen) == 1


def test_predict_and_eval(shell, data):
    predicted = shell.run(["predict", "--data", "data", "-o", "out"], engine=ScriptedEngine)
    assert predicted.code == 0, predicted.err
    assert predicted.out == b""
    first, *rest = records((shell.folder / "out/predict_eval_predictions.jsonl").read_bytes())
    assert len(rest) == 7
    assert list(first)[:5] == ["Task", "Dataset", "Language", "Instance", "Prediction"]
    assert list(first["Instance"]) == ["id", "sentence", "label", "instruction", "ground_truth"]
    assert first["Prediction"] == "keeper: Keeper0; ship: Ship1"
    assert first["Instance"]["ground_truth"].strip() == first["Prediction"]
    for metric in ("paper", "strict"):
        report = json.loads(shell.run(["eval", "out", "--metric", metric, "--json"]).out)
        assert report["metric"] == metric
        if metric == "paper":
            assert {name: s["f1"] for name, s in report["datasets"].items()} == {
                "NER_en_Port": 1.0, "NER_en_Zoo": 1.0,
            }  # fmt: skip
    only = ["predict", "--data", "data", "-o", "one", "--only", "NER_en_Zoo", "--limit", "2"]
    assert shell.run(only, engine=ScriptedEngine).code == 0
    assert len(records((shell.folder / "one/predict_eval_predictions.jsonl").read_bytes())) == 2


def test_eval_exits_with_1_below_the_least_f1(shell):
    tag(shell, "docs.jsonl", "-l", "person", "-o", "tagged.jsonl")
    tag(shell, "docs.jsonl", *LABELS, "-o", "gold.jsonl")
    command = ["eval", "tagged.jsonl", "--gold", "gold.jsonl"]
    table = shell.run(command)
    assert table.code == 0, table.err
    assert b"person" in table.out
    report = json.loads(shell.run([*command, "--json"]).out)
    assert report["averages"]["overall"] == pytest.approx(0.8)
    assert shell.run([*command, "--min-f1", "0.79"]).code == 0
    missed = shell.run([*command, "--min-f1", "0.81"])
    assert missed.code == 1
    assert "F1 0.8000 is below --min-f1 0.81" in missed.err


def test_train_then_tag_with_the_adapter(shell, data, tiny_llama):
    command = ["train", "--data", "data", "-m", tiny_llama, "-o", "run", "--device", "cpu"]
    for setting in ("batch=4", "group=2", "epochs=0.5", "rank=4"):
        command += ["--set", setting]
    trained = shell.run(command)
    assert trained.code == 0, trained.err
    assert "adapter in run/adapter" in trained.err
    for name in ("adapter/adapter_model.safetensors", "adapter/run.json", "card.md", "run.json"):
        assert (shell.folder / "run" / name).is_file()
    refused = shell.run(command)
    assert refused.code == 2
    assert "holds a run already" in refused.err

    tagging = ["tag", "docs.jsonl", *LABELS, "-m", tiny_llama, "--max-answer", "8", "-v"]
    bare = shell.run(tagging)
    adapted = shell.run([*tagging, "-a", "run/adapter"])
    assert bare.code == adapted.code == 0, adapted.err
    assert "what the adapter was trained on" in adapted.err
    assert "0% from cache" in adapted.err  # other weights, other answers
    predicted = shell.run(
        ["predict", "--data", "data", "-o", "out", "-m", tiny_llama, "-a", "run/adapter",
         "--max-answer", "8", "--limit", "2"]
    )  # fmt: skip
    assert predicted.code == 0, predicted.err
    evaluated = shell.run(["eval", "out", "--metric", "paper", "--min-f1", "0.5"])
    assert evaluated.code == 1


def test_train_with_several_seeds(shell, data, tiny_llama):
    command = ["train", "--data", "data", "-m", tiny_llama, "-o", "runs", "--device", "cpu",
               "--seeds", "1,2", "--eval-data", "data", "--eval-split", "test",
               "--eval-limit", "1"]  # fmt: skip
    for setting in ("batch=8", "group=2", "epochs=0.5", "rank=2"):
        command += ["--set", setting]
    trained = shell.run(command)
    assert trained.code == 0, trained.err
    table = trained.out.decode().splitlines()
    assert table[0].split()[:2] == ["paper", "eval-2"]
    assert [line.split()[0] for line in table[1:3]] == ["NER_en_Port", "NER_en_Zoo"]
    assert all("±" in line for line in table[1:])
    assert (shell.folder / "runs" / "agg.csv").is_file()
    again = shell.run(["eval", "runs", "--metric", "paper"])
    assert again.out == trained.out
    refused = shell.run(command)
    assert refused.code == 2
    assert "several seeds already" in refused.err


@pytest.mark.parametrize(
    "options, message",
    [
        (["--seeds", "1,1"], "a seed is there twice"),
        (["--exact-reference"], "recipe 'fine-tune' is not the reference's"),
        (["--eval-data", "data", "--eval-split", "tests"], "no split 'tests'"),
        (["--set", "target=,"], "names no layers"),
    ],
)
def test_train_says_what_is_wrong_with_its_options(shell, options, message):
    failed = shell.run(["train", "--data", "data", "-o", "runs", *options])
    assert failed.code == 2
    assert message in failed.err
    assert not (shell.folder / "runs").exists()


def test_train_on_a_file_says_where_it_starts(shell, tiny_llama):
    rows = [{"text": f"Ann{i} sleeps", "entities": [[0, 4, "person"]]} for i in range(4)]
    (shell.folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["train", "--data", "mine.jsonl", "-m", tiny_llama, "--device", "cpu"]
    command += ["--set", "rank=2", "--set", "batch=4", "--set", "epochs=1"]
    looked = shell.run([*command, "-o", "run", "--dry-run"])
    assert looked.code == 0, looked.err
    assert "NER_en_mine: 4 of 4 documents, 1 labels: person" in looked.err
    assert not (shell.folder / "run").exists()
    first = shell.run([*command, "-o", "run"])
    assert first.code == 0, first.err
    assert "starts from the bare model" in first.err
    assert "no adapter is shipped with it" in first.err
    second = shell.run([*command, "-o", "more", "--from-adapter", "run/adapter",
                        "--set", "min_steps=2", "--set", "max_tokens=4000"])  # fmt: skip
    assert second.code == 0, second.err
    assert "starts from the adapter run/adapter: --from-adapter; recipe fine-tune" in second.err
    record = json.loads((shell.folder / "more" / "run.json").read_text())
    assert (record["recipe"]["replay"], record["replayed"]) == (1.0, 4)
    refused = shell.run([*command, "-o", "x", "--from-adapter", "run/adapter", "--from-scratch"])
    assert (refused.code, "exclude each other" in refused.err) == (2, True)
