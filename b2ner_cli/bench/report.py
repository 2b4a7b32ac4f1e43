"""What `b2ner bench` found: as JSON's values, as rows of a table, and as the lines below it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from b2ner_cli.bench.comparison import Comparison
from b2ner_cli.bench.machine import Peak


@dataclass(frozen=True, slots=True)
class BenchReport:
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


def table(report: BenchReport) -> list[list[str]]:
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


def lines(report: BenchReport) -> list[tuple[str, str]]:
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


def _agreement(report: BenchReport) -> str:
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
