"""Documents that are replayed: what the file holds, and how much of it an epoch takes."""

import gzip
from collections import Counter
from importlib import resources

import pytest

from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.training import replay
from b2ner_cli.training.groups import PromptChoices
from b2ner_cli.training.packing import Schedule
from b2ner_cli.training.recipes import Recipe
from tests.tools import replay as tool
from tests.training.test_packing import picks_of


@pytest.fixture(scope="module")
def known():
    return replay.selections()


def test_the_file_is_what_its_script_makes_and_small():
    packed = (resources.files("b2ner_cli.training") / replay.FILE).read_bytes()
    assert gzip.decompress(packed) == tool.content()
    assert len(packed) < 1_000_000


def test_languages_and_sets_are_balanced(known):
    by_language = Counter()
    for each in known:
        by_language[each.language] += len(each.documents)
    assert by_language == {"en": 600, "zh": 600, "de": 600, "es": 313, "nl": 263}
    assert not any("fields-more" in each.name for each in known)
    assert tool.shares({"a": 3, "b": 100, "c": 100}, 33) == {"a": 3, "b": 15, "c": 15}


def test_documents_have_labels_and_mentions_of_their_own(known):
    for document in (d for each in known for d in each.documents):
        LabelSet(document.labels)
        assert {mention.label for mention in document.mentions} <= set(document.labels)
        assert all(mention.surface in document.text for mention in document.mentions)
    some = [d for each in known for d in each.documents if d.meta["other_names"]]
    assert len(some) > 1000


def schedule_of(selections, batch, group, *, replayed=(), **asked):
    recipe = Recipe(batch=batch, group=group, **asked)
    return Schedule(selections, recipe, PromptChoices.of(recipe), replayed)


def texts(schedule, replayed):
    """The texts of each step, those replayed or those not."""
    return [
        [t for b in bundles for g in b if g.replayed is replayed for t in g.texts]
        for _, bundles in schedule.batches()
    ]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 2.0])
def test_so_many_are_replayed_for_each_new_one(known, share):
    schedule = schedule_of(picks_of(24), 8, 4, epochs=2.0, replay=share, replayed=known)
    assert schedule.steps == 2 * -(-(6 + round(6 * share)) // 2)
    new = Counter(t for step in texts(schedule, False) for t in step)
    again = Counter(t for step in texts(schedule, True) for t in step)
    assert set(new.values()) == {2}  # each in each epoch
    assert new.total() == 48
    assert abs(again.total() - 48 * share) <= 8
    assert set(again.values()) <= {1}  # others in each epoch
    for start in (1, schedule.steps - 1):
        assert list(schedule.batches(start)) == list(schedule.batches())[start:]


def test_what_is_replayed_begins_anew_when_all_of_it_was(known):
    some = [each for each in known if each.name == "NER_zh_written-talk"]
    schedule = schedule_of(picks_of(40), 8, 4, epochs=10.0, replay=1.0, replayed=some)
    again = Counter(t for step in texts(schedule, True) for t in step)
    assert set(again) == {d.text for d in some[0].documents}
    assert max(again.values()) <= min(again.values()) + 2


def test_few_documents_get_steps_enough():
    few = schedule_of(picks_of(12), 16, 4, epochs=3.0, min_steps=40)
    assert (few.steps, few.epochs) == (40, 40.0)
    assert sorted(few.epoch_ends) == [14, 28, 40]
    many = schedule_of(picks_of(320), 16, 4, epochs=3.0, min_steps=40)
    assert (many.steps, sorted(many.epoch_ends)) == (60, [20, 40, 60])
