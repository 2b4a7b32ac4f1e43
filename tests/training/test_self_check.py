"""A model is trained on its own loss, in the fastest way that is right for it, or not at all."""

import logging

import pytest
import torch
import transformers

from b2ner_cli.errors import ModelError
from b2ner_cli.models import attention, loading
from b2ner_cli.models.files import locate
from b2ner_cli.training import lora, self_check
from b2ner_cli.training.packing import AnswerLoss
from b2ner_cli.training.recipes import Recipe
from tests.tiny import SIZES, tiny_model
from tests.training.test_packing import GROUPS, batch_of, gradients, one_by_one


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    directory = tiny_model(tmp_path_factory.mktemp("model"))
    return loading.load_parts(locate(str(directory), "none"), torch.float32)[1]


def loss_of(kind, sampled_softmax=400, **more):
    """The training loss of a model with random weights, its biases and its LoRA included."""
    config = getattr(transformers, kind)(**SIZES, **more)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = transformers.AutoModelForCausalLM.from_config(config)
        adapted = lora.put_on(network, Recipe(rank=2, dropout=0.5))
        for name, parameter in adapted.named_parameters():
            if name.endswith("bias") or "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    return AnswerLoss(adapted, sampled_softmax)


@pytest.mark.parametrize(
    ("kind", "more", "grouped", "sampled_softmax"),
    [
        ("LlamaConfig", {}, True, 400),
        ("Gemma3TextConfig", {"head_dim": 12, "sliding_window": 64}, True, 400),
        ("Gemma2Config", {"head_dim": 12}, True, 400),  # caps on attention and logits
        ("PhiConfig", {}, True, 400),  # a head with a bias
        ("CohereConfig", {}, True, 0),  # logits are scaled
        ("GraniteConfig", {"logits_scaling": 4.0}, True, 0),
        ("NemotronConfig", {}, False, 400),  # its layers hand nothing on to attention
    ],
)
def test_the_fastest_way_that_is_right(tokenizer, kind, more, grouped, sampled_softmax):
    module = loss_of(kind, **more).eval()
    for each in module.modules():  # as in training: the LoRA drops out, the model does not
        each.training = isinstance(each, torch.nn.Dropout)
    modes = [each.training for each in module.modules()]
    self_check.check(module)
    assert (module.grouped, module.sampled_softmax) == (grouped, sampled_softmax)
    assert [each.training for each in module.modules()] == modes and any(modes)

    module.eval()
    module.sampled_softmax = 0
    network = module.network
    packed = module(batch_of(GROUPS, tokenizer), 0)
    found = gradients(network, packed)
    alone = one_by_one(network, GROUPS, tokenizer, module.stock_attention)
    assert packed.item() == pytest.approx(alone.item(), rel=1e-4)
    for got, expected in zip(found, gradients(network, alone), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-3)


def test_a_window_that_no_layer_minds_is_dropped(caplog):
    caplog.set_level(logging.INFO, "b2ner")
    module = loss_of("OlmoConfig", sliding_window=64)
    config = module.network.get_base_model().config
    assert attention.window(config) == 64
    self_check.check(module)
    assert config.sliding_window > config.max_position_embeddings and module.grouped
    assert "whatever sliding_window says" in caplog.text


def test_a_window_that_layers_mind_stays():
    module = loss_of("MistralConfig", sliding_window=64)
    self_check.check(module)
    assert module.network.get_base_model().config.sliding_window == 64


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (
            "JambaConfig",
            {"use_mamba_kernels": False, "attn_layer_offset": 1, "attn_layer_period": 2},
        ),  # states beside attention
        ("MptConfig", {"d_model": 48, "n_heads": 4, "n_layers": 2}),  # biases by distance
    ],
)
def test_a_model_that_no_way_is_right_for_is_refused(kind, more):
    with pytest.raises(ModelError, match="packed documents: their loss would be") as caught:
        self_check.check(loss_of(kind, **more))
    assert "Llama" in caught.value.hint


def test_lack_of_memory_is_not_taken_for_a_trait_of_the_model(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    module = loss_of("LlamaConfig")
    monkeypatch.setattr(module, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        self_check.check(module)
