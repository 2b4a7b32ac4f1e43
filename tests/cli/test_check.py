"""`b2ner tag --check` as a user meets it: what stderr says, and that nothing else changes."""

import signal

import pytest

from tests.scripted import KillAt, ScriptedEngine, Shell, name_words, numbered

LABELS = ("-l", "person,city")


def first_label_only(labels, text):
    """Finds persons only where they are the first label."""
    return name_words([n for n in labels if n != "person" or n == labels[0]], text)


def unsteady():
    return ScriptedEngine(first_label_only)


def killed():
    return ScriptedEngine(rows=1, on_answer=KillAt(50, signal.SIGKILL))


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "docs.jsonl").write_bytes(numbered(90))
    return Shell(tmp_path)


def tag(shell, *options, engine=ScriptedEngine, **more):
    return shell.run(["tag", *options], engine=engine, **more)


def rows(err):
    """The table's cells, by label."""
    lines = [line.split() for line in err.splitlines()]
    return {line[0]: line[1:] for line in lines if len(line) == 5 and line[0] in ("person", "city")}


def test_agreement_is_told_on_stderr_and_nothing_else_changes(shell):
    plain = tag(shell, "docs.jsonl", *LABELS, engine=unsteady)
    done = tag(shell, "docs.jsonl", *LABELS, "--check", "--no-cache", engine=unsteady)
    assert done.code == 0
    assert done.out == plain.out
    assert "check: 90 of the 90 documents that this run tagged were asked again" in done.err
    assert "tagged 90 documents" in done.err
    assert rows(done.err) == {"city": ["100.00", "90", "0", "0"],
                              "person": ["0.00", "0", "180", "0"]}  # fmt: skip
    sample = tag(shell, "docs.jsonl", *LABELS, "--check", "--check-sample", 7, "-q")
    assert sample.out == plain.out
    assert "check: 7 of the 90 documents" in sample.err
    assert rows(sample.err)["city"] == ["100.00", "7", "0", "0"]
    assert "tagged" not in sample.err.replace("this run tagged", "")


def test_second_answers_are_cached_too(shell):
    tag(shell, "docs.jsonl", *LABELS, "--check")

    again = tag(shell, "docs.jsonl", *LABELS, "--check", engine=mute)
    assert again.code == 0
    assert rows(again.err)["city"] == ["100.00", "90", "0", "0"]


def mute():
    return ScriptedEngine(on_answer=KillAt(0))


def test_input_may_be_a_stream(shell):
    done = tag(shell, "-", *LABELS, "--check", stdin=numbered(12))
    assert "check: 12 of the 12 documents" in done.err


def test_a_run_that_goes_on_checks_what_it_tagged_itself(shell):
    whole = tag(shell, "docs.jsonl", *LABELS, "-o", "whole.jsonl")
    assert whole.code == 0
    cut = tag(shell, "docs.jsonl", *LABELS, "-o", "out.jsonl", "--check", "--no-cache",
              engine=killed)  # fmt: skip
    assert cut.code == -signal.SIGKILL
    written = (shell.folder / "out.jsonl.part").read_bytes().count(b"\n")
    assert 0 < written < 90
    done = tag(shell, "docs.jsonl", *LABELS, "-o", "out.jsonl", "--check", "--resume")
    left = 90 - written
    assert f"check: {left} of the {left} documents that this run tagged" in done.err
    assert (shell.folder / "out.jsonl").read_bytes() == (shell.folder / "whole.jsonl").read_bytes()
    over = tag(shell, "docs.jsonl", *LABELS, "-o", "out.jsonl", "--check", "--resume")
    assert over.code == 0
    assert "check: nothing was tagged" in over.err


def killed_in_check():
    return ScriptedEngine(rows=1, on_answer=KillAt(95, signal.SIGKILL))


def test_the_output_is_whole_before_the_second_answers(shell):
    cut = tag(shell, "docs.jsonl", *LABELS, "-o", "out.jsonl", "--check", engine=killed_in_check)
    assert cut.code == -signal.SIGKILL
    assert (shell.folder / "out.jsonl").read_bytes().count(b"\n") == 90
    assert not (shell.folder / "out.jsonl.part").exists()


def test_one_label_and_one_chunk_leave_nothing_to_compare(shell):
    done = tag(shell, "docs.jsonl", "-l", "person", "--check", "--check-sample", 5)
    assert "check: 0 of the 90 documents" in done.err
    assert "check: 5 more would be asked the same, and were not" in done.err
    assert "nothing to compare" in done.err


def test_a_dry_run_says_what_the_check_would_do(shell, tiny_llama):
    done = shell.run(["tag", "docs.jsonl", *LABELS, "-m", tiny_llama, "--dry-run", "--check",
                      "--check-sample", 7, "--chunk-tokens", 40])  # fmt: skip
    first = done.out.decode().splitlines()[0]
    assert first.startswith("# --check: then up to 7 documents again, labels in reverse order")


def test_relations_cannot_be_checked(shell):
    done = tag(shell, "docs.jsonl", "-l", "author", "--task", "re", "--check")
    assert done.code == 2
    assert "--check compares entities, not what task re finds" in done.err


def test_a_sample_without_a_check_is_refused(shell):
    done = tag(shell, "docs.jsonl", *LABELS, "--check-sample", 5)
    assert done.code == 2
    assert "--check-sample is of --check" in done.err


def test_nothing_tagged_is_nothing_checked(shell):
    assert "check: nothing was tagged" in tag(shell, "-", *LABELS, "--check", stdin=b"").err
