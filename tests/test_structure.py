"""The house stays in order: packages in layers, no import cycle, one meaning for a class name."""

import ast
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "b2ner_cli"
HEAVY = {"torch", "transformers", "peft", "accelerate", "safetensors", "gguf", "numpy", "ray"}
# Packages that are imported before it is known whether a model is needed.
LIGHT = ("core", "labels", "formats", "prompts", "datasets", "scoring", "tagging", "cli")


def module_name(path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


TREES = {
    module_name(path): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(node, module_level=False):
    """The modules a tree imports, those inside functions too, those for type checkers not."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                yield inner if inner in TREES else child.module
        elif not module_level or not isinstance(child, ast.FunctionDef):
            yield from imports(child, module_level)


def cycle(graph):
    """A circle of a graph of modules, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_no_module_imports_itself_through_others():
    graph = {name: {m for m in imports(tree) if m in TREES} for name, tree in TREES.items()}
    assert sum(map(len, graph.values())) > 300, "the graph was not read"
    assert cycle(graph) is None


def test_a_circle_by_an_import_inside_a_function_is_found():
    late = ast.parse("def f():\n    from b2ner_cli.core import text")
    assert list(imports(late)) == ["b2ner_cli.core.text"]
    assert cycle({"a": {"b"}, "b": {"a"}})


def test_few_modules_stand_outside_packages():
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_each_class_name_means_one_thing():
    homes = defaultdict(set)
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].add(name)
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def functions():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                yield f"{name}.{node.name}", node


def registered():
    """Names of functions that become commands, whose signatures are the interface."""
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                if any(".command(" in ast.unparse(each) for each in node.decorator_list):
                    yield node.name
            elif isinstance(node, ast.Call) and ".command(" in ast.unparse(node.func):
                yield from (ast.unparse(each).rpartition(".")[2] for each in node.args)


COMMANDS = set(registered())


def test_files_are_short():
    lengths = {p.name: len(p.read_text("utf-8").splitlines()) for p in PACKAGE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_functions_are_short():
    long = {}
    for name, node in functions():
        first = node.body[0].lineno if node.name in COMMANDS else node.lineno
        if node.end_lineno - first >= 60:
            long[name] = node.end_lineno - first + 1
    assert long == {}


def test_functions_take_few_parameters():
    many = {}
    for name, node in functions():
        taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(each.arg not in ("self", "cls") for each in taken)
        if count > 7 and node.name not in COMMANDS and name.removeprefix("b2ner_cli.") not in GIVEN:
            many[name] = count
    assert many == {}


# Functions whose parameters are not ours to choose, or are the fields of a value.
GIVEN = {
    "core.document.__new__",
    "engine.kv_cache._packed_attention",
    "training.attention._grouped_attention",
}


def test_public_functions_say_what_they_do():
    bare = []
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                bare += [f"{name}.{node.name}"] * (not ast.get_docstring(node))
    assert bare == []


@pytest.mark.parametrize("package", LIGHT)
def test_packages_without_a_model_import_nothing_heavy_at_once(package):
    for name, tree in TREES.items():
        if name.startswith(f"b2ner_cli.{package}"):
            roots = {module.partition(".")[0] for module in imports(tree, module_level=True)}
            assert roots & HEAVY <= ALLOWED.get(name, set()), name


# Modules of these packages that are imported only once a model is wanted.
ALLOWED = {"b2ner_cli.datasets.pruning": {"torch"}, "b2ner_cli.tagging.opening": {"torch"}}
