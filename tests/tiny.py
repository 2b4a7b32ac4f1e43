"""Real architectures with random weights and a byte-level tokenizer: no download, no waiting."""

from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from b2ner_cli.prompts.rendering import TEMPLATES

# The words of the prompts become tokens of their own, everything else falls back to bytes.
SENTENCES = [
    *(t.instruction + t.labels + t.text + t.answer for t in TEMPLATES.values()),
    *((TEMPLATES[language].described or "") for language in ("en", "zh")),
    "Label Description: person means city; 标签描述: 是指",
    "Ann Lee met Bob in Rome . Ann works for Acme . The city of Paris has no river .",
]
VOCABULARY = 512
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
}


def tiny_tokenizer():
    """Byte-level BPE with <pad>, <s> and </s>; like Llama's it adds <s> unless told not to."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<pad>", "<s>", "</s>"],
        show_progress=False,
    )
    core.train_from_iterator(SENTENCES, trainer)
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def tiny_config(architecture, **more):
    """Two layers; gemma2 and gemma3 mix sliding and full attention, mistral slides in each."""
    common = {
        **SIZES,
        "head_dim": 16,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": architecture.startswith("gemma"),
    }
    if architecture.startswith("gemma"):
        layers = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
        if architecture == "gemma3":
            return transformers.Gemma3TextConfig(**{**common, **layers, **more})
        # an attention soft cap that bites: scores are far larger
        caps = {"attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 1}
        return transformers.Gemma2Config(**{**common, **layers, **caps, **more})
    if architecture == "mistral":
        return transformers.MistralConfig(**{**common, "sliding_window": 16, **more})
    if architecture == "qwen2":
        common.pop("head_dim")
        return transformers.Qwen2Config(**{**common, **more})
    return transformers.LlamaConfig(**{**common, **more})


def tiny_model(directory, architecture="llama", **config):
    """Write model and tokenizer to `directory`, the same for the same arguments."""
    directory = Path(directory)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = transformers.AutoModelForCausalLM.from_config(tiny_config(architecture, **config))
    if network.config.tie_word_embeddings:
        # A tied head would repeat the last token: make the layers outweigh the embedding.
        with torch.no_grad():
            network.get_input_embeddings().weight *= 0.15
            network.model.norm.weight.fill_(8.0)
    transformers.utils.logging.disable_progress_bar()
    network.save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return directory


def tiny_adapter(directory, model_dir, rank=4, **config):
    """Write a random LoRA for a model in peft's format; `config` goes to peft.LoraConfig."""
    import peft

    network = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    settings = {"target_modules": "all-linear", "lora_alpha": 2 * rank, **config}
    with torch.random.fork_rng():
        torch.manual_seed(11)
        adapted = peft.get_peft_model(
            network,
            peft.LoraConfig(task_type="CAUSAL_LM", r=rank, init_lora_weights=False, **settings),
        )
    adapted.save_pretrained(directory, save_embedding_layers=False)
    return Path(directory)


def tiny_gguf(path):
    """Write a one-layer Llama with a byte-level vocabulary as GGUF, its matrices in 8 bits."""
    import gguf

    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a"]
    kinds = [2, 3, 3, *[6] * 256, 1, 1, 1]  # unknown, control, byte and normal ones
    writer = gguf.GGUFWriter(path, "llama")
    for add, value in [
        (writer.add_context_length, 64), (writer.add_embedding_length, 32),
        (writer.add_block_count, 1), (writer.add_feed_forward_length, 32),
        (writer.add_head_count, 2), (writer.add_head_count_kv, 1),
        (writer.add_layer_norm_rms_eps, 1e-6), (writer.add_rope_dimension_count, 16),
        (writer.add_vocab_size, len(pieces)), (writer.add_tokenizer_model, "llama"),
        (writer.add_token_list, pieces), (writer.add_token_types, kinds),
        (writer.add_token_scores, [0.0] * 259 + [-1.0, -2.0, -0.5]),
        (writer.add_unk_token_id, 0), (writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2),
    ]:  # fmt: skip
        add(value)
    drawn = np.random.default_rng(3)
    rows = {"token_embd": 262, "output": 262, "blk.0.attn_k": 16, "blk.0.attn_v": 16}
    rows |= {f"blk.0.{name}": 32 for name in ("attn_q", "attn_output")}
    rows |= {f"blk.0.{name}": 32 for name in ("ffn_gate", "ffn_up", "ffn_down")}
    for name, count in rows.items():
        matrix = drawn.normal(size=(count, 32)).astype(np.float32)
        stored = gguf.quants.quantize(matrix, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", stored, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
