"""`b2ner docs`: the pages, as a list, one by one, and searched; their titles and links."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2ner_cli import docs
from b2ner_cli.cli.app import app
from b2ner_cli.errors import UsageError

FOLDER = Path(docs.__file__).parent
PAGES = docs.pages()
LINK = re.compile(r"\]\(([^)\s]+)\)")


def run(*arguments):
    return CliRunner().invoke(app, ["docs", *arguments])


def test_each_page_is_a_topic_with_a_title_and_a_sentence():
    assert {page.topic for page in PAGES} == {path.stem for path in FOLDER.glob("*.md")}
    assert tuple(page.topic for page in PAGES) == docs.TOPICS
    for page in PAGES:
        assert re.match(r"# \S[^\n]*\n\n(?!```)[^\n#|<-][^\n]*\.\n\n", page.text), page.topic
        assert not re.search(r"[.!?] [A-Z]", page.summary), page.topic
        assert len(page.summary) < 160, page.topic


def test_the_list_has_every_topic_with_its_summary():
    lines = run().stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(docs.TOPICS)
    assert all(line.endswith(page.summary) for line, page in zip(lines, PAGES, strict=True))


def test_a_page_in_a_pipe_is_its_file():
    done = subprocess.run(
        [sys.executable, "-m", "b2ner_cli", "docs", "Training"], capture_output=True, check=True
    )
    assert done.stdout == (FOLDER / "training.md").read_bytes()


def test_a_page_on_a_terminal_is_laid_out_in_a_pager():
    main, side = pty.openpty()
    environment = {**os.environ, "PAGER": "sed s/^/paged:/", "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-m", "b2ner_cli", "docs", "contributing"]
    process = subprocess.Popen(command, stdin=side, stdout=side, env=environment)
    os.close(side)
    shown = b""
    while True:
        try:
            piece = os.read(main, 1 << 16)
        except OSError:  # Linux says so where the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(main)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    assert text.startswith("paged:")
    assert "Contributing" in text and "# Contributing" not in text
    assert "not run" in text and "<!--" not in text.replace("<!-- not run: REASON -->", "").replace(
        "<!-- illustration -->", ""
    )


def test_search_names_topic_heading_and_line():
    done = run("--search", "CHECKPOINTING third more")
    assert done.exit_code == 0
    assert "training: Memory: - `--set checkpointing=true` computes each layer twice" in done.stdout
    assert all("checkpointing" in line for line in done.stdout.splitlines())


def test_search_of_one_topic_and_for_nothing():
    only = run("datasets", "--search", "parquet").stdout.splitlines()
    assert only and all(line.startswith("datasets: ") for line in only)
    nothing = run("--search", "no such words anywhere")
    assert (nothing.exit_code, nothing.stdout) == (1, "")


def test_search_reads_no_comment_of_a_block_as_a_heading():
    page = docs.Page("one", "# One\n\nA page.\n\n```sh\n# not a heading\nb2ner tag\n```\n")
    found = list(docs.search("b2ner tag", [page]))
    assert found == [docs.Hit("one", "One", "b2ner tag")]


def test_an_unknown_topic_names_topics_like_it():
    with pytest.raises(UsageError, match="no topic 'trainign'") as caught:
        docs.page("trainign")
    assert "did you mean training" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        docs.page("zzz")
    assert "architecture" in caught.value.hint


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.topic)
def test_links_lead_somewhere(page):
    for link in LINK.findall(page.text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (FOLDER / path).resolve() if path else FOLDER / f"{page.topic}.md"
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


def anchors(text):
    """The names that GitHub gives headings."""
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
