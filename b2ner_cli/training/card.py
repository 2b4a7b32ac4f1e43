"""The card of an adapter: what it is, what it was trained on and how, what it scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from b2ner_cli.models import embedded
from b2ner_cli.training.recipes import renamed

_GEMMA = (
    "This is a modification of Gemma 3 270M: its linear layers are changed by the adapter. Gemma "
    "is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; "
    "the terms, with their use restrictions, apply to this adapter too.",
    "",
)


# Keys of a record, their titles, and whether these sets were trained on.
_SCORED = (
    ("heldout", "Held-out scores", "None of these sets was trained on."),
    ("in_domain", "In-domain scores", "Other splits of them, or sets like them, were trained on."),
)


def without_scores(record: dict[str, Any]) -> dict[str, Any]:
    """A run's record but for what it says of the adapter that the run ended with."""
    ends = ("", "_constrained", "_documents")
    said = {f"{kind}{end}" for kind, *_ in _SCORED for end in ends}
    said |= {"about", "note", "calibration"}
    return {key: value for key, value in record.items() if key not in said}


def read_sources(data: Path) -> dict[str, dict[str, str]]:
    """Licence and source of each set, from a Markdown table DATASETS.md in or above the folder.

    The table needs the columns task, data set, licence... and source...; {} where there is none.
    """
    for folder in (data, data.parent):
        path = folder / "DATASETS.md"
        if not path.is_file():
            continue
        rows = [
            [cell.strip() for cell in line.strip().strip("|").split("|")]
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith("|")
        ]
        if not rows:
            continue
        columns = {name.split(" ")[0]: index for index, name in enumerate(rows[0])}
        if not {"task", "data", "licence", "source"} <= set(columns):
            continue
        return {
            f"{row[columns['task']]}_{row[columns['data']]}": {
                "licence": row[columns["licence"]],
                "source": row[columns["source"]],
            }
            for row in rows[1:]
            if len(row) == len(rows[0]) and set(row[0]) != {"-"}  # the line under the header
        }
    return {}


def card(record: dict[str, Any], sources: dict[str, dict[str, str]]) -> str:
    """The adapter's card: what it is, what it was trained on, how it scored."""
    stages = _stages(record)
    lines = [
        f"# LoRA adapter for {record['model']}",
        "",
        f"Answers the B2NER {_abilities(stages)}. Trained by `b2ner train`.",
        "",
        *(_GEMMA if record["model"] == embedded.DEFAULT else ()),
        f"{sum(stage['documents'] for stage in stages):,} documents, "
        f"{sum(stage['steps'] for stage in stages):,} steps, mean loss of the last 50 "
        f"steps {record['final_loss']:.3f}, b2ner {record['b2ner']}, torch {record['torch']}, "
        f"transformers {record['transformers']}.",
        "",
        *_replayed(stages),
        *(_label_map(names) if (names := record.get("label_names", {})).get("renamed") else ()),
        *(_task_config(chosen, stages) if (chosen := record.get("tasks")) else ()),
        *(("## What to expect", "", about, "") if (about := record.get("about")) else ()),
        "## Settings",
        "",
        *_settings(record, stages),
    ]
    for kind, title, known in _SCORED:
        for name, how in ((kind, "free greedy"), (f"{kind}_constrained", "constrained")):
            if scores := record.get(name):
                counted = record.get(f"{kind}_documents", "all documents of each test split")
                head = f"## {title}, {how} decoding"
                lines += ["", head, "", f"On {counted}.", "", *_scores(scores, known)]
    lines += _sureness(record.get("calibration", {}))
    return "\n".join([*lines, "", "## Training data", "", *_data(stages, sources)]) + "\n"


def _stages(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of all stages, the first stage first."""
    before = record.get("stage_before")
    return [*(_stages(before) if before else ()), record]


def _data(stages: list[dict[str, Any]], sources: dict[str, dict[str, str]]) -> list[str]:
    """How many documents of each set were trained on, in all stages together."""
    names = dict.fromkeys(name for stage in stages for name in stage["data"])
    several = ", repeats counted" if len(stages) > 1 else ""
    lines = [f"| data set | documents{several} | of | licence | source |", "|---|---|---|---|---|"]
    for name in names:
        found = [stage["data"][name] for stage in stages if name in stage["data"]]
        trained = sum(counts["documents"] for counts in found)
        # what is asked of a set of events is not what its folder is called
        source = sources.get(name) or sources.get("EE_" + name.partition("_")[2], {})
        lines.append(
            f"| {name} | {trained:,} | {found[-1]['read']:,} | "
            f"{source.get('licence', 'not stated')} | {source.get('source', 'not stated')} |"
        )
    return lines


def _abilities(stages: list[dict[str, Any]]) -> str:
    """The prompts an adapter was trained on, by the tasks that its data sets' names begin with."""
    known = {name.partition("_")[0] for stage in stages for name in stage["data"]}
    tasks = sorted(known - {"NER"})
    if not tasks:
        return "named entity prompts (English, Chinese, German, Spanish and Dutch templates)"
    named = ["NER"] if "NER" in known else []
    return f"prompts for {', '.join([*named, *tasks])}"


def _settings(record: dict[str, Any], stages: list[dict[str, Any]]) -> list[str]:
    """The settings of every stage, the first stage first."""
    lines = []
    if note := record.get("note"):
        lines += [note, ""]
    if len(stages) > 1:
        done = [f"{s['documents']:,} documents in {s['steps']:,} steps" for s in stages]
        lines += [
            f"Trained in {len(stages)} stages, each from the one before: {', '.join(done)}.",
            "",
        ]
    for number, each in enumerate(stages, 1):
        if averaged := each.get("averaged"):
            after = f"after stage {number} " if len(stages) > 1 else ""
            lines += [
                f"The weights {after}are a mean: {averaged['share']:g} of the adapter "
                f"{averaged['with']} and {1 - averaged['share']:g} of what training came to "
                "(`b2ner model average`).",
                "",
            ]
    numbers = [f"stage {n}" for n in range(1, len(stages) + 1)] if len(stages) > 1 else ["value"]
    lines += [f"| setting | {' | '.join(numbers)} |", "|---" * (len(stages) + 1) + "|"]
    recipes = [renamed(stage["recipe"]) for stage in stages]
    for name in recipes[-1]:
        values = (str(recipe.get(name, "")) for recipe in recipes)
        lines.append(f"| {name} | {' | '.join(values)} |")
    return lines


def _replayed(stages: list[dict[str, Any]]) -> list[str]:
    if not (count := sum(stage.get("replayed", 0) for stage in stages)):
        return []
    return [
        f"{count:,} of these documents were replayed, so that less is forgotten: documents that "
        "b2ner brings along (written for it, CC0-1.0).",
        "",
    ]


def _label_map(names: dict[str, Any]) -> list[str]:
    pairs = dict(pair for renamed in names["renamed"].values() for pair in renamed.items())
    said = ", ".join(f"{old} as {new}" for old, new in pairs.items())
    return [f"Trained under other label names, by {names['source']}: {said}.", ""]


def _task_config(chosen: dict[str, Any], stages: list[dict[str, Any]]) -> list[str]:
    last = " of the last stage" if len(stages) > 1 else ""
    return [
        f"Documents{last} chosen by the task config {chosen['name']} "
        f"(sha256 {chosen['sha256'][:16]}) in place of the settings per_set, per_label and empty.",
        "",
    ]


def _sureness(calibration: dict[str, Any]) -> list[str]:
    """Whether scores mean what they say: a table of bins, for each way of decoding."""
    told = calibration.get("fitted_on", {})
    lines: list[str] = []
    for name, found in told.get("left_out", {}).items():
        before, after = found["raw"], found["calibrated"]
        if not found["mentions"]:
            continue
        lines += [
            "",
            f"## Scores of entities, {name} answers",
            "",
            f"Fitted on {', '.join(told['sets'])} ({told['documents']}), which were not trained "
            "on; below each of them is scored by a fit on the others, as a set of an unknown kind. "
            f"Expected calibration error {before['ece']:.3f} before, {after['ece']:.3f} after, "
            f"area under the ROC curve {before['auroc']:.3f} before, {after['auroc']:.3f} after.",
            "",
            "| score | entities | mean score | right |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {low:.1f} to {low + 0.1:.1f} | {count:,} | {score:.2f} | {right:.2f} |"
            for low, count, score, right in found["bins"]
        ]
    return lines


def _scores(report: dict[str, Any], known: str) -> list[str]:
    f1 = [scores["f1"] for scores in report["datasets"].values()]
    lines = [
        "Metric of the paper (set of label and surface, micro F1 a set), the sets' own label names "
        f"verbatim. {known} Mean F1 {100 * sum(f1) / max(1, len(f1)):.1f}.",
        "",
        "| data set | F1 | precision | recall | mentions not in the text | labels not asked for |",
        "|---|---|---|---|---|---|",
    ]
    for name, scores in report["datasets"].items():
        shares = [scores["f1"], scores["precision"], scores["recall"], scores["unlocated"]]
        invalid = scores["invalid_labels"] or 0.0
        cells = " | ".join(f"{100 * share:.1f}" for share in [*shares, invalid])
        lines.append(f"| {name} | {cells} |")
    return lines
