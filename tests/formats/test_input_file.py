"""Files going in: suffixes, content, gzip, pipes, and what is refused before anything is read."""

import gzip
import io
import os
import threading
import tracemalloc

import pytest

from b2ner_cli import formats
from b2ner_cli.errors import InputError
from tests.formats.cases import put_file as put

LINE = b'{"id":1,"text":"a"}\n'
CONLL = b"Moon\tB-x\nplays\tO\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def texts(*inputs, **options):
    return [found.text for found in formats.read(inputs, **options)]


# Choosing the format ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.jsonl", LINE, ["a"]),
        ("a.NDJSON", LINE, ["a"]),
        ("a.json", b"\n" + LINE, ["a"]),
        ("a.csv", b"text\na\n", ["a"]),
        ("a.tsv", b"text\ta\nb,c\td\n", ["b,c"]),
        ("a.txt", LINE, [LINE.decode()]),
        ("a.bio", CONLL, ["Moon plays"]),
        ("a.conll", CONLL, ["Moon plays"]),
        ("notes.md", b"# a\n\nb\n", ["# a\n\nb\n"]),
        ("README", b"[1] a\nb", ["[1] a\nb"]),
        ("a.dat", b"\xef\xbb\xbf \n\t" + LINE, ["a"]),
        ("a.iob2", CONLL, ["Moon plays"]),
        ("a.testa", b"-DOCSTART- -X- O\n\nMoon NNP O\n", ["Moon"]),
        ("empty.jsonl", b"", []),
        ("blank.jsonl", b" \n\n", []),
        ("empty.conll", b"", []),
        ("empty", b"", [""]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_formats_by_suffix_and_content(name, data, expected, packed):
    path = put(f"{name}.gz", gzip.compress(data)) if packed else put(name, data)
    assert texts(path) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LINE, ["a"]),
        (b"\xef\xbb\xbf\n\n  " + LINE, ["a"]),
        (b"\na\n", ["", "a"]),
        (b"\xef\xbb\xbfa\nb", ["a", "b"]),
        (b"[a]\n", ["[a]"]),
        (CONLL, ["Moon\tB-x", "plays\tO"]),
        (b"", []),
        (gzip.compress(LINE, mtime=0), ["a"]),
    ],
)
def test_standard_input_is_json_lines_or_a_document_a_line(data, expected):
    assert texts("-", stdin=io.BytesIO(data)) == expected


def test_files_come_one_after_another():
    inputs = [put("a.jsonl", LINE), "-", put("b.txt", b"b")]
    found = list(formats.read(inputs, stdin=io.BytesIO(b"c\n")))
    assert [document.text for document in found] == ["a", "c", "b"]
    assert [document.origin for document in found] == ["a.jsonl:1", "stdin:1", "b.txt"]


def test_a_pipe_is_read_once_and_as_it_comes():
    os.mkfifo("pipe")
    release = threading.Event()

    def feed():
        with open("pipe", "wb", buffering=0) as pipe:
            pipe.write(b"\n" + LINE)
            release.wait(10)
            pipe.write(LINE)

    thread = threading.Thread(target=feed)
    thread.start()
    found = formats.read(["pipe"])
    assert next(found).origin == "pipe:2"  # before the writer is done
    release.set()
    assert len(list(found)) == 1
    thread.join()


def test_memory_is_flat():
    path = put("big.jsonl", (b'{"text":"%s"}\n' % (b"a" * 1000)) * 5000)
    tracemalloc.start()
    count = sum(1 for _ in formats.read([path]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 5000
    assert peak < 1_000_000


# Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "message", "hint"),
    [
        ("a.txt", b"\x89PNG\r\n\x1a\n\x00", "a PNG image", "text"),
        ("a.jsonl", b"PK\x03\x04\x14", "a zip archive", "unpack"),
        ("a.pdf", b"%PDF-1.7\n", "a PDF", "pdftotext a.pdf"),
        ("a.parquet", b"PAR1\x15", "a Parquet file", "export"),
        ("a.csv", b"\xff\xfei\x00d\x00", "UTF-16", "iconv -f UTF-16 -t UTF-8 a.csv"),
        ("a.zst", b"\x28\xb5\x2f\xfd", "zstd", "zstdcat a.zst"),
        ("a.txt", b"\x7fELF" + b"\x00" * 60, "binary data", ""),
        ("a.bin", b"\xff\x00\x81abc", "binary data", ""),
        ("a.jsonl", b' [{"text": "a"}]', "a JSON array", "jq -c '.[]' a.jsonl"),
        ("a.json", b"[\n{}\n]", "a JSON array", "jq -c '.[]' a.json"),
        ("a.json", b'{\n"text": "a"\n}', "JSON over several lines", "jq -c . a.json"),
        ("a.jsonl.gz", LINE, "not a gzip file", "leave out"),
        ("a.jsonl.gz", b"", "not a gzip file", ""),
        ("a.jsonl.gz", gzip.compress(LINE, mtime=0)[:8], "broken gzip data", "gzip -t a.jsonl.gz"),
        ("a.jsonl.gz", gzip.compress(b"\x89PNG", mtime=0), "a PNG image", ""),
    ],
)
def test_files_that_are_no_documents_are_refused(name, data, message, hint):
    put(name, data)
    with pytest.raises(InputError) as raised:
        formats.read([put("fine.txt", b""), name])  # before anything is read
    assert raised.value.message.startswith(f"{name}: ")
    assert message in raised.value.message
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("docs.jsnl", "docs.jsnl: no such file", "did you mean docs.jsonl?"),
        ("no/docs.jsonl", "no such file", "there is no folder 'no'"),
        ("folder", "is a directory", "*.txt"),
        ("a\x00b", "null byte", ""),
        ("", "no such file", ""),
    ],
)
def test_paths_that_cannot_be_opened(path, message, hint):
    put("docs.jsonl", LINE)
    os.mkdir("folder")
    with pytest.raises(InputError) as raised:
        formats.read([path])
    assert message in raised.value.message
    assert hint in raised.value.hint


def test_a_gzip_file_that_breaks_off_gives_what_it_holds():
    data = gzip.compress(b"".join(b'{"text":"%d"}\n' % (i * i) for i in range(20000)))
    for broken in (data[: len(data) // 2], data[:-4] + b"\x00\x00\x00\x01"):
        found = formats.read([put("a.jsonl.gz", broken)])
        assert next(found).text == "0"
        with pytest.raises(InputError, match=r"a\.jsonl\.gz: broken gzip data"):
            list(found)


def test_standard_input_is_there_once():
    with pytest.raises(InputError, match="named twice"):
        formats.read(["-", "-"])


def test_a_text_with_a_nul_is_a_text():
    assert texts(put("a.txt", b"a\x00b")) == ["a\x00b"]
