"""CoNLL: a token and its tag a line, a blank line between sentences; BIO2 out, any of its kin in.

    # id = 7
    # text = "Moon plays StarCraft II ."
    Moon<TAB>B-player
    plays<TAB>O
    StarCraft<TAB>B-game
    II<TAB>I-game
    .<TAB>O

``# id`` begins a document of one or more sentences; in a file without it every sentence is a
document. ``# text`` holds the document's exact text as a JSON string, so that writing and reading
give back text and offsets; without it tokens are joined by spaces (Han characters by nothing) and
sentences by line breaks. Read are BIO1, BIO2, IOBES and BILOU, with the tag in the last column.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import orjson

from b2ner_cli.core.document import BadRecord, Document, Entity, Mention, Result
from b2ner_cli.core.text import no_surrogates
from b2ner_cli.formats.fields import Fields, RecordError, decoded

Tokens = Literal["auto", "whitespace", "char"]
Span = tuple[int, int]

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
CONTROL = "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"  # those that are no white space
WORD = re.compile(rf"[{HAN}{CONTROL}]|[^\s{HAN}{CONTROL}]+")
UNSPACED = re.compile(rf"[{HAN}\u3000-\u303f\uff00-\uff60]{{2}}")  # Han and its punctuation
COMMENT = re.compile(r"#\s*([\w.:-]+)\s*=\s?(.*)", re.DOTALL)
TAGGED = re.compile(rb"-DOCSTART-|#\s*id\s*=|[^\t]+\t(.*\t)?([BIOESLUM]-.+|O)$")  # a first line
TAG = re.compile(r"(?:([BIOESLUM])-)(.+)|O", re.DOTALL)
BREAKS = re.compile(r"[\t\r\n]+")


# Writing ----------------------------------------------------------------------------------------


def encode(
    result: Result, tokens: Tokens = "auto", on_dropped: Callable[[Entity], object] | None = None
) -> bytes:
    """Spell a result as its sentences; `on_dropped` hears of each entity that tags cannot show.

    Those are entities whose edges are not edges of tokens, and of overlapping ones the shorter.
    """
    text = no_surrogates(result.document.text)
    spans = tokenize(text, tokens)
    tags, inside, dropped = _tags(spans, result.entities)
    lines = [f"# id = {_one_line(result.document.id)}\n", f"# text = {_quoted(text)}\n"]
    last = 0
    for (start, end), tag, goes_on in zip(spans, tags, inside, strict=True):
        if "\n" in text[last:start] and not goes_on and last:
            lines.append("\n")
        lines.append(f"{text[start:end]}\t{tag}\n")
        last = end
    if on_dropped:
        for entity in dropped:
            on_dropped(entity)
    return no_surrogates("".join(lines) + "\n").encode("utf-8")


def tokenize(text: str, tokens: Tokens) -> list[Span]:
    """Cut a text into tokens; every character that is not white space is in one.

    ``auto`` makes each Han and each control character a token, and cuts punctuation off both ends
    of a word.
    """
    if tokens == "char":
        return [(at, at + 1) for at, char in enumerate(text) if not char.isspace()]
    if tokens == "whitespace":
        return [found.span() for found in re.finditer(r"\S+", text)]
    spans: list[Span] = []
    for found in WORD.finditer(text):
        start, end = found.span()
        first, last = start, end
        while first < end and _is_punctuation(text[first]):
            first += 1
        while last > first and _is_punctuation(text[last - 1]):
            last -= 1
        spans += [(at, at + 1) for at in range(start, first)]
        if first < last:
            spans.append((first, last))
        spans += [(at, at + 1) for at in range(last, end)]
    return spans


def _is_punctuation(char: str) -> bool:
    return not char.isalnum() and unicodedata.category(char)[0] in "PS"


def _tags(
    spans: list[Span], entities: Iterable[Entity]
) -> tuple[list[str], list[bool], list[Entity]]:
    """Tag the tokens; also say which tokens continue an entity, and which entities are left out."""
    tags, inside, dropped = ["O"] * len(spans), [False] * len(spans), []
    starts = {start: index for index, (start, _) in enumerate(spans)}
    ends = {end: index for index, (_, end) in enumerate(spans)}
    for entity in sorted(entities, key=lambda e: (e.start - e.end, e.start, e.label)):
        first, last = starts.get(entity.start), ends.get(entity.end)
        label = BREAKS.sub(" ", entity.label).strip()
        if first is None or last is None or not label:
            dropped.append(entity)
            continue
        covered = range(first, last + 1)
        if any(tags[index] != "O" for index in covered):
            dropped.append(entity)
            continue
        for index in covered:
            tags[index] = f"B-{label}" if index == first else f"I-{label}"
            inside[index] = index > first
    return tags, inside, dropped


def _quoted(text: str) -> str:
    return orjson.dumps(no_surrogates(text)).decode()


def _one_line(name: str) -> str:
    """Spell an id on one line; quoted where it would not come back as it is."""
    plain = name and name == name.strip() and name.isprintable() and name[0] != '"'
    return name if plain else _quoted(name)


# Reading ----------------------------------------------------------------------------------------


class _Draft:
    """A document being read: its sentences of (token, tag), and the first thing wrong with it."""

    def __init__(self, number: int, name: str | None = None) -> None:
        self.number = number
        self.name = name  # None: no header, the document ends with its sentence
        self.text: str | None = None
        self.sentences: list[list[tuple[str, str]]] = [[]]
        self.problem: tuple[int, RecordError] | None = None

    def fail(self, number: int, error: RecordError) -> None:
        """Note the line with the first thing wrong."""
        self.problem = self.problem or (number, error)

    def add(self, number: int, line: str, tagged: bool) -> None:
        """Take in a token line."""
        columns = _columns(line)
        token, tag = columns[0], columns[-1].strip()
        if token == "-DOCSTART-" and self.text is None:
            return
        if not token:
            self.fail(number, RecordError("a line without a token"))
        if tagged and (len(columns) < 2 or not TAG.fullmatch(tag)):
            message = f"no tag like O or B-person in the last column: {line[:80]!r}"
            self.fail(number, RecordError(message, "each line holds a token, a tab and a tag"))
        self.sentences[-1].append((token, tag))

    @property
    def holds_something(self) -> bool:
        """Comments alone make no document, unless one of them is its id."""
        return self.name is not None or bool(self.problem) or any(self.sentences)


def read(lines: Iterable[bytes], name: str, fields: Fields) -> Iterator[Document | BadRecord]:
    """Read documents; tags are read, and checked, only where gold is asked for."""
    draft: _Draft | None = None
    for number, line in enumerate(lines, 1):
        content, error = "", None
        try:
            content = decoded(line.rstrip(b"\r\n"))
        except RecordError as not_utf8:
            error = not_utf8
        comment = _comment(content)
        begins = comment is not None and comment[0] == "id"
        blank = not content.strip() and not error
        if draft and (begins or (blank and draft.name is None)):
            if draft.holds_something:
                yield _built(draft, name, fields)
            draft = None
        if blank:
            if draft:
                draft.sentences.append([])
            continue
        draft = draft or _Draft(number)
        if error:
            draft.fail(number, error)
        elif comment:
            _take_comment(draft, *comment)
        else:
            draft.add(number, content, fields.gold is not None)
    if draft and draft.holds_something:
        yield _built(draft, name, fields)


def _columns(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _comment(line: str) -> tuple[str, str] | None:
    """Take a comment apart; a ``#`` may also be a token."""
    if not line.startswith("#") or "\t" in line:
        return None
    if keyed := COMMENT.fullmatch(line):
        return keyed[1], keyed[2]
    return ("", line) if line.startswith("# ") and not TAG.fullmatch(_columns(line)[-1]) else None


def _take_comment(draft: _Draft, key: str, value: str) -> None:
    quoted: object = None
    if value.startswith('"'):
        try:
            quoted = orjson.loads(value)
        except orjson.JSONDecodeError:
            quoted = None
    if key == "id":
        draft.name = quoted if isinstance(quoted, str) else value.strip()
    elif key == "text" and isinstance(quoted, str):
        draft.text = quoted


def _built(draft: _Draft, name: str, fields: Fields) -> Document | BadRecord:
    origin = f"{name}:{draft.number}"
    if draft.problem:
        number, error = draft.problem
        return error.at(f"{name}:{number}")
    sentences = [sentence for sentence in draft.sentences if sentence]
    try:
        text, spans = _joined(sentences) if draft.text is None else _aligned(draft.text, sentences)
    except RecordError as misfit:
        return misfit.at(origin)
    entities = mentions = None
    if fields.gold is not None:
        entities = tuple(_entities(text, sentences, spans))
        mentions = tuple(Mention(entity.label, entity.text) for entity in entities)
    return Document(
        draft.name or origin, text, entities, mentions, text_field=fields.text, origin=origin
    )


def _joined(sentences: list[list[tuple[str, str]]]) -> tuple[str, list[Span]]:
    """Make a text of tokens, where nothing says what stood between them."""
    pieces: list[str] = []
    spans: list[Span] = []
    at = 0
    for sentence in sentences:
        before = "\n" if pieces else ""
        for index, (token, _) in enumerate(sentence):
            if index:
                edges = sentence[index - 1][0][-1] + token[0]
                before = "" if UNSPACED.fullmatch(edges) else " "
            pieces += [before, token]
            at += len(before) + len(token)
            spans.append((at - len(token), at))
    return "".join(pieces), spans


def _aligned(text: str, sentences: list[list[tuple[str, str]]]) -> tuple[str, list[Span]]:
    """Find the tokens in the text they were cut from; only white space may stand between them."""
    spans: list[Span] = []
    at = 0
    for number, (token, _) in enumerate((pair for s in sentences for pair in s), 1):
        while not text.startswith(token, at):
            if at >= len(text) or not text[at].isspace():
                raise RecordError(
                    f"token {number}, {token!r}, does not follow in the text: "
                    f"{text[at : at + 30]!r}",
                    "the tokens must be those of the '# text' line; remove it to join them anew",
                )
            at += 1
        spans.append((at, at + len(token)))
        at += len(token)
    if rest := text[at:].strip():
        raise RecordError(f"the text goes on after the last token: {rest[:30]!r}")
    return text, spans


def _entities(
    text: str, sentences: list[list[tuple[str, str]]], spans: list[Span]
) -> Iterator[Entity]:
    """Read tags of any scheme: B, S, U begin; E, L, S, U end; I begins where nothing is open."""
    places = iter(spans)
    for sentence in sentences:
        open_label, start, end = "", 0, 0
        for (_, tag), (first, last) in zip(sentence, places, strict=False):
            kind, _, label = tag.partition("-")
            if open_label and (label != open_label or kind in "BSU"):
                yield Entity(start, end, open_label, text[start:end], how="given")
                open_label = ""
            if label and not open_label:
                open_label, start = label, first
            end = last
            if open_label and kind in "ELSU":
                yield Entity(start, end, open_label, text[start:end], how="given")
                open_label = ""
        if open_label:
            yield Entity(start, end, open_label, text[start:end], how="given")
