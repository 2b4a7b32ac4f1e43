"""What a user writes becomes exactly the labels meant, or an error that says what to change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.core.language import as_language, detect_language
from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.labels.label_set import LabelSet, fold, group_labels, split_names
from b2ner_cli.labels.reading import parse_labels, read_label_file


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("person", ["person"]),
        ("person, movie title", ["person", "movie title"]),
        (" person ,city ", ["person", "city"]),
        ("人物，地点,公司", ["人物", "地点", "公司"]),
        ("organization->company,a -> b", ["organization->company", "a -> b"]),
        (",person,,", ["person"]),
        (" , ，", []),
    ],
)
def test_comma_list(text, names):
    assert split_names(text) == names


@pytest.mark.parametrize(
    "spelled", ["organization -> company", "organization->company", " Organization ->  COMPANY"]
)
def test_spellings_that_answers_do_not_tell_apart(spelled):
    assert fold(spelled) == "organization -> company"


def test_values_add_up_in_order():
    labels, notes = parse_labels(["person, city", "公司"])
    assert labels == LabelSet(("person", "city", "公司"))
    assert notes == []


def test_repeat_is_dropped_with_a_note():
    labels, notes = parse_labels(["city, person", "city"])
    assert labels.names == ("city", "person")
    assert notes == ["label 'city' is given twice; once is used"]


@pytest.mark.parametrize(
    ("content", "pairs"),
    [
        (b"person\ncity\n", [("person", ""), ("city", "")]),
        (b"person: a named human\n", [("person", "a named human")]),
        (b"\xef\xbb\xbfperson\r\ncity : a town\r\n", [("person", ""), ("city", "a town")]),
        (b"# ours\n\n  # more\nperson\n", [("person", "")]),
        ("人物：有名字的人\n".encode(), [("人物", "有名字的人")]),
        ("time: as in 10:30, 10：30".encode(), [("time", "as in 10:30, 10：30")]),
        ("time：as in 10:30".encode(), [("time", "as in 10:30")]),
        (b"organization->company: sells", [("organization->company", "sells")]),
        (b"person # human", [("person # human", "")]),
    ],
)
def test_label_file(tmp_path, content, pairs):
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_label_file(tmp_path / "labels.txt") == pairs


def test_file_by_sign_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("person: a human\ncity\n")
    expected = LabelSet(("person", "city"), {"person": "a human"})
    assert parse_labels(["@labels.txt"]) == (expected, [])
    assert parse_labels(["labels.txt"]) == (
        expected,
        ["--labels labels.txt: read as a file (write @labels.txt to say so)"],
    )


def test_description_is_kept_whichever_value_brings_it(tmp_path):
    (tmp_path / "l").write_text("city: a town")
    assert parse_labels(["city", f"@{tmp_path / 'l'}"])[0].descriptions == {"city": "a town"}
    assert parse_labels([f"@{tmp_path / 'l'}", "city"])[0].descriptions == {"city": "a town"}


@pytest.mark.parametrize("value", ["x" * 5000, "a\0b"])
def test_no_file_name_at_all(value):
    # too long for a file name, or with a NUL in it: looked up as a file, both raise
    try:
        labels, notes = parse_labels([value])
    except UsageError as error:
        assert "\\x00" in error.message
    else:
        assert (labels.names, notes) == ((value,), [])


@pytest.mark.parametrize("separator", [";", ":", "；", "："])
def test_separator_in_a_label_is_refused_by_name(separator):
    with pytest.raises(UsageError) as caught:
        parse_labels([f"a{separator}b"])
    assert repr(separator) in caught.value.message
    assert "organization->company" in caught.value.hint


@pytest.mark.parametrize("separator", [",", "，", "\n", "\r", "\0"])
def test_separator_in_a_set_made_by_hand(separator):
    with pytest.raises(UsageError) as caught:
        LabelSet((f"a{separator}b",))
    assert repr(separator) in caught.value.message


@pytest.mark.parametrize(
    ("names", "descriptions", "message"),
    [
        ((), {}, "no labels given"),
        (("a", "b", "a"), {}, "'a' is listed twice"),
        (("",), {}, "is empty"),
        ((" a",), {}, "spaces around"),
        (("a",), {"b": "x"}, "description for 'b'"),
    ],
)
def test_bad_set(names, descriptions, message):
    with pytest.raises(UsageError, match=message):
        LabelSet(names, descriptions)


@pytest.mark.parametrize("values", [[], [""], [" , "]])
def test_no_labels(values):
    with pytest.raises(UsageError, match="no labels") as caught:
        parse_labels(values)
    assert "--labels" in caught.value.hint


def test_missing_file_names_its_neighbour(tmp_path):
    (tmp_path / "labels.txt").write_text("person")
    with pytest.raises(InputError, match="cannot read label file") as caught:
        parse_labels([f"@{tmp_path / 'lables.txt'}"])
    assert caught.value.hint == f"did you mean {tmp_path / 'labels.txt'}?"


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="No such file") as caught:
        parse_labels([f"@{tmp_path / 'nowhere' / 'labels.txt'}"])
    assert "--labels" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"person\n\xff\xfe", "not UTF-8 .byte 7"), (b"# none\n\n", "holds no labels")],
)
def test_unusable_file(tmp_path, content, message):
    (tmp_path / "l").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_label_file(tmp_path / "l")


def test_subset_keeps_descriptions():
    labels = LabelSet(("a", "b", "c"), {"a": "1", "c": "3"})
    assert labels.subset(["c", "b"]) == LabelSet(("c", "b"), {"c": "3"})


@given(st.integers(1, 40), st.integers(1, 12))
def test_groups_lose_nothing(count, room):
    labels = LabelSet(tuple(f"l{i}" for i in range(count)), {"l0": "the first"})
    groups = group_labels(labels, lambda part: len(part.names) <= room)
    assert [name for part in groups for name in part.names] == list(labels.names)
    assert all(len(part.names) <= room for part in groups)
    assert groups[0].descriptions == {"l0": "the first"}
    if count <= room:
        assert groups == [labels]


def test_label_too_big_for_any_group():
    labels = LabelSet(("small", "huge"), {"huge": "x" * 100})
    with pytest.raises(UsageError, match="'huge'"):
        group_labels(labels, lambda part: "huge" not in part.names)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("123 ?!", "en"),
        ("Ann is in Rome", "en"),
        ("安在罗马", "zh"),
        ("北 ab", "zh"),  # exactly a third of the letters
        ("北 abc", "en"),
        ("北 12345 , ....", "zh"),  # only letters count
        ("㐀a", "zh"),
        ("\U00020000a", "zh"),
        ("ひらがな", "en"),
        ("ひら漢", "zh"),
    ],
)
def test_detect_language(text, language):
    assert detect_language(text) == language


@given(st.text(st.sampled_from("a京1 \u3400\u4dbf\u4dc0\u9fff\ua000\U00020000") | st.characters()))
def test_a_third_of_the_letters_makes_chinese(text):
    han = sum(
        "\u4e00" <= c <= "\u9fff" or "\u3400" <= c <= "\u4dbf" or c >= "\U00020000" for c in text
    )
    letters = sum(c.isalpha() or c >= "\U00020000" for c in text)
    assert detect_language(text) == ("zh" if letters and han * 3 >= letters else "en")


def test_as_language():
    assert [as_language(name) for name in ("en", "zh", "de", "nl", "es")] == [
        "en", "zh", "de", "nl", "es",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="'ru'") as caught:
        as_language("ru")
    assert "en zh de nl es" in caught.value.hint
