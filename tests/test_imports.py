"""Help answers at once and importing the package costs nothing: no heavy library is touched."""

import ast
import subprocess
import sys

import pytest

import b2ner_cli

HEAVY = ("torch", "transformers", "peft", "accelerate", "safetensors", "gguf", "numpy", "ray")

AFTER_IMPORT = """
import sys
import b2ner_cli
light = sorted(sys.modules)
import b2ner_cli.cli.app
print([light, sorted(sys.modules)])
"""

AFTER_HELP = """
import sys
from b2ner_cli.cli import app
sys.argv = ["b2ner", "tag", "--help"]
try:
    app.app()
except SystemExit as exit_:
    assert exit_.code == 0
print("MODULES", sorted(sys.modules))
"""


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def heavy(modules):
    return [name for name in modules if name.partition(".")[0] in HEAVY]


def test_importing_the_package_or_its_command_line_imports_nothing_heavy():
    package, command_line = ast.literal_eval(python(AFTER_IMPORT))
    assert heavy(package) == []
    assert heavy(command_line) == []
    assert not {"typer", "rich"} & set(package)


def test_help_imports_nothing_heavy():
    *help_lines, modules = python(AFTER_HELP).splitlines()
    assert heavy(ast.literal_eval(modules.removeprefix("MODULES "))) == []
    assert any("--labels" in line for line in help_lines)


def test_everything_in_all_is_there_and_nothing_else_is_promised():
    assert set(b2ner_cli.__all__) == set(b2ner_cli._HOMES)
    for name in b2ner_cli.__all__:
        assert getattr(b2ner_cli, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Taggger'"):
        b2ner_cli.Taggger
