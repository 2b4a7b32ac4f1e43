"""The chunk size that goes into an adapter's record is the one at which most is found."""

import re

import pytest

from b2ner_cli.core.document import Document, Entity
from b2ner_cli.core.engine import Completion
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.tagging.planning import Options
from b2ner_cli.tagging.tagger import Tagger
from b2ner_cli.training import chunk_size
from b2ner_cli.training.selection import Selection

LABELS = LabelSet(("person",))


def document(number):
    text = f"Then came Ann{number} in and all rose."
    start = text.index("Ann")
    name = f"Ann{number}"
    return Document(str(number), text, (Entity(start, start + len(name), "person", name),))


def selection(name, count, language="en"):
    return Selection(name, language, ("person",), tuple(map(document, range(count))), count, 0)


class Engine:
    """Finds every name in a text of up to `most` words, nothing in a longer one."""

    identity, context, max_answer, batch_tokens = "scripted", 1000, 200, 1000

    def __init__(self, most):
        self.most = most
        self.asked = []

    def count(self, text):
        return len(text.split())

    def generate(self, prompts, answered=()):
        for index, prompt in enumerate(prompts):
            self.asked.append(prompt.about)
            short = len(prompt.about.split()) <= self.most
            names = re.findall(r"Ann\d+", prompt.about) if short else []
            yield index, Completion(" " + "; ".join(f"person: {name}" for name in names) or " None")


def tagger(most):
    return Tagger(Engine(most), None, Options(sentence_tokens=150))


@pytest.mark.parametrize(("language", "between"), [("en", " "), ("zh", "\n")])
def test_joined_documents_keep_their_gold(language, between):
    joined = chunk_size.join([document(1), document(22)], LABELS, language)
    assert (
        joined.text == f"Then came Ann1 in and all rose.{between}Then came Ann22 in and all rose."
    )
    assert {joined.text[start:end] for start, end, _ in joined.gold} == {"Ann1", "Ann22"}


@pytest.mark.parametrize(("most", "size"), [(30, 25), (45, 40), (1000, 150)])
def test_the_largest_size_that_is_as_good_as_the_best_is_chosen(most, size):
    found = chunk_size.chosen(tagger(most), [selection("NER_en_one", 64)], {})
    assert found["chunk_tokens"] == size
    assert found["chunk_tokens_f1"][str(size)] == 1.0
    assert list(found["chunk_tokens_f1"]) == ["25", "40", "60", "100", "150"]


def test_documents_of_dev_splits_come_first():
    engine = tagger(1000)
    dev = {"NER_en_one": [document(900 + number) for number in range(30)]}
    assert chunk_size.chosen(
        engine, [selection("NER_en_one", 64), selection("NER_en_two", 16)], dev
    )
    said = " ".join(engine.engine.asked)
    assert "Ann9" in said and re.search(r"Ann\d\b", said) and "Ann33 " not in said


def test_nothing_is_said_of_a_few_documents_or_where_nothing_is_found():
    assert chunk_size.chosen(tagger(1000), [selection("NER_en_one", 9)], {}) == {}
    assert chunk_size.chosen(tagger(0), [selection("NER_en_one", 64)], {}) == {}
