"""The loop with a scripted engine: order, cache, chunks, groups, resuming, streams, memory."""

import gc
import threading
import time
import tracemalloc
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2ner_cli.core.document import BadRecord, Document, Mention, Result
from b2ner_cli.core.engine import Completion
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts.rendering import NONE
from b2ner_cli.tagging import loop, planning, windows
from b2ner_cli.tagging.answer_cache import Cache
from b2ner_cli.tagging.loop import CutRun, Options, tag, with_labels
from b2ner_cli.tagging.tagger import Tagger
from tests.scripted import ScriptedEngine, asked

PERSON = LabelSet(("person",))
BOTH = LabelSet(("person", "city"))


def document(number, text=None, **more):
    text = f"Person{number} went to City{number % 5} ." if text is None else text
    return Document(str(number), text, origin=f"x:{number}", **more)


def documents(count):
    return [document(number) for number in range(count)]


def spans(result):
    return [(e.start, e.end, e.label, e.text) for e in result.entities]


def asked_texts(engine):
    return [text for prompts, _ in engine.calls for text in prompts]


# Order ------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(count=st.integers(0, 80), rows=st.integers(1, 9), seed=st.integers(0, 99))
def test_results_come_in_input_order_whatever_the_engine_does(count, rows, seed):
    engine = ScriptedEngine(rows=rows, seed=seed)
    results = list(tag(documents(count), engine, BOTH))
    assert [r.document.id for r in results] == [str(n) for n in range(count)]
    for number, result in enumerate(results):
        name = f"Person{number}"
        assert spans(result)[0] == (0, len(name), "person", name)
        assert result.entities[1].text == f"City{number % 5}"


def test_bad_records_keep_their_place():
    mixed = [document(0), BadRecord("x:1", "broken"), document(2), BadRecord("x:3", "broken")]
    places = [r.origin if isinstance(r, BadRecord) else r.document.origin
              for r in tag(mixed, ScriptedEngine(), BOTH)]  # fmt: skip
    assert places == ["x:0", "x:1", "x:2", "x:3"]


def test_a_result_leaves_before_the_rest_of_its_window_is_answered():
    engine = ScriptedEngine(rows=1, seed=3)
    results = tag(documents(32), engine, BOTH)
    next(results)
    assert engine.answers < 32


# What is asked ----------------------------------------------------------------------------------


def test_the_same_question_is_asked_once():
    engine = ScriptedEngine()
    same = [document(number, "Person1 sings .") for number in range(10)]
    results = list(tag(same, engine, PERSON))
    assert engine.answers == 1
    assert [spans(r) for r in results] == [[(0, 7, "person", "Person1")]] * 10


@pytest.mark.parametrize("text", ["", "   ", "\n\t\u3000\u2028"])
def test_white_space_needs_no_engine(text):
    engine = ScriptedEngine()
    (result,) = tag([document(0, text)], engine, PERSON)
    assert (result.entities, result.usage.prompts, engine.calls) == ((), 0, [])


def test_answers_in_the_cache_are_not_asked_again(tmp_path):
    with Cache.open(tmp_path / "c") as cache:
        first = list(tag(documents(5), ScriptedEngine(), BOTH, cache=cache))
        engine = ScriptedEngine()
        results = list(tag(documents(9), engine, BOTH, cache=cache))
    assert engine.answers == 4
    assert [r.usage.cached for r in results] == [1] * 5 + [0] * 4
    assert [r.entities for r in results[:5]] == [r.entities for r in first]


@pytest.mark.parametrize(
    ("labels", "engine"),
    [
        (PERSON, ScriptedEngine()),
        (LabelSet(("city", "person")), ScriptedEngine()),
        (LabelSet(BOTH.names, {"person": "a human"}), ScriptedEngine()),
        (BOTH, ScriptedEngine(identity="other weights")),
    ],
)
def test_another_question_is_not_answered_from_the_cache(tmp_path, labels, engine):
    with Cache.open(tmp_path / "c") as cache:
        list(tag(documents(3), ScriptedEngine(), BOTH, cache=cache))
        list(tag(documents(3), engine, labels, cache=cache))
    assert engine.answers == 3


@pytest.mark.parametrize(
    ("stop", "tokens", "most", "served"),
    [
        ("eos", 4, 5, True),
        ("eos", 4, 500, True),
        ("eos", 4, 4, False),  # it would be cut before it could end
        ("length", 4, 4, True),
        ("length", 4, 5, False),
        ("length", 4, 3, False),
    ],
)
def test_a_cached_answer_serves_where_a_run_without_cache_would_give_it(
    tmp_path, stop, tokens, most, served
):
    (prompt_key,) = {q.key for q in planning.Planner(ScriptedEngine(), BOTH, Options()).plan(
        document(0))}  # fmt: skip
    stored = Completion("a b c d", (-0.1,) * tokens, tuple(range(1, tokens + 1)), stop)
    engine = ScriptedEngine(max_answer=most)
    with Cache.open(tmp_path / "c") as cache:
        cache.put_many({prompt_key: stored})
        (result,) = tag([document(0)], engine, BOTH, cache=cache)
        assert (result.usage.cached, engine.answers) == ((1, 0) if served else (0, 1))
        # What was answered anew takes its place.
        assert (cache.get_many([prompt_key])[prompt_key] == stored) is served


def test_an_answer_is_kept_as_soon_as_its_document_is_due(tmp_path):
    with Cache.open(tmp_path / "c") as cache, Cache.open(tmp_path / "c") as other:
        results = tag(documents(8), ScriptedEngine(rows=1), PERSON, cache=cache)
        next(results)
        assert other.info().answers >= 1


# Chunks and groups ------------------------------------------------------------------------------


def test_a_long_document_is_asked_in_chunks_and_has_its_own_offsets():
    engine = ScriptedEngine(seed=5)
    text = " ".join(f"Person{n} saw the sea , and said so ." for n in range(60))
    (result,) = tag([document(0, text)], engine, PERSON, Options(chunk_tokens=40))
    assert result.usage.prompts > 10
    assert len(result.answers) == result.usage.prompts
    assert [e.text for e in result.entities] == [f"Person{n}" for n in range(60)]
    assert all(text[e.start : e.end] == e.text for e in result.entities)


def test_chunks_leave_room_for_prompt_and_answer():
    engine = ScriptedEngine(context=200, max_answer=50)
    text = " ".join(f"word{n}" for n in range(500))
    list(tag([document(0, text)], engine, PERSON))
    assert len(asked_texts(engine)) > 4
    assert max(map(engine.count, asked_texts(engine))) + 50 <= 200


def test_many_labels_are_asked_in_groups_of_one_order():
    engine = ScriptedEngine(context=260, max_answer=20)
    names = tuple(f"name{n:03}x" for n in range(300))
    text = "Name007x and Name007xy and Name299x ."
    (result,) = tag([document(0, text)], engine, LabelSet(names))
    groups = [asked(q) for q in _prompts_of(engine)]
    assert len(groups) > 1
    assert [name for group, _ in groups for name in group] == list(names)
    assert [(e.label, e.text) for e in result.entities] == [
        ("name007x", "Name007x"), ("name007x", "Name007xy"), ("name299x", "Name299x"),
    ]  # fmt: skip


def _prompts_of(engine):
    from b2ner_cli.core.engine import Prompt
    from b2ner_cli.prompts.rendering import TEMPLATES

    marker = TEMPLATES["en"].labels + TEMPLATES["en"].text
    for text in asked_texts(engine):
        head, marker_, rest = text.partition(marker)
        yield Prompt(head + marker_, rest)


def test_documents_bring_their_own_labels():
    mine = [document(0, "Person1 City1", labels=("city",)), document(1, "Person1 City1"),
            document(2, "Person1 City1", labels=("city", "city", "person"))]  # fmt: skip
    results = list(tag(mine, ScriptedEngine(), PERSON))
    assert [[e.label for e in r.entities] for r in results] == [
        ["city"], ["person"], ["person", "city"],
    ]  # fmt: skip


def test_own_labels_get_the_descriptions_of_the_run():
    engine = ScriptedEngine()
    described = LabelSet(("city", "person"), {"city": "a place", "person": "a human"})
    list(tag([document(0, labels=("city", "game"))], engine, described))
    (text,) = asked_texts(engine)
    assert "a place" in text
    assert "a human" not in text


def test_documents_without_usable_labels_are_bad_records():
    checked = list(with_labels([document(0), document(1, labels=("a;b",)),
                                document(2, labels=("a",))], None))  # fmt: skip
    assert [type(item) for item in checked] == [BadRecord, BadRecord, Document]
    assert checked[0].hint == "give --labels for such documents"
    assert "'a;b'" in checked[1].message


def test_a_document_whose_label_fits_no_prompt_ends_no_run():
    huge = document(1, labels=(" ".join(["long"] * 5000),))
    items = list(tag([document(0), huge, document(2)], ScriptedEngine(), PERSON))
    assert [type(item) for item in items] == [Result, BadRecord, Result]
    assert "does not fit" in items[1].message


def test_a_label_of_the_run_that_fits_no_prompt_ends_it():
    huge = LabelSet((" ".join(["long"] * 5000),))
    with pytest.raises(UsageError, match="does not fit") as refusal:
        list(tag([document(0)], ScriptedEngine(), huge))
    assert len(refusal.value.message) < 200
    assert "--max-answer" in refusal.value.hint


def test_an_answer_as_long_as_the_context_is_refused_by_its_name():
    with pytest.raises(UsageError, match="answer") as refusal:
        list(tag([document(0)], ScriptedEngine(context=100, max_answer=100), PERSON))
    assert "--max-answer" in refusal.value.hint


def test_half_characters_reach_the_engine_as_replacements():
    engine = ScriptedEngine()
    (result,) = tag([document(0, "Person1 \ud800 Person2")], engine, PERSON)
    assert [e.text for e in result.entities] == ["Person1", "Person2"]
    assert result.document.text == "Person1 \ud800 Person2"
    assert all(text.encode() for text in asked_texts(engine))


# Answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "entities", "unlocated", "problems"),
    [
        (NONE, [], 0, 0),
        ("", [], 0, 0),
        (" person: Person1", ["Person1"], 0, 0),
        (" person: Nobody; person: Person1", ["Person1"], 1, 0),
        (" ship: Person1; person: Person1", ["Person1"], 0, 1),
        (" \udc80;;;:::; {0} %s \\n", [], 0, 3),
        (" person:", [], 0, 1),
    ],
)
def test_nothing_an_answer_says_ends_the_run(answer, entities, unlocated, problems):
    engine = ScriptedEngine(answer=lambda labels, text: answer)
    (result,) = tag([document(0, "Person1 sings")], engine, PERSON)
    assert [e.text for e in result.entities] == entities
    assert len(result.unlocated) == unlocated
    assert len(result.problems) == problems
    assert result.answers == (answer,)


def test_what_the_text_does_not_hold_stays_visible():
    engine = ScriptedEngine(answer=lambda labels, text: " person: Zoe")
    (result,) = tag([document(0, "Person1 sings")], engine, PERSON)
    assert [(m.label, m.surface) for m in result.unlocated] == [("person", "Zoe")]
    assert isinstance(result.unlocated[0], Mention)


def test_min_score_drops_what_is_below():
    def scores(least):
        options = Options(min_score=least)
        (result,) = tag([document(0)], ScriptedEngine(), BOTH, options)
        return [e.score for e in result.entities]

    assert scores(0.9) == scores(0.0) == [pytest.approx(0.9048, abs=1e-4)] * 2
    assert scores(0.91) == []


def test_all_occurrences_marks_each_place():
    engine = ScriptedEngine(answer=lambda labels, text: " person: Ann")
    docs = [document(0, "Ann met Ann .")]
    (once,) = tag(docs, engine, PERSON)
    (every,) = tag(docs, engine, PERSON, Options(all_occurrences=True))
    assert [e.start for e in once.entities] == [0]
    assert [e.start for e in every.entities] == [0, 8]


def test_all_occurrences_are_those_of_the_whole_document():
    """A name that one chunk's answer says is marked where the other chunks leave it out, too."""
    engine = ScriptedEngine(answer=lambda _, text: " person: Ann" if "met" in text else NONE)
    docs = [document(0, "Ann met Bo . It rained . Then Ann left .")]
    (once,) = tag(docs, engine, PERSON, Options(chunk_tokens=4))
    (every,) = tag(docs, engine, PERSON, Options(chunk_tokens=4, all_occurrences=True))
    assert [e.start for e in once.entities] == [0]
    assert [e.start for e in every.entities] == [0, 30]


def test_the_language_is_that_of_the_text_unless_given():
    engine = ScriptedEngine()
    list(tag([document(0, "Person1 sings"), document(1, "我们在北京")], engine, PERSON))
    list(tag([document(2, "Person1 singt")], engine, PERSON, Options(language="de")))
    assert [text[:5] for text in asked_texts(engine)] == ["Given", "给定实体的", "Gegeb"]
    with pytest.raises(UsageError, match="'fr'"):
        Options(language="fr")


# Resuming ---------------------------------------------------------------------------------------


def run(docs, engine, cache=None, **more):
    return [(r.document.id, r.entities) for r in tag(docs, engine, BOTH, cache=cache, **more)
            if isinstance(r, Result)]  # fmt: skip


@pytest.mark.parametrize("bad", [False, True])
def test_a_run_that_skips_gives_the_tail_of_the_full_run(tmp_path, bad):
    docs = documents(110)  # windows of 32, 64 and the rest
    if bad:
        docs[5:5] = docs[40:40] = [BadRecord("y", "broken")] * 3
    full_engine = ScriptedEngine(drift=True)
    full = run(docs, full_engine)
    for skip in (0, 1, 5, 31, 32, 33, 40, 95, 96, 97, 109, 110):  # within windows, and at edges
        with Cache.open(tmp_path / f"{skip}.{bad}") as cache:
            # What a killed run leaves: the answers of what it wrote and some more.
            cut = tag(docs, ScriptedEngine(drift=True), BOTH, cache=cache)
            while skip and (result := next(cut)):
                if isinstance(result, Result) and result.document.id == str(skip - 1):
                    break
            engine = ScriptedEngine(drift=True)
            assert run(docs, engine, cache, cut=CutRun(skip)) == full[skip:], skip
            # Windows are asked whole, in the batches of the full run, less the answered ones.
            whole = [prompts for prompts, _ in full_engine.calls]
            for prompts, answered in engine.calls:
                assert prompts in whole
                assert answered <= set(range(len(prompts)))


def test_a_run_that_skips_asks_no_batch_that_is_answered(tmp_path):
    with Cache.open(tmp_path / "c") as cache:
        cut = tag(documents(32), ScriptedEngine(rows=4), BOTH, cache=cache)
        for _ in range(20):
            next(cut)
        engine = ScriptedEngine(rows=4)
        run(documents(32), engine, cache, cut=CutRun(20))
    assert engine.calls[0][1]
    assert engine.answers < 32
    assert engine.answers % 4 == 0


def test_bad_records_of_what_is_skipped_are_told_again():
    docs = [BadRecord("x:0", "broken"), *documents(2), BadRecord("x:3", "broken"), document(9)]
    items = list(tag(docs, ScriptedEngine(), BOTH, cut=CutRun(2)))
    assert [i.origin if isinstance(i, BadRecord) else i.document.id for i in items] == [
        "x:0", "x:3", "9",
    ]  # fmt: skip


def test_a_cut_run_may_lie_in_one_of_several_inputs(tmp_path):
    inputs = [[document(n) for n in range(first, first + 11)] for first in (0, 20, 40)]

    def found(engine, cache, cut=None):
        return [entities for docs in inputs for _, entities in run(docs, engine, cache, cut=cut)]

    full = found(ScriptedEngine(drift=True), None)
    for written in (0, 5, 11, 15, 33):  # at 0 and 11 nothing of the window it was cut in is written
        with Cache.open(tmp_path / str(written)) as cache:
            left = written + 1
            for docs in inputs:  # what the run that was cut has answered: a little more
                before = tag(docs, ScriptedEngine(drift=True), BOTH, cache=cache)
                left -= len(list(islice(before, left)))
            cut = CutRun(written)
            assert found(ScriptedEngine(drift=True), cache, cut) == full[written:], written
        assert cut.written == 0


def test_nothing_is_asked_where_everything_is_done():
    engine = ScriptedEngine()
    assert list(tag(documents(70), engine, BOTH, cut=CutRun(70))) == []
    assert engine.calls == []


# Streams ----------------------------------------------------------------------------------------


def test_documents_are_read_only_a_little_ahead():
    read = 0

    def endless():
        nonlocal read
        for read in range(1, 5_001):
            yield document(read, "Person1 sings .")

    ahead = []
    for done, _ in enumerate(tag(endless(), ScriptedEngine(rows=64), PERSON), 1):
        ahead.append(read - done)
    assert done == 5_000
    assert max(ahead) <= 256


@pytest.mark.parametrize("live", [False, True])
def test_a_very_long_document_keeps_none_before_it_waiting(live):
    texts = [f"Person{n} sings ." for n in range(20)]
    texts[7] = "Person7 sings . " * 5_000
    docs = [document(number, text) for number, text in enumerate(texts)]
    engine = ScriptedEngine(rows=1, seed=3)
    results = tag(docs, engine, PERSON, live=live)
    for number in range(7):
        assert next(results).document.id == str(number)
    assert engine.answers == 7
    rest = list(results)
    assert [result.document.id for result in rest] == [str(number) for number in range(7, 20)]
    assert len(rest[0].answers) > 10


def test_windows_hold_a_bounded_number_of_characters():
    engine = ScriptedEngine(drift=True)
    docs = [document(number, f"Person{number} sings . " + "la " * 8000) for number in range(40)]
    found = run(docs, engine)
    assert [name for name, _ in found] == [str(number) for number in range(40)]
    sizes = [sum(len(text) for text in texts) for texts, _ in engine.calls]
    assert len(sizes) > 3
    assert max(sizes) < 2 * 256 * 2000  # and the prompts' own words
    assert run(docs, ScriptedEngine(drift=True), cut=CutRun(11)) == found[11:]


def test_memory_stays_flat_however_many_documents_and_label_sets_there_are(monkeypatch):
    monkeypatch.setattr(loop, "_SETS", 100)
    monkeypatch.setattr(planning, "_SETS", 100)

    labelled = (document(number, labels=("person", f"kind {number}")) for number in range(1700))
    held = []
    tracemalloc.start()
    try:
        for number, _ in enumerate(tag(with_labels(labelled, None), Forgetful(), None)):
            if number in (600, 600 + 4 * 256):  # at the same place of a window
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[1] < 1.1 * held[0]


class Forgetful(ScriptedEngine):
    """Keeps nothing of what it was asked."""

    def generate(self, prompts, answered=()):
        self.calls.clear()
        yield from super().generate(prompts, answered)


def test_a_live_stream_that_pauses_is_answered_without_waiting_for_its_end():
    go_on = threading.Event()

    def pausing():
        yield document(0)
        yield BadRecord("x:1", "broken")
        yield document(2)
        assert go_on.wait(20)
        yield document(3)

    results = tag(pausing(), ScriptedEngine(), BOTH, live=True)
    first = [next(results) for _ in range(3)]
    assert [type(item) for item in first] == [Result, BadRecord, Result]
    go_on.set()
    assert [r.document.id for r in results] == ["3"]


def test_a_live_stream_that_trickles_is_answered_in_time(monkeypatch):
    monkeypatch.setattr(windows, "_PATIENCE", 0.2)

    def trickling():
        for number in range(30):
            time.sleep(0.03)
            yield document(number)

    engine = ScriptedEngine()
    assert len(list(tag(trickling(), engine, BOTH, live=True))) == 30
    assert len(engine.calls) > 2


def test_a_live_stream_gives_what_a_file_gives():
    live = [r.entities for r in tag(documents(300), ScriptedEngine(), BOTH, live=True)]
    assert live == [r.entities for r in tag(documents(300), ScriptedEngine(), BOTH)]


def test_what_goes_wrong_in_reading_a_live_stream_is_raised_after_what_was_read():
    def breaking():
        yield document(0)
        raise UsageError("the pipe broke")

    results = tag(breaking(), ScriptedEngine(), BOTH, live=True)
    assert next(results).document.id == "0"
    with pytest.raises(UsageError, match="the pipe broke"):
        next(results)


# From Python ------------------------------------------------------------------------------------


def test_a_tagger_takes_texts_and_documents():
    tagger = Tagger(ScriptedEngine(), PERSON, Options())
    first, second = tagger.tag(["Person1 sings", document(7)])
    assert (first.document.id, second.document.id) == ("0", "7")
    assert [e.text for e in first.entities] == ["Person1"]


def test_a_tagger_refuses_a_document_without_usable_labels():
    tagger = Tagger(ScriptedEngine(), None, Options())
    with pytest.raises(UsageError, match="x:1: no labels"):
        list(tagger.tag([document(0, labels=("person",)), document(1)]))
