"""Training documents: picked within the limits, the same for a seed, asked in sensible groups."""

import json
from collections import Counter

import pytest

from b2ner_cli.core.document import Document, Mention
from b2ner_cli.datasets.balance import Limits
from b2ner_cli.errors import DataError
from b2ner_cli.prompts.rendering import Example
from b2ner_cli.training.augmentation import Augmentation
from b2ner_cli.training.groups import FewShot, PromptChoices, bundles, count_bundles
from b2ner_cli.training.selection import Selection, choose


def group(*asked):
    """The groups of all bundles."""
    return [one for bundle in bundles(*asked) for one in bundle]


def row(text, *pairs):
    return {"sentence": text, "entities": [{"name": n, "type": t} for t, n in pairs]}


def rows(count, label="person", start=0):
    names = [f"{label} {i}" for i in range(start, start + count)]
    return [row(f"{name} is here", (label, name)) for name in names]


def write(root, name, labels, **splits):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(labels))
    for split, content in splits.items():
        (folder / f"{split}.json").write_text(json.dumps(content))


def texts(picks):
    return [document.text for pick in picks for document in pick.documents]


def make_pick(count, labels=("person", "city"), name="NER_en_a", **more):
    documents = tuple(
        Document(
            id=str(i),
            text=f"{name} {i} " + "x" * (i * 7 % 60),
            mentions=(Mention(labels[i % len(labels)], str(i)),),
            **more,
        )
        for i in range(count)
    )
    return Selection(name, "en", tuple(labels), documents, count, 0)


# choose


def test_of_rows_no_more_is_kept_than_training_needs(tmp_path):
    names = {"person": ["human"]}
    long = [{**each, "note": "x" * 1000, "other_names": names} for each in rows(3)]
    write(tmp_path, "NER_en/a", ["person"], train=long)
    (chosen,) = choose(tmp_path, Limits(), 1)
    assert [dict(document.meta) for document in chosen.documents] == [{"other_names": names}] * 3


def test_per_set_cap_and_seed(tmp_path):
    write(tmp_path, "NER_en/a", ["person"], train=rows(50))
    first = choose(tmp_path, Limits(per_set=10), 1)
    assert len(texts(first)) == 10 == len(set(texts(first)))
    assert first == choose(tmp_path, Limits(per_set=10), 1)
    assert set(texts(first)) != set(texts(choose(tmp_path, Limits(per_set=10), 2)))
    assert first[0].read == 50


def test_a_set_is_picked_the_same_whatever_else_is_there(tmp_path):
    write(tmp_path, "NER_en/b", ["person"], train=rows(50))
    alone = choose(tmp_path, Limits(per_set=10), 1)
    write(tmp_path, "NER_en/a", ["person"], train=rows(50))
    assert choose(tmp_path, Limits(per_set=10), 1)[1:] == alone


def test_label_cap(tmp_path):
    train = rows(30, "person") + rows(30, "city", 100) + rows(3, "river", 200)
    write(tmp_path, "NER_en/a", ["person", "city", "river"], train=train)
    (pick,) = choose(tmp_path, Limits(per_label=5), 1)
    counts = Counter(m.label for d in pick.documents for m in d.mentions)
    assert counts == {"person": 5, "city": 5, "river": 3}


def test_full_label_comes_along_with_one_that_is_short(tmp_path):
    both = [row(f"{i}", ("person", "x"), (f"rare{i}", "y")) for i in range(4)]
    write(tmp_path, "NER_en/a", ["person", *(f"rare{i}" for i in range(4))], train=both)
    assert len(texts(choose(tmp_path, Limits(per_label=1), 1))) == 4


@pytest.mark.parametrize(("share", "empty"), [(0.0, 0), (0.2, 2), (0.5, 5), (0.99, 10)])
def test_empty_share(tmp_path, share, empty):
    train = rows(5) + [row(f"nothing {i}") for i in range(100)]
    write(tmp_path, "NER_en/a", ["person"], train=train)
    (pick,) = choose(tmp_path, Limits(per_set=10, empty=share), 1)
    found = sum(not d.mentions for d in pick.documents)
    # all ten may be empty ones, drawn before any other
    assert found <= empty
    if share < 0.6:
        assert (found, len(pick.documents)) == (empty, min(10, 5 + empty))


def test_longest_and_blank(tmp_path):
    train = [row("x" * 10), row("y" * 11), row(" \n"), row("ok", ("person", "ok"))]
    write(tmp_path, "NER_en/a", ["person"], train=train)
    (pick,) = choose(tmp_path, Limits(max_chars=10, empty=0.9), 1)
    assert sorted(d.text for d in pick.documents) == ["ok", "x" * 10]


def test_dev_stands_in_for_train_and_test_never(tmp_path):
    write(tmp_path, "NER_en/a", ["person"], train=rows(1), dev=rows(1, start=10), test=rows(1))
    write(tmp_path, "NER_en/b", ["person"], dev=rows(1, start=20), test=rows(1, start=30))
    write(tmp_path, "NER_en/c", ["person"], test=rows(1, start=40))
    picks = choose(tmp_path, Limits(), 1)
    assert [pick.name for pick in picks] == ["NER_en_a", "NER_en_b"]
    assert texts(picks) == ["person 0 is here", "person 20 is here"]


def test_relations_and_events_are_left_alone(tmp_path):
    write(tmp_path, "NER_zh/a", ["人物"], train=[row("安在", ("人物", "安"))])
    write(tmp_path, "RE_en/b", ["works for"], train=[row("x", ("any", "x")) | {"relations": []}])
    write(tmp_path, "EE_en/c", {"attack": ["place"]}, train=[{"sentence": "x", "events": []}])
    picks = choose(tmp_path, Limits(), 1)
    assert [(pick.name, pick.language) for pick in picks] == [("NER_zh_a", "zh")]


def test_only(tmp_path):
    write(tmp_path, "NER_en/a", ["person"], train=rows(1))
    write(tmp_path, "NER_zh/a", ["person"], train=rows(1, start=5))
    assert [p.name for p in choose(tmp_path, Limits(), 1, ["NER_zh_a"])] == ["NER_zh_a"]


def test_only_with_a_name_that_is_not_there(tmp_path):
    write(tmp_path, "NER_en/movie", ["person"], train=rows(1))
    with pytest.raises(DataError, match="no data set NER_en_mvoie") as caught:
        choose(tmp_path, Limits(), 1, ["NER_en_movie", "NER_en_mvoie"])
    assert caught.value.hint == "did you mean NER_en_movie?"


def test_separators_in_surfaces_are_counted(tmp_path):
    train = [row("see a; b and c", ("person", "a; b"), ("person", "c"))]
    write(tmp_path, "NER_en/a", ["person"], train=train)
    picks = choose(tmp_path, Limits(), 1)
    assert picks[0].unsayable == 1
    (asked,) = group(picks, 4, PromptChoices(18, 0.0), "1")
    assert asked.targets == ((Mention("person", "c"),),)


def test_nothing_to_train_on(tmp_path):
    write(tmp_path, "NER_en/a", ["person"], test=rows(1))
    with pytest.raises(DataError, match="no training documents") as caught:
        choose(tmp_path, Limits(), 1)
    assert "NER_<language>/<set>/train.json" in caught.value.hint
    with pytest.raises(DataError) as caught:
        choose(tmp_path, Limits(), 1, tasks=["newEET"])
    assert "EE_<language>/<set>/train.json" in caught.value.hint
    write(tmp_path, "NER_en/a", ["person"], train=[])
    with pytest.raises(DataError, match="none in NER_en_a of 0 read"):
        choose(tmp_path, Limits(), 1)


@pytest.mark.parametrize("label", ["a:b", "a;b", " a"])
def test_label_no_prompt_can_hold_is_named_with_its_file(tmp_path, label):
    write(tmp_path, "NER_en/a", ["person", label], train=rows(2))
    with pytest.raises(DataError, match=r"labels\.json") as caught:
        choose(tmp_path, Limits(), 1)
    assert repr(label) in caught.value.message


# group


@pytest.mark.parametrize("size", [1, 3, 4, 100])
@pytest.mark.parametrize("sizes", [(1,), (7,), (130, 5)])
def test_every_document_once_and_sets_apart(sizes, size):
    picks = [make_pick(count, name=f"NER_en_{i}") for i, count in enumerate(sizes)]
    groups = list(group(picks, size, PromptChoices(), "seed"))
    assert Counter(t for g in groups for t in g.texts) == Counter(texts(picks))
    assert all(len(g.texts) == len(g.targets) <= size for g in groups)
    assert all(len({text.split()[0] for text in g.texts}) == 1 for g in groups)
    assert len(groups) == sum(-(-count // size) for count in sizes)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_documents_with_labels_of_their_own_are_bundled(size):
    # seven lists of 1 to 4 documents each, one shared by as many as fill a bundle and more
    counts = [1, 4, 2, 1, 3, 1, 2, 2 * size + 1]
    documents = tuple(
        Document(id=f"{i}/{j}", text=f"{i} {j}", mentions=(), labels=(f"l{i}", "x"))
        for i, count in enumerate(counts)
        for j in range(count)
    )
    pick = Selection("NER_en_a", "en", ("x",), documents, len(documents), 0)
    for seed in "1234":
        made = list(bundles([pick], size, PromptChoices(18, 0.0), seed))
        assert Counter(t for b in made for g in b for t in g.texts) == Counter(
            d.text for d in documents
        )
        assert len(made) == count_bundles(pick, size)
        for bundle in made:
            assert sum(len(g.texts) for g in bundle) <= size
            for one in bundle:
                assert {f"l{text.split()[0]}" for text in one.texts} <= set(one.labels.names)
        if size == 8:  # what does not fill a group shares rows
            assert len(made) < len(counts)


def test_names_that_come_with_a_text_stand_in_for_its_labels():
    documents = tuple(
        Document(
            id=str(i),
            text=f"{i} Lee",
            mentions=(Mention("person", "Lee"),),
            labels=("person",),
            meta={"other_names": {"person": ["clerk", "cook"]}},
        )
        for i in range(30)
    )
    pick = Selection("NER_en_a", "en", ("person",), documents, 30, 0)
    asked = group([pick], 1, PromptChoices(18, 0.0, Augmentation(rename=0.7)), "1")
    names = Counter(one.labels.names[0] for one in asked)
    assert set(names) == {"person", "clerk", "cook"}
    assert all(one.targets[0][0].label == one.labels.names[0] for one in asked)


def test_groups_follow_the_seed():
    picks = [make_pick(40)]
    assert list(group(picks, 4, PromptChoices(), "1")) == list(
        group(picks, 4, PromptChoices(), "1")
    )
    assert list(group(picks, 4, PromptChoices(), "1")) != list(
        group(picks, 4, PromptChoices(), "2")
    )


def test_label_lists_are_capped_with_gold_first():
    labels = tuple(f"l{i}" for i in range(40))
    pick = make_pick(60, labels)
    for asked in group([pick], 4, PromptChoices(6, 0.0), "1"):
        gold = {labels[int(text.split()[1]) % 40] for text in asked.texts}
        assert len(asked.labels.names) == 6
        assert gold <= set(asked.labels.names)
        assert all(targets for targets in asked.targets)


def test_more_gold_than_room():
    labels = tuple(f"l{i}" for i in range(9))
    document = Document(id="0", text="x", mentions=tuple(Mention(la, "x") for la in labels))
    pick = Selection("NER_en_a", "en", labels, (document,), 1, 0)
    (asked,) = group([pick], 4, PromptChoices(5, 0.0), "1")
    assert len(asked.labels.names) == 5
    assert {m.label for m in asked.targets[0]} == set(asked.labels.names)


def test_few_labels_are_all_asked_and_their_order_varies():
    groups = group([make_pick(64, tuple("abcd"))], 2, PromptChoices(18, 0.0), "1")
    orders = {asked.labels.names for asked in groups}
    assert all(sorted(order) == list("abcd") for order in orders)
    assert len(orders) > 5


def test_dropout_takes_a_label_with_its_entities():
    asked = list(group([make_pick(400, tuple("abcdef"))], 2, PromptChoices(18, 0.5), "1"))
    for one in asked:
        assert one.labels.names
        for text, targets in zip(one.texts, one.targets, strict=True):
            label = "abcdef"[int(text.split()[1]) % 6]
            assert [m.label for m in targets] == ([label] if label in one.labels.names else [])
    kept = sum(len(one.labels.names) for one in asked) / (6 * len(asked))
    assert 0.4 < kept < 0.6


def test_dropout_leaves_a_label():
    asked = list(group([make_pick(50, ("a", "b"))], 1, PromptChoices(18, 0.99), "1"))
    assert {len(one.labels.names) for one in asked} <= {1, 2}
    assert {one.labels.names for one in asked} >= {("a",), ("b",)}


def test_own_labels_of_documents():
    (asked,) = group([make_pick(3, labels=("person", "city"))], 4, PromptChoices(18, 0.0), "1")
    assert set(asked.labels.names) == {"person", "city"}
    own = make_pick(3, labels=("person", "city"))
    documents = tuple(
        Document(id=d.id, text=d.text, mentions=(), labels=("river", "sea")) for d in own.documents
    )
    pick = Selection(own.name, "en", own.labels, documents, 3, 0)
    (asked,) = group([pick], 4, PromptChoices(18, 0.0), "1")
    assert set(asked.labels.names) == {"river", "sea"}


def test_label_annotated_in_one_document_only_is_not_asked_of_its_neighbour():
    # otherwise a correct entity of the second would be trained away
    documents = (
        Document(id="0", text="Po", mentions=(Mention("river", "Po"),), labels=("river", "sea")),
        Document(id="1", text="Rome", mentions=(Mention("city", "Rome"),), labels=("city", "sea")),
    )
    pick = Selection("NER_en_a", "en", ("river", "city", "sea"), documents, 2, 0)
    for asked in group([pick], 2, PromptChoices(18, 0.0), "1"):
        for text in asked.texts:
            own = {"Po": {"river", "sea"}, "Rome": {"city", "sea"}}[text]
            assert set(asked.labels.names) <= own


def test_label_listed_twice_in_the_data():
    (asked,) = group([make_pick(2, labels=("a", "b", "c", "c"))], 4, PromptChoices(18, 0.0), "1")
    assert sorted(asked.labels.names) == ["a", "b", "c"]


# examples and descriptions


def test_few_shot_groups_show_other_documents_of_their_set():
    picks = [make_pick(30), make_pick(30, name="NER_en_b")]
    asking = PromptChoices(18, 0.0, few_shot=FewShot(share=0.5, most=3))
    groups = group(picks, 4, asking, "seed")
    shown = [g for g in groups if g.form.examples]
    assert 0 < len(shown) < len(groups)
    for each in shown:
        names = {text.split()[0] for text in each.texts}
        assert {example.text.split()[0] for example in each.form.examples} == names
        assert not {example.text for example in each.form.examples} & set(each.texts)
        assert len(each.form.examples) == 3
        assert all(m.label in each.labels.names for e in each.form.examples for m in e.mentions)


def test_examples_that_are_given_stand_in():
    given = (Example("Ann .", (Mention("person", "Ann"), Mention("river", "Po"))),)
    asking = PromptChoices(18, 0.0, few_shot=FewShot(share=1.0, examples=given))
    for each in group([make_pick(8)], 4, asking, "seed"):
        (example,) = each.form.examples
        assert example.text == "Ann ." and example.mentions == (Mention("person", "Ann"),)


def test_described_groups_describe_what_is_known_under_the_name_asked():
    showing = FewShot(described=0.5, descriptions={"person": "a human"})
    asking = PromptChoices(18, 0.0, Augmentation(rename=0.5), showing)
    groups = group([make_pick(80)], 4, asking, "seed")
    described = [g.labels.descriptions for g in groups if g.labels.descriptions]
    assert 0 < len(described) < len(groups)
    assert all(list(each.values()) == ["a human"] for each in described)
    assert len({name for each in described for name in each}) > 1


def test_without_shares_groups_are_what_they_were():
    picks = [make_pick(30)]
    given = FewShot(examples=(Example("Ann .", ()),), descriptions={"person": "a human"})
    assert group(picks, 4, PromptChoices(few_shot=given), "s") == group(
        picks, 4, PromptChoices(), "s"
    )
