"""Recipes from names, files and settings."""

import json
import random
from pathlib import Path

import pytest

import b2ner_cli
from b2ner_cli.datasets.balance import Limits, balanced
from b2ner_cli.errors import UsageError
from b2ner_cli.training.recipes import RECIPES, Experiments, Recipe, decisive, read_recipe, renamed


def test_settings_win_over_file_and_file_over_recipe(tmp_path):
    config = tmp_path / "recipe.toml"
    config.write_text("rank = 8\nbatch = 16\ngroup = 4\n")
    recipe = read_recipe("mini", config, ["rank=4", "learning_rate=2e-4"])
    assert (recipe.rank, recipe.batch, recipe.learning_rate) == (4, 16, 2e-4)
    assert recipe.experiments.first_layer == RECIPES["mini"]["first_layer"]


def test_run_json_gives_the_same_recipe_again(tmp_path):
    recipe = Recipe(rank=4, epochs=0.5, seed=7)
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"recipe": recipe.flat()}))
    assert read_recipe("default", path, []) == recipe


def test_former_names_are_read(tmp_path):
    former = {"at_once": 4, "candidates": 7, "nearby": 2, "redraw": "false", "longest": 90}
    recipe = read_recipe("default", None, [f"{name}={value}" for name, value in former.items()])
    asked = recipe.experiments
    assert (recipe.micro_batch, recipe.max_chars) == (4, 90)
    assert (asked.sampled_softmax, asked.length_bucket_window) == (7, 2)
    assert asked.resample_each_epoch is False
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"recipe": former}))
    assert read_recipe("default", path, []) == recipe


def test_the_shipped_adapters_run_gives_its_recipe():
    path = Path(b2ner_cli.__file__).parent / "models" / "mini_adapter" / "run.json"
    stored = json.loads(path.read_text(encoding="utf-8"))["recipe"]
    recipe = read_recipe("default", path, [])
    assert recipe.micro_batch == stored.get("micro_batch", stored.get("at_once"))
    assert recipe.flat() == Recipe().flat() | renamed(stored)


def test_what_a_result_depends_on_is_the_same_by_former_names():
    former = {"rank": 8, "candidates": 50, "at_once": 4, "longest": 90}
    recipe = Recipe.of({"rank": 8, "sampled_softmax": 50, "max_chars": 90, "micro_batch": 2})
    assert decisive(former) == decisive(recipe.flat())
    assert decisive(former | {"longest": 91}) != decisive(recipe.flat())


@pytest.mark.parametrize(
    "settings, message",
    [
        (["rang=4"], "no setting 'rang'"),
        (["rank"], "not KEY=VALUE"),
        (["rank=many"], "rank=many: not int"),
        (["batch=5"], "no multiple"),
        (["checkpointing=1"], "checkpointing=1: not bool"),
    ],
)
def test_bad_settings_say_what_is_wrong(settings, message):
    with pytest.raises(UsageError, match=message):
        read_recipe("default", None, settings)


@pytest.mark.parametrize("content", ["[[", '{"no": 1}'])
def test_bad_config_files(tmp_path, content):
    path = tmp_path / ("run.json" if content.startswith("{") else "recipe.toml")
    path.write_text(content)
    with pytest.raises(UsageError, match="holds no recipe"):
        read_recipe("default", path, [])


def test_unknown_recipe_lists_the_known():
    with pytest.raises(UsageError) as caught:
        read_recipe("maxi", None, [])
    assert "mini" in caught.value.hint


@pytest.mark.parametrize("said, meant", [("true", True), ("False", False), (" TRUE", True)])
def test_settings_that_are_on_or_off(tmp_path, said, meant):
    assert read_recipe("default", None, [f"checkpointing={said}"]).checkpointing is meant
    config = tmp_path / "recipe.toml"
    config.write_text(f"checkpointing = {said.strip().lower()}\n")
    assert read_recipe("default", config, []).checkpointing is meant


PAPER = ["paper-7b", "paper-20b", "paper-crosslingual", "paper-supervised"]


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_settings(name):
    recipe = read_recipe(name, None, [])
    assert (recipe.rank, recipe.alpha, recipe.dropout) == (32, 64, 0.05)
    assert (recipe.learning_rate, recipe.warmup, recipe.weight_decay) == (3e-4, 0.02, 1e-4)
    assert (recipe.batch, recipe.max_labels, recipe.label_dropout) == (128, 18, 0.10)
    assert (recipe.target, recipe.max_tokens, recipe.experiments.sampled_softmax) == (
        "attention",
        4096,
        0,
    )
    asked = recipe.experiments
    assert asked.first_layer == asked.subset == asked.rename == asked.noise == 0
    assert recipe.epochs == (6 if name == "paper-crosslingual" else 5)
    most = 10_000 if name == "paper-supervised" else 50_000
    assert recipe.experiments.random_most == recipe.per_set == most


@pytest.mark.parametrize("name", PAPER)
def test_no_cap_of_the_paper_cuts_but_the_number_of_documents(name):
    recipe = read_recipe(name, None, ["per_set=40", "per_label=40"])
    limits = Limits(recipe.per_set, recipe.per_label, recipe.empty, recipe.max_chars)
    rng = random.Random(1)
    for labels in ([()] * 30, [("a",)] * 30, [(), ("a", "b")] * 15):
        assert sorted(balanced(labels, limits, rng)) == list(range(30))
    assert len(balanced([("a",)] * 60, limits, rng)) == 40


@pytest.mark.parametrize("micro_batch, rows", [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (128, 32)])
def test_documents_micro_batch_are_whole_rows(micro_batch, rows):
    assert Recipe(batch=128, group=4, micro_batch=micro_batch).micro_batch_rows == rows


@pytest.mark.parametrize("target", ["", "q_proj,", "q proj", "*", "a,,b"])
def test_targets_that_name_nothing(target):
    with pytest.raises(UsageError, match="names no layers"):
        Recipe(target=target)


def test_targets_may_be_spaced():
    assert Recipe(target="q_proj, self_attn.v_proj").targets == ("q_proj", "self_attn.v_proj")


def test_exact_reference_differs_where_the_documentation_says():
    for name, mean_over in (("paper-20b", 1), ("paper-crosslingual", 4)):
        ours, theirs = (read_recipe(name, None, [], exact).flat() for exact in (False, True))
        changed = {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}
        assert changed == {
            "group": (4, 1), "mean_over": (0, mean_over), "length_bucket_window": (8, 0),
            "resample_each_epoch": (True, False),
        }  # fmt: skip
        page = (Path(b2ner_cli.__file__).parent / "docs" / "training.md").read_text(
            encoding="utf-8"
        )
        for key in changed:
            assert f"| `{key}` |" in page


def test_settings_win_over_the_reference():
    assert (
        read_recipe("paper-7b", None, ["nearby=2"], exact=True).flat()["length_bucket_window"] == 2
    )


def test_exact_reference_needs_a_recipe_of_the_paper():
    with pytest.raises(UsageError, match="recipe 'mini' is not the reference's") as caught:
        read_recipe("mini", None, [], exact=True)
    assert "paper-20b" in caught.value.hint


def test_means_are_over_whole_groups():
    with pytest.raises(UsageError, match="mean_over 6 is no multiple of group 4"):
        Recipe(experiments=Experiments(mean_over=6))
