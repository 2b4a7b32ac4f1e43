"""How much memory answers take: bounded, whatever comes, and never at the cost of an answer."""

import logging
from dataclasses import replace

import pytest
import torch

from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.engine.memory_limits import MemoryLimits
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts.rendering import render

TEXTS = ["Ann Lee met Bob in Rome .", "", "北京 😀", "Ann works for Acme . " * 9, "Bob", "Rome ."]
PROMPTS = [render(LabelSet(("person", "city")), text, "en") for text in TEXTS]


@pytest.fixture
def loaded(load_tiny):
    return load_tiny("llama")


def texts(found):
    return {index: completion.text for index, completion in found}


def held(engine):
    """Have an engine note rows, positions and those of prefixes in each step."""
    steps, original = [], engine.forward

    def forward(tokens, step):
        prefixes = {id(prefix): prefix.length for prefix in step.prefixes}
        steps.append((len(step.lengths), step.cache.rows * step.cache.positions,
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
    engine.limits = replace(engine.limits, step_tokens=60)
    steps = held(engine)
    expected = texts(PackedEngine(loaded, max_answer=30).generate(asked))
    assert texts(engine.generate(asked)) == expected
    # one a step, and none waits until the others are done
    assert max(rows for rows, *_ in steps) == len(asked)


def once_short_of_memory(engine, at):
    """Have step number `at` of an engine find no memory; gives the sequences of each step."""
    sizes, original = [], engine.forward

    def forward(tokens, step):
        sizes.append(len(step.lengths))
        if len(sizes) == at:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(tokens, step)

    engine.forward = forward
    return sizes


def test_when_there_is_memory_again_as_many_are_answered_at_once_as_before(loaded, caplog):
    asked = PROMPTS * 4
    expected = texts(PackedEngine(loaded, max_answer=12).generate(asked))
    engine = PackedEngine(loaded, max_answer=12, batch_tokens=5000)
    before = engine.limits = replace(engine.limits, sequences=8, _patience=9)
    sizes = once_short_of_memory(engine, at=3)
    with caplog.at_level(logging.INFO, "b2ner"):
        assert texts(engine.generate(asked)) == expected
    assert (max(sizes[:3]), max(sizes[3:12]), max(sizes[12:])) == (8, 4, 8)
    assert (engine.limits.step_tokens, engine.limits.batch_tokens) == (512, 5000)
    assert engine.limits is before
    assert "going on with 4 rows" in caplog.text
    assert "up to 8 rows at once again" in caplog.text


def test_a_machine_that_has_less_for_good_is_tried_less_and_less():
    limits, waited = MemoryLimits(64, 512, 4096, _patience=10), []
    assert limits.shrink(64)
    assert limits.shrink(20)  # fewer than half were under way
    assert (limits.sequences, limits.step_tokens, limits.batch_tokens) == (10, 128, 1024)
    for _ in range(4):
        steps = 0
        while limits.sequences == 10:
            limits.note_step()
            steps += 1
        assert (limits.sequences, limits.step_tokens, limits.batch_tokens) == (20, 256, 2048)
        waited.append(steps)
        assert limits.shrink(20)
    assert waited == [10, 20, 40, 80]
    while limits.sequences > 1:
        assert limits.shrink(limits.sequences)
    assert not limits.shrink(1)


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
    sizes.clear()
    engine._answer = lambda asked: sizes.append(len(asked)) or original(asked)
    assert texts(engine.generate(PROMPTS)) == expected
    assert sizes == [6]  # there is memory again
    assert caplog.text.count("out of memory") == 1
