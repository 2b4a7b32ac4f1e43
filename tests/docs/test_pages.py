"""Every block of README and documentation runs and prints what the page shows.

The two installing commands are run by `.ci/run`, which takes them from the README by their marks.
Pages that take longer than 20 seconds are slow: `.ci/run slow` runs them.
"""

import re

import pytest

from b2ner_cli.cli.app import app
from tests.docs import pages

README = pages.ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
MOST_LINES = 150
QUICK = {"README"}  # besides the pages that ask no model
ASKING = re.compile(r"b2ner (?:tag|predict|bench|train)\b(?!.*--dry-run)|Tagger|--meaning")

ROW = '{"entities":[{"start":3,"end":9,"label":"city","text":"London","score":0.91}]}'


def _asks(page):
    """Whether a page has a model answer: that takes seconds a block."""
    found = pages.blocks(page.read_text(encoding="utf-8"))
    lines = (line for block in found if block.runs for line in block.code.splitlines())
    return any(ASKING.search(line) for line in lines)


def _marked(page):
    slow = page.stem not in QUICK and _asks(page)
    marks = [pytest.mark.mini, pytest.mark.slow] if slow else [pytest.mark.mini]
    return pytest.param(page, id=page.stem, marks=marks)


@pytest.mark.parametrize("page", [_marked(page) for page in pages.pages()])
def test_blocks_print_what_the_page_shows(page, tmp_path):
    folder = tmp_path / "desk"
    folder.mkdir()
    wrong = pages.check(page, folder)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: page.stem)
def test_every_fence_is_a_block_of_a_kind_that_is_known(page):
    text = page.read_text(encoding="utf-8")
    found = pages.blocks(text)
    outputs = sum(block.shown is not None for block in found)
    assert 2 * (len(found) + outputs) == len(re.findall("^```", text, re.MULTILINE))
    for block in found:
        assert block.kind in ("sh", "python", "text", "json", "csv", "toml"), block
        known = ("", "illustration", "ci: tag", "ci: tests")
        assert block.mark in known or re.fullmatch(r"not run: \S.+", block.mark), block


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: page.stem)
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_readme_is_short():
    assert TEXT.count("\n") <= MOST_LINES


def test_the_two_commands_are_marked_for_ci():
    marked = [block for block in pages.blocks(TEXT) if block.mark.startswith("ci: ")]
    assert [block.mark for block in marked] == ["ci: tag", "ci: tests"]
    for block in marked:
        assert block.code.startswith("python3 -m venv .venv && ")
        assert block.code.count("\n") == 1


def test_every_command_is_in_the_readme():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    for name in commands | {group.name for group in app.registered_groups}:
        assert f"| `b2ner {name}" in TEXT


# What is compared, and what is not -----------------------------------------------------------


@pytest.mark.parametrize(
    "printed",
    [
        ROW.replace('"start":3', '"start":4'),
        ROW.replace('"end":9', '"end":10'),
        ROW.replace("0.91", "0.88"),
        ROW.replace("London", "Londen"),
        ROW.replace('"entities"', '"problems":["1"],"entities"'),
    ],
)
def test_another_offset_score_or_word_is_a_difference(printed):
    assert pages.difference(ROW, printed)


@pytest.mark.parametrize(
    "shown, printed",
    [
        ("tagged  85.06  90.24  46", "tagged  85.07  90.24  46"),
        ("tagged  85.06  90.24  46", "tagged  85.06  90.24  45"),
        ("r1,11,20,city,Bergen,0.99", "r1,11,21,city,Bergen,0.99"),
        ("r1,11,20,city,Bergen,0.99", "r1,11,20,city,Bergen,0.96"),
        ("two\nlines", "two lines"),
        ("3 documents, 1.5 docs/s", "4 documents, 1.5 docs/s"),
    ],
)
def test_numbers_of_tables_and_counts_are_compared(shown, printed):
    assert pages.difference(shown, printed)


@pytest.mark.parametrize(
    "shown, printed",
    [
        (ROW, ROW.replace("0.91", "0.9285")),
        ("r1,11,20,city,Bergen,0.99", "r1,11,20,city,Bergen,0.98"),
        ("name   F1\nbig  90.0", "name F1  \nbig 90.0\n"),
        ("3 documents, 1.5 docs/s, 2 seconds", "3 documents, 88.2 docs/s, 1,2 seconds"),
        ("/a/answers.sqlite: 7 answers, 0.1 MB", "/b/answers.sqlite: 7 answers, 2.4 MB"),
    ],
)
def test_scores_may_be_near_and_measures_anything(shown, printed):
    assert pages.difference(shown, printed) == ""


def test_a_page_with_a_wrong_offset_is_caught(tmp_path):
    page = tmp_path / "page.md"
    command = "echo '" + ROW + "'"
    page.write_text(f"# Page\n\n```sh\n{command}\n```\n\n```text\n{ROW}\n```\n")
    (tmp_path / "right").mkdir()
    assert pages.check(page, tmp_path / "right") == []
    other = ROW.replace('"start":3', '"start":2')
    page.write_text(page.read_text().replace(f"text\n{ROW}", f"text\n{other}"))
    (tmp_path / "wrong").mkdir()
    (found,) = pages.check(page, tmp_path / "wrong")
    assert found.startswith("page.md:3: ") and '"start":3' in found


def test_a_block_that_fails_is_caught_and_one_that_is_not_to_run_is_not(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\nfalse\n```\n\n<!-- not run: it fails -->\n```sh\nfalse\n```\n")
    (tmp_path / "desk").mkdir()
    (found,) = pages.check(page, tmp_path / "desk")
    assert found.startswith("page.md:1: exit code 1")
