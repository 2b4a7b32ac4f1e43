"""The output file: there when it is whole, resumed after a kill, refused where it would be lost."""

import gzip
import io
import os
import subprocess
import sys

import pytest

from b2ner_cli import formats
from b2ner_cli.errors import OutputError
from b2ner_cli.formats import open_output
from tests.formats.cases import put_file as put

LINE = b'{"id":1,"text":"a"}\n'


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def test_output_appears_when_it_is_whole():
    with open_output("out.jsonl") as output:
        output.write(b"1\n")
        assert content("out.jsonl.part") == b"1\n"  # flushed
        assert not os.path.exists("out.jsonl")
    assert content("out.jsonl") == b"1\n"
    assert os.listdir() == ["out.jsonl"]


def test_a_run_without_documents_makes_an_empty_file():
    with open_output("out.csv", format="csv", header=b"id\n"):
        pass
    assert content("out.csv") == b"id\n"


def cut_short(path: str, data: bytes, **options) -> None:
    with pytest.raises(KeyboardInterrupt), open_output(path, **options) as output:
        output.write(data)
        raise KeyboardInterrupt


def test_a_cut_run_is_refused_resumed_or_overwritten():
    cut_short("out", b"one\ntwo\nthr")
    with pytest.raises(OutputError, match=r"out\.part is there already") as raised:
        open_output("out")
    assert "--resume" in raised.value.hint
    with open_output("out", resume=True) as output:
        assert (output.done, output.last, output.complete) == (2, b"two\n", False)
        assert "holds 2 documents" in output.reason
        output.write(b"three\n")
    assert content("out") == b"one\ntwo\nthree\n"
    with pytest.raises(OutputError, match="out is there already") as raised:
        open_output("out")
    assert "--force" in raised.value.hint
    with open_output("out", resume=True) as output:
        assert (output.complete, output.done) == (True, 0)
    with open_output("out", force=True) as output:
        output.write(b"new\n")
        assert content("out").startswith(b"one")
    assert content("out") == b"new\n"


@pytest.mark.parametrize(
    ("left", "done", "last", "kept"),
    [
        (b"", 0, b"", b""),
        (b"par", 0, b"", b""),
        (b"a\n", 1, b"a\n", b"a\n"),
        (b"a\nb\n\x00\x00", 2, b"b\n", b"a\nb\n"),
        (b"a\n" + b"x" * (3 << 20) + b"\nc", 2, b"x" * (3 << 20) + b"\n", None),
        (b"x" * ((1 << 20) - 1) + b"\nbc\nd", 2, b"bc\n", None),
    ],
)
def test_resuming_drops_an_incomplete_line(left, done, last, kept):
    put("out.part", left)
    with open_output("out", resume=True) as output:
        assert output.done == done
        assert output.last == last
        output.write(b"z\n")
    kept = left[: left.rindex(b"\n") + 1] if kept is None else kept
    assert content("out") == kept + b"z\n"


@pytest.mark.parametrize(
    ("path", "format"), [("out.csv", "csv"), ("o", "conll"), ("o.gz", "jsonl")]
)
def test_what_cannot_be_continued_starts_over(path, format):
    put(f"{path}.part", b"left\nover")
    with open_output(path, format=format, header=b"h\n", resume=True) as output:
        assert output.done == 0
        assert "starts over" in output.reason
        output.write(b"1\n")
    read = gzip.decompress if path.endswith(".gz") else bytes
    assert read(content(path)) == b"h\n1\n"


def test_gzip_output_is_the_same_whenever_it_is_written():
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        with open_output(name) as output:
            output.write(LINE * 3)
    assert content("a.jsonl.gz") == content("b.jsonl.gz")
    assert gzip.decompress(content("a.jsonl.gz")) == LINE * 3
    with pytest.raises(KeyError), open_output("c.gz") as output:
        output.write(LINE)
        raise KeyError
    assert not os.path.exists("c.gz")


def test_nothing_is_left_where_nothing_was_written():
    with pytest.raises(KeyError), open_output("out.csv", format="csv", header=b"h\n"):
        raise KeyError
    assert os.listdir() == []


def test_two_runs_do_not_write_one_file():
    with open_output("out") as first:
        first.write(b"1\n")
        with pytest.raises(OutputError, match="is there already"):
            open_output("out")
        for options in ({"resume": True}, {"force": True}):
            with pytest.raises(OutputError, match="another run is writing it"):
                open_output("out", **options)
        assert content("out.part") == b"1\n"
    assert content("out") == b"1\n"


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("no/where/out", "no/where/out: there is no folder 'no/where'", "mkdir -p no/where"),
        ("folder", "folder: a folder", "name a file"),
        ("x" * 300, "file name too long", ""),
    ],
)
def test_outputs_that_cannot_be_written(path, message, hint):
    os.mkdir("folder")
    with pytest.raises(OutputError) as raised:
        open_output(path)
    assert message in raised.value.message
    assert hint in raised.value.hint


class Breaking(io.RawIOBase):
    def __init__(self, error: OSError) -> None:
        self.error = error

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        raise self.error


def test_a_full_disk_is_said_and_a_closed_pipe_is_passed_on():
    for error in (OSError(28, "No space left on device"), PermissionError(13, "Permission denied")):
        with pytest.raises(OutputError, match="standard output: "):
            open_output("-", stdout=Breaking(error)).write(b"1\n")
    with pytest.raises(BrokenPipeError):
        open_output(None, stdout=Breaking(BrokenPipeError())).write(b"1\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_devices_are_written_directly():
    with pytest.raises(OutputError, match="no space") as raised, open_output("/dev/full") as output:
        output.write(b"1\n")
    assert raised.value.hint == "free some space"
    with open_output("/dev/null") as output:
        output.write(b"1\n")


def test_standard_output_stays_open():
    stdout = io.BytesIO()
    with open_output("-", header=b"h\n", stdout=stdout) as output:
        output.write(b"1\n")
    assert stdout.getvalue() == b"h\n1\n"


def test_a_killed_run_is_continued_to_the_same_bytes():
    script = (
        "import os\n"
        "from b2ner_cli.formats import open_output\n"
        "with open_output('out') as output:\n"
        "    for i in range(3): output.write(b'%d\\n' % i)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    root = os.path.dirname(os.path.dirname(formats.__path__[0]))
    ended = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": root})
    assert ended.returncode == -9
    with open_output("out", resume=True) as output:
        assert output.done == 3
        output.write(b"3\n")
    assert content("out") == b"0\n1\n2\n3\n"
