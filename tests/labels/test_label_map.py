"""Label maps: what a file says, there and back again, and every command that takes one."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.core.document import BadRecord, Document, Mention
from b2ner_cli.errors import DataError, InputError, UsageError
from b2ner_cli.formats.predictions import NAMES_FILE, read_names, write_names
from b2ner_cli.labels.label_map import LabelMap, describe, parse, read, relabel, spell
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.scoring.tables import table_rows
from b2ner_cli.tagging import loop, runs
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.loop import Options, tag
from b2ner_cli.training.card import card
from b2ner_cli.training.run import _label_names
from b2ner_cli.training.selection import Selection, renamed
from tests.scoring.predicted import evaluate
from tests.scripted import ScriptedEngine, Shell, numbered
from tests.training.test_card import RECORD

PAIRS = {"PER": "person", "organization -> company": "firm", "LOC": "city"}

# Files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "# names\n\nPER => person\norganization -> company => firm\n LOC=>city\n",
        "PER\tperson\norganization -> company\tfirm\nLOC\tcity\n",
        "PER -> person\norganization -> company\tfirm\nLOC -> city\n",
        '{"PER": "person", "organization -> company": "firm", "LOC": "city"}',
    ],
)
def test_the_three_forms_of_a_file(tmp_path, text):
    path = tmp_path / "map"
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert read(path) == LabelMap(PAIRS, str(path))


OLD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
NEW = st.from_regex(r"[a-z人][a-z #>=人-]{0,8}[a-z人]", fullmatch=True)


@given(st.dictionaries(OLD, NEW, min_size=1, max_size=5))
def test_what_is_spelled_is_read(names):
    label_map = LabelMap(names, "m")
    assert parse(spell(label_map), "m") == label_map


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a => b\nPER\n", r"m:2: 'PER' does not rename one label"),
        ("PER =>\n", "m:1: .* does not rename one label"),
        ("=> person\n", "m:1: .* does not rename one label"),
        ("a -> b -> c\n", "m:1: .* does not rename one label"),
        ("a\tb\tc\n", "m:1: .* does not rename one label"),
        ("a => x\n\na => y\n", "m:3: label 'a' is renamed twice"),
        ("a => x; y\n", "m:1: 'a' is renamed: label 'x; y' holds ';'"),
        ("# nothing\n\n", "label map m is empty"),
        ("{}", "label map m is empty"),
        ('{"a": "x", "a": "y"}', "m: label 'a' is renamed twice"),
        ('{"a":\n 1}', "m: 'a' is renamed to 1, which is not a string"),
        ('{"a":\n "x"', "m:2: malformed JSON"),
        ('{" ": "x"}', "an empty label is renamed 'x'"),
    ],
)
def test_bad_files_say_where_and_what(text, message):
    with pytest.raises(InputError, match=message):
        parse(text, "m")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"cannot read label map .*: No such file"):
        read(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"a => \xe9")
    with pytest.raises(InputError, match=r"not UTF-8 \(byte 5\)"):
        read(tmp_path / "latin")


# Names --------------------------------------------------------------------------------------------


@given(st.dictionaries(NEW, NEW, min_size=1, max_size=6), st.lists(NEW, min_size=1, unique=True))
def test_back_undoes_ask(names, labels):
    label_map = LabelMap(names)
    if len({label_map.asked(label) for label in labels}) < len(labels):
        with pytest.raises(UsageError, match="would both be asked as"):
            label_map.ask(LabelSet(tuple(labels)))
        return
    asked = label_map.ask(LabelSet(tuple(labels))).names
    back = label_map.back(labels)
    assert [back.get(name, name) for name in asked] == labels


def test_descriptions_go_along():
    labels = LabelSet(("PER", "day"), {"PER": "a human", "day": "a date"})
    asked = LabelMap(PAIRS).ask(labels)
    assert asked == LabelSet(("person", "day"), {"person": "a human", "day": "a date"})


def test_a_label_that_another_one_takes_the_name_of():
    with pytest.raises(UsageError, match="'PER' and 'person' would both be asked as 'person'"):
        LabelMap(PAIRS).ask(LabelSet(("PER", "person")))
    swapped = LabelMap({"a": "b", "b": "a"}).ask(LabelSet(("a", "b")))
    assert swapped.names == ("b", "a")  # one to one, if confusing


def test_unused_labels_are_named_with_near_ones():
    label_map = LabelMap({"PERS": "person", "LOC": "city"}, "m")
    said = "m: no such labels here: 'PERS' (did you mean PER?)"
    assert label_map.unused(["PER", "LOC"]) == said
    assert label_map.check_used(["PER", "LOC"]) == said
    with pytest.raises(UsageError, match="no such labels here: 'PERS', 'LOC'"):
        label_map.check_used(["day"])
    assert label_map.check_used(["PERS", "LOC", "day"]) == ""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (" person: Ann; city: Rome", " PER: Ann; LOC: Rome"),
        ("Person：Ann；  city :Rome: person", "PER：Ann；  LOC :Rome: person"),
        (" None", " None"),
        (" person; day: person", " person; day: person"),
    ],
)
def test_answers_are_relabelled_and_else_untouched(answer, said):
    assert relabel(answer, {"person": "PER", "city": "LOC"}) == said


# Tagging ------------------------------------------------------------------------------------------

DOCUMENT = Document("1", "Person1 met Person2 in City1 .")


def tagged(engine, labels, label_map, cache=None, documents=(DOCUMENT,)):
    return list(tag(documents, engine, labels, Options(label_map=label_map), cache))


def test_the_model_is_asked_other_names_and_the_result_has_its_own():
    engine = ScriptedEngine()
    (result,) = tagged(engine, LabelSet(("LOC", "PER")), LabelMap(PAIRS))
    ((prompts, _),) = engine.calls
    assert "Label Set: city, person \n" in prompts[0]
    assert [(e.start, e.label) for e in result.entities] == [(0, "PER"), (12, "PER"), (23, "LOC")]
    assert result.answers == (" PER: Person1; PER: Person2; LOC: City1",)
    assert result.document is DOCUMENT


def test_entities_at_one_place_are_sorted_by_their_own_labels():
    labels = LabelSet(("b", "a"))
    (result,) = tagged(
        ScriptedEngine(), labels, LabelMap({"b": "per", "a": "person"}), documents=[DOCUMENT]
    )
    assert [(e.start, e.label) for e in result.entities[:2]] == [(0, "a"), (0, "b")]


def test_labels_of_documents_are_renamed_each_by_itself():
    documents = [
        DOCUMENT._replace(labels=("PER",)),
        DOCUMENT._replace(labels=("person",)),
        DOCUMENT._replace(labels=("PER", "person"), origin="f:3"),
    ]
    first, second, third = tagged(ScriptedEngine(), None, LabelMap(PAIRS), documents=documents)
    assert {e.label for e in first.entities} == {"PER"}
    assert {e.label for e in second.entities} == {"person"}
    assert isinstance(third, BadRecord) and "would both be asked" in third.message


def test_the_cache_knows_only_the_names_that_are_asked(tmp_path):
    with Cache.open(tmp_path / "c") as cache:
        (mapped,) = tagged(ScriptedEngine(), LabelSet(("PER",)), LabelMap(PAIRS), cache)
        (plain,) = tagged(ScriptedEngine(), LabelSet(("person",)), None, cache)
    assert mapped.usage.cached == 0
    assert plain.usage.cached == 1
    assert [e.start for e in plain.entities] == [e.start for e in mapped.entities]


def test_questions_are_asked_under_the_same_names():
    options = Options(label_map=LabelMap(PAIRS))
    (asked,) = loop.questions([DOCUMENT], ScriptedEngine(), LabelSet(("PER",)), options)
    assert asked[0].labels == ("person",)


# The commands -------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "docs.jsonl").write_bytes(numbered(3))
    (tmp_path / "names.tsv").write_text("PER\tperson\nLOC\tcity\n")
    return Shell(tmp_path)


def run(shell, *command):
    return shell.run(command, engine=ScriptedEngine)


def test_tag_with_a_map(shell):
    done = run(
        shell, "tag", "docs.jsonl", "-l", "PER,LOC", "--label-map", "names.tsv", "-o", "t.jsonl"
    )
    assert (done.code, done.out) == (0, b"")
    assert "label names" not in done.err
    lines = [json.loads(line) for line in (shell.folder / "t.jsonl").read_text().splitlines()]
    assert [e["label"] for e in lines[0]["entities"]] == ["PER", "PER", "LOC"]
    plain = run(shell, "tag", "docs.jsonl", "-l", "person,city", "-v")
    assert "100% from cache" in plain.err
    assert "label names: as given" in plain.err
    verbose = run(shell, "tag", "docs.jsonl", "-l", "PER", "--label-map", "names.tsv", "-v")
    assert "label names: names.tsv: PER as person" in verbose.err
    assert "Warning: names.tsv: no such labels here: 'LOC'" in verbose.err


def test_tag_refuses_a_map_that_does_not_fit_before_a_model_is_loaded(shell):
    wrong = run(shell, "tag", "docs.jsonl", "-l", "day", "--label-map", "names.tsv")
    assert wrong.code == 2
    assert "no such labels here: 'PER', 'LOC'" in wrong.err
    twice = run(shell, "tag", "docs.jsonl", "-l", "PER,person", "--label-map", "names.tsv")
    assert twice.code == 2
    assert "'PER' and 'person' would both be asked as 'person'" in twice.err


def test_a_run_goes_on_only_with_the_names_it_was_begun_with(shell):
    asked = runs._asked(
        LabelSet(("PER",)),
        type("T", (), {"options": Options(label_map=LabelMap(PAIRS)), "engine": ScriptedEngine()}),
    )
    assert asked["label map"] == str(PAIRS)


@pytest.fixture
def zoo(shell):
    folder = shell.folder / "data" / "NER_en" / "zoo"
    folder.mkdir(parents=True)
    (folder / "labels.json").write_text('["PER", "LOC"]')
    text = "Person0 met Ann in City0 ."
    rows = [{"sentence": text, "entities": [
        {"name": "Person0", "type": "PER", "pos": [0, 7]},
        {"name": "Ann", "type": "PER", "pos": [12, 15]},
        {"name": "City0", "type": "LOC", "pos": [19, 24]},
    ]}]  # fmt: skip
    for split in ("train", "test"):
        (folder / f"{split}.json").write_text(json.dumps(rows))
    return shell.folder / "data"


def test_predict_asks_other_names_and_writes_the_sets_own(shell, zoo):
    done = run(shell, "predict", "--data", "data", "-o", "out", "--label-map", "names.tsv")
    assert done.code == 0, done.err
    line = json.loads((shell.folder / "out" / "predict_eval_predictions.jsonl").read_text())
    assert line["Prediction"] == "PER: Person0; LOC: City0"
    assert "Label Set: PER, LOC" in line["Instance"]["instruction"]
    assert [e["label"] for e in line["entities"]] == ["PER", "LOC"]
    for metric in ("paper", "strict"):
        report = evaluate(shell.folder / "out", metric=metric)
        assert report.f1 == pytest.approx(0.8)
        assert report.as_dict()["asked"] == {"NER_en_zoo": {"PER": "person", "LOC": "city"}}
        assert report.notes[0] == "NER_en_zoo: asked for PER as person, LOC as city"
    assert table_rows(report)[0][0] == "labels as given, asked under others"
    again = run(shell, "predict", "--data", "data", "-o", "out", "--force")
    assert again.code == 0 and not (shell.folder / "out" / NAMES_FILE).exists()


def test_predict_refuses_two_labels_of_a_set_under_one_name(shell, zoo):
    (shell.folder / "one.tsv").write_text("PER\tLOC\n")
    done = run(shell, "predict", "--data", "data", "-o", "out", "--label-map", "one.tsv")
    assert done.code == 2
    assert "'PER' and 'LOC' would both be asked as 'LOC'" in done.err


def test_the_note_beside_predictions(tmp_path):
    names = {"NER_en_zoo": {"PER": "person"}}
    write_names(tmp_path, "m", names)
    assert read_names(tmp_path) == read_names(tmp_path / "x.jsonl") == names
    (tmp_path / NAMES_FILE).write_text("[]")
    with pytest.raises(InputError, match="not the note that goes with predictions"):
        read_names(tmp_path)
    write_names(tmp_path, "", {})
    assert read_names(tmp_path) == {}


@pytest.mark.parametrize("metric", ["paper", "strict"])
def test_eval_scores_both_sides_under_the_names_of_the_map(tmp_path, metric):
    text = "Ann met Bob in Rome"

    def span(start, end, label):
        return {"start": start, "end": end, "label": label}

    gold = {"id": 1, "text": text, "entities": [span(0, 3, "Scientist"), span(8, 11, "PER")]}
    found = {"id": 1, "text": text, "entities": [span(0, 3, "person"), span(8, 11, "PER")]}
    for name, record in (("gold", gold), ("found", found)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(record))
    (tmp_path / "m").write_text("Scientist => person\nPER => person\nLOC => city")
    label_map = read(tmp_path / "m")
    files = {"path": tmp_path / "found.jsonl", "gold": tmp_path / "gold.jsonl"}
    assert evaluate(**files, metric=metric).f1 == 0.5
    report = evaluate(**files, metric=metric, label_map=label_map)
    assert (report.f1, report.as_dict()["labels"]) == (1.0, str(tmp_path / "m"))
    assert [note.partition(": ")[2] for note in report.notes] == [
        "Scientist and PER as person; LOC as city", "neither file has LOC",
    ]  # fmt: skip
    assert table_rows(report)[0][0] == f"labels of {tmp_path / 'm'}"
    with pytest.raises(UsageError, match="x renames no label of these files"):
        evaluate(**files, metric=metric, label_map=LabelMap({"PERS": "human"}, "x"))


@pytest.mark.parametrize("metric", ["paper", "strict"])
def test_eval_renames_in_the_authors_files(shell, zoo, metric):
    run(shell, "predict", "--data", "data", "-o", "out", "--label-map", "names.tsv")
    report = evaluate(
        shell.folder / "out", metric=metric, label_map=read(shell.folder / "names.tsv")
    )
    (only,) = report.data_sets
    assert set(only.scores.labels) == {"person", "city"}
    assert only.audit.invalid == 0
    assert report.f1 == pytest.approx(0.8)


PICK = Selection(
    "NER_en_zoo", "en", ("PER", "LOC"),
    (Document("0", "Ann", mentions=(Mention("PER", "Ann"),), labels=("PER",)),), 1, 0,
)  # fmt: skip


def test_training_data_is_renamed():
    pick = renamed(PICK, LabelMap(PAIRS))
    assert pick.labels == ("person", "city")
    (document,) = pick.documents
    assert (document.labels, document.mentions) == (("person",), (Mention("person", "Ann"),))
    with pytest.raises(DataError, match=r"NER_en_zoo: .* would both be asked as 'x'"):
        renamed(PICK, LabelMap({"PER": "x", "LOC": "x"}))


def test_the_record_and_the_card_of_a_training_run_name_the_names():
    names = _label_names([PICK], LabelMap(PAIRS, "m"))
    assert names == {
        "source": "m", "renamed": {"NER_en_zoo": {"PER": "person", "LOC": "city"}},
    }  # fmt: skip
    assert _label_names([PICK], None) == {"source": "as given"}
    assert "Trained under other label names, by m: PER as person, LOC as city." in card(
        RECORD | {"label_names": names}, {}
    )
    with pytest.raises(UsageError, match="no such labels here"):
        _label_names([PICK], LabelMap({"x": "y"}))


def test_describe():
    assert describe(None, ["a"]) == "label names: as given"
    assert describe(LabelMap({"a": "b"}, "m"), ["c"]) == "label names: as given"
    assert describe(LabelMap({"a": "b"}, "m"), ["a"]) == "label names: m: a as b"
    assert asdict(Options())["label_map"] is None


def test_training_learns_the_new_names_and_is_scored_under_the_old(shell, zoo, tiny_llama):
    train = [
        "train", "--data", "data", "-m", tiny_llama, "-o", "run", "--set", "rank=2",
        "--set", "alpha=4", "--set", "group=1", "--set", "batch=1", "--set", "dtype=float32",
        "--checkpoint-every", "1", "--device", "cpu",
    ]  # fmt: skip
    done = shell.run([*train, "--label-map", "names.tsv", "--heldout", "data"])
    assert done.code == 0, done.err
    record = json.loads((shell.folder / "run" / "run.json").read_text())
    names = {"PER": "person", "LOC": "city"}
    assert record["label_names"] == {"source": "names.tsv", "renamed": {"NER_en_zoo": names}}
    assert record["heldout"]["asked"] == {"NER_en_zoo": names}
    assert set(record["heldout"]["datasets"]["NER_en_zoo"]["labels"]) >= {"per", "loc"}
    other = shell.run([*train, "--resume"])
    assert other.code == 2
    assert "another task config or label map" in other.err
