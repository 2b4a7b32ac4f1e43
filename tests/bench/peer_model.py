"""A merged model in the files that other engines read, for bench_peers.py.

write_directory    config.json, tokenizer and safetensors, as transformers saves them
write_gguf         Q8_0, the description taken over from the GGUF file that the model came in
"""

from __future__ import annotations

from pathlib import Path

import gguf
import torch

from b2ner_cli.models.embedded import EMBEDDED, join_parts
from b2ner_cli.models.loading import Backbone

Q8_0 = gguf.GGMLQuantizationType.Q8_0


def write_directory(loaded: Backbone, folder: Path) -> Path:
    loaded.model.config.architectures = [type(loaded.model).__name__]  # vLLM asks for it
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.hf.save_pretrained(folder)
    return folder


def original(loaded: Backbone, folder: Path) -> Path | None:
    """The GGUF file a model was read from; that of mini is joined from its parts once more."""
    if loaded.source.gguf_file:
        return loaded.source.directory / loaded.source.gguf_file
    if (embedded := EMBEDDED.get(loaded.source.name)) is None:
        return None
    joined = folder / "original.gguf"
    join_parts(embedded, joined)
    return joined


def write_gguf(loaded: Backbone, like: Path, target: Path) -> Path:
    """Write the merged matrices in blocks of 8 bits under the names of the file `like`.

    Vectors stay as they are there: adapters leave them alone, and the format stores some of them
    in a way of its own.
    """
    reader = gguf.GGUFReader(like)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for key, field in reader.fields.items():
        kind = field.types[0]
        inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        known = (gguf.Keys.General.ARCHITECTURE, gguf.Keys.General.FILE_TYPE)
        if key not in known and not key.startswith("GGUF."):
            writer.add_key_value(key, field.contents(), kind, inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    merged = _by_gguf_name(loaded, architecture)
    for tensor in reader.tensors:
        if len(tensor.shape) == 1:
            writer.add_tensor(tensor.name, tensor.data)
            continue
        weight = merged[tensor.name].to(torch.float32).numpy()
        writer.add_tensor(tensor.name, gguf.quantize(weight, Q8_0), raw_dtype=Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def _by_gguf_name(loaded: Backbone, architecture: str) -> dict[str, torch.Tensor]:
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    layers = loaded.model.config.get_text_config().num_hidden_layers
    names = gguf.get_tensor_name_map(kind, layers)
    return {
        names.get_name(name, (".weight", ".bias")): weight
        for name, weight in loaded.model.state_dict().items()
    }
