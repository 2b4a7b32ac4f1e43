"""InternLM2 directories compute what the original code computed, on the stock Llama modules."""

import dataclasses
import json
import shutil

import pytest
import torch
import transformers

from b2ner_cli.core.engine import Prompt
from b2ner_cli.engine import PackedEngine, PlainEngine
from b2ner_cli.models import adapters, devices, internlm2, loading
from tests.internlm2 import (
    BASE,
    FIXTURE,
    LENGTHS,
    REFERENCE,
    VARIANTS,
    adapter_of,
    case,
    random_adapter,
    random_model,
    tensors_of,
)

MODELS = ("base", "adapter", "adapter_all")


@pytest.fixture(scope="module")
def load():
    known = {}

    def loaded(model):
        if model not in known:
            known[model] = loading.load(str(BASE), adapter_of(model), device="cpu", dtype="float32")
        return known[model]

    return loaded


@torch.inference_mode()
def logits(network, ids):
    return network(torch.tensor([ids])).logits[0]


def greedy(network, ids, mask=None):
    ids = torch.tensor(ids)
    with torch.inference_mode():
        out = network.generate(
            ids,
            attention_mask=torch.ones_like(ids) if mask is None else torch.tensor(mask),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=2,
        )
    return out[:, ids.shape[1] :].tolist()


def distance(network, model, length):
    expected = case(model, length)
    found = logits(network, expected["input_ids"])
    return (found[-1] - torch.tensor(expected["last_logits"])).abs().max().item()


# against the original code


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("model", MODELS)
def test_logits_and_greedy_tokens_are_the_originals(load, model, length):
    expected, network = case(model, length), load(model).model
    found = logits(network, expected["input_ids"])
    assert distance(network, model, length) < 1e-4
    if "logits" in expected:
        torch.testing.assert_close(found, torch.tensor(expected["logits"]), atol=1e-4, rtol=0)
    sums = torch.tensor(expected["logits_sum_per_pos"])
    torch.testing.assert_close(found.sum(-1), sums, atol=5e-3, rtol=0)  # of 512 each
    assert found.argmax(-1).tolist() == expected["argmax_per_pos"]
    assert greedy(network, [expected["input_ids"]]) == [expected["greedy_16"]]


@pytest.mark.parametrize("model", MODELS)
def test_a_left_padded_batch_is_the_originals(load, model):
    expected = REFERENCE["batched_left_padded"][model]
    rows = [case(model, length)["input_ids"] for length in expected["order"]]
    width = max(map(len, rows))
    ids = [[2] * (width - len(row)) + row for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    assert greedy(load(model).model, ids, mask) == expected["greedy_16"]


def test_a_long_input_leaves_no_trace(load):
    network = load("base").model
    before = logits(network, case("base", "short")["input_ids"])
    logits(network, case("base", "long_over_max_pos")["input_ids"])
    assert torch.equal(logits(network, case("base", "short")["input_ids"]), before)


def contiguous(fused, heads):
    rows = (heads.groups * heads.queries * heads.size, heads.groups * heads.size)
    return tuple(part.contiguous() for part in fused.split([rows[0], rows[1], rows[1]]))


def test_a_contiguous_split_is_told_apart(monkeypatch):
    monkeypatch.setattr(internlm2, "split_rows", contiguous)
    for model in MODELS:
        wrong = loading.load(str(BASE), adapter_of(model), device="cpu", dtype="float32")
        assert distance(wrong.model, model, "short") > 1


def test_only_the_adapter_split_contiguously_is_told_apart(load, monkeypatch):
    network = loading.load(str(BASE), "none", device="cpu", dtype="float32").model
    monkeypatch.setattr(internlm2, "split_rows", contiguous)
    adapters.merge(network, FIXTURE / "adapter")
    assert distance(network, "adapter", "short") > 0.1


# through the engines


def parts_of(loaded, ids):
    """A prompt that says these ids: two texts, cut where the document would begin."""
    assert ids[0] == loaded.tokenizer.bos[0]
    text = REFERENCE["tokenizer"]["prompt_en"]["text"]
    at = text.index("Text:") + len("Text:")
    return Prompt(text[:at], text[at:])


@pytest.mark.parametrize("engine", [PackedEngine, PlainEngine])
@pytest.mark.parametrize("model", MODELS)
def test_engines_answer_as_the_original_did(load, model, engine):
    loaded = load(model)
    expected = case(model, "prompt_en")
    prompt = parts_of(loaded, expected["input_ids"])
    spoken = (
        *loaded.tokenizer.encode([prompt.prefix])[0],
        *loaded.tokenizer.encode([prompt.own], continued=True)[0],
    )
    assert [1, *spoken] == expected["input_ids"]
    endless = dataclasses.replace(
        loaded, tokenizer=dataclasses.replace(loaded.tokenizer, stops=(-1,))
    )
    # another prompt beside it, so that rows are padded
    pair = [prompt, Prompt(prompt.prefix, prompt.own[:20])]
    answers = dict(engine(endless, max_answer=16).generate(pair))
    said = loaded.tokenizer.decode(expected["greedy_16"])
    assert answers[0].prompt_tokens == len(expected["input_ids"])
    assert len(answers[0].ends) == 16
    assert answers[0].text.strip() == said.strip()


@pytest.mark.parametrize("engine", [PackedEngine, PlainEngine])
def test_no_row_reaches_over_the_context_and_changes_the_others(load, engine):
    # frequencies of dynamic rotary embeddings depend on the longest position of a batch
    loaded = load("adapter")
    assert loaded.context == 128
    endless = dataclasses.replace(
        loaded, tokenizer=dataclasses.replace(loaded.tokenizer, stops=(-1,))
    )
    prefix = "Label Set: person\n\nText:"
    owns = [" hello", " hello" * 4, " he said" * 18, " hello" * 200]
    prompts = [Prompt(prefix, own) for own in owns]
    together = dict(engine(endless, max_answer=100).generate(prompts))
    for index, prompt in enumerate(prompts[:3]):
        (alone,) = engine(endless, max_answer=100).generate([prompt])
        assert together[index].text == alone[1].text
        assert alone[1].prompt_tokens + len(alone[1].ends) <= 128
    assert max(answer.prompt_tokens for answer in together.values()) > 128
    assert together[2].prompt_tokens + len(together[2].ends) == 128


def test_a_prompt_in_parts_is_the_prompt_whole_with_a_space_before_texts(tmp_path):
    from transformers.convert_slow_tokenizer import import_protobuf

    model = shutil.copytree(BASE, tmp_path / "model")
    proto = import_protobuf().ModelProto.FromString((model / "tokenizer.model").read_bytes())
    assert not proto.normalizer_spec.add_dummy_prefix
    proto.normalizer_spec.add_dummy_prefix = True
    (model / "tokenizer.model").write_bytes(proto.SerializeToString())
    tokenizer = loading.load(str(model), device="cpu", dtype="float32").tokenizer
    prefix, own = "Label Set: person, city \n\nText:", " Ann  met 暴雪 . \nAnswer:"
    apart = [*tokenizer.encode([prefix])[0], *tokenizer.encode([own], continued=True)[0]]
    assert [*tokenizer.bos, *apart] == tokenizer.hf(prefix + own)["input_ids"]
    assert apart != [*tokenizer.encode([prefix])[0], *tokenizer.encode([own])[0]]


# files


def test_ends_and_padding_are_what_training_used(load):
    tokenizer = load("adapter").tokenizer
    assert (tokenizer.bos, tokenizer.eos, tokenizer.pad) == ((1,), 2, 2)
    assert tokenizer.stops == (2, 510)  # 510 is <|im_end|> here, 92542 in the released files


def test_the_file_does_not_choose_the_attention():
    assert json.loads((BASE / "config.json").read_text())["attn_implementation"] == "eager"
    internlm2.register()
    for wanted in ("sdpa", "eager"):
        network = transformers.AutoModelForCausalLM.from_pretrained(
            BASE, attn_implementation=wanted
        )
        assert network.config._attn_implementation == wanted


def test_code_beside_the_model_is_never_run(tmp_path):
    model = shutil.copytree(BASE, tmp_path / "model")
    for name in ("configuration", "modeling", "tokenization"):
        (model / f"{name}_internlm2.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')")
    loading.load(str(model), "none", device="cpu", dtype="float32")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_loaded_is_saved_in_the_original_layout(tmp_path, variant):
    model = random_model(tmp_path / "model", **VARIANTS[variant])
    network = loading.load(str(model), device="cpu", dtype="float32").model
    network.save_pretrained(tmp_path / "saved")
    before, after = tensors_of(model), tensors_of(tmp_path / "saved")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = loading.load(str(model), device="cpu", dtype="float32").model
    ids = case("base", "mid")["input_ids"]
    assert torch.equal(logits(again, ids), logits(network, ids))


def attention(tensors, config, ids):
    """The first layer's attention output, straight from the fused weight: another implementation.

    *Shape:* (positions, hidden)
    """
    hidden = torch.nn.functional.embedding(
        torch.tensor(ids), tensors["model.tok_embeddings.weight"]
    )
    hidden = hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + config["rms_norm_eps"])
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    size = config["hidden_size"] // heads
    start = "model.layers.0.attention."
    fused = hidden @ tensors[f"{start}wqkv.weight"].T + tensors.get(f"{start}wqkv.bias", 0)
    grouped = fused.view(len(ids), groups, heads // groups + 2, size)
    stretch = (config["rope_scaling"] or {}).get("factor", 1) if (
        (config["rope_scaling"] or {}).get("type") == "linear"
    ) else 1  # fmt: skip
    turns = torch.arange(len(ids))[:, None] / stretch / (
        config["rope_theta"] ** (torch.arange(0, size, 2) / size)
    )  # fmt: skip
    cos, sin = turns.cos(), turns.sin()

    def turned(vector):
        one, other = vector[..., : size // 2], vector[..., size // 2 :]
        return torch.cat([one * cos - other * sin, other * cos + one * sin], -1)

    out = []
    for head in range(heads):
        group, place = divmod(head, heads // groups)
        query, key = turned(grouped[:, group, place]), turned(grouped[:, group, -2])
        scores = (query @ key.T / size**0.5).masked_fill(
            torch.ones(len(ids), len(ids)).triu(1).bool(), -torch.inf
        )
        out.append(scores.softmax(-1) @ grouped[:, group, -1])
    joined = torch.cat(out, -1)
    return joined @ tensors[f"{start}wo.weight"].T + tensors.get(f"{start}wo.bias", 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_attention_of_every_variant_is_what_the_fused_weights_say(tmp_path, variant):
    model = random_model(tmp_path / "model", **VARIANTS[variant])
    network = loading.load(str(model), device="cpu", dtype="float32").model
    seen = []
    layer = network.model.layers[0].self_attn
    layer.register_forward_hook(lambda module, given, output: seen.append(output[0][0]))
    ids = case("base", "mid")["input_ids"]
    logits(network, ids)
    config = json.loads((model / "config.json").read_text())
    expected = attention(tensors_of(model), config, ids)
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_split_and_fuse_again(variant):
    config = {"num_attention_heads": 4, "num_key_value_heads": 2} | VARIANTS[variant]
    heads = internlm2.Heads(
        config["num_key_value_heads"],
        config["num_attention_heads"] // config["num_key_value_heads"],
        8,
    )
    for shape in ((heads.rows, 5), (heads.rows,)):
        fused = torch.randn(shape)
        parts = internlm2.split_rows(fused, heads)
        assert [len(part) for part in parts] == [
            8 * config["num_attention_heads"], *[8 * config["num_key_value_heads"]] * 2,
        ]  # fmt: skip
        assert torch.equal(internlm2.fuse_rows(parts, heads), fused)
    with pytest.raises(ValueError, match="rows, not the"):
        internlm2.split_rows(torch.zeros(heads.rows + 1, 2), heads)


# adapters


TARGETS = [("wqkv",), ("wo", "w2"), ("wqkv", "wo", "w1", "w2", "w3")]


@pytest.mark.parametrize("targets", TARGETS, ids=",".join)
@pytest.mark.parametrize("variant", VARIANTS)
def test_merged_and_fused_again_is_a_merge_in_the_original_layout(tmp_path, variant, targets):
    model = random_model(tmp_path / "model", **VARIANTS[variant])
    adapter = random_adapter(tmp_path / "adapter", model, targets)
    check_merge(tmp_path, model, adapter)


@pytest.mark.parametrize(
    "config",
    [
        {"use_rslora": True},
        {"alpha_pattern": {"wqkv": 3, "layers.1.feed_forward.w1": 50}},
        {"rank_pattern": {"wqkv": 2, "1.feed_forward.w2": 7}, "alpha_pattern": {"w2": 5}},
    ],
    ids=str,
)
def test_patterns_and_rank_stabilised_scaling(tmp_path, config):
    model = random_model(tmp_path / "model")
    adapter = random_adapter(tmp_path / "adapter", model, TARGETS[2], **config)
    check_merge(tmp_path, model, adapter)


def check_merge(tmp_path, model, adapter):
    loaded = loading.load(str(model), str(adapter), device="cpu", dtype="float32")
    loaded.model.save_pretrained(tmp_path / "merged")
    expected, changed = tensors_of(model), set()
    for update in adapters.read(adapter):
        name = f"{update.module}.weight"
        expected[name] = expected[name] + update.delta()
        changed.add(name)
    merged = tensors_of(tmp_path / "merged")
    assert merged.keys() == expected.keys()
    assert changed
    for name, tensor in merged.items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("model", ["adapter", "adapter_all"])
def test_the_fixtures_merged_weights_are_bitwise_the_originals(tmp_path, model):
    check_merge(tmp_path, BASE, FIXTURE / model)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_one_rounding_from_any_storage_to_any_dtype(tmp_path, stored, wanted):
    model = random_model(tmp_path / "model", stored)
    adapter = random_adapter(tmp_path / "adapter", model)
    loaded = loading.load(str(model), str(adapter), device="cpu", dtype=wanted)
    assert {p.dtype for p in loaded.model.parameters()} == {devices.DTYPES[wanted]}
    loaded.model.save_pretrained(tmp_path / "merged")
    expected = {name: tensor.float() for name, tensor in tensors_of(model).items()}
    for update in adapters.read(adapter):
        expected[f"{update.module}.weight"] += update.delta()
    for name, tensor in tensors_of(tmp_path / "merged").items():
        assert torch.equal(tensor, expected[name].to(devices.DTYPES[wanted])), name
