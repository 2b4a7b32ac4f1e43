"""Task configurations: which data sets a run takes, and how many documents of each.

    {"NER_en": [{"sampling strategy": "random_500", "dataset name": "games"}]}

A config has a section a split. It is a preset's name, a folder of {train,dev,test}_tasks.json as
the reference has them, one such file, or a file with the sections under "train", "dev" and
"test"; any other file is one section for all splits. Strategies: `full` takes everything,
`random` everything up to the caller's cap, `random_N` N documents drawn at random, `upsample_N`
everything, repeated until there are N. `_EXTRA` behind a task or a set is no part of its folder's
name, so that a set can stand in a section more than once. Of sets of events, EE_en, types and
triggers are asked unless the caller names another task; EEA_en, EET_en and so on are of the same
folder. Knows nothing of what documents hold.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from b2ner_cli.core.document import Document
from b2ner_cli.core.tasks import TASKS, Task
from b2ner_cli.datasets import b2nerd, task_documents
from b2ner_cli.datasets.b2nerd import SPLITS, DataSet
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.formats.fields import json_type

PRESETS = (
    "bilingual_b2nerd_only",
    "bilingual_full",
    "bilingual_idsupervised",
    "crosslingual_multiconer22",
)
RANDOM_MOST = 50_000  # documents a set that `random` takes in training, as in the reference
SEED = 23  # of the draws where nobody names another
EXTRA = "_EXTRA"
_NAME, _SAMPLING = "dataset name", "sampling strategy"
_STRATEGY = re.compile(r"full|random|(random|upsample)_([1-9][0-9]{0,6})")
_ONE_SPLIT = re.compile(rf"(?:.*\.)?({'|'.join(SPLITS)})_tasks\.json")


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """A data set as a config lists it, and how documents are taken from it."""

    task: str  # NER_en
    name: str  # games, or games_EXTRA
    kind: str  # full, random or upsample
    count: int | None = None

    @property
    def sampling(self) -> str:
        """The strategy as it is spelled."""
        return self.kind if self.count is None else f"{self.kind}_{self.count}"

    @property
    def place(self) -> tuple[str, str]:
        """Task and data set as their folders are called."""
        task = self.task.replace(EXTRA, "")
        return task, self.name.removeprefix(f"{task}_").replace(EXTRA, "")

    def rows(self, size: int, seed: int, most: int | None) -> list[int]:
        """Choose among `size` documents, in their order; `most` is the cap of `random`."""
        rng = random.Random(f"{seed}/{self.task}_{self.name}")
        everything = list(range(size))
        if self.kind == "upsample" and size:
            times, rest = divmod(max(self.count or 0, size), size)
            return everything * times + sorted(rng.sample(everything, rest))
        cap = self.count or most if self.kind == "random" else None
        return everything if cap is None or cap >= size else sorted(rng.sample(everything, cap))


@dataclass(frozen=True, slots=True)
class Part:
    """A data set to take documents from, with its entries, and what is asked of it; without
    entries all of it is taken.
    """

    dataset: DataSet
    entries: tuple[ConfigEntry, ...] = ()
    task: Task = "NER"

    def __str__(self) -> str:
        """The set, and how it is taken if not whole."""
        taken = ", ".join(f"{e.task}_{e.name} {e.sampling}" for e in self.entries)
        return f"{self.dataset.task}_{self.dataset.name}" + (f" ({taken})" if taken else "")

    def rows(self, size: int, seed: int, most: int | None) -> list[int]:
        """Choose among `size` documents to train on, repeats included; `most` caps `random`."""
        return [row for entry in self.entries for row in entry.rows(size, seed, most)]

    def draw(self, documents: Sequence[Document], seed: int, most: int | None) -> list[Document]:
        """Take documents to train on, repeats included."""
        return [documents[row] for row in self.rows(len(documents), seed, most)]

    def once(self, documents: Iterable[Document]) -> Iterable[Document]:
        """Take documents to answer: no cap on `random`, none twice, in their order."""
        if not self.entries:
            return documents
        listed = list(documents)
        return [listed[row] for row in sorted(set(self.rows(len(listed), SEED, None)))]


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """The entries of each split's section, in their order; `name` is what errors call it."""

    name: str
    sections: Mapping[str, tuple[ConfigEntry, ...]]

    def section(self, split: str) -> tuple[ConfigEntry, ...]:
        """The entries of a split, at least one."""
        if split not in self.sections:
            raise UsageError(
                f"{self.name} has no {split} section",
                f"it has {', '.join(self.sections)}; name a config, or a folder of configs, with "
                f"{split}_tasks.json",
            )
        return self.sections[split]

    def only(self, split: str, names: Sequence[str]) -> TaskConfig:
        """Keep a split's section alone and in it, if names such as NER_en_games are given, those.

        Raises DataError for a name that the section does not have.
        """
        section = self.section(split)
        has = {"_".join(entry.place): None for entry in section}
        for name in names:
            if name not in has:
                hint = f"did you mean {_nearest(name, has)}?"
                raise DataError(f"{self.name}: no data set {name} in its {split} section", hint)
        kept = tuple(entry for entry in section if not names or "_".join(entry.place) in names)
        return replace(self, sections={split: kept})

    def record(self, split: str) -> dict[str, Any]:
        """What run.json keeps of a split's section, enough to read it again."""
        content: dict[str, list[dict[str, str]]] = {}
        for entry in self.section(split):
            row = {_SAMPLING: entry.sampling, _NAME: entry.name}
            content.setdefault(entry.task, []).append(row)
        spelled = json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return {
            "name": Path(self.name).resolve().name,
            "sha256": hashlib.sha256(spelled).hexdigest(),
            split: content,
        }


def read(name: str) -> TaskConfig:
    """Read a config by preset name or path. Raises UsageError or DataError naming file and entry.

    A preset's name means the preset, whatever is in the working directory.
    """
    if name in PRESETS:
        preset = resources.files("b2ner_cli.datasets") / "task_configs" / f"{name}.json"
        return TaskConfig(name, _sections(_parsed(preset.read_text("utf-8"), name), name, SPLITS))
    path = Path(name)
    if path.is_file():
        return TaskConfig(name, _file(path))
    sections: dict[str, tuple[ConfigEntry, ...]] = {}
    for split in SPLITS:
        for single in (path / f"{split}_tasks.json", Path(f"{path}.{split}_tasks.json")):
            if single.is_file():
                sections |= _file(single)
                break
    if not sections:
        wrong = "no task config in it" if path.is_dir() else "no such task config"
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"a file, a folder or {', '.join(PRESETS)}"
        raise UsageError(f"{name}: {wrong}", hint)
    return TaskConfig(name, sections)


def for_training(name: str | None, config: Path | None) -> TaskConfig | None:
    """Read the config named, else the one that a run.json given as `config` was made with."""
    if name is not None:
        return read(name)
    if config is None or config.suffix != ".json":
        return None
    try:
        record = json.loads(config.read_text(encoding="utf-8")).get("tasks")
        if not record:
            return None
        called, content = str(record["name"]), {"train": record["train"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = "give a run.json that b2ner train wrote, or --tasks"
        raise UsageError(f"{config} holds no run: {error}", hint) from None
    return TaskConfig(called, _sections(content, str(config), SPLITS))


def find(config: TaskConfig, split: str, root: Path, wanted: Sequence[Task] = ()) -> list[Part]:
    """Find a section's data sets under `root`, each once, in the section's order; of `wanted`
    tasks, if any, those that can be asked of a set.

    Raises DataError for one that is not there or has no such split; dev stands in for train.
    """
    found = {(d.task, d.name): d for d in b2nerd.datasets(root)}
    entries: dict[tuple[str, str], list[ConfigEntry]] = {}
    for entry in config.section(split):
        entries.setdefault(entry.place, []).append(entry)
    folders = {place: _folder(place, found) for place in entries}
    if missing := [place for place in entries if folders[place] not in found]:
        first, more = "/".join(missing[0]), len(missing) - 1
        others = f", nor {more} more that it names" if more else ""
        near = _nearest(first, ["/".join(place) for place in found])
        raise DataError(
            f"{config.name}: {split} names {first}; {root} has no such data set{others}",
            f"did you mean {near}? --only chooses from the sets of a config",
        )
    parts = []
    for place, each in entries.items():
        dataset = found[folders[place]]
        if split not in dataset.splits and not (split == "train" and "dev" in dataset.splits):
            raise DataError(
                f"{config.name}: {split} names {'/'.join(place)}, which has no {split}.json",
                f"it has {', '.join(dataset.splits)}; take it out of the section",
            )
        kind = place[0].partition("_")[0]
        tasks = (
            [task for task in wanted if task_documents.fits(task, kind)]
            if wanted
            else [task_documents.OWN[kind]]
        )
        parts += [Part(dataset, tuple(each), task) for task in tasks]
    if not parts:
        names = ", ".join(task.lower() for task in wanted)
        raise UsageError(
            f"{config.name}: no set in its {split} section of which task {names} can be asked",
            f"it names {', '.join(dict.fromkeys(place[0] for place in entries))}",
        )
    return parts


def _folder(place: tuple[str, str], found: Mapping[tuple[str, str], DataSet]) -> tuple[str, str]:
    """Where a config's set lies: in its task's own folder, or in that of all such tasks."""
    task, name = place
    kind, _, rest = task.partition("_")
    shared = next((task_documents.KINDS[each] for each in TASKS if each == kind), kind)
    common = (f"{shared}_{rest}" if rest else shared, name)
    return common if place not in found and common in found else place


def _nearest(name: str, names: Iterable[str]) -> str:
    """The name most alike, whatever its case; there is always one."""
    folded = {each.casefold(): each for each in names}
    return folded[difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.0)[0]]


def _file(path: Path) -> dict[str, tuple[ConfigEntry, ...]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8", "a task config is a JSON file") from None
    single = _ONE_SPLIT.fullmatch(path.name)
    return _sections(_parsed(text, str(path)), str(path), (single[1],) if single else SPLITS)


def _parsed(text: str, where: str) -> Any:
    def unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        for key in keys:
            if keys.count(key) > 1:
                raise DataError(f"{where}: {key!r} stands twice in one object", "make it one list")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unrepeated)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}:{error.lineno}: malformed JSON at column {error.colno}: {error.msg}",
            "a task config is a JSON object of tasks",
        ) from None


def _sections(
    content: Any, where: str, splits: Sequence[str]
) -> dict[str, tuple[ConfigEntry, ...]]:
    """Read sections by split; a section without a split's name is that of all `splits`."""
    if isinstance(content, dict) and set(SPLITS) & set(content):
        for key in content:
            if key not in SPLITS:
                hint = f"put it under one of {', '.join(SPLITS)}"
                raise DataError(f"{where}: {key!r} stands beside sections of splits", hint)
        return {split: _section(tasks, f"{where}: {split}") for split, tasks in content.items()}
    return dict.fromkeys(splits, _section(content, where))


def _section(content: Any, where: str) -> tuple[ConfigEntry, ...]:
    example = f'for example {{"NER_en": [{{"{_SAMPLING}": "full", "{_NAME}": "games"}}]}}'
    if not isinstance(content, dict):
        raise DataError(f"{where}: {json_type(content)}, not an object of tasks", example)
    entries: dict[tuple[str, str], ConfigEntry] = {}
    for task, items in content.items():
        if task.partition("_")[0] not in task_documents.OWN:
            hint = f"tasks are {', '.join(task_documents.OWN)}, in a language, such as NER_en"
            raise DataError(f"{where}: no task {task!r}", hint)
        if not isinstance(items, list):
            raise DataError(f"{where}: {task} is {json_type(items)}, not a list", example)
        for number, item in enumerate(items, 1):
            entry = _entry(task, item, f"{where}: {task}, entry {number}")
            if (key := (task, entry.name.removeprefix(f"{task}_"))) in entries:
                raise DataError(
                    f"{where}: {task}, entry {number}: {entry.name!r} stands there already",
                    f"take it out, or call it {entry.name}{EXTRA} to take documents twice",
                )
            entries[key] = entry
    if not entries:
        raise DataError(f"{where}: names no data set", example)
    return tuple(entries.values())


def _entry(task: str, item: Any, where: str) -> ConfigEntry:
    if not isinstance(item, dict):
        raise DataError(f"{where}: {json_type(item)}, not an object")
    for key in (_NAME, _SAMPLING):
        if key not in item:
            there = ", ".join(repr(name) for name in item) or "nothing"
            raise DataError(f"{where}: no {key!r}", f"there is {there}")
        if not isinstance(item[key], str):
            raise DataError(f"{where}: {key!r} is {json_type(item[key])}, not a string")
    name, sampling = item[_NAME], item[_SAMPLING]
    if not name.strip() or {"/", "\\"} & set(name) or name in (".", ".."):
        raise DataError(f"{where}: {name!r} is no data set's name", "give the name of its folder")
    if not (match := _STRATEGY.fullmatch(sampling)):
        raise DataError(
            f"{where} ({name}): no sampling strategy {sampling!r}",
            "choose full, random, random_N or upsample_N, N from 1 to 9999999",
        )
    return ConfigEntry(task, name, match[1] or sampling, int(match[2]) if match[2] else None)
