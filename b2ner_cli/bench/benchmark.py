"""How fast a model answers here: the fast engine and plain `generate`, same prompts, in turns.

The share of the peak is what the answers needed of the machine, set against a large matrix product
measured here. No cache is read or written; files and terminals are unknown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from b2ner_cli.bench.comparison import ROWS, Comparison, Engine, compare
from b2ner_cli.bench.machine import matmul_peak, peak_resident, weights
from b2ner_cli.bench.report import BenchReport
from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.core.engine import Prompt
from b2ner_cli.engine import PackedEngine, PlainEngine, open_engine
from b2ner_cli.errors import InputError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models.loading import Backbone
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.opening import choose_decoding, chunk_tokens, sentence_tokens

LABELS = ("person", "location", "organization", "date")  # asked for where nobody says


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """How to compare: as `tag` would be run, in `rounds` slices; `plain` asks for both engines."""

    rounds: int = 3
    max_answer: int = 256
    batch_tokens: int | None = None
    constrain: bool | None = None
    plain: bool = True


def run(
    backbone: Backbone,
    documents: Iterable[Document | BadRecord],
    labels: LabelSet,
    settings: BenchSettings = BenchSettings(),
    *,
    source: str = "",
    on_bad: Callable[[BadRecord], None] = lambda record: None,
    show: Callable[[str], None] = lambda line: None,
) -> BenchReport:
    """Ask about documents as `tag` would and measure it.

    Records that cannot be read go to `on_bad`, documents of white space are left out. Raises
    InputError when nothing is left to ask.
    """
    decoding = choose_decoding(settings.constrain, backbone.source.adapter)
    chunks = chunk_tokens(backbone.source.adapter)
    constrain = decoding.value == "constrained"
    engines = _engines(backbone, settings, constrain)
    first = next(iter(engines.values()))
    asked: list[list[Prompt]] = []
    whole = sentence_tokens(backbone.source.adapter)
    options = loop.Options(chunk_tokens=int(chunks.value), sentence_tokens=whole)
    for questions in loop.questions(documents, first, labels, options):
        if isinstance(questions, BadRecord):
            on_bad(questions)
        elif questions:
            asked.append(questions)
    if not asked:
        raise InputError("no document to measure with", "leave INPUT out for synthetic ones")
    owns = [prompt.own for document in asked for prompt in document]
    own_tokens = sum(map(len, backbone.tokenizer.encode(owns, continued=True)))
    peak = matmul_peak(backbone)
    compared = compare(engines, asked, settings.rounds, show)
    return BenchReport(
        model=str(backbone.source.name),
        adapter=backbone.source.adapter,
        source=source,
        labels=labels.names,
        documents=len(asked),
        own_tokens=own_tokens,
        compared=compared,
        flops=needed_flops(backbone, own_tokens, compared, constrain) / len(asked),
        peak=peak,
        chosen={
            "device": backbone.device, "dtype": backbone.dtype, "engine": first.name,
            "batch_tokens": first.batch_tokens, "rows": _rows(first), "decoding": decoding.value,
            "chunk_tokens": int(chunks.value),
        },
        reasons=(
            *(choice.reason for choice in backbone.choices),
            *first.notes, decoding.reason, chunks.reason,
        ),
        notes=_notes(first, compared),
        resident_memory=peak_resident(),
    )  # fmt: skip


def _engines(backbone: Backbone, settings: BenchSettings, constrain: bool) -> dict[str, Engine]:
    """The engine that `tag` would take, by its name, and `generate` beside it where asked for."""
    opened = open_engine(
        "fast", backbone, max_answer=settings.max_answer, batch_tokens=settings.batch_tokens,
        constrain=constrain,
    )  # fmt: skip
    engines: dict[str, Engine] = {opened.name: opened}
    if settings.plain and opened.name != "plain":
        engines["plain"] = PlainEngine(
            backbone, max_answer=settings.max_answer, constrain=constrain, rows=ROWS
        )
    return engines


def needed_flops(backbone: Backbone, own: int, found: Comparison, constrain: bool) -> float:
    """What `own` tokens of prompts and the answers to them need: two operations a weight and token.

    A lower bound: what all prompts share counts nothing, nor does attention. The head counts
    where a token is due; not in constrained answers, where but a few of its rows are evaluated.
    """
    layers, head = weights(backbone.model)
    # an answer's tokens go in again, but for the last one of an answer that was cut off
    again, ended = found.answer_tokens - found.truncated, found.answers - found.truncated
    due = 0 if constrain else found.answer_tokens + ended
    return float(2 * (layers * (own + again) + head * due))


def _rows(engine: Engine) -> int:
    """The most prompts an engine answers at once."""
    return engine.limits.sequences if isinstance(engine, PackedEngine) else engine.rows


def _notes(engine: Engine, found: Comparison) -> tuple[str, ...]:
    """What to bear in mind."""
    notes = []
    together, rows = -(-found.answers // found.slices), _rows(engine)
    if isinstance(engine, PackedEngine) and together < rows:
        notes.append(
            f"a slice has {together} prompts; the fast engine answers up to {rows} at once "
            "and is faster when it can: give more --documents"
        )
    if found.truncated:
        notes.append(f"{found.truncated} of {found.answers} answers were cut off by --max-answer")
    return tuple(notes)
