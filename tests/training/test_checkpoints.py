"""Checkpoints are there whole or not at all, whatever happens while they are written or kept."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from b2ner_cli.errors import B2nerError, OutputError
from b2ner_cli.training import checkpoints, run_folder
from tests.training.test_loop import run, state

FILE = "state.safetensors"
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(out):
    return sorted(path.name for path in (out / "checkpoints").iterdir())


def same(out, undisturbed):
    expected, got = state(undisturbed[0], 6), state(out, 6)
    return all(torch.equal(got[name], tensor) for name, tensor in expected.items())


def copied(undisturbed, out):
    """A run killed at its end: what it goes on from is there, the adapter is not."""
    shutil.copytree(undisturbed[0] / "checkpoints", out / "checkpoints")


def resumed(model, out, **more):
    steps = []
    run(model, out, checkpoint_every=2, resume=True, report=lambda p: steps.append(p.step), **more)
    return steps


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    """One bit of a tensor: the file is as long, and reads without an error."""
    content = bytearray(path.read_bytes())
    content[-50] ^= 1
    path.write_bytes(content)


def rewrite_notes(path):
    with checkpoints.safe_open(path, framework="pt") as stored:
        notes = dict(stored.metadata())
    save_file(load_file(path), path, metadata={**notes, "step": "4"})


DAMAGES = {
    "cut off": cut_off,
    "one bit": flip,
    "notes": rewrite_notes,
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    undisturbed, tiny_llama, tmp_path, warned, how
):
    copied(undisturbed, tmp_path)
    DAMAGES[how](tmp_path / "checkpoints" / "step-000006" / FILE)
    assert resumed(tiny_llama, tmp_path) == [5, 6]
    (message,) = warned
    assert "step-000006" in message
    assert message.endswith("going on from step-000004")
    assert same(tmp_path, undisturbed)
    assert names(tmp_path) == ["step-000004", "step-000006"]


def test_all_damaged(undisturbed, tiny_llama, tmp_path):
    copied(undisturbed, tmp_path)
    for step in ("step-000004", "step-000006"):
        cut_off(tmp_path / "checkpoints" / step / FILE)
    with pytest.raises(B2nerError, match=r"cannot resume from .*step-000006") as caught:
        resumed(tiny_llama, tmp_path)
    assert "remove it" in caught.value.hint
    assert names(tmp_path) == ["step-000004", "step-000006"]  # for whoever may repair them


def test_a_damaged_checkpoint_does_not_outlive_newer_ones(undisturbed, tiny_llama, tmp_path):
    copied(undisturbed, tmp_path)
    cut_off(tmp_path / "checkpoints" / "step-000006" / FILE)

    def kill(progress):
        if progress.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_llama, tmp_path, checkpoint_every=1, resume=True, report=kill)
    assert names(tmp_path) == ["step-000004", "step-000005"]


def test_checkpoints_of_earlier_versions_are_read(undisturbed, tiny_llama, tmp_path):
    copied(undisturbed, tmp_path)
    path = tmp_path / "checkpoints" / "step-000006" / FILE
    with checkpoints.safe_open(path, framework="pt") as stored:
        notes = dict(stored.metadata())
    assert len(notes.pop("digest")) == 32
    save_file(load_file(path), path, metadata=notes)
    assert resumed(tiny_llama, tmp_path) == []
    assert same(tmp_path, undisturbed)


def test_they_are_ordered_by_number(tmp_path):
    for name in ("step-999999", "step-1000000", "step-1000001", ".step-2000000.part"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert checkpoints.stored(tmp_path)[-1].name == "step-1000001"


# killed while writing


@pytest.mark.parametrize("where", ["save_file", "_sync", "_put"])
def test_interrupted_while_a_checkpoint_is_written(
    undisturbed, tiny_llama, tmp_path, monkeypatch, where
):
    whole = getattr(checkpoints, where)

    def interrupted(*arguments, **more):
        if "step-000004" in str(arguments):
            raise KeyboardInterrupt
        return whole(*arguments, **more)

    def save_half(tensors, path, metadata):
        if "step-000004" in str(path):
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        whole(tensors, path, metadata=metadata)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, where, save_half if where == "save_file" else interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_llama, tmp_path, checkpoint_every=2)
    assert names(tmp_path) == [".step-000004.part", "step-000002"]
    assert resumed(tiny_llama, tmp_path) == [3, 4, 5, 6]
    assert same(tmp_path, undisturbed)
    assert names(tmp_path) == ["step-000004", "step-000006"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training.test_loop import run

def kill(progress):
    if progress.step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

run(Path(sys.argv[1]), Path(sys.argv[2]), checkpoint_every=2, report=kill)
"""


def test_killed_outright(undisturbed, tiny_llama, tmp_path):
    # with the threads of this process: how many add up numbers decides their last bits
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tiny_llama), str(tmp_path)],
        env={**os.environ, **threads}, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names(tmp_path) == ["step-000002", "step-000004"]
    assert resumed(tiny_llama, tmp_path) == [5, 6]
    assert same(tmp_path, undisturbed)


# a full disk


@pytest.mark.parametrize("error", [FULL, SafetensorError("I/O error: No space left on device")])
def test_a_full_disk_leaves_the_checkpoint_before(
    undisturbed, tiny_llama, tmp_path, monkeypatch, error
):
    whole = checkpoints.save_file

    def save(tensors, path, metadata):
        if "step-000006" in str(path):
            path.write_bytes(b"half")
            raise error
        whole(tensors, path, metadata=metadata)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_file", save)
        with pytest.raises(OutputError, match=r"step-000006: .*No space left") as caught:
            run(tiny_llama, tmp_path, checkpoint_every=2)
    assert str(tmp_path) in caught.value.message
    assert "--resume" in caught.value.hint
    assert names(tmp_path) == ["step-000002", "step-000004"]  # the half one is out of the way
    assert resumed(tiny_llama, tmp_path) == [5, 6]
    assert same(tmp_path, undisturbed)


def test_a_file_that_really_cannot_grow(undisturbed, tiny_llama, tmp_path):
    """The system itself refuses to write on, as it does on a full disk."""
    size = (undisturbed[0] / "checkpoints" / "step-000006" / FILE).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(progress):
        if progress.step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))

    try:
        with pytest.raises(OutputError, match=r"cannot write checkpoint .*step-000004"):
            run(tiny_llama, tmp_path, checkpoint_every=2, report=limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["step-000002"]
    assert resumed(tiny_llama, tmp_path) == [3, 4, 5, 6]
    assert same(tmp_path, undisturbed)


def test_no_room_for_the_adapter(undisturbed, tiny_llama, tmp_path, monkeypatch):
    whole = checkpoints.save_file

    def save(tensors, path, metadata):
        if path.name.startswith("adapter"):
            raise FULL
        whole(tensors, path, metadata=metadata)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "save_file", save)
        with pytest.raises(OutputError, match=r"cannot write adapter .*No space left") as caught:
            run(tiny_llama, tmp_path, checkpoint_every=2)
    assert "--resume" in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints"]
    assert resumed(tiny_llama, tmp_path) == []
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_no_room_for_a_line_of_the_log(tmp_path):
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="no space left on device") as caught:
        run_folder.append(tmp_path / "log.jsonl", "{}")
    assert str(tmp_path) in caught.value.message
    assert "--resume" in caught.value.hint


def test_text_is_written_whole_or_left(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    run_folder.write_text(path, "old")

    def fail(self, *arguments, **more):
        with self.open("w") as stream:
            stream.write("ne")
        raise FULL

    with monkeypatch.context() as patched:
        patched.setattr(type(path), "write_text", fail)
        with pytest.raises(OutputError, match="cannot write to"):
            run_folder.write_text(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]
