"""CoNLL: tokens and tags of any scheme in, BIO2 out, and what tags cannot show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli import formats
from b2ner_cli.core.document import Document, Entity, Result
from b2ner_cli.formats import conll
from tests.formats.cases import GAME, MOON, one, plain, results, stdin, unhurried

WRITTEN = (
    b'# id = 7\n# text = "Moon plays StarCraft II ."\n'
    b"Moon\tO\nplays\tO\nStarCraft\tB-game\nII\tI-game\n.\tO\n\n"
)


def test_conll_as_written():
    assert conll.encode(Result(Document("7", MOON), (GAME,))) == WRITTEN
    document = one(WRITTEN, "conll", gold_field="entities")
    assert (document.id, document.text, document.origin) == ("7", MOON, "stdin:1")
    assert document.entities == (Entity(11, 23, "game", "StarCraft II", None, "given"),)
    assert one(WRITTEN, "conll").entities is None


@pytest.mark.parametrize(
    ("tokens", "text", "expected"),
    [
        ("whitespace", "(Moon, 29) 张三", ["(Moon,", "29)", "张三"]),
        ("auto", "(Moon, 29) 张三abc。", ["(", "Moon", ",", "29", *")张三", "abc", "。"]),
        ("auto", "U.S.-based ... e\u0301", ["U.S.-based", ".", ".", ".", "e\u0301"]),
        ("auto", "Ann\x00sings \x7f", ["Ann", "\x00", "sings", "\x7f"]),
        ("char", "a b\u3000张", ["a", "b", "张"]),
    ],
)
def test_tokens(tokens, text, expected):
    assert [text[start:end] for start, end in conll.tokenize(text, tokens)] == expected


def test_what_tags_cannot_show_is_named():
    text = "New York City halls"
    long = Entity(0, 13, "city", "New York City")
    inner = Entity(0, 8, "state", "New York")
    cut = Entity(14, 18, "x", "hall")
    dropped = []
    result = Result(Document("1", text), (inner, long, cut))
    assert b"New\tB-city\nYork\tI-city\nCity\tI-city\nhalls\tO\n" in conll.encode(
        result, on_dropped=dropped.append
    )
    assert dropped == [inner, cut]
    heard = []
    _, encode = formats.writer("conll", tokens="char", on_dropped=heard.append)
    encode(result)
    assert heard == [inner]


def test_sentences_end_at_line_breaks_outside_of_entities():
    text = "\na\nNew\nYork b"
    result = Result(Document("1", text), (Entity(3, 11, "city", "New\nYork"),))
    dropped = []
    assert conll.encode(result, on_dropped=dropped.append).endswith(
        b"a\tO\n\nNew\tB-city\nYork\tI-city\nb\tO\n\n"
    )
    assert not dropped


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("BIO2", "B-x I-x B-x O B-y O"),
        ("BIO1", "I-x I-x B-x O I-y O"),
        ("IOBES", "B-x E-x S-x O S-y O"),
        ("BILOU", "B-x L-x U-x O U-y O"),
    ],
)
def test_every_tag_scheme_reads_the_same(scheme, tags):
    lines = "".join(f"{t} {tag}\n" for t, tag in zip("abcdef", tags.split(), strict=True))
    document = one(lines.encode(), "conll", gold_field="entities")
    assert [(e.text, e.label) for e in document.entities] == [("a b", "x"), ("c", "x"), ("e", "y")]


def test_conll_of_other_tools():
    data = (
        "-DOCSTART- -X- -X- O\r\n\r\nEU NNP B-NP B-ORG\r\n# NN O O\r\n\r\n"
        "# newdoc id = x\n张\tB-人\n三\tI-人\n在\tO\nParis\tB-城 市\n\n\n"
    ).encode()
    first, second = stdin(data, format="conll", gold_field="entities")
    assert (first.id, first.text) == ("stdin:3", "EU #")
    assert (second.id, second.text) == ("stdin:6", "张三在 Paris")
    assert [(e.start, e.end, e.label) for e in second.entities] == [(0, 2, "人"), (4, 9, "城 市")]


def test_conll_documents_of_several_sentences():
    data = b"# id = a\nx\tO\ny\tB-l\n\nz\tI-l\n\n# id = b\n\n# id =\nw\tO"
    found = stdin(data, format="conll", gold_field="entities")
    assert [(d.id, d.text) for d in found] == [("a", "x y\nz"), ("b", ""), ("stdin:9", "w")]
    assert [e.text for e in found[0].entities] == ["y", "z"]


@pytest.mark.parametrize(
    ("lines", "place", "message"),
    [
        (b'# text = "Moon lands"\nMoon\tO\nland\tO\n', 2, "goes on after the last token: 's'"),
        (b'# text = "Moon lands"\nMoon\tO\nMars\tO\n', 2, "token 2, 'Mars', does not follow"),
        (b"Moon\tO\nMars\n", 4, "no tag like O or B-person"),
        (b"Moon\tX-y\n", 3, "no tag"),
        (b"Moon\tB-\n", 3, "no tag"),
        (b"\tO\n", 3, "a line without a token"),
        (b"Mo\xffn\tO\n", 3, "not UTF-8 at byte offset 2"),
    ],
)
def test_a_bad_conll_document_is_a_bad_record(lines, place, message):
    data = b"\n# id = 1\n" + lines + b"\n# id = 2\nnext\tO\n"
    bad, good = stdin(data, format="conll", gold_field="entities")
    assert bad.origin == f"stdin:{place}"
    assert message in bad.message
    assert good.text == "next"


@unhurried
@given(st.lists(results(), max_size=3), st.sampled_from(["auto", "whitespace", "char"]))
def test_conll_comes_back(found, tokens):
    lost = [[] for _ in found]
    data = [conll.encode(r, tokens, kept.append) for r, kept in zip(found, lost, strict=True)]
    documents = stdin(b"".join(data), format="conll", gold_field="entities")
    assert len(documents) == len(found)
    for result, dropped, document in zip(found, lost, documents, strict=True):
        assert (document.id, document.text) == (result.document.id, result.document.text)
        kept = sorted(set(plain(result.entities)) - set(plain(dropped)))
        assert len(kept) + len(dropped) == len(result.entities)
        expected = [(s, e, conll.BREAKS.sub(" ", label).strip(), t) for s, e, label, t in kept]
        assert plain(document.entities) == expected
