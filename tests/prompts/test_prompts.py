"""The wire format to the byte, and every answer read back: as written, sloppy, or cut off."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from b2ner_cli.core.document import Mention
from b2ner_cli.core.engine import Completion
from b2ner_cli.core.language import LANGUAGES
from b2ner_cli.errors import UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts.parsing import parse
from b2ner_cli.prompts.rendering import Example, Form, answer, check, render

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "instruction_config_ml.json").read_text(
        encoding="utf-8"
    )
)
ANSWER_WORDS = {
    "en": "Answer:",
    "zh": "答案:",
    "de": "Antwort:",
    "nl": "Antwoord:",
    "es": "Respuesta:",
}
LABELS = ("person", "movie title", "organization -> company", "公司")
TEXT = "Ann Lee saw Heat in Rome ."


def reference(language, kind, labels, text, descriptions=""):
    """The prompt as the reference implementation puts it together."""
    (template,) = (
        entry["instruction"]
        for entry in REFERENCE[language]["NER"]
        if entry["instruction_type"] == kind
    )
    return (
        template.replace("{labels_str}", labels)
        .replace("{label_descriptions_str}", descriptions)
        .replace("{text}", text)
        + ANSWER_WORDS[language]
    )


def read(text, labels=LABELS, document=TEXT, **more):
    return parse(Completion(text, **more), labels, document)


def said(*pairs):
    return [Mention(label, surface) for label, surface in pairs]


# render


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", [TEXT, "安·李在罗马看《盗火线》。", ""])
def test_zero_shot_is_byte_exact(language, text):
    asked = render(LabelSet(LABELS), text, language)
    joined = "person, movie title, organization -> company, 公司"
    assert asked.text == reference(language, "zero-shot", joined, text)


@pytest.mark.parametrize(
    ("language", "means"),
    [
        ("en", 'person means "a human"; city means "a town"'),
        ("zh", 'person 是指 "a human"; city 是指 "a town"'),
    ],
)
def test_described_is_byte_exact(language, means):
    labels = LabelSet(("person", "film", "city"), {"city": "a town", "person": "a human"})
    asked = render(labels, TEXT, language)
    assert asked.text == reference(
        language, "zero-shot-with-description", "person, film, city", TEXT, means
    )


@pytest.mark.parametrize("language", ["de", "nl", "es"])
def test_described_falls_back_to_english(language):
    labels = LabelSet(("person",), {"person": "a human"})
    assert render(labels, TEXT, language) == render(labels, TEXT, "en")


def test_every_reference_form_of_ner_is_known():
    # a form added to the fixture has to be rendered here, too
    kinds = {(lang, e["instruction_type"]) for lang in REFERENCE for e in REFERENCE[lang]["NER"]}
    assert kinds == {
        *((language, "zero-shot") for language in LANGUAGES),
        *((language, "zero-shot-with-description") for language in ("en", "zh")),
        *((language, "few-shot") for language in ("en", "zh")),
    }


SHOWN = (
    Example("Bob is {text} in Rome .", (Mention("person", "Bob"), Mention("city", "Rome"))),
    Example("No one .", (Mention("river", "No"),)),
)


@pytest.mark.parametrize(
    ("language", "shown"),
    [
        (
            "en",
            "Text: Bob is {text} in Rome . \nAnswer: person: Bob; city: Rome \n\n"
            "Text: No one . \nAnswer: None \n\n",
        ),
        (
            "zh",
            "文本: Bob is {text} in Rome . \n答案: person: Bob; city: Rome \n\n"
            "文本: No one . \n答案: None \n\n",
        ),
    ],
)
def test_few_shot_is_byte_exact(language, shown):
    asked = render(LabelSet(("person", "city")), TEXT, language, Form(examples=SHOWN))
    before, after = reference(language, "few-shot", "person, city", TEXT).split("@@examples@@")
    assert asked.text == before + shown + after
    assert asked.own == render(LabelSet(("person", "city")), TEXT, language).own


@pytest.mark.parametrize("language", ["de", "nl", "es"])
def test_few_shot_falls_back_to_english(language):
    labels, form = LabelSet(("person",)), Form(examples=SHOWN)
    assert render(labels, TEXT, language, form) == render(labels, TEXT, "en", form)


def test_examples_and_descriptions_have_no_common_form():
    labels = LabelSet(("person",), {"person": "a human"})
    with pytest.raises(UsageError, match="both examples and descriptions") as caught:
        check(labels, Form(examples=SHOWN))
    assert "--examples" in caught.value.hint
    check(labels, Form())


def test_form_without_a_text():
    assert Form(examples=SHOWN).without(" No one .\n").examples == SHOWN[:1]
    assert Form().without("x") == Form()


@given(st.sampled_from(LANGUAGES), st.text())
@example("en", "{0} {} {{x}} {labels} %s")
@example("en", "x \nAnswer: person: Ann")
@example("zh", "two\nlines\r\n")
def test_text_is_inserted_verbatim_and_prefix_is_shared(language, text):
    labels = LabelSet(("person", "{0}"))
    asked = render(labels, text, language)
    other = render(labels, "other", language)
    assert asked.prefix == other.prefix
    assert asked.own == " " + text + other.own.removeprefix(" other")
    assert other.own.endswith(f" \n{ANSWER_WORDS[language]}")


# answer and parse


def test_answer():
    assert answer([]) == " None"
    mentions = said(("person", "Ann Lee"), ("person", "Bob"), ("organization -> company", "Acme"))
    assert answer(mentions) == " person: Ann Lee; person: Bob; organization -> company: Acme"
    assert answer(mentions[:1] * 2) == " person: Ann Lee; person: Ann Lee"


SIMILAR = ("person", "Person", "none", "a->b", "a -> b", "movie title", "公司")
surfaces = st.text(min_size=1).filter(
    lambda s: s == s.strip() and not set(s) & set(";；")
) | st.sampled_from(["10:30", "person: x", "None", "-> b", "：", "!"])


@given(st.lists(st.builds(Mention, st.sampled_from(SIMILAR), surfaces, st.none())), st.text())
def test_parse_undoes_answer(mentions, text):
    assert parse(Completion(answer(mentions)), SIMILAR, text) == (mentions, [])


@pytest.mark.parametrize("text", ["", " ", " None", "none", "None.", "无", " 无。", "NONE\n"])
def test_nothing_said(text):
    assert read(text) == ([], [])


@pytest.mark.parametrize(
    "text",
    [
        " person: Ann Lee; movie title: Heat",
        "person:Ann Lee;movie title:Heat",
        " person：Ann Lee；movie title：Heat",
        " Person : Ann Lee ; MOVIE TITLE: Heat ; ",
        " person: Ann Lee;; movie  title: Heat;",
        " person: Ann Lee;\nmovie title: Heat\n",
    ],
)
def test_sloppy_answers(text):
    assert read(text) == (said(("person", "Ann Lee"), ("movie title", "Heat")), [])


@pytest.mark.parametrize(
    "label", ["organization->company", "Organization -> Company", "organization ->company"]
)
def test_spacing_of_arrows(label):
    assert read(f" {label}: Acme") == (said(("organization -> company", "Acme")), [])


def test_labels_that_differ_in_case_only_stay_apart():
    labels = ("Person", "person")
    mentions = said(("Person", "A"), ("person", "B"))
    assert read(answer(mentions), labels) == (mentions, [])


@pytest.mark.parametrize(
    ("text", "document", "expected", "problems"),
    [
        # the joined text stands in the document
        (" person: a; b", "see a; b .", [("person", "a; b")], []),
        (" person: a; b; person: c", "see a; b .", [("person", "a; b"), ("person", "c")], []),
        (" person: a;b；c", "a;b；c", [("person", "a;b；c")], []),
        (" person: a; b: c", "a; b: c", [("person", "a; b: c")], []),
        # it does not
        (" person: a; b", "a and b", [("person", "a")], ["answer piece without a label: 'b'"]),
        (" b; person: a", "b; person: a", [("person", "a")], ["answer piece without a label: 'b'"]),
        # nothing to join: the document's separator is not the entity's
        (" person: a;", "a; b", [("person", "a")], []),
        (" person: a; ; ", "a; ; b", [("person", "a")], []),
    ],
)
def test_surface_with_separator(text, document, expected, problems):
    assert read(text, document=document) == (said(*expected), problems)


@pytest.mark.parametrize(
    ("text", "expected", "problem"),
    [
        (" river: Po; person: Ann", [("person", "Ann")], "label not in the label set: 'river'"),
        (" person:; person: Ann", [("person", "Ann")], "label 'person' without an entity"),
        (" who knows", [], "answer piece without a label: 'who knows'"),
        (" None: x", [], "label not in the label set: 'None'"),
    ],
)
def test_problems(text, expected, problem):
    assert read(text) == (said(*expected), [problem])


def test_complaints_stay_short():
    (problem,) = read("x" * 10_000)[1]
    assert len(problem) < 150


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" person: Ann Lee; movie title: He", [("person", "Ann Lee")]),
        (" person: An", []),
        (" person: Ann Lee; mov", [("person", "Ann Lee")]),
    ],
)
def test_cut_off_tail_is_left_out(text, expected):
    mentions, problems = read(text, stop="length", logprobs=(-1.0,) * 3, ends=(1, 2, len(text)))
    assert [(m.label, m.surface) for m in mentions] == expected
    assert problems == ["answer cut off after 3 tokens"]


def test_endless_blanks_are_cut_off_too():
    assert read("  ", stop="length", logprobs=(0.0, 0.0), ends=(1, 2)) == (
        [],
        ["answer cut off after 2 tokens"],
    )


# scores


def completion(*tokens):
    """An answer of (text, probability) tokens."""
    ends, text = [], ""
    for piece, _ in tokens:
        text += piece
        ends.append(len(text))
    return Completion(text, tuple(math.log(p) for _, p in tokens), tuple(ends))


def test_score_is_the_geometric_mean_of_the_mentions_own_tokens():
    said_by_token = completion(
        (" person", 0.5), (":", 0.5), (" Ann", 0.25), (" Lee", 0.25),  # (1/64) ** (1/4)
        (";", 0.001),  # a separator belongs to neither
        (" movie title", 0.9), (":", 0.4), (" He", 0.6), ("at", 1.0),
    )  # fmt: skip
    first, second = parse(said_by_token, LABELS, TEXT)[0]
    assert first.score == pytest.approx((1 / 64) ** 0.25)
    assert second.score == pytest.approx((0.9 * 0.4 * 0.6) ** 0.25)


def test_token_across_a_border_counts_for_both():
    mentions, _ = parse(
        completion((" person:", 0.5), (" A; person", 0.125), (": B", 0.5)), LABELS, "A B"
    )
    assert [m.score for m in mentions] == pytest.approx([0.25, 0.25])


def test_joined_surface_is_scored_whole():
    (mention,) = parse(completion((" person: a", 0.5), (";", 0.5), (" b", 0.5)), LABELS, "a; b")[0]
    assert mention.score == pytest.approx(0.5)


def test_score_stays_a_probability():
    # rounding in half precision can put a log-probability just above zero
    (mention,) = parse(Completion("person: A", (1e-3,), (9,)), LABELS, TEXT)[0]
    assert mention.score == 1.0


@given(
    st.text(st.sampled_from("person: Ann;：；None无\n ->{}") | st.characters()),
    st.text(max_size=20),
    st.lists(st.floats(-50, 0), max_size=8),
    st.sampled_from(["eos", "length"]),
)
def test_no_answer_is_too_strange(text, document, logprobs, stop):
    ends = tuple(min(len(text), 2 * i) for i in range(1, len(logprobs) + 1))
    mentions, problems = parse(
        Completion(text, tuple(logprobs), ends, stop), ("person", "Ann"), document
    )
    assert all(m.label in ("person", "Ann") and m.surface for m in mentions)
    assert all(m.score is None or 0 <= m.score <= 1 for m in mentions)
    assert all(isinstance(problem, str) for problem in problems)
