"""Labels as people write them: better names where one is sure, silence for everything else."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.core.document import Document
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.better_names import better, describe, doubts, improving, meant_by, slips_of
from b2ner_cli.labels.label_map import LabelMap
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.labels.review import review
from b2ner_cli.labels.taxonomy import entries
from b2ner_cli.prompts.rendering import Form
from b2ner_cli.tagging import runs
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.loop import Options, tag
from b2ner_cli.tagging.tagger import Tagger
from tests.scripted import ScriptedEngine, Shell, numbered

BETTER = [
    ("PER", "person", "is a code, models know"),
    ("B-ORG", "organization", "is a code, models know"),
    ("I-DATE", "date", "is a code, models know"),
    ("MISC", "miscellaneous", "is a code, models know"),
    ("PERSON", "person", "is better in plain words:"),
    ("MONEY", "money", "is better in plain words:"),
    ("WORK_OF_ART", "work of art", "is better in plain words:"),
    ("movie_title", "movie title", "is better in plain words:"),
    ("MovieTitle", "movie title", "is better in plain words:"),
    ("Movie Titles", "movie title", "is better in plain words:"),
    ("bug_id", "bug id", "is better in plain words:"),
    ("Ort_Name", "Ort Name", "is better in plain words:"),
    ("songs", "song", "is better in the singular:"),
    ("companies", "company", "is better in the singular:"),
    ("persn", "person", "is close to"),
    ("locaton", "location", "is close to"),
    ("organizaiton", "organization", "is close to"),
    ("movie titel", "movie title", "is close to"),
    ('"city"', "city", "is better without quotes:"),
]


@pytest.mark.parametrize(("label", "name", "trouble"), BETTER, ids=[each[0] for each in BETTER])
def test_better_names(label, name, trouble):
    found = better(label)
    assert (found.name, found.trouble) == (name, trouble)
    assert list(doubts([label])) == [f"`{label}` {trouble} `{name}`"]
    assert better(name) is None


ORDINARY = (
    "movie title|公司|Haltestelle|bug id|person|Person|organisation|human|film|title|DNA|URL|GPS|"
    "ISBN|OS|E-Mail-Adresse|E-MAIL|B-movie|U-Bahn|S-Bahn-Linie|GitHub|iPhone|pH-Wert|XYZ|"
    "persona|personas|producto|autores|profesor|países|persoon|plaatsen|organisme|proces|adres|"
    "county|patent|news|species|series|Firmen|Autos|Ende der Totalität|organization->company|"
    "organization -> company|doctor's name|_|''|__|NOMBRE_PERSONA|BUG_ID|E_MAIL|AI|IT|Loc"
)


@pytest.mark.parametrize("label", ORDINARY.split("|"))
def test_ordinary_labels_raise_nothing(label):
    assert better(label) is None
    assert list(doubts([label])) == []


def test_names_of_the_taxonomy_and_of_our_own_documents_raise_nothing():
    assert [str(found) for entry in entries() if (found := better(entry.label))] == []
    found = {}
    for path in Path("samples/written").glob("*/*/labels.json"):
        for label in json.loads(path.read_text(encoding="utf-8")):
            found[label] = better(label)
    assert len(found) > 9000
    plurals = {"dimensions", "materials", "packages", "repetitions"}
    assert {label for label, better_name in found.items() if better_name} == plurals


def test_codes_have_the_names_of_the_language_that_is_asked_in():
    assert [better("PER", each).name for each in ("zh", "de", "nl", "es")] == [
        "人名", "Person", "persoon", "persona",
    ]  # fmt: skip
    assert better("FAC", "zh").name == "facility"


def test_what_else_is_doubtful():
    assert list(doubts(["none", "City", "city", "无"])) == [
        "`none` reads as the answer for a text without entities",
        "`city` differs from `City` in case or spaces only",
        "`无` reads as the answer for a text without entities",
    ]
    assert list(doubts(["PER", "LOC"], LabelMap({"PER": "human"}))) == [
        "`LOC` is a code, models know `location`"
    ]


def test_slips_are_one_letter_and_none_at_the_end():
    assert slips_of("abc") == {"ac", "acb", "aabc", "abbc"}
    assert meant_by("persom") == meant_by("persons") == meant_by("erson") == ""


@pytest.mark.mini
def test_words_that_the_model_has_tokens_for_are_no_slips():
    from b2ner_cli.models.files import locate
    from b2ner_cli.models.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(locate("mini", None, None, weights=False)).hf.get_vocab()
    plain = (unicodedata.normalize("NFD", word[1:]) for word in vocabulary if word[0] == "▁")
    words = {word.encode("ascii", "ignore").decode().casefold() for word in plain}
    assert len(words) > 50_000
    single = {label for label in words if " " not in label and meant_by(label)}
    assert single == set()


# One set ------------------------------------------------------------------------------------------


def test_a_name_that_another_label_has_is_left_to_it():
    assert improving(["PER", "person"], "en").names == {}
    assert improving(["PER", "B-PER"], "en").names == {"PER": "person"}
    assert improving(["PERSON", "LOC"], "en").names == {"PERSON": "person", "LOC": "location"}
    given = LabelMap({"X": "person", "PER": "human"})
    assert improving(["X", "PERS", "PER", "LOC"], "en", given).names == {
        "X": "person", "PER": "human", "LOC": "location",
    }  # fmt: skip


WRITTEN = st.sampled_from([label for label, *_ in BETTER] + ["person", "Person", "song", "X"])


@given(st.lists(WRITTEN | st.text("_AabP -sn'", min_size=1, max_size=9), min_size=1, unique=True))
def test_any_set_that_can_be_asked_can_be_improved_and_given_back(labels):
    try:
        asked = LabelSet(tuple(labels))
    except UsageError:
        return
    for language in ("en", "zh"):
        names = improving(labels, language)
        assert len(names.ask(asked).names) == len(labels)
        assert set(names.back(labels).values()) <= set(labels)


def test_which_labels_are_asked_otherwise_is_said():
    said = describe(["PER", "day"], "auto")
    assert said == "--improve-labels: PER as person (in Chinese 人名)"
    assert describe(["PER"], "de") == "--improve-labels: PER as Person"
    assert describe(["day"], "en") == ""
    assert describe(["PER"], "en", LabelMap({"PER": "x"})) == ""


@pytest.mark.parametrize("label", ["persona", "producto", "region", "artist", "votos", "vlees"])
def test_the_review_compares_no_labels_across_languages(label):
    assert review([label]) == []


# Tagging ------------------------------------------------------------------------------------------

DOCUMENTS = [Document("1", "Person1 met Person2 in City1 ."), Document("2", "在 City1 的公司。")]


def asked(documents=DOCUMENTS, labels=("PER", "GPE"), cache=None, **options):
    engine = ScriptedEngine()
    options = Options(improve_labels=True, **options)
    results = list(tag(documents, engine, labels and LabelSet(labels), options, cache))
    return results, [prompt for prompts, _ in engine.calls for prompt in prompts]


def test_better_names_are_asked_and_the_answers_have_those_given():
    (first, _), prompts = asked()
    assert any("Label Set: person, geo-political entity \n" in prompt for prompt in prompts)
    assert any("标签范围: 人名, 地缘政治实体\n" in prompt for prompt in prompts)
    assert [(e.start, e.end, e.label) for e in first.entities] == [(0, 7, "PER"), (12, 19, "PER")]
    assert first.answers == (" PER: Person1; PER: Person2",)


def test_the_map_comes_first_and_documents_bring_their_own():
    _, prompts = asked(DOCUMENTS[:1], label_map=LabelMap({"PER": "human"}))
    assert "Label Set: human, geo-political entity \n" in prompts[0]
    documents = [DOCUMENTS[0]._replace(labels=("persns", "B-PER"))]
    (result,), prompts = asked(documents, None)
    assert "Label Set: persns, person \n" in prompts[0]
    assert {e.label for e in result.entities} == {"B-PER"}


def test_the_cache_knows_only_the_names_that_are_asked(tmp_path):
    with Cache.open(tmp_path / "c") as cache:
        asked(DOCUMENTS[:1], ("PER",), cache)
        (plain,) = tag(DOCUMENTS[:1], ScriptedEngine(), LabelSet(("person",)), Options(), cache)
        (given,) = tag(DOCUMENTS[:1], ScriptedEngine(), LabelSet(("PER",)), Options(), cache)
    assert (plain.usage.cached, given.usage.cached) == (1, 0)


def test_a_run_goes_on_only_with_the_names_it_was_begun_with():
    labels = LabelSet(("PER",))
    said = [
        runs._asked(labels, Tagger(ScriptedEngine(), labels, options))
        for options in (Options(), Options(improve_labels=True))
    ]
    assert "improve labels" not in said[0]
    assert said[1]["improve labels"] == str({"en": {"PER": "person"}, "zh": {"PER": "人名"}})


def test_other_tasks_have_no_better_names():
    with pytest.raises(UsageError, match="known for entities, not for task re"):
        Options(improve_labels=True, form=Form("RE"))


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def tagged(tmp_path):
    """Runs `b2ner tag docs.jsonl` with labels."""
    (tmp_path / "docs.jsonl").write_bytes(numbered(2))
    shell = Shell(tmp_path)
    return lambda *command, file="docs.jsonl": shell.run(
        ["tag", file, *command], engine=ScriptedEngine
    )


def test_doubts_are_told_a_line_each_and_not_many(tagged):
    done = tagged("-l", "PER, persn, company, movie_title, songs, MISC, LOC", "--labels-as-given")
    assert done.err.splitlines()[:-1] == [
        "`PER` is a code, models know `person`",
        "`persn` is close to `person`",
        "`movie_title` is better in plain words: `movie title`",
        "`songs` is better in the singular: `song`",
        "and 2 more: b2ner labels check shows them all",
        "--improve-labels asks under better names and answers under yours",
    ]
    for silent in (["PER", "-q"], ["movie title, 公司, Haltestelle"], ["PER", "-a", "mine"]):
        assert "`" not in tagged("-l", *silent).err


def test_better_names_from_the_command_line(tagged, tmp_path):
    done = tagged("-l", "PER, LOC, X")  # by default, of the shipped adapter
    assert tagged("-l", "PER, LOC, X", "--improve-labels").out == done.out
    assert done.err.splitlines()[:-1] == [
        "--improve-labels: PER as person (in Chinese 人名), LOC as location (in Chinese 地名)"
    ]
    found = [json.loads(line)["entities"] for line in done.out.decode().splitlines()]
    assert {entity["label"] for each in found for entity in each} == {"PER"}
    (tmp_path / "m").write_text("LOC => city\n")
    both = tagged("-l", "PER, LOC", "--improve-labels", "--label-map", "m", "-v")
    assert "--improve-labels: PER as person (in Chinese 人名)\n" in both.err
    assert "label names: m: LOC as city" in both.err
    assert tagged("-l", "PER", "--improve-labels", "--task", "re").code == 2


def test_of_the_lists_of_documents_a_few_doubts_are_told(tagged, tmp_path):
    lists = [["PER", "songs"], ["PER"], ["persn"], ["movie_title"], ["MISC"]]
    rows = [json.dumps({"text": "Person1 .", "kinds": each}) for each in lists]
    (tmp_path / "own.jsonl").write_text("\n".join(rows))
    done = tagged("--labels-field", "kinds", "--labels-as-given", file="own.jsonl")
    said = [line.split()[0] for line in done.err.splitlines()[:-1]]
    assert said == ["`PER`", "`songs`", "`persn`"]
    done = tagged("--labels-field", "kinds", file="own.jsonl")
    assert done.err.splitlines()[:-1] == [
        "--improve-labels: PER as person (in Chinese 人名), songs as song",
        "--improve-labels: PER as person (in Chinese 人名)",
        "--improve-labels: persn as person",
    ]


def test_better_names_are_shown_before_a_model_is_loaded(tagged, tiny_llama):
    model = ["-m", str(tiny_llama), "-a", "none"]
    done = tagged("-l", "PER", "--improve-labels", "--dry-run", *model)
    assert "Label Set: person \n" in done.out.decode()
