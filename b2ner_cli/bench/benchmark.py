"""How fast a model answers here: the fast engine and plain `generate`, same prompts, in turns.

Documents are cut into slices; every slice is answered by both engines before the next one, and
who goes first changes, so that whatever else the machine does falls on both. Medians of the
slices are reported. The share of the peak is what the answers needed of the machine, set against
a large matrix product measured here. No cache is read or written; files and terminals are
unknown here.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from b2ner_cli.core.document import BadRecord, Document
from b2ner_cli.core.engine import Completion, Prompt
from b2ner_cli.engine import PackedEngine, PlainEngine, open_engine
from b2ner_cli.errors import InputError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models.loading import Backbone
from b2ner_cli.prompts import rendering
from b2ner_cli.tagging import loop
from b2ner_cli.tagging.opening import choose_decoding, chunk_tokens

Engine = PackedEngine | PlainEngine

ROWS = 4  # prompts of a batch of plain `generate`
LABELS = ("person", "location", "organization", "date")  # asked for where nobody says


# What is measured ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """The pace of one engine: medians of the slices. `device_memory` is the most it took on a card.

    Prompt tokens are those of whole prompts, however few of them the engine had to compute.
    """

    documents_per_second: float
    prompt_tokens_per_second: float
    answer_tokens_per_second: float
    cpu_seconds_per_document: float
    device_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Engines over the same slices, by name. `differing` counts answers of other tokens.

    Tokens are those of all prompts and answers; `truncated` answers were cut off. The ratios are
    those of plain to fast, by the clock and by CPU time; without both engines they are None, as
    `differing` is.
    """

    engines: Mapping[str, Measured]
    slices: int
    answers: int
    prompt_tokens: int
    answer_tokens: int
    truncated: int
    ratio: float | None = None
    cpu_ratio: float | None = None
    differing: int | None = None


@dataclass(slots=True)
class _Spent:
    """What one engine spent on each slice, a document."""

    wall: list[float]
    cpu: list[float]
    memory: list[int]


def compare(
    engines: Mapping[str, Engine],
    asked: Sequence[Sequence[Prompt]],
    rounds: int,
    show: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Answer `rounds` slices of documents, each given as its prompts, with every engine in turns.

    A comparison is made of the engines "fast" and "plain" where both are there. `show` hears how
    it goes.
    """
    _warm_up(engines, asked)
    size = -(-len(asked) // max(1, rounds))
    slices = [asked[start : start + size] for start in range(0, len(asked), size)]
    spent = {name: _Spent([], [], []) for name in engines}
    said: dict[str, list[list[Completion]]] = {name: [] for name in engines}
    for number, piece in enumerate(slices):
        flat = [prompt for document in piece for prompt in document]
        for name in sorted(engines, reverse=number % 2 == 1):
            said[name].append(_timed(engines[name], flat, len(piece), spent[name]))
        pace = ", ".join(f"{name} {1 / each.wall[-1]:,.2f}" for name, each in spent.items())
        show(f"slice {number + 1} of {len(slices)}, documents a second: {pace}")
    sizes = [len(piece) for piece in slices]
    answers = [answer for piece in next(iter(said.values())) for answer in piece]
    found = Comparison(
        {name: _measured(spent[name], said[name], sizes) for name in engines},
        len(slices),
        len(answers),
        sum(answer.prompt_tokens for answer in answers),
        sum(len(answer.ends) for answer in answers),
        sum(answer.stop == "length" for answer in answers),
    )
    if "fast" not in engines or "plain" not in engines:
        return found
    fast, plain = spent["fast"], spent["plain"]
    others = (answer._replace(logprobs=()) for piece in said["plain"] for answer in piece)
    own = (answer._replace(logprobs=()) for piece in said["fast"] for answer in piece)
    return replace(
        found,
        ratio=statistics.median(p / f for p, f in zip(plain.wall, fast.wall, strict=True)),
        cpu_ratio=statistics.median(p / f for p, f in zip(plain.cpu, fast.cpu, strict=True)),
        differing=sum(one != other for one, other in zip(own, others, strict=True)),
    )


def _warm_up(engines: Mapping[str, Engine], asked: Sequence[Sequence[Prompt]]) -> None:
    """Answer some of the texts for a label of no interest: the prefix asked for stays unknown."""
    labels = LabelSet(("word",))
    prefix = rendering.prefix(labels, "en")
    some = [document[0] for document in asked[:ROWS]]
    for engine in engines.values():
        list(engine.generate([replace(p, prefix=prefix, labels=labels.names) for p in some]))


def _timed(
    engine: Engine, asked: Sequence[Prompt], documents: int, spent: _Spent
) -> list[Completion]:
    device = engine.backbone.device
    on_card = device.startswith("cuda")
    if on_card:
        torch.cuda.reset_peak_memory_stats(device)
    wall, cpu = _clock(device), time.process_time()
    completions = dict(engine.generate(asked))
    spent.wall.append((_clock(device) - wall) / documents)
    spent.cpu.append(max(time.process_time() - cpu, 1e-9) / documents)
    if on_card:
        spent.memory.append(torch.cuda.max_memory_allocated(device))
    return [completions[index] for index in range(len(asked))]


def _measured(
    spent: _Spent, said: Sequence[Sequence[Completion]], sizes: Sequence[int]
) -> Measured:
    seconds = [wall * size for wall, size in zip(spent.wall, sizes, strict=True)]
    prompt = [sum(answer.prompt_tokens for answer in piece) for piece in said]
    answer = [sum(len(answer.ends) for answer in piece) for piece in said]
    return Measured(
        1 / statistics.median(spent.wall),
        statistics.median(n / s for n, s in zip(prompt, seconds, strict=True)),
        statistics.median(n / s for n, s in zip(answer, seconds, strict=True)),
        statistics.median(spent.cpu),
        max(spent.memory, default=None),
    )


def _clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


# What the machine can do, and what is needed of it ------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peak:
    """The fastest matrix product there was: (rows, inner) by (inner, outer)."""

    flops_per_second: float
    rows: int
    inner: int
    outer: int


def matmul_peak(backbone: Backbone) -> Peak:
    """Time the largest matrix of the model's layers against many rows, in the model's dtype."""
    matrices = [weight for weight in _layers(backbone.model) if weight.dim() == 2]
    shape = max((tuple(weight.shape) for weight in matrices), key=math.prod, default=(1024, 1024))
    outer, inner = shape
    device, dtype = backbone.device, backbone.model.dtype
    # On a CPU not much more than a few GFLOP, which take it up to a second.
    rows = 8192 if device.startswith("cuda") else max(256, min(2048, 2**32 // (outer * inner)))
    fastest, times = float("inf"), 1
    with torch.inference_mode():
        matrix = torch.randn(outer, inner, device=device).to(dtype)
        states = torch.randn(rows, inner, device=device).to(dtype)
        for _ in range(12):
            start = _clock(device)
            for _ in range(times):
                torch.nn.functional.linear(states, matrix)
            seconds = _clock(device) - start
            fastest = min(fastest, seconds / times)
            if seconds < 0.02:  # too short for the clock
                times *= 2
    return Peak(2 * rows * inner * outer / fastest, rows, inner, outer)


def needed_flops(backbone: Backbone, own: int, found: Comparison, constrain: bool) -> float:
    """What `own` tokens of prompts and the answers to them need: two operations a weight and token.

    A lower bound: what all prompts share counts nothing, nor does attention. The head counts
    where a token is due; not in constrained answers, where but a few of its rows are evaluated.
    """
    said, ended = found.answer_tokens, found.answers - found.truncated
    body = sum(weight.numel() for weight in _layers(backbone.model))
    head = 0 if constrain else backbone.model.get_output_embeddings().weight.numel()
    # an answer's tokens go in again, but for the last one of an answer that was cut off
    return float(2 * (body * (own + said - found.truncated) + head * (said + ended)))


def _layers(model: Any) -> list[Any]:
    """The weights of a model but for its embeddings and its head."""
    apart = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    return [weight for weight in model.parameters() if all(weight is not w for w in apart)]


def _peak_resident() -> int | None:
    """Bytes of memory this process held at most, None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


# The report ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settings:
    """How to compare: as `tag` would be run, in `rounds` slices; `plain` asks for both engines."""

    rounds: int = 3
    max_answer: int = 256
    batch_tokens: int | None = None
    constrain: bool | None = None
    plain: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """All that `b2ner bench` says. `source` names the documents, `flops` are those of one.

    `chosen` are the settings that `b2ner tag` would take, `reasons` why. Memory is in bytes.
    """

    model: str
    adapter: Path | None
    source: str
    labels: tuple[str, ...]
    documents: int
    own_tokens: int
    compared: Comparison
    flops: float
    peak: Peak
    chosen: Mapping[str, str | int]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    resident_memory: int | None

    @property
    def failed(self) -> bool:
        """Whether the engines say different things where they may not."""
        return bool(self.compared.differing) and self.chosen["dtype"] == "float32"

    def share_of_peak(self, engine: str) -> float:
        """Needed operations a second at an engine's pace, of those of the matrix product."""
        pace = self.compared.engines[engine].documents_per_second
        return pace * self.flops / self.peak.flops_per_second

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON's values, unrounded."""
        compared, peak = self.compared, self.peak
        engines = {
            name: {**asdict(measured), "share_of_peak": self.share_of_peak(name)}
            for name, measured in compared.engines.items()
        }
        return {
            "model": self.model,
            "adapter": None if self.adapter is None else str(self.adapter),
            "source": self.source,
            "labels": list(self.labels),
            "documents": self.documents,
            "slices": compared.slices,
            "prompts": compared.answers,
            "tokens_per_document": {
                "prompt": compared.prompt_tokens / self.documents,
                "own": self.own_tokens / self.documents,
                "answer": compared.answer_tokens / self.documents,
            },
            "cut_off": compared.truncated,
            "engines": engines,
            "ratio": compared.ratio,
            "cpu_ratio": compared.cpu_ratio,
            "differing": compared.differing,
            "flops_per_document": self.flops,
            "peak": asdict(peak),
            "resident_memory": self.resident_memory,
            "chosen": {**self.chosen, "reasons": list(self.reasons)},
        }


def run(
    backbone: Backbone,
    documents: Iterable[Document | BadRecord],
    labels: LabelSet,
    settings: Settings = Settings(),
    *,
    source: str = "",
    on_bad: Callable[[BadRecord], None] = lambda record: None,
    show: Callable[[str], None] = lambda line: None,
) -> Report:
    """Ask about documents as `tag` would and measure it.

    Records that cannot be read go to `on_bad`, documents of white space are left out. Raises
    InputError when nothing is left to ask.
    """
    decoding = choose_decoding(settings.constrain, backbone.source.adapter)
    longest = chunk_tokens(backbone.source.adapter)
    constrain = decoding.value == "constrained"
    opened = open_engine(
        "fast", backbone, max_answer=settings.max_answer, batch_tokens=settings.batch_tokens,
        constrain=constrain,
    )  # fmt: skip
    engines: dict[str, Engine] = {opened.name: opened}
    if settings.plain and opened.name != "plain":
        engines["plain"] = PlainEngine(
            backbone, max_answer=settings.max_answer, constrain=constrain, rows=ROWS
        )
    options = loop.Options(chunk_tokens=int(longest.value))
    asked: list[list[Prompt]] = []
    for questions in loop.questions(documents, opened, labels, options):
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
    return Report(
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
            "device": backbone.device, "dtype": backbone.dtype, "engine": opened.name,
            "batch_tokens": opened.batch_tokens, "rows": _rows(opened), "decoding": decoding.value,
            "chunk_tokens": int(longest.value),
        },
        reasons=(
            *(choice.reason for choice in backbone.choices),
            *opened.notes, decoding.reason, longest.reason,
        ),
        notes=_notes(opened, compared),
        resident_memory=_peak_resident(),
    )  # fmt: skip


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


def table(report: Report) -> list[list[str]]:
    """Rows of a table: a column an engine, and the ratio of the two where both were measured."""
    compared = report.compared
    engines, both = compared.engines, compared.ratio is not None
    rows = [["", *engines, *(["ratio"] if both else [])]]
    for name, values, ratio in (
        ("documents a second", [m.documents_per_second for m in engines.values()], compared.ratio),
        ("prompt tokens a second", [m.prompt_tokens_per_second for m in engines.values()], None),
        ("answer tokens a second", [m.answer_tokens_per_second for m in engines.values()], None),
        (
            "CPU seconds a document",
            [m.cpu_seconds_per_document for m in engines.values()],
            compared.cpu_ratio,
        ),
    ):
        last = ["" if ratio is None else f"{ratio:.2f}"] if both else []
        rows.append([name, *(_number(value) for value in values), *last])
    shares = [f"{100 * report.share_of_peak(name):.1f} %" for name in engines]
    rows.append(["share of the peak", *shares, *([""] if both else [])])
    return rows


def lines(report: Report) -> list[tuple[str, str]]:
    """What stands below the table, as names and what is said of them."""
    compared, peak, count = report.compared, report.peak, report.documents
    said = [
        ("model", report.model + (f" with {report.adapter.name}" if report.adapter else "")),
        ("documents", f"{count:,} in slices of {-(-count // compared.slices):,}: {report.source}"),
        ("labels", ", ".join(report.labels)),
        (
            "tokens",
            f"{compared.prompt_tokens / count:.1f} of a prompt, {report.own_tokens / count:.1f} of "
            f"them its own, {compared.answer_tokens / count:.1f} of answers a document",
        ),
        ("answers", _agreement(report)),
        (
            "peak",
            f"{_flops(peak.flops_per_second)}/s in {report.chosen['dtype']}: "
            f"{peak.rows} x {peak.inner} by {peak.inner} x {peak.outer}",
        ),
        ("needed", f"{_flops(report.flops)} a document at the least"),
    ]
    memory = []
    if report.resident_memory is not None:
        memory.append(f"{report.resident_memory / 1e9:.2f} GB resident at most")
    for name, measured in compared.engines.items():
        if measured.device_memory is not None:
            memory.append(f"{measured.device_memory / 1e9:.2f} GB on the card with {name}")
    said += [("memory", ", ".join(memory))] if memory else []
    names = ("chosen", *[""] * (len(report.reasons) - 1))
    return said + list(zip(names, report.reasons, strict=True))


def _agreement(report: Report) -> str:
    found = report.compared
    if found.differing is None:
        return f"{found.answers:,}, not compared"
    same = 1 - found.differing / found.answers
    if report.chosen["dtype"] == "float32":
        return f"{found.differing:,} of {found.answers:,} differ"
    return f"{100 * same:.1f} % of {found.answers:,} are equal, as rounding in fewer bits allows"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _flops(value: float) -> str:
    for unit, name in ((1e12, "TFLOP"), (1e9, "GFLOP")):
        if value >= unit:
            return f"{value / unit:.1f} {name}"
    return f"{value / 1e6:.2f} MFLOP"
