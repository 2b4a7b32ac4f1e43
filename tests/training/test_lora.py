"""Which layers of a model carry a LoRA, by the names its modules have."""

import pytest
import torch
import transformers
from safetensors.torch import load_file

from b2ner_cli.errors import ModelError, UsageError
from b2ner_cli.models import loading
from b2ner_cli.models.files import locate
from b2ner_cli.training import lora
from b2ner_cli.training.recipes import Recipe
from tests.internlm2 import BASE
from tests.tiny import tiny_adapter, tiny_config, tiny_model
from tests.training.test_loop import picks, run


class Named(torch.nn.Module):
    """Nothing but linear layers of these names in a block, and a head."""

    def __init__(self, *names):
        super().__init__()
        self.block = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2) for name in names})
        self.norm = torch.nn.LayerNorm(2)
        self.head = torch.nn.Linear(2, 2)

    def get_output_embeddings(self):
        return self.head


@pytest.mark.parametrize(
    "names, attention",
    [
        (("wqkv", "wo", "w1", "w2", "w3"), ["wqkv"]),
        (("W_pack", "o_proj", "gate_proj"), ["W_pack"]),
        (("q_proj", "k_proj", "v_proj", "o_proj"), ["q_proj", "k_proj", "v_proj"]),
        (("qkv_proj", "o_proj"), ["qkv_proj"]),
        (("query_key_value", "dense"), ["query_key_value"]),
    ],
)
def test_attention_goes_by_the_names_that_are_there(names, attention):
    assert lora.targets(Named(*names), ["attention"]) == attention
    assert lora.targets(Named(*names), ["all"]) == sorted(names)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma2", "gemma3", "mistral"])
def test_attention_of_real_architectures(architecture):
    import transformers

    network = transformers.AutoModelForCausalLM.from_config(tiny_config(architecture))
    assert lora.targets(network, ["attention"]) == ["q_proj", "k_proj", "v_proj"]
    assert len(lora.targets(network, ["all"])) == 7
    assert lora.targets(network, ["down_proj", "self_attn.o_proj"]) == [
        "down_proj", "self_attn.o_proj",
    ]  # fmt: skip


def test_attention_of_internlm2_which_is_split_while_loading():
    network, _ = loading.load_parts(locate(str(BASE), "none"), torch.float32)
    assert lora.targets(network, ["attention"]) == ["q_proj", "k_proj", "v_proj"]


@pytest.mark.parametrize(
    "names, message",
    [
        (["attention"], "no attention layers under a known name: wqkv; W_pack;"),
        (["dense", "q_proj"], "no linear layer q_proj"),
        (["ense"], "no linear layer ense"),  # an end of a name, but not from a dot on
        (["norm"], "no linear layer norm"),
        (["head"], "no linear layer head"),
    ],
)
def test_layers_that_are_not_there(names, message):
    with pytest.raises(UsageError, match=message) as caught:
        lora.targets(Named("dense", "key"), names)
    assert "it has dense, key" in caught.value.hint


def test_only_the_targets_are_trained(tiny_llama, tmp_path):
    for target, names in (("attention", ("q_proj", "k_proj", "v_proj")), ("up_proj", ("up_proj",))):
        run(tiny_llama, tmp_path / target, data=picks(4), recipe={"target": target})
        tensors = load_file(tmp_path / target / "adapter" / "adapter_model.safetensors")
        assert len(tensors) == 2 * 2 * len(names)
        assert all(any(f".{name}." in each for name in names) for each in tensors)


@pytest.mark.parametrize(
    "config",
    [
        transformers.GPT2Config(n_embd=16, n_head=2, n_layer=1, vocab_size=64),  # not nn.Linear
        transformers.MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=64),
    ],
    ids=lambda config: config.model_type,
)
def test_a_model_that_no_lora_can_be_put_on_is_refused(config):
    network = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(ModelError, match="no LoRA can be put on this model"):
        lora.put_on(network, Recipe(rank=2))


def test_a_stage_must_train_the_layers_of_the_adapter_it_starts_from(tmp_path):
    model = tiny_model(tmp_path / "model")
    start = tiny_adapter(tmp_path / "start", model)
    network, _ = loading.load_parts(locate(str(model), "none"), torch.float32)
    with pytest.raises(ModelError, match="does not fit") as caught:
        lora.put_on(network, Recipe(rank=4, target="attention"), start)
    assert "target=attention with first_layer=0 leaves out" in caught.value.hint
