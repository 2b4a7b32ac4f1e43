"""`tag --check`: who is asked again, in which other way, and what is said of it."""

from collections import Counter

import pytest

from b2ner_cli.core.document import Document, Result
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.scoring.counts import Counts
from b2ner_cli.tagging.check import Sample, ask_again, other_way
from b2ner_cli.tagging.loop import Options
from b2ner_cli.tagging.tagger import Tagger
from tests.scripted import ScriptedEngine, name_words

BOTH = LabelSet(("person", "city"))


def first_label_only(labels, text):
    """Finds persons only where they are the first label: an answer that hangs on the order."""
    return name_words([n for n in labels if n != "person" or n == labels[0]], text)


def checked(engine, labels, texts, **options):
    tagger = Tagger(engine, labels, Options(**options))
    sample = Sample(100)
    for result in tagger.tag(texts):
        sample.add(result)
    engine.calls.clear()
    return ask_again(tagger, sample)


def test_an_answer_that_hangs_on_the_order_of_labels_is_found():
    texts = [f"Person{n} in City{n} ." for n in range(9)]
    found = checked(ScriptedEngine(first_label_only), BOTH, texts)
    assert found.agreement.labels == {"city": Counts(tp=9), "person": Counts(fn=9)}
    assert (found.asked, found.alike, found.tagged) == (9, 0, 9)
    steady = checked(ScriptedEngine(), BOTH, texts)
    assert steady.agreement.total == Counts(tp=18)


def test_labels_are_asked_in_reverse_those_of_documents_too():
    engine = ScriptedEngine()
    own = Document("1", "Person1 in City1 .", labels=("city", "person", "town"))
    tagger = Tagger(engine, BOTH, Options())
    sample = Sample(100)
    for result in tagger.tag([own, Document("2", "Person2 .")]):
        sample.add(result)
    engine.calls.clear()
    ask_again(tagger, sample)
    ((prompts, _),) = engine.calls
    assert sum("town, person, city" in prompt for prompt in prompts) == 1
    assert sum("city, person" in prompt and "town" not in prompt for prompt in prompts) == 1


def test_what_would_be_asked_alike_is_not_counted():
    engine = ScriptedEngine()
    one = LabelSet(("person",))
    found = checked(engine, one, ["Person1 .", "Person1 came. Then Person2 went. " * 2])
    assert (found.asked, found.alike) == (0, 2)
    assert not found.agreement.labels
    assert engine.calls == []
    texts = ["Person1 .", "Person1 came here first. Then Person2 went away."]
    found = checked(engine, one, texts, chunk_tokens=5, sentence_tokens=64)
    assert (found.asked, found.alike) == (1, 1)
    assert found.agreement.total == Counts(tp=2)
    ((prompts, _),) = engine.calls
    assert len(prompts) == 1, "both sentences in one chunk"


@pytest.mark.parametrize(
    ("size", "sentence", "other", "whole"),
    [(25, 214, 50, 214), (214, 214, 107, 214), (1024, None, 512, 1024), (1, None, 1, 1)],
)
def test_chunks_are_twice_as_long_or_half(size, sentence, other, whole):
    found = other_way(Options(chunk_tokens=size, sentence_tokens=sentence))
    assert (found.chunk_tokens, found.sentence_tokens) == (other, whole)


def test_a_sample_is_spread_over_the_whole_stream():
    drawn = Counter()
    for seed in range(400):
        sample = Sample(10, seed)
        for number in range(100):
            sample.add(Result(Document(str(number), ""), ()))
        assert len(sample.results) == 10
        assert sample.seen == 100
        drawn.update(int(each.document.id) // 25 for each in sample.results)
    assert all(850 < drawn[quarter] < 1150 for quarter in range(4)), drawn


def test_the_second_answers_go_through_the_cache():
    answers = {}

    class Store:
        def get_many(self, keys):
            return {key: answers[key] for key in keys if key in answers}

        def put_many(self, new):
            answers.update(new)

        def flush(self):
            pass

    engine = ScriptedEngine()
    tagger = Tagger(engine, BOTH, Options(), Store())
    for _ in range(2):
        sample = Sample(5)
        for result in tagger.tag([f"Person{n} ." for n in range(5)]):
            sample.add(result)
        ask_again(tagger, sample)
    assert engine.answers == 10
    assert {tuple(asked_labels) for asked_labels in map(_labels, engine.calls)} == {
        ("person", "city"), ("city", "person"),
    }  # fmt: skip


def _labels(call):
    (first, *_), _ = call
    head = first.partition("Label Set: ")[2].partition(" \n")[0]
    return head.split(", ")
