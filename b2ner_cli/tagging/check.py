"""How far to trust a run without gold: a sample of it is asked again in another way.

The other way: labels in reverse order, and chunks of twice the size, or of half of it where twice
is more than a sentence that the adapter is known to read whole. An answer that hangs on such
things is a guess. Knows no terminals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from b2ner_cli.core.document import Document, Result
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.scoring.agreement import agreement
from b2ner_cli.scoring.counts import Scores
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.planning import CHUNK_TOKENS, Options
from b2ner_cli.tagging.tagger import Tagger


class Sample:
    """A sample of a stream of any length, of which each result is as likely to be part."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self.results: list[Result] = []
        self.seen = 0
        self._size = size
        self._random = Random(seed)

    def add(self, result: Result) -> None:
        """See a result, and keep it or not."""
        self.seen += 1
        if len(self.results) < self._size:
            self.results.append(result)
        elif (place := self._random.randrange(self.seen)) < self._size:
            self.results[place] = result


@dataclass(frozen=True, slots=True)
class Check:
    """What came of asking again: the agreement of both answers.

    `asked` of the documents that the run `tagged` were asked again, `way` says how. The other way
    is the same way for `alike` more of the sample: they say nothing, and were not.
    """

    agreement: Scores
    asked: int
    alike: int
    tagged: int
    way: str


def ask_again(tagger: Tagger, sample: Sample) -> Check:
    """Ask a sample of what a tagger tagged again, in the other way."""
    options = other_way(tagger.options)
    labels = tagger.labels and _reversed(tagger.labels)
    before = [result.document for result in sample.results]
    after = [_asking_in_reverse(document) for document in before]
    ways = zip(
        sample.results,
        after,
        loop.questions(before, tagger.engine, tagger.labels, tagger.options),
        loop.questions(after, tagger.engine, labels, options),
        strict=True,
    )
    differing = [(first, document) for first, document, one, other in ways if one != other]
    again = loop.tag(
        [document for _, document in differing], tagger.engine, labels, options, tagger.cache
    )
    return Check(
        agreement(
            [first for first, _ in differing], [each for each in again if isinstance(each, Result)]
        ),
        len(differing),
        len(before) - len(differing),
        sample.seen,
        in_words(tagger.options),
    )


def other_way(options: Options) -> Options:
    """The options of asking again: other chunks, of sentences that stay as whole as they were."""
    size, most = options.chunk_tokens or CHUNK_TOKENS, options.sentence_tokens or 0
    other = 2 * size if 2 * size <= most else max(1, size // 2)
    return replace(options, chunk_tokens=other, sentence_tokens=max(size, most))


def in_words(options: Options) -> str:
    """How documents are asked again that were asked with these options."""
    size = options.chunk_tokens or CHUNK_TOKENS
    other = other_way(options).chunk_tokens
    return f"labels in reverse order, chunks of {other} tokens in place of {size}"


def _reversed(labels: LabelSet) -> LabelSet:
    return labels.subset(labels.names[::-1])


def _asking_in_reverse(document: Document) -> Document:
    return document._replace(labels=document.labels and document.labels[::-1])
