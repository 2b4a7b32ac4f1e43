"""A run that is killed or interrupted goes on where it was, and ends with the same bytes."""

import functools
import signal

import pytest

from tests.scripted import Finished, KillAt, ScriptedEngine, Shell, numbered

COUNT = 110  # windows of 32, 64 and 14 documents


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "docs.jsonl").write_bytes(numbered(COUNT))
    return Shell(tmp_path)


def command(output, cache, *options):
    return ["tag", "docs.jsonl", "-l", "person,city", "-o", output, "--cache", cache, *options]


def scripted(on_answer=None):
    """Scores depend on the batch: bytes are the same only if batches are."""
    more = {"on_answer": on_answer} if on_answer else {}
    return functools.partial(ScriptedEngine, drift=True, **more)


def undisturbed(shell, suffix="jsonl"):
    done = shell.run(command(f"whole.{suffix}", "whole.sqlite"), engine=scripted())
    assert done.code == 0, done.err
    return (shell.folder / f"whole.{suffix}").read_bytes()


def lines_in(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize(
    ("suffix", "numbers"),
    [
        ("jsonl", (0, 5, 31, 33, 70, 97, 109)),
        ("csv", (5, 70)),
        ("conll", (31, 97)),
        ("jsonl.gz", (0, 70)),
    ],
)
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(shell, suffix, numbers):
    whole = undisturbed(shell, suffix)
    assert len(whole) > 400
    for number in numbers:
        name, cache = f"{number}.{suffix}", f"{number}.sqlite"
        killed = shell.run(command(name, cache), engine=scripted(KillAt(number)))
        assert killed.code == -signal.SIGKILL
        assert not (shell.folder / name).exists()
        done = shell.run(command(name, cache, "--resume"), engine=scripted())
        assert done.code == 0, done.err
        assert (shell.folder / name).read_bytes() == whole, number
        assert not (shell.folder / f"{name}.part").exists()


def test_a_run_may_be_killed_many_times_and_lose_the_end_of_a_line(shell):
    whole = undisturbed(shell)
    part = shell.folder / "out.jsonl.part"
    for step, number in enumerate((20, 40, 60)):
        resume = ["--resume"] if step else []
        done = shell.run(command("out.jsonl", "c", *resume), engine=scripted(KillAt(number)))
        assert done.code == -signal.SIGKILL
        with part.open("r+b") as stream:  # as a crash of the machine would leave it
            stream.truncate(max(0, part.stat().st_size - 7))
    assert lines_in(part) > 32
    done = shell.run(command("out.jsonl", "c", "--resume"), engine=scripted())
    assert done.code == 0, done.err
    assert (shell.folder / "out.jsonl").read_bytes() == whole


def test_a_resumed_run_says_so_and_asks_little_again(shell):
    undisturbed(shell)
    shell.run(command("out.jsonl", "c"), engine=scripted(KillAt(90)))
    held = lines_in(shell.folder / "out.jsonl.part")
    assert held >= 32
    done = shell.run(command("out.jsonl", "c", "--resume"), engine=scripted())
    assert f"out.jsonl.part holds {held} documents" in done.err
    assert f"tagged {COUNT - held} documents" in done.err


def test_resuming_without_a_cache_gives_the_same_bytes(shell):
    whole = undisturbed(shell)
    for number in (20, 60):
        options = ["tag", "docs.jsonl", "-l", "person,city", "-o", f"{number}.jsonl", "--no-cache"]
        shell.run(options, engine=scripted(KillAt(number)))
        shell.run([*options, "--resume"], engine=scripted())
        assert (shell.folder / f"{number}.jsonl").read_bytes() == whole


OTHER_SETTINGS = [
    (["-l", "person"], "labels"),
    (["-l", "city,person"], "labels"),
    (["-l", "person,city", "--lang", "de"], "language"),
    (["-l", "person,city", "--min-score", "0.5"], "min score"),
    (["-l", "person,city", "--all-occurrences"], "all occurrences"),
]


def test_a_part_is_not_gone_on_with_under_other_settings(shell):
    whole = undisturbed(shell)
    shell.run(command("out.jsonl", "c"), engine=scripted(KillAt(50)))
    part = (shell.folder / "out.jsonl.part").read_bytes()
    for other, named in OTHER_SETTINGS:
        asked = ["tag", "docs.jsonl", "-o", "out.jsonl", "--cache", "c", "--resume", *other]
        done = shell.run(asked, engine=scripted())
        assert done.code == 2, other
        assert f"begun with other settings: {named}" in done.err
        assert "--force" in done.err
        assert (shell.folder / "out.jsonl.part").read_bytes() == part
    done = shell.run(command("out.jsonl", "c", "--resume"), engine=scripted())
    assert (done.code, (shell.folder / "out.jsonl").read_bytes()) == (0, whole)
    assert not list(shell.folder.glob("out.jsonl.part*"))


def test_a_part_without_notes_goes_on(shell):
    whole = undisturbed(shell)
    shell.run(command("out.jsonl", "c"), engine=scripted(KillAt(50)))
    notes = shell.folder / "out.jsonl.part.run"
    assert notes.exists()
    notes.write_text("{")
    shell.run(command("out.jsonl", "c", "--resume"), engine=scripted(KillAt(5)))
    notes.unlink()
    done = shell.run(command("out.jsonl", "c", "--resume"), engine=scripted())
    assert (done.code, (shell.folder / "out.jsonl").read_bytes()) == (0, whole)


def test_an_interrupted_run_leaves_its_part_and_130(shell):
    whole = undisturbed(shell)
    interrupt = scripted(KillAt(50, signal.SIGINT))
    done = shell.run(command("out.jsonl", "c"), engine=interrupt)
    assert done.code == 130
    assert "Traceback" not in done.err
    assert not (shell.folder / "out.jsonl").exists()
    assert lines_in(shell.folder / "out.jsonl.part") >= 32
    done = shell.run(command("out.jsonl", "c", "--resume"), engine=scripted())
    assert done.code == 0
    assert (shell.folder / "out.jsonl").read_bytes() == whole


def test_an_output_that_is_begun_is_neither_overwritten_nor_mixed_up(shell):
    shell.run(command("out.jsonl", "c"), engine=scripted(KillAt(50)))
    part = (shell.folder / "out.jsonl.part").read_bytes()

    refused = shell.run(command("out.jsonl", "c"), engine=scripted())
    assert refused.code == 2
    assert "out.jsonl.part is there already" in refused.err
    assert "--resume continues it, --force starts over" in refused.err

    (shell.folder / "docs.jsonl").write_bytes(numbered(COUNT, words=("Person{}", "and{}", "so{}")))
    other = shell.run(command("out.jsonl", "c", "--resume"), engine=scripted())
    assert other.code == 2
    assert "was not written from this input" in other.err

    (shell.folder / "docs.jsonl").write_bytes(numbered(3))
    short = shell.run(command("out.jsonl", "c", "--resume"), engine=scripted())
    assert short.code == 2
    assert "the input only 3" in short.err
    assert (shell.folder / "out.jsonl.part").read_bytes() == part

    (shell.folder / "docs.jsonl").write_bytes(numbered(COUNT))
    whole = undisturbed(shell)
    forced = shell.run(command("out.jsonl", "other", "--force"), engine=scripted())
    assert forced.code == 0
    assert (shell.folder / "out.jsonl").read_bytes() == whole


def test_two_runs_do_not_write_one_output(shell):
    first = shell.start(command("out.jsonl", "c"), engine=scripted(KillAt(40, signal.SIGSTOP)))
    first.wait_until(lambda: lines_in(shell.folder / "out.jsonl.part") >= 32)
    second = shell.run(command("out.jsonl", "c", "--resume"), engine=scripted())
    first.kill()
    assert isinstance(first.wait(), Finished)
    assert second.code == 2
    assert "another run is writing it" in second.err


# With a model -------------------------------------------------------------------------------------


def test_killed_while_a_model_answers(shell, tiny_llama):
    (shell.folder / "docs.jsonl").write_bytes(numbered(50, words=("Ann{}", "met", "Bob{}")))
    model = ["-m", tiny_llama, "--dtype", "float32", "--max-answer", "100", "--device", "cpu",
             "--batch-tokens", "1600"]  # fmt: skip
    done = shell.run([*command("whole.jsonl", "whole.sqlite"), *model])
    assert done.code == 0, done.err
    part = shell.folder / "out.jsonl.part"
    running = shell.start([*command("out.jsonl", "c"), *model])
    running.wait_until(lambda: lines_in(part) >= 34 and (shell.folder / "c").exists())
    running.kill()
    assert running.wait().code == -signal.SIGKILL
    done = shell.run([*command("out.jsonl", "c", "--resume"), *model])
    assert done.code == 0, done.err
    whole = (shell.folder / "whole.jsonl").read_bytes()
    assert (shell.folder / "out.jsonl").read_bytes() == whole
