"""The mean of two adapters changes a model by the mean of their changes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from b2ner_cli.errors import ModelError, OutputError, UsageError
from b2ner_cli.models import adapters
from b2ner_cli.training import averaging

SIZES = {"model.layers.0.mlp.up_proj": (24, 16), "model.layers.1.mlp.down_proj": (16, 24)}


def adapter(folder, rank, alpha, seed, sizes=SIZES, dtype=torch.float32, like=None, moved=1.0):
    """A random adapter; `like` another but for a change of its B, where that is given."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module, (out, into) in sizes.items():
        key = f"base_model.model.{module}"
        a = torch.randn(rank, into, generator=generator)
        b = moved * torch.randn(out, rank, generator=generator)
        if like is not None:
            a = like[f"{key}.lora_A.weight"]
            b = b + like[f"{key}.lora_B.weight"]
        tensors |= {f"{key}.lora_A.weight": a.to(dtype), f"{key}.lora_B.weight": b.to(dtype)}
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": ["x"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return tensors


def deltas(folder):
    return {update.module: update.delta() for update in adapters.read(folder)}


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("rank", [4, 40])  # more than the layers have
def test_of_adapters_with_the_same_a_it_is_exact(tmp_path, share, rank):
    tensors = adapter(tmp_path / "one", rank, 8, 1)
    adapter(tmp_path / "two", rank, 8, 2, like=tensors)
    said = averaging.average(tmp_path / "one", tmp_path / "two", tmp_path / "mean", share)
    assert "0.00% of the change" in said
    one, two, mean = (deltas(tmp_path / name) for name in ("one", "two", "mean"))
    for module, found in mean.items():
        expected = share * one[module] + (1 - share) * two[module]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    shapes = {key: value.shape for key, value in tensors.items()}
    written = load_file(tmp_path / "mean" / "adapter_model.safetensors")
    assert {key: value.shape for key, value in written.items()} == shapes


def test_no_adapter_of_the_rank_is_nearer_to_the_exact_mean(tmp_path):
    adapter(tmp_path / "one", 3, 6, 1)
    adapter(tmp_path / "two", 4, 12, 2, dtype=torch.bfloat16)
    averaging.average(tmp_path / "one", tmp_path / "two", tmp_path / "mean", 0.3)
    one, two, mean = (deltas(tmp_path / name) for name in ("one", "two", "mean"))
    for module, found in mean.items():
        expected = 0.3 * one[module] + 0.7 * two[module]
        u, singular, v = torch.linalg.svd(expected)
        nearest = (u[:, :4] * singular[:4]) @ v[:4]
        torch.testing.assert_close(found, nearest, atol=0.2, rtol=0.05)  # in bfloat16
        assert (found - expected).norm() < 1.05 * (nearest - expected).norm()
    written = load_file(tmp_path / "mean" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.bfloat16}


def test_the_record_says_what_was_averaged_and_forgets_scores(tmp_path):
    adapter(tmp_path / "one", 4, 8, 1)
    adapter(tmp_path / "two", 4, 8, 2)
    scored = ("heldout", "heldout_constrained", "in_domain", "in_domain_documents", "about")
    record = {"model": "mini", "constrain": True, **dict.fromkeys(scored, "of the second")}
    (tmp_path / "two" / "run.json").write_text(json.dumps(record))
    averaging.average(tmp_path / "one", tmp_path / "two", tmp_path / "mean", 0.25)
    found = json.loads((tmp_path / "mean" / "run.json").read_text())
    averaged = found.pop("averaged")
    assert found == {"model": "mini", "constrain": True}
    assert (averaged["with"], averaged["share"]) == ("one", 0.25)
    assert 0 < averaged["dropped"] < 1


def test_layers_that_only_the_second_changes_are_unchanged_in_the_first(tmp_path):
    (only, sizes), *_ = SIZES.items()
    adapter(tmp_path / "one", 4, 8, 1, {only: sizes})
    adapter(tmp_path / "two", 8, 8, 2)
    averaging.average(tmp_path / "one", tmp_path / "two", tmp_path / "mean", 0.25)
    two, mean = deltas(tmp_path / "two"), deltas(tmp_path / "mean")
    (more,) = set(SIZES) - {only}
    torch.testing.assert_close(mean[more], 0.75 * two[more], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(mean[only], 0.75 * two[only], atol=1e-2)


def test_what_cannot_be_averaged(tmp_path):
    adapter(tmp_path / "one", 4, 8, 1)
    adapter(tmp_path / "two", 4, 8, 2, {"model.layers.0.mlp.up_proj": (24, 16)})
    places = (tmp_path / "one", tmp_path / "two", tmp_path / "mean")
    with pytest.raises(
        ModelError, match=r"does not change all the layers .*layers\.1\.mlp\.down_proj differs"
    ):
        averaging.average(*places)
    for share in (0, 1, float("nan")):
        with pytest.raises(UsageError, match="--share must be between 0 and 1"):
            averaging.average(*places, share)
    assert not (tmp_path / "mean").exists()
    (tmp_path / "mean").mkdir()
    with pytest.raises(OutputError, match="exists"):
        averaging.average(*places)
