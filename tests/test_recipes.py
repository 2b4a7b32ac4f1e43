"""Recipes from names, files and settings."""

import json

import pytest

from b2ner_cli.errors import UsageError
from b2ner_cli.recipes import RECIPES, Recipe, read_recipe


def test_settings_win_over_file_and_file_over_recipe(tmp_path):
    config = tmp_path / "recipe.toml"
    config.write_text("rank = 8\nbatch = 16\ngroup = 4\n")
    recipe = read_recipe("mini", config, ["rank=4", "learning_rate=2e-4"])
    assert (recipe.rank, recipe.batch, recipe.learning_rate) == (4, 16, 2e-4)
    assert recipe.first_layer == RECIPES["mini"]["first_layer"]


def test_run_json_gives_the_same_recipe_again(tmp_path):
    from dataclasses import asdict

    recipe = Recipe(rank=4, epochs=0.5, seed=7)
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"recipe": asdict(recipe)}))
    assert read_recipe("default", path, []) == recipe


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
