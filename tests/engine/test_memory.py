"""How much memory answers take: bounded, whatever comes, and never at the cost of an answer."""

import logging

import pytest

from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import loading
from b2ner_cli.prompts.rendering import render

TEXTS = ["Ann Lee met Bob in Rome .", "", "北京 😀", "Ann works for Acme . " * 9, "Bob", "Rome ."]
PROMPTS = [render(LabelSet(("person", "city")), text, "en") for text in TEXTS]


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return loading.load(str(tiny_llama), device="cpu", dtype="float32")


def texts(found):
    return {index: completion.text for index, completion in found}


def held(engine):
    """Have an engine note rows, positions and those of prefixes in each step."""
    steps, original = [], engine.forward

    def forward(tokens, step):
        prefixes = {id(prefix): prefix.length for prefix in step.prefixes}
        steps.append((len(step.lengths), step.slots.rows * step.slots.positions,
                      sum(prefixes.values())))  # fmt: skip
        return original(tokens, step)

    engine.forward = forward
    return steps


@pytest.mark.parametrize("constrain", [False, True])
def test_long_answers_outgrow_no_bound_and_stay_the_same(loaded, constrain):
    asked = [render(LabelSet(("person",)), f"Ann{n} met Bob " * 20, "en") for n in range(8)]
    expected = texts(PackedEngine(loaded, max_answer=200, constrain=constrain).generate(asked))
    engine = PackedEngine(loaded, max_answer=200, batch_tokens=1600, constrain=constrain)
    steps = held(engine)
    assert texts(engine.generate(asked)) == expected
    assert max(rows for rows, *_ in steps) > 2
    assert all(positions <= 2 * 1600 or rows == 1 for rows, positions, _ in steps)
    if not constrain:  # these end, those of a random model do not
        assert max(positions for _, positions, _ in steps) > 1600


def test_prefixes_of_many_label_sets_keep_to_their_room(loaded):
    sets = [LabelSet((f"kind {n}", "person", "city")) for n in range(12)]
    asked = [render(labels, "Ann met Bob .", "en") for labels in sets]
    expected = texts(PackedEngine(loaded, max_answer=8).generate(asked))
    engine = PackedEngine(loaded, max_answer=8, batch_tokens=400)
    steps = held(engine)
    assert texts(engine.generate(asked)) == expected
    assert max(rows for rows, *_ in steps) > 1
    assert all(prefixes <= 400 or rows == 1 for rows, _, prefixes in steps)


def test_a_prompt_longer_than_a_step_begins_beside_the_others(loaded):
    asked = [*PROMPTS, *(render(LabelSet(("person",)), "Ann . " * 60, "en") for _ in range(3))]
    engine = PackedEngine(loaded, max_answer=30)
    engine.step_tokens = 60
    steps = held(engine)
    expected = texts(PackedEngine(loaded, max_answer=30).generate(asked))
    assert texts(engine.generate(asked)) == expected
    # one a step, and none waits until the others are done
    assert max(rows for rows, *_ in steps) == len(asked)


def test_batches_of_generate_are_halved_too(loaded, caplog):
    expected = texts(PlainEngine(loaded, max_answer=6, rows=6).generate(PROMPTS))
    engine = PlainEngine(loaded, max_answer=6, rows=6)
    original, sizes = engine._answer, []

    def small(asked):
        sizes.append(len(asked))
        if len(asked) > 2:
            raise MemoryError
        return original(asked)

    engine._answer = small
    with caplog.at_level(logging.WARNING, "b2ner"):
        assert texts(engine.generate(PROMPTS)) == expected
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    assert caplog.text.count("out of memory") == 1
