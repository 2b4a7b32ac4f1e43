"""Files going in and coming out: suffixes, sniffing, gzip, refusals, resume; B2NERD folders."""

import gzip
import io
import json
import os
import subprocess
import sys
import threading
import tracemalloc

import pytest

from b2ner_cli import formats
from b2ner_cli.core.document import BadRecord, Document, Entity, Mention, Result
from b2ner_cli.datasets import b2nerd
from b2ner_cli.errors import DataError, InputError, OutputError
from b2ner_cli.formats import open_output

LINE = b'{"id":1,"text":"a"}\n'
CONLL = b"Moon\tB-x\nplays\tO\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(name: str, data: bytes) -> str:
    with open(name, "wb") as file:
        file.write(data)
    return name


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
        (gzip.compress(LINE), ["a"]),
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
        ("a.jsonl.gz", gzip.compress(LINE)[:8], "broken gzip data", "gzip -t a.jsonl.gz"),
        ("a.jsonl.gz", gzip.compress(b"\x89PNG"), "a PNG image", ""),
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


# The output file --------------------------------------------------------------------------------


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
    assert texts("a.jsonl.gz") == ["a", "a", "a"]
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


# B2NERD -----------------------------------------------------------------------------------------

MOON = "Moon plays StarCraft II ."
ROW = {
    "sentence": MOON,
    "entities": [
        {"name": "Moon", "type": "player", "pos": [0, 4]},
        {"name": "StarCraft II", "type": "game"},
        {"name": "plays", "type": "NA", "pos": [5, 10]},
        {"name": "x", "type": ""},
    ],
}


def data_set(folder="data/NER_en/games", labels=("player", "game"), **splits):
    os.makedirs(folder, exist_ok=True)
    if labels is not None:
        put(f"{folder}/labels.json", json.dumps(labels).encode())
    for split, rows in splits.items():
        put(f"{folder}/{split}.json", json.dumps(rows).encode())
    return folder


def test_a_folder_of_data_sets():
    data_set(test=[ROW], train=[])
    data_set("data/NER_zh/films", ["电影"], dev=[])
    data_set("data/EE_en/news", {"sale": ["buyer", "seller"]}, test=[])
    data_set("data/NER_en_other/x", ["a"], test=[])
    news, games, other, films = b2nerd.datasets("data")
    assert (games.task, games.name, games.language, games.kind) == ("NER_en", "games", "en", "NER")
    assert (games.labels, games.splits) == (("player", "game"), ("train", "test"))
    assert (films.language, films.splits) == ("zh", ("dev",))
    assert (other.task, other.language) == ("NER_en_other", "en")
    assert (news.labels, news.roles) == (("sale",), {"sale": ("buyer", "seller")})
    for narrower in ("data/NER_en", "data/NER_en/games"):
        (found,) = b2nerd.datasets(narrower)
        assert (found.task, found.name) == ("NER_en", "games")


def test_rows_become_documents():
    data_set(test=[ROW, {"sentence": "", "entities": [], "labels": ["x"]}])
    (games,) = b2nerd.datasets("data")
    first, second = b2nerd.read_split(games, "test")
    assert first == Document(
        "0",
        MOON,
        entities=(Entity(0, 4, "player", "Moon", how="given"),),
        mentions=(Mention("player", "Moon"), Mention("game", "StarCraft II")),
        meta=ROW,
        text_field="sentence",
        origin="data/NER_en/games/test.json:0",
    )
    assert (second.id, second.text, second.labels, second.mentions) == ("1", "", ("x",), ())


def test_dev_stands_in_for_train_and_nothing_for_test():
    data_set(dev=[ROW])
    (games,) = b2nerd.datasets("data")
    assert b2nerd.split_path(games, "train").name == "dev.json"
    with pytest.raises(DataError, match=r"games: no test\.json") as raised:
        b2nerd.read_split(games, "test").__next__()
    assert raised.value.hint == "it has dev"


def test_relations_and_events_stay_in_meta():
    relation = {"sentence": "a b", "entities": [{"name": "a", "type": "thing", "pos": [0, 1]}]}
    data_set("data/RE_en/x", ["near"], test=[relation])
    data_set("data/EE_en/x", {"sale": ["buyer"]}, test=[{"sentence": "a", "events": [{"n": 1}]}])
    events, relations = b2nerd.datasets("data")
    (document,) = b2nerd.read_split(relations, "test")
    assert document.mentions == (Mention("thing", "a"),)
    (document,) = b2nerd.read_split(events, "test")
    assert (document.entities, document.meta["events"]) == (None, [{"n": 1}])


def entity(**changes):
    return {"sentence": "abc", "entities": [{"name": "a", "type": "x", **changes}]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": 1}, "test.json: an object, not a list of rows"),
        ([7], "test.json:0: a number, not an object"),
        ([{"entities": []}], "test.json:0: 'sentence' is null"),
        ([{"sentence": "a"}], "test.json:0: 'entities' is null, not a list"),
        ([entity(), {"sentence": "a", "entities": [1]}], "test.json:1: an entity is a number"),
        ([entity(name=None)], "test.json:0: an entity's 'name' is null"),
        ([entity(type=3)], "test.json:0: an entity's 'type' is a number"),
        ([entity(name="")], "test.json:0: an entity's 'name' is empty"),
        ([entity(type="y")], "test.json:0: type 'y' is not among the labels"),
        ([{**entity(), "labels": ["y"]}], "test.json:0: type 'x' is not among the labels"),
        ([{**entity(), "labels": "x"}], "test.json:0: 'labels': a string, not a list of labels"),
        ([entity(pos=[1, 2])], "test.json:0: pos [1, 2] of 'a' is 'b' in the sentence"),
        ([entity(pos=[0, 9])], "pos [0, 9] of 'a' is 'abc'"),
        ([entity(pos=["0", 1])], "pos ['0', 1] of 'a' is no span"),
        ([entity(pos=5)], "pos 5 of 'a' is no span"),
    ],
)
def test_rows_that_do_not_fit(rows, message):
    data_set(labels=["x"], test=rows)
    (games,) = b2nerd.datasets("data")
    with pytest.raises(DataError) as raised:
        list(b2nerd.read_split(games, "test"))
    assert message in raised.value.message


def test_misfits_may_be_taken_as_they_come():
    data_set(labels=["x"], test=[entity(pos=[1, 2]), entity(type="y")])
    (games,) = b2nerd.datasets("data")
    problems = []
    first, second = b2nerd.read_split(games, "test", problems.append)
    assert (first.mentions, first.entities) == ((Mention("x", "a"),), ())
    assert second.mentions == (Mention("y", "a"),)
    assert len(problems) == 2


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "labels.json: missing"),
        ([], "labels.json: an empty list"),
        ("x", "labels.json: a string"),
        (["a", ""], "labels.json: '' is not a label"),
        ({"a": "b"}, "labels.json: the roles of 'a' are not a list of names"),
    ],
)
def test_labels_that_cannot_be_read(labels, message):
    data_set(labels=labels, test=[])
    with pytest.raises(DataError) as raised:
        b2nerd.datasets("data")
    assert message in raised.value.message


def test_folders_without_data_sets():
    with pytest.raises(DataError, match="no such folder"):
        b2nerd.datasets("data")
    os.mkdir("data")
    with pytest.raises(DataError, match="no data sets in it"):
        b2nerd.datasets("data")
    put(f"{data_set()}/test.json", b'[\n{"sentence": }]')
    with pytest.raises(DataError, match=r"test\.json:0: malformed JSON at line 2, column 14"):
        list(b2nerd.read_split(b2nerd.datasets("data")[0], "test"))


def test_bad_records_have_no_output_line():
    found = list(formats.read([put("a.jsonl", b"x\n" + LINE)]))
    assert isinstance(found[0], BadRecord)
    _, encode = formats.writer("jsonl")
    assert encode(Result(found[1], ())) == b'{"id":1,"text":"a","entities":[]}\n'
