"""Tagged relations, events and sentiments against gold: by place, and as the answers they were."""

import json

import pytest

from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.formats.fields import Fields
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.scoring.report import score
from b2ner_cli.scoring.scored_documents import ScoreJob
from tests.scripted import ScriptedEngine, Shell

TEXT = "Emma was written by Jane Austen ; Jane Austen lived in Bath ."
METRICS = ("strict", "paper")


def part(words, nth=0, text=TEXT):
    start = -1
    for _ in range(nth + 1):
        start = text.index(words, start + 1)
    return {"start": start, "end": start + len(words), "text": words}


def relation(label, head, tail):
    return {"label": label, "head": head, "tail": tail}


AUTHOR = relation("author", part("Emma"), part("Jane Austen"))
HOME = relation("home", part("Jane Austen"), part("Bath"))


def write(path, *records):
    lines = (json.dumps({"id": str(n), "text": TEXT, **r}) for n, r in enumerate(records, 1))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def counts(tmp_path, found, gold, **options):
    """Hits, inventions and misses by each metric."""
    found, gold = [each if isinstance(each, list) else [each] for each in (found, gold)]
    path, against = write(tmp_path / "p.jsonl", *found), write(tmp_path / "g.jsonl", *gold)
    reports = score(path, ScoreJob(METRICS, against, **options))
    totals = [reports[metric].data_sets[0].scores.total for metric in METRICS]
    return [(each.tp, each.fp, each.fn) for each in totals]


def test_relations_by_place_and_by_words(tmp_path):
    elsewhere = relation("author", part("Emma"), part("Jane Austen", 1))
    gold = {"relations": [AUTHOR, HOME]}
    assert counts(tmp_path, {"relations": [AUTHOR]}, gold) == [(1, 0, 1), (1, 0, 1)]
    assert counts(tmp_path, {"relations": [elsewhere]}, gold) == [(0, 1, 2), (1, 0, 1)]
    turned = relation("author", AUTHOR["tail"], AUTHOR["head"])
    assert counts(tmp_path, {"relations": [turned, HOME]}, gold) == [(1, 1, 1), (1, 1, 1)]


def test_gold_relations_as_b2nerd_has_them_and_without_places(tmp_path):
    gold = {
        "relations": [
            {"type": "author", "head": {"name": "Emma", "pos": [0, 4]},
             "tail": {"name": "Jane Austen", "pos": [20, 31]}},
            {"type": "home", "head": {"name": "Jane Austen"}, "tail": {"name": "Bath"}},
            {"type": "NA", "head": {"name": "Emma"}, "tail": {"name": "Bath"}},
        ]
    }  # fmt: skip
    assert counts(tmp_path, {"relations": [AUTHOR, HOME]}, gold) == [(2, 0, 0), (2, 0, 0)]


def test_what_the_text_does_not_hold_was_said_all_the_same(tmp_path):
    found = {
        "relations": [AUTHOR],
        "unlocated": [{"label": "home", "text": "Jane Austen, York"}],
    }
    assert counts(tmp_path, found, {"relations": [AUTHOR]}) == [(1, 1, 0), (1, 1, 0)]


BOMB = "Rebels bombed Aleppo ; they bombed Homs ."


def event(label, trigger, *arguments, text=BOMB):
    found = {"label": label, "trigger": part(*trigger, text=text)}
    if arguments:
        found["arguments"] = [{"label": role, **part(word, text=text)} for role, word in arguments]
    return found


FIRST = event("attack", ("bombed",), ("attacker", "Rebels"), ("place", "Aleppo"))
SECOND = event("attack", ("bombed", 1), ("place", "Homs"))


def about(events):
    return {"text": BOMB, "events": events}


def bare(found):
    return {key: value for key, value in found.items() if key != "arguments"}


def test_triggers_by_place_and_types_as_a_whole(tmp_path):
    gold = about([FIRST, SECOND])
    assert counts(tmp_path, about([bare(FIRST)]), gold) == [(1, 0, 1), (1, 0, 0)]
    other = {**bare(FIRST), "label": "meet"}
    assert counts(tmp_path, about([bare(FIRST), other]), gold) == [(1, 1, 1), (0, 1, 1)]


def test_arguments_event_by_event(tmp_path):
    gold = about([FIRST, SECOND])
    assert counts(tmp_path, about([SECOND, FIRST]), gold) == [(3, 0, 0), (3, 0, 0)]
    # The place of the other event is none of this one's.
    swapped = event("attack", ("bombed",), ("place", "Homs"))
    assert counts(tmp_path, about([swapped, SECOND]), gold) == [(1, 1, 2), (1, 1, 2)]
    # An event that gold does not have: all its arguments are invented.
    unsupported = event("meet", ("bombed",), ("place", "Aleppo"))
    assert counts(tmp_path, about([FIRST, SECOND, unsupported]), gold) == [(3, 1, 0), (3, 1, 0)]


def test_without_triggers(tmp_path):
    gold = about([FIRST])
    typed = about([{"label": "attack"}])
    assert counts(tmp_path, typed, gold) == [(1, 0, 0), (1, 0, 0)]
    told = about([{"label": "attack", "arguments": FIRST["arguments"][:1]}])
    assert counts(tmp_path, told, gold) == [(1, 0, 1), (1, 0, 1)]


def test_sentiments(tmp_path):
    gold = [{"sentiment": "good"}, {"sentiment": "bad"}]
    found = [{"sentiment": {"label": "good", "score": 0.9}}, {"sentiment": None}]
    assert counts(tmp_path, found, gold) == [(1, 0, 1), (1, 1, 1)]


def test_a_missing_prediction_is_missed_and_named(tmp_path):
    gold = [{"relations": [AUTHOR]}, {"relations": [HOME]}]
    assert counts(tmp_path, [{"relations": [AUTHOR]}], gold) == [(1, 0, 1), (1, 0, 1)]
    (data_set,) = score(tmp_path / "p.jsonl", ScoreJob(gold=tmp_path / "g.jsonl"))[
        "strict"
    ].data_sets
    assert data_set.missing == ("2",)
    types = [{"events": [{"label": "a"}]}, {"events": [{"label": "b"}]}]
    assert counts(tmp_path, types[:1], types) == [(1, 0, 1), (1, 0, 1)]


def test_gold_in_the_same_records(tmp_path):
    path = write(tmp_path / "p.jsonl", {"relations_in": [AUTHOR, HOME], "relations": [AUTHOR]})
    total = (
        score(path, ScoreJob(fields=Fields(gold="relations_in")))["strict"]
        .data_sets[0]
        .scores.total
    )
    assert (total.tp, total.fp, total.fn) == (1, 0, 1)


def test_labels_are_renamed_on_both_sides(tmp_path):
    renaming = LabelMap({"author": "written by"})
    found = {"relations": [relation("written by", AUTHOR["head"], AUTHOR["tail"])]}
    right = [(1, 0, 0), (1, 0, 0)]
    assert counts(tmp_path, found, {"relations": [AUTHOR]}, label_map=renaming) == right


def test_what_has_no_place_is_renamed_too(tmp_path):
    found = {"entities": [], "unlocated": [{"label": "PER", "text": "York"}]}
    path, gold = write(tmp_path / "p.jsonl", found), write(tmp_path / "g.jsonl", {"entities": []})
    job = ScoreJob(("paper",), gold, label_map=LabelMap({"PER": "person"}))
    (data_set,) = score(path, job)["paper"].data_sets
    assert list(data_set.scores.labels) == ["person"]


def test_the_last_key_is_what_was_found(tmp_path, caplog):
    caplog.set_level("INFO", "b2ner")
    both = {"entities": [], "relations": [AUTHOR]}
    assert counts(tmp_path, both, both) == [(1, 0, 0), (1, 0, 0)]
    assert "what stands under 'relations' is scored" in caplog.text
    assert counts(tmp_path, both, both, task="NER") == [(0, 0, 0), (0, 0, 0)]


WRONG_PLACE = relation("author", {**part("Emma"), "start": 1}, part("Bath"))


@pytest.mark.parametrize(
    ("found", "gold", "options", "kind", "message"),
    [
        ({"relations": []}, {}, {}, InputError, "g.jsonl:1: no 'relations'"),
        ({"relations": [AUTHOR]}, {"relations": [WRONG_PLACE]}, {}, InputError, "is 'mma', not"),
        ({"events": []}, {"events": []}, {}, UsageError, "which task it is of"),
        ({"events": [{"label": "a"}]}, {"events": [{"label": "a"}]}, {"task": "EET"}, InputError,
         "has no trigger"),
        ({"relations": []}, {"relations": []}, {"fields": Fields(gold="relations"), "gold": None},
         UsageError, "holds the predictions"),
        ({"relations": []}, {"relations": []}, {"fields": Fields(gold="mine"), "gold": None},
         InputError, "no gold field 'mine'"),
    ],
)  # fmt: skip
def test_what_cannot_be_paired_is_an_error(tmp_path, found, gold, options, kind, message):
    path, against = write(tmp_path / "p.jsonl", found), write(tmp_path / "g.jsonl", gold)
    with pytest.raises(kind) as caught:
        score(path, ScoreJob(METRICS, **{"gold": against, **options}))
    assert message in caught.value.message


def test_conll_holds_no_relations(tmp_path):
    (tmp_path / "p.conll").write_text("Emma\tB-author\n")
    with pytest.raises(UsageError, match="CoNLL holds entities alone"):
        score(tmp_path / "p.conll", ScoreJob(gold=tmp_path / "p.conll", task="RE"))


# The commands -------------------------------------------------------------------------------------


def answering(labels, text):
    if "author" in labels:
        return " author: Emma, Jane Austen; home: Emma, York; home: Jane Austen, Bath"
    return " attack: bombed" if "attack" in labels else " place: Aleppo; attacker: Homs"


def engine():
    return ScriptedEngine(answering)


# An answer says a type with a trigger once, so that of these gold has each once.
THIRD = event("attack", ("they",))
SETS = {
    "re": (TEXT, ["author", "home"], "author,home", {"relations": [AUTHOR]}),
    "eet": (BOMB, {"attack": ["attacker", "place"]}, "@roles.json", {"events": [FIRST, THIRD]}),
    "eea": (BOMB, {"attack": ["attacker", "place"]}, "@roles.json", {"events": [FIRST, SECOND]}),
}


@pytest.mark.parametrize("task", SETS)
def test_tag_and_predict_are_scored_alike(tmp_path, task):
    text, labels, asked, gold = SETS[task]
    folder = tmp_path / "data" / ("RE_en" if task == "re" else "EE_en") / "set"
    folder.mkdir(parents=True)
    (folder / "labels.json").write_text(json.dumps(labels))
    (tmp_path / "roles.json").write_text(json.dumps(labels))
    spelled = json.loads(json.dumps(gold).replace('"label"', '"type"').replace('"text"', '"name"'))
    for found in spelled.get("events", ()):
        found["pos"] = [found["trigger"]["start"], found["trigger"]["end"]]
        found["trigger"] = found["trigger"]["name"]
        for argument in found.get("arguments", ()):
            argument["role"] = argument.pop("type")
    (folder / "test.json").write_text(json.dumps([{"sentence": text, "entities": [], **spelled}]))
    write(tmp_path / "gold.jsonl", {"text": text, **gold})
    shell = Shell(tmp_path)
    command = ["predict", "--data", "data", "--task", task, "-o", "out"]
    assert shell.run(command, engine=engine).code == 0
    command = ["tag", "gold.jsonl", "--task", task, "-l", asked, "-o", "tagged.jsonl"]
    done = shell.run(command, engine=engine)
    assert done.code == 0, done.err
    for metric in METRICS:
        scored = []
        for what in (["out"], ["tagged.jsonl", "--gold", "gold.jsonl"]):
            done = shell.run(["eval", *what, "--metric", metric, "--json"])
            assert done.code == 0, done.err
            (data_set,) = json.loads(done.out)["datasets"].values()
            scored.append({key: data_set[key] for key in ("tp", "fp", "fn", "labels")})
        assert scored[0] == scored[1]
        assert metric == "paper" or scored[0]["fp"] + scored[0]["fn"] > 0


def test_the_authors_files_name_their_task(tmp_path):
    line = {"Task": "NER", "Dataset": "d", "Language": "en", "Prediction": "None",
            "Instance": {"id": "1", "sentence": "x", "instruction": "", "label": ""}}  # fmt: skip
    (tmp_path / "p.jsonl").write_text(json.dumps(line))
    done = Shell(tmp_path).run(["eval", "p.jsonl", "--task", "re"])
    assert done.code == 2 and "names its tasks itself" in done.err
    done = Shell(tmp_path).run(["eval", "p.jsonl", "--task", "rel"])
    assert done.code == 2 and "no task 'rel'" in done.err
