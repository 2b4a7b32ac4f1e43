"""Which tokens may come next in an answer that names only asked labels and quotes only the text.

    answer   = " None" | pair (";" pair)*        pair = " " label ":" " " surface
    label    one of the label set
    surface  a part of the document, without ";"

A state of the answer is the bytes of the label said so far, or the places in the document's bytes
where the surface said so far may end. Tokens are taken by the bytes they spell, whatever
the tokenizer; only those that would reach from one pair into the next are left out. No tensors
here.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from b2ner_cli.errors import ModelError
from b2ner_cli.models.tokenizer import Tokenizer
from b2ner_cli.prompts.rendering import NONE

# To be raised by one whenever a change here makes some constrained answer another: see
# `DECODING_VERSION` in model_engine.py.
GRAMMAR_VERSION = 1

_SETS = 1000  # label sets whose grammars are kept, in a file of nothing but distinct ones


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a model by the bytes they spell, and the other way round.

    `closing` are those that end a surface and its pair at once, such as ``);``, by what stands
    before the semicolon. `max_bytes` is the length of the longest token by its first three bytes.
    `stops` end an answer.
    """

    ids: Mapping[bytes, int]
    spelled: Mapping[int, bytes]
    closing: Mapping[bytes, int]
    max_bytes: Mapping[bytes, int]
    stops: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """Read a tokenizer's vocabulary; raises ModelError if its tokens do not spell bytes."""
        hf = tokenizer.hf
        spell = _spelling(hf)
        skipped = set(hf.all_special_ids) | {tokenizer.eos, tokenizer.pad, *tokenizer.stops}
        ids: dict[bytes, int] = {}
        for piece, token in hf.get_vocab().items():
            spelled = spell(piece)
            if token in skipped or not spelled:
                continue
            # Of two tokens for one byte, the byte-fallback one is what a tokenizer says last.
            if spelled not in ids or not _is_byte_piece(piece):
                ids[spelled] = token
        if not all(character in ids for character in (b":", b";", b" ")):
            raise ModelError(
                "the tokenizer has no tokens of their own for ':', ';' and ' '",
                "tag with --free",
            )
        closing = {s[:-1]: t for s, t in ids.items() if s.endswith(b";") and s.count(b";") == 1}
        closing.pop(b"")
        spelled = {token: s for s, token in ids.items()}
        max_bytes: dict[bytes, int] = {}
        for s in ids:
            max_bytes[s[:3]] = max(len(s), max_bytes.get(s[:3], 0))
        return cls(ids, spelled, closing, max_bytes, tuple(dict.fromkeys(tokenizer.stops)))


def _is_byte_piece(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _spelling(hf: Any) -> Any:
    """The function from a vocabulary's piece to its bytes."""
    if "ByteLevel" in repr(hf.backend_tokenizer.decoder):
        return _byte_level

    def spell(piece: str) -> bytes:
        if _is_byte_piece(piece):
            return bytes([int(piece[3:5], 16)])
        return piece.replace("▁", " ").encode("utf-8", "replace")

    return spell


def _byte_level(piece: str) -> bytes:
    table = _byte_level_table()
    if any(character not in table for character in piece):
        return piece.encode("utf-8", "replace")  # an added token, spelled as it is
    return bytes(table[character] for character in piece)


@functools.cache
def _byte_level_table() -> Mapping[str, int]:
    """Byte-level vocabularies write each byte as a printable character: itself, or the next
    free one from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


# States -------------------------------------------------------------------------------------------

Said = bytes  # of a label and what surrounds it
Ends = frozenset[int]  # byte offsets where a surface said so far may end
State = Said | Ends
_OPEN = b""  # before a pair
_FIRST = b"\0"  # before the first pair, and in front of what is said of its label
_START = b"\1start"  # a label and its colon are said; the surface comes
_BARE = b"\1bare"  # so is the space before the surface
_DONE = b"\1done"  # nothing may follow

Moves = Mapping[int, State]


class LabelGrammar:
    """The part of the grammar that the documents of a label set share."""

    def __init__(self, vocabulary: Vocabulary, labels: Sequence[str]) -> None:
        self.vocabulary = vocabulary
        self._pairs = [f" {label}:".encode() for label in labels]
        self._spellable = {whole: self._places(whole) for whole in (NONE.encode(), *self._pairs)}
        self._moves: dict[bytes, Moves] = {}

    def _places(self, whole: bytes) -> set[int]:
        """The places in what is to be said from which the vocabulary can spell the rest."""
        places = {len(whole)}
        for start in reversed(range(len(whole))):
            if any(whole[start:end] in self.vocabulary.ids for end in places):
                places.add(start)
        return places

    def moves(self, said: bytes) -> Moves:
        """The tokens that go on with a label of which `said` is said, and where they lead."""
        known = self._moves.get(said)
        if known is None:
            known = self._moves[said] = self._find(said)
        return known

    def _find(self, said: bytes) -> Moves:
        first, before = said.startswith(_FIRST), said.removeprefix(_FIRST)
        mark = _FIRST if first else b""
        ids, found = self.vocabulary.ids, dict[int, State]()
        for whole in (NONE.encode(), *self._pairs) if first else self._pairs:
            rest = whole.removeprefix(before) if whole.startswith(before) else b""
            for size in range(1, len(rest) + 1):
                token = ids.get(rest[:size])
                if token is not None and len(before) + size in self._spellable[whole]:
                    ended = size == len(rest) and whole.endswith(b":")
                    found[token] = _START if ended else mark + before + rest[:size]
        if first and before == NONE.encode():
            found.update(dict.fromkeys(self.vocabulary.stops, _DONE))
        return found


def label_grammars(tokenizer: Tokenizer) -> Callable[[tuple[str, ...]], LabelGrammar]:
    """What gives the grammar of a label set, each made once.

    Raises ModelError if the tokenizer's tokens do not spell bytes.
    """
    make = functools.partial(LabelGrammar, Vocabulary.of(tokenizer))
    return functools.lru_cache(_SETS)(make)


class AnswerGrammar:
    """The tokens allowed at each point of the answer about one text."""

    def __init__(self, labels: LabelGrammar, text: str) -> None:
        self._labels = labels
        self.vocabulary = labels.vocabulary
        self._text = text.encode("utf-8", "replace")
        self._edges = _edges(self._text)
        self._pieces: dict[int, list[tuple[int, int]]] = {}
        self._closing: dict[int, list[int]] | None = None
        self._surfaces: dict[State, Moves] = {_BARE: self._starts(bare=True)}
        self._surfaces[_START] = self._starts(bare=False)
        if not self._surfaces[_START]:  # of a text without words nothing can be said
            self._labels = LabelGrammar(labels.vocabulary, ())

    def moves(self, state: State) -> Moves:
        """The tokens that may follow in a state, and the states they lead to; never none."""
        if isinstance(state, bytes) and not state.startswith(b"\1"):
            known = self._labels.moves(state)
        elif state in self._surfaces:
            known = self._surfaces[state]
        else:
            assert not isinstance(state, bytes)
            known = self._surfaces[state] = self._goes_on(state)
        # A vocabulary that lacks a character may lead nowhere: the answer ends there.
        return known or dict.fromkeys(self.vocabulary.stops, _DONE)

    def _at(self, place: int) -> list[tuple[int, int]]:
        """Tokens that spell the text from a byte on, and where each of them ends."""
        known = self._pieces.get(place)
        if known is None:
            known = self._pieces[place] = self._match(b"", place)
        return known

    def _match(self, before: bytes, place: int) -> list[tuple[int, int]]:
        ids, text = self.vocabulary.ids, self._text
        max_bytes = self.vocabulary.max_bytes.get((before + text[place : place + 3])[:3], 2)
        semicolon = text.find(b";", place, place + max_bytes)
        end = min(len(text) if semicolon < 0 else semicolon, place + max_bytes - len(before))
        return [
            (token, stop)
            for stop in range(place + 1, end + 1)
            if (token := ids.get(before + text[place:stop])) is not None
        ]

    def _starts(self, bare: bool) -> Moves:
        """A surface may begin at any character that is neither space nor semicolon."""
        found: defaultdict[int, set[int]] = defaultdict(set)
        for place in range(len(self._text)):
            if not self._edges[place] or self._text[place] in b" \t\r\n;":
                continue
            for token, end in self._at(place) if bare else self._match(b" ", place):
                found[token].add(end)
        moves: dict[int, State] = {token: frozenset(ends) for token, ends in found.items()}
        if not bare and self._surfaces[_BARE]:
            moves[self.vocabulary.ids[b" "]] = _BARE
        return moves

    def _goes_on(self, ends: Ends) -> Moves:
        found: defaultdict[int, set[int]] = defaultdict(set)
        for place in ends:
            for token, end in self._at(place):
                found[token].add(end)
        moves: dict[int, State] = {token: frozenset(places) for token, places in found.items()}
        if any(self._edges[place] for place in ends):
            moves[self.vocabulary.ids[b";"]] = _OPEN
            moves.update(dict.fromkeys(self.vocabulary.stops, _DONE))
        for token, places in self._closed_by().items():
            if not ends.isdisjoint(places):
                moves[token] = _OPEN
        return moves

    def _closed_by(self) -> dict[int, list[int]]:
        """Tokens such as ``);`` whose beginning stands in the text, and where it does."""
        if self._closing is None:
            self._closing = {}
            for stem, token in self.vocabulary.closing.items():
                places = _find_all(self._text, stem)
                if places:
                    self._closing[token] = places
        return self._closing

    def count(self, surface: bytes) -> int:
        """How often the text holds a surface."""
        return self._text.count(surface)


def _edges(text: bytes) -> list[bool]:
    """Where a character of UTF-8 text begins; its end counts."""
    return [byte & 0xC0 != 0x80 for byte in text] + [True]


def _find_all(text: bytes, part: bytes) -> list[int]:
    places, place = [], text.find(part)
    while place >= 0:
        places.append(place)
        place = text.find(part, place + 1)
    return places


class GrammarState:
    """One answer on its way: its state, and how many of its tokens are the answer so far."""

    __slots__ = ("_good", "_grammar", "_pair", "_said", "length", "state")

    def __init__(self, grammar: AnswerGrammar) -> None:
        self._grammar = grammar
        self._said: Counter[bytes] = Counter()
        self._pair = b""
        self._good = 0  # tokens up to the last pair that is no repetition
        self.length = 0
        self.state: State = _FIRST

    def allowed(self) -> Moves:
        """The tokens that may come next."""
        return self._grammar.moves(self.state)

    def follow(self, tokens: Sequence[int]) -> list[Moves]:
        """What may come next, and after each of some tokens, up to one that may not come."""
        found, state = [self.allowed()], self.state
        for token in tokens:
            following = found[-1].get(token, _DONE)
            if following == _DONE:
                break
            state = following
            found.append(self._grammar.moves(state))
        return found

    def ends(self, token: int) -> bool:
        """Go on with a token; True if the answer is at its end, which may be before the token.

        A pair that has been said as often as the text holds its surface is not said again: the
        answer ends before it, as it would otherwise go on in a loop.
        """
        vocabulary = self._grammar.vocabulary
        self.state = self.allowed()[token]
        if token not in vocabulary.stops:
            self.length += 1
            self._pair += vocabulary.spelled[token]
        if self.state in (_OPEN, _DONE):
            pair, self._pair = self._pair.removesuffix(b";"), b""
            self._said[pair] += 1
            surface = pair.partition(b": ")[2]
            if surface and self._said[pair] > max(1, self._grammar.count(surface)):
                self.length = self._good
                return True
            self._good = self.length
        return token in vocabulary.stops
