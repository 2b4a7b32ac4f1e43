"""Nothing but the model and the prompt decides an answer: no batch, order, draft or neighbour.

The reference is transformers' `generate`, one prompt at a time. Its own answer is a matter of
rounding where two tokens are equally likely: such prompts are left out.
"""

import dataclasses
import functools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from b2ner_cli.engine import PackedEngine, PlainEngine, scheduler
from b2ner_cli.engine import reference as plain
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts.rendering import render

ARCHITECTURES = ("llama", "gemma2", "gemma3", "qwen2", "mistral")
LABELS = (
    LabelSet(("person",)),
    LabelSet(("city", "river", "person"), {"city": "a place"}),
    LabelSet(("人物", "地点", "орган", "🏷 tag")),
)
PIECES = (
    "Ann", "Bob", "Lee", "met", "in", "Rome", ".", "The city of Paris has no river .", "北京", "在",
    "Анна", "مرحبا", "नमस्ते", "ไทย", "e\u0301",
    "😀", "👩‍👩‍👧", "\n", "  ", ";", ": a;", "</s>", "\u3000",
)  # fmt: skip
CLOSE = 2e-4  # scores nearer to each other may change places by rounding

texts = st.builds(
    lambda pieces, space, times: space.join(pieces * times),
    st.lists(st.sampled_from(PIECES), max_size=10),
    st.sampled_from(["", " "]),
    st.sampled_from([1, 1, 1, 9]),
)
prompts = st.builds(
    render, st.sampled_from(LABELS), texts, st.sampled_from(["en", "en", "zh", "de"])
)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What answers may depend on, beside the prompt."""

    architecture: str
    constrain: bool
    longest: int
    context: int


@dataclasses.dataclass(frozen=True)
class Way:
    """What they may not depend on."""

    batch_tokens: int
    step_tokens: int
    rows: int
    drafted: int  # tokens of a step with drafts, 0 for none
    growth: int
    order: int
    known: int


asked = st.builds(
    Asked,
    st.sampled_from(ARCHITECTURES),
    st.booleans(),
    st.sampled_from([1, 6, 18]),
    st.sampled_from([2048, 2048, 110]),
)
ways = st.builds(
    Way,
    st.one_of(st.integers(1, 900), st.integers(1, 20_000)),
    st.integers(1, 500),
    st.integers(1, 9),
    st.sampled_from([0, 0, 2, 5, 40, 1000]),
    st.sampled_from([2, 8, 64]),
    st.integers(0, 99),
    st.integers(0, 3),
)


class Gaps(plain._Confidence):
    """Sees how near the second best token of any step came."""

    least = float("inf")

    def __call__(self, input_ids, scores):
        best, second = scores.float().topk(2, -1).values[0].tolist()
        Gaps.least = min(Gaps.least, best - second)
        return super().__call__(input_ids, scores)


@pytest.fixture(scope="module")
def model(load_tiny):
    @functools.cache
    def model(architecture, context):
        loaded = load_tiny(architecture)
        # Free answers of random models hardly ever end: some common tokens end them, too.
        ends = dataclasses.replace(
            loaded.tokenizer, stops=(*loaded.tokenizer.stops, *range(330, 380))
        )
        return dataclasses.replace(loaded, tokenizer=ends, context=context)

    return model


@pytest.fixture(scope="module")
def reference(model):
    """The answer of `generate` and the least gap between its best two tokens."""

    @functools.cache
    def engine(asked):
        loaded = model(asked.architecture, asked.context)
        return PlainEngine(loaded, max_answer=asked.longest, constrain=asked.constrain, rows=1)

    @functools.cache
    def reference(asked, prompt):
        Gaps.least = float("inf")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plain, "_Confidence", Gaps)
            ((_, completion),) = engine(asked).generate([prompt])
        return completion, Gaps.least

    return reference


def answers(loaded, asked, way, wanted):
    """The fast engine's answers, asked in that way; those known before are not among them."""
    engine = PackedEngine(
        loaded, max_answer=asked.longest, batch_tokens=way.batch_tokens, constrain=asked.constrain
    )
    engine.limits = dataclasses.replace(
        engine.limits, step_tokens=way.step_tokens, sequences=way.rows
    )
    engine.draft_budget = way.drafted
    order = list(range(len(wanted)))
    random.Random(way.order).shuffle(order)
    known = set(range(way.known))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "_GROWTH", way.growth)
        found = dict(engine.generate([wanted[place] for place in order], known))
    assert set(range(len(wanted))) - known <= found.keys() <= set(range(len(wanted)))
    return {order[place]: completion for place, completion in found.items()}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip
@given(asked, st.lists(prompts, max_size=7), st.lists(ways, min_size=2, max_size=3))
def test_the_answer_is_that_of_generate_in_whatever_way_it_is_asked_for(
    model, reference, asked, wanted, ways
):
    loaded = model(asked.architecture, asked.context)
    for way in ways:
        for place, found in answers(loaded, asked, way, wanted).items():
            expected, gap = reference(asked, wanted[place])
            if gap < CLOSE:
                continue
            assert (found.text, found.ends, found.stop, found.prompt_tokens) == (
                expected.text, expected.ends, expected.stop, expected.prompt_tokens,
            )  # fmt: skip
            assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-4)


def test_the_property_is_tried_on_answers_of_all_lengths_and_both_ends(model, reference):
    """A reference that always said the same would prove nothing."""
    said = set()
    for architecture in ("llama", "gemma3"):
        for constrain in (False, True):
            for text in ("Ann Lee met Bob in Rome .", "北京 😀 Анна", "", "Rome . " * 9):
                question = Asked(architecture, constrain, 18, 2048)
                said.add(reference(question, render(LABELS[1], text, "en"))[0])
    assert len({len(answer.ends) for answer in said}) > 3
    assert {answer.stop for answer in said} == {"eos", "length"}
    assert len({answer.text for answer in said}) > 8
