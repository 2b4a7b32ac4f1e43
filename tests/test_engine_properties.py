"""Whatever is asked with what, in which order, in steps of whatever size: answers stay the same."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from b2ner_cli import backbone as backbones
from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.labels import LabelSet
from b2ner_cli.prompts import render

# Words of several scripts and byte lengths; many in common, so that there is something to draft.
WORDS = st.sampled_from(
    ["Ann", "Lee", "met", "in", "Rome", ".", ";", ":", ",", "\n", "\t", "x", "Ann Lee", "None",
     "北京", "的", "安娜在", "東京", "Анна", "Рим", "أحمد", "القاهرة", "रोम", "서울", "ไทย"     "Анна", "Рим", "रोम", "서울", "ไทย", "Ærø",
     "😀", "👩‍👩‍👧", "🇫🇷", "\u200b", "</s>", "person: Ann"]
)  # fmt: skip
TEXTS = st.one_of(
    st.just(""),
    st.lists(WORDS, max_size=14).map(" ".join),
    st.lists(WORDS, max_size=14).map("".join),
)
NAMES = st.sampled_from(["person", "city", "river", "per", "person name", "人名", "ville", "🎬"])
LABELS = st.lists(NAMES, min_size=1, max_size=4, unique=True).map(tuple).map(LabelSet)
LANGUAGES = st.sampled_from(["en", "zh", "es"])


@dataclasses.dataclass(frozen=True)
class Shape:
    """How an engine cuts its work."""

    rows: int
    batch_tokens: int
    step_tokens: int
    spare_tokens: int


SHAPES = st.builds(
    Shape,
    rows=st.integers(1, 8),
    batch_tokens=st.sampled_from([1, 200, 700, 2000, 100_000]),
    step_tokens=st.sampled_from([1, 30, 64, 200, 2048]),
    spare_tokens=st.sampled_from([0, 2, 3, 8, 20, 100]),
)


@pytest.fixture(scope="module", params=["llama", "gemma"])
def loaded(request):
    folder = request.getfixturevalue(f"tiny_{request.param}")
    whole = backbones.load(str(folder), device="cpu", dtype="float32")
    # Tokens that answers have now and then end them, so that they end at different steps.
    ends = whole.tokenizer.encode(["e", " in", "."])
    stops = (*whole.tokenizer.stops, *(ids[0] for ids in ends))
    return dataclasses.replace(whole, tokenizer=dataclasses.replace(whole.tokenizer, stops=stops))


def answers(engine, asked):
    found = dict(engine.generate(asked))
    assert sorted(found) == list(range(len(asked)))
    return [found[index] for index in range(len(asked))]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    documents=st.lists(st.tuples(TEXTS, LABELS, LANGUAGES), min_size=1, max_size=5),
    shapes=st.lists(SHAPES, min_size=1, max_size=2),
    longest=st.integers(1, 12),
    constrain=st.booleans(),
    data=st.data(),
)
def test_answers_depend_on_their_prompt_alone(loaded, documents, shapes, longest, constrain, data):
    asked = [render(labels, text, language) for text, labels, language in documents]
    asked += asked[:1]  # the same question twice
    plain = PlainEngine(loaded, max_answer=longest, constrain=constrain, rows=4)
    expected = answers(plain, asked)
    order = data.draw(st.permutations(range(len(asked))))
    for shape in shapes:
        engine = PackedEngine(
            loaded, max_answer=longest, batch_tokens=shape.batch_tokens, constrain=constrain
        )
        engine.most_rows, engine.step_tokens = shape.rows, shape.step_tokens
        engine.spare_tokens = shape.spare_tokens
        for _ in range(2):  # the second time all prefixes are known
            found = answers(engine, [asked[place] for place in order])
            for place, one in zip(order, found, strict=True):
                other = expected[place]
                assert one._replace(logprobs=()) == other._replace(logprobs=())
                assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
