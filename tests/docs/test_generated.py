"""What the documentation says of the code, where it is made from that: it must be current."""

import dataclasses
import re

import pytest
import typer

from b2ner_cli import docs
from b2ner_cli.cli.app import app
from b2ner_cli.errors import UsageError
from b2ner_cli.training.recipes import RECIPES, Recipe
from tests.tools import pages

# A value just outside each range that the table of settings names.
OUTSIDE = {"at least 1": 0, "0 or more": -1, "above 0": 0, "0 to 1": 1.5, "0 to below 1": 1}


@pytest.mark.parametrize("page", pages.MADE)
def test_generated_parts_are_current(page):
    now = (pages.DOCS / page).read_text("utf-8")
    assert now == pages.remade(page), "run: python -m tests.tools.pages"


def test_the_table_has_every_setting_with_a_meaning():
    table = pages.settings().splitlines()[2:]
    assert [row.split("`")[1] for row in table] == [each.name for each in pages.fields(Recipe)]
    assert all(each.metadata["meaning"].strip() for each in pages.fields(Recipe))
    assert all(set(recipe) <= {row.split("`")[1] for row in table} for recipe in RECIPES.values())


@pytest.mark.parametrize(
    "setting", [each for each in pages.fields(Recipe) if each.metadata["range"] in OUTSIDE],
    ids=lambda each: each.name,
)  # fmt: skip
def test_a_value_outside_the_range_that_the_table_names_is_refused(setting):
    from b2ner_cli.training.recipes import read_recipe

    value = type(setting.default)(OUTSIDE[setting.metadata["range"]])
    with pytest.raises(UsageError, match=f"^{setting.name} must"):
        read_recipe("default", None, [f"{setting.name}={value}"])


def test_settings_and_options_that_pages_name_exist():
    names = {each.name for each in pages.fields(Recipe)}
    for page in docs.pages():
        assert set(re.findall(r"--set ([a-z]\w*)=", page.text)) <= names, page.topic
        commands = re.findall(r"^b2ner (\w+)( [a-z]+)?(?= |$)(.*)$", page.text, re.MULTILINE)
        for command, below, rest in commands:
            known = options(command, below.strip())
            said = set(re.findall(r"(?<= )--[a-z][\w-]*", rest.partition(" | ")[0]))
            assert said <= known, f"{page.topic}: b2ner {command}{below}{rest}"


def options(name, below):
    """The options of a command, or of one of a group of commands."""
    command = typer.main.get_command(app).commands[name]
    command = getattr(command, "commands", {}).get(below, command)
    return {option for each in command.params for option in (*each.opts, *each.secondary_opts)}


def test_the_tree_has_every_module_and_folder():
    tree = pages.tree()
    for path in pages.PACKAGE.rglob("*.py"):
        name = path.name if path.name != "__init__.py" else f"{path.parent.name}/"
        assert f" {name} " in tree or tree.startswith(f"<!-- illustration -->\n```text\n{name} ")
    for line in tree.splitlines()[2:-1]:
        assert len(line.split(maxsplit=1)) == 2, f"no sentence about {line}"


def test_first_sentences():
    made = pages.first_sentence(pages.PACKAGE / "core" / "document.py")
    assert made and "\n" not in made and not made.endswith(".")


def test_nested_settings_are_listed_flat():
    @dataclasses.dataclass
    class Inner:
        deep: int = 1

    @dataclasses.dataclass
    class Outer:
        flat: int = 0
        inner: Inner = dataclasses.field(default_factory=Inner)

    assert [each.name for each in pages.fields(Outer)] == ["flat", "deep"]
