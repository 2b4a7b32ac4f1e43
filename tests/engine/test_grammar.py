"""Constrained answers: only asked labels and words of the text, the same from both engines."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Core
from tokenizers import decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.engine.grammar import (
    AnswerGrammar,
    GrammarState,
    LabelGrammar,
    Vocabulary,
    label_grammars,
)
from b2ner_cli.errors import ModelError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models.tokenizer import Tokenizer
from b2ner_cli.prompts.parsing import parse
from b2ner_cli.prompts.rendering import render
from tests.tiny import tiny_tokenizer

LABELS = ("person", "movie title", "公司")
TEXT = "Ann (Lee) of 张三 liked 😀 at 5%; Ann slept.\r\nDone"


def wrapped(hf):
    return Tokenizer(hf, (1,), 2, (2,), 0)


def sentencepiece_like():
    """Spaces as ▁, bytes as <0x..>, a token that closes a pair: as Gemma and Llama 2 do."""
    pieces = ["<pad>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [
        "▁",
        ":",
        ";",
        ");",
        "(",
        ")",
        "Lee",
        "▁Ann",
        "▁person",
        "A",
        "n",
        "e",
        "L",
        "▁(",
        ",",
    ]
    core = Core(
        models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[], byte_fallback=True)
    )
    core.normalizer = normalizers.Replace(" ", "▁")
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


@functools.cache
def vocabulary(kind):
    hf = sentencepiece_like() if kind == "sentencepiece" else tiny_tokenizer()
    return Vocabulary.of(wrapped(hf))


def spell(vocab, said):
    """Cut bytes into tokens as an answer might: the longest token first."""
    tokens = []
    while said:
        size = next(n for n in range(len(said), 0, -1) if said[:n] in vocab.ids)
        tokens.append(vocab.ids[said[:size]])
        said = said[size:]
    return tokens


def follow(kind, answer, labels=LABELS, text=TEXT):
    """Whether the grammar lets an answer be said to its end, and how many tokens are kept."""
    vocab = vocabulary(kind)
    progress = GrammarState(AnswerGrammar(LabelGrammar(vocab, labels), text))
    tokens = spell(vocab, answer.encode())
    for token in tokens:
        if token not in progress.allowed():
            return None
        if progress.ends(token):
            return progress.length
    return progress.length if set(vocab.stops) <= set(progress.allowed()) else None


KINDS = ["byte level", "sentencepiece"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "answer",
    [
        " None",
        " person: Ann",
        " person: Ann (Lee); 公司: 张三; movie title: 😀",
        " person: (Lee); person: Ann; person: Ann; movie title: 5%",
        " movie title: nn (L",  # any part of the text
        " person: slept.\r\nDone",
    ],
)
def test_what_may_be_said(kind, answer):
    assert follow(kind, answer) == len(spell(vocabulary(kind), answer.encode()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "answer",
    [
        "",  # nothing found is said, not left out
        " place: Ann",  # not asked for
        " person",  # no surface
        " person: ",
        " person: Bob",  # not in the text
        " person: Ann Lee",
        " person: ann",
        " person: 5%; Ann",  # a surface holds no semicolon
        " None; person: Ann",
        " person: Ann; None",
        "person: Ann",  # no space before the label
        " person:Ann",
        " movie: Ann",  # half a label
    ],
)
def test_what_may_not_be_said(kind, answer):
    assert follow(kind, answer) is None


def test_a_label_may_begin_like_the_empty_answer():
    labels = ("None of these", "person")
    assert follow("byte level", " None", labels) is not None
    assert follow("byte level", " None of these: Ann", labels) is not None
    assert follow("byte level", " person: Ann; None of these: Ann", labels) is not None
    assert follow("byte level", " person: Ann; None", labels) is None


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_ends_where_it_repeats_itself(kind):
    twice = " person: Ann; person: Ann"
    whole = len(spell(vocabulary(kind), f"{twice};".encode()))
    assert follow(kind, twice + "; person: Ann; person: Ann; person: Ann") == whole
    assert follow(kind, twice + "; movie title: Ann") > whole


@pytest.mark.parametrize("text", ["", "   ", ";;", " \r\n"])
def test_of_a_text_without_words_only_nothing_can_be_said(text):
    assert follow("byte level", " None", text=text) is not None
    assert follow("byte level", " person: a", text=text) is None


def test_tokens_that_close_a_pair_are_allowed_where_their_beginning_ends_the_surface():
    vocab = vocabulary("sentencepiece")
    progress = GrammarState(AnswerGrammar(LabelGrammar(vocab, LABELS), TEXT))
    for token in spell(vocab, b" person: (Lee"):
        progress.ends(token)
    closing = vocab.ids[b");"]
    assert closing in progress.allowed()
    assert not progress.ends(closing)
    assert vocab.ids[b" person"] in progress.allowed()
    assert vocab.ids[b" Ann"] not in progress.allowed()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(text=st.text(max_size=30), choices=st.lists(st.integers(0, 10**6), max_size=80))
def test_whatever_is_chosen_there_is_a_next_token_and_the_answer_is_grounded(kind, text, choices):
    """Walk at random: never stuck, and what is said names asked labels and parts of the text."""
    vocab = vocabulary(kind)
    text = text.encode("utf-8", "replace").decode()
    grammar = AnswerGrammar(LabelGrammar(vocab, LABELS), text)
    progress, said, ended = GrammarState(grammar), [], False
    for choice in choices:
        allowed = sorted(progress.allowed())
        assert allowed
        token = allowed[choice % len(allowed)]
        if ended := progress.ends(token):
            break
        said.append(token)
    if not ended:
        return
    answer = b"".join(vocab.spelled[token] for token in said[: progress.length]).decode()
    for pair in answer.removesuffix(";").split(";") if answer != " None" else ():
        label, _, surface = pair.partition(": ")
        assert label[0] == " "
        assert label[1:] in LABELS
        assert surface
        assert surface in text


def test_labels_are_remembered_by_their_set():
    of = label_grammars(wrapped(tiny_tokenizer()))
    first = of(("a", "b"))
    assert of(("a", "b")) is first is not of(("a",))
    for number in range(1000):  # no end of label sets: old ones are dropped
        of((f"label {number}",))
    assert of(("a", "b")) is not first


def test_a_vocabulary_without_separators_is_refused():
    core = Core(models.BPE(vocab={"<s>": 0, "</s>": 1, "a": 2}, merges=[]))
    core.decoder = decoders.Fuse()
    hf = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    with pytest.raises(ModelError, match="no tokens of their own"):
        Vocabulary.of(wrapped(hf))


# Engines ------------------------------------------------------------------------------------------

TEXTS = ["Ann Lee met Bob in Rome .", "", "😀 张三 slept (long); twice.", "Ann . " * 12, "5% of it"]
CITIES = LabelSet(("city", "river", "person"))


def asked():
    return [
        *(render(LabelSet(("person",)), text, "en") for text in TEXTS),
        *(render(CITIES, text, "zh") for text in TEXTS),
    ]


def test_a_label_that_cannot_be_spelled_is_not_begun():
    core = Core(
        models.BPE(
            vocab={
                p: i for i, p in enumerate(["<s>", "</s>", " ", ":", ";", "p", "N", "o", "n", "e"])
            },
            merges=[],
        )
    )
    core.decoder = decoders.Fuse()
    hf = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>")
    vocab = Vocabulary.of(Tokenizer(hf, (0,), 1, (1,), 1))
    said = GrammarState(AnswerGrammar(LabelGrammar(vocab, ("p", "pq")), "pp"))
    for token in spell(vocab, b" p"):
        said.ends(token)
    assert set(said.allowed()) == {vocab.ids[b":"]}
    only = GrammarState(AnswerGrammar(LabelGrammar(vocab, ("pq",)), "pp"))
    only.ends(vocab.ids[b" "])
    assert set(only.allowed()) == {vocab.ids[b"N"]}  # None is all that can be said


def test_every_end_that_a_model_has_may_end_an_answer():
    hf = tiny_tokenizer()
    vocab = Vocabulary.of(Tokenizer(hf, (1,), 2, (2, 300), 0))
    said = GrammarState(AnswerGrammar(LabelGrammar(vocab, LABELS), TEXT))
    for token in spell(vocab, b" person: Ann"):
        said.ends(token)
    assert {2, 300} <= set(said.allowed())
    assert said.ends(300)


@pytest.mark.parametrize("longest", [11, 13, 40])
@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_both_engines_give_the_same_constrained_answers(load_tiny, architecture, longest):
    loaded = load_tiny(architecture)
    fast = PackedEngine(loaded, max_answer=longest, constrain=True)
    plain = PlainEngine(loaded, max_answer=longest, rows=3, constrain=True)
    assert fast.identity == plain.identity != PackedEngine(loaded, max_answer=longest).identity
    said, compared = dict(fast.generate(asked())), dict(plain.generate(asked()))
    assert sorted(said) == list(range(len(asked())))
    for index, prompt in enumerate(asked()):
        one, other = said[index], compared[index]
        assert (one.text, one.ends, one.stop) == (other.text, other.ends, other.stop)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
        mentions, problems = parse(one, prompt.labels, prompt.about)
        assert all("cut off" in problem for problem in problems)
        assert all(mention.surface in prompt.about for mention in mentions)
    assert longest < 40 or any(parse(said[i], p.labels, p.about)[0] for i, p in enumerate(asked()))


def test_the_head_is_read_for_the_tokens_that_can_come_up(load_tiny):
    loaded = load_tiny("llama")
    engine = PackedEngine(loaded, max_answer=8, constrain=True)
    widths = []
    linear = torch.nn.functional.linear

    def watched(inputs, weight, bias=None):
        widths.append(weight.shape[0])
        return linear(inputs, weight, bias)

    rows = loaded.model.get_output_embeddings().weight.shape[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", watched)
        list(engine.generate(asked()[:1]))
    assert rows not in widths
