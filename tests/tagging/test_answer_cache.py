"""Answers survive the run, other runs, kills and damage; trouble is a warning, never an end."""

import logging
import math
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2ner_cli.core.engine import Completion
from b2ner_cli.tagging import answer_cache as module
from b2ner_cli.tagging.answer_cache import Cache, key

ANSWER = Completion("person: Ann", (-0.1, -0.25), (7, 11), "eos", 42)
ROOT = Path(__file__).parents[2]


def keys(count, name="k"):
    return [key(name, number) for number in range(count)]


def fill(path, count, name="k"):
    with Cache.open(path) as cache:
        cache.put_many(dict.fromkeys(keys(count, name), ANSWER))


completions = st.lists(
    st.tuples(
        st.floats(allow_nan=False) | st.floats(allow_nan=False, width=32), st.integers(0, 10_000)
    )
).flatmap(
    lambda tokens: st.builds(
        Completion,
        text=st.text(),
        logprobs=st.just(tuple(logprob for logprob, _ in tokens)),
        ends=st.just(tuple(end for _, end in tokens)),
        stop=st.sampled_from(["eos", "length"]),
        prompt_tokens=st.integers(0, 1 << 40),
    )
)


@settings(deadline=None)
@given(completions)
def test_an_answer_is_read_exactly_as_it_was_written(answer):
    assert module._read(module._row(b"k", answer)) == answer


def test_single_precision_takes_four_bytes_a_token():
    _, _, packed = module._row(b"k", Completion("ab", (-0.5, -math.inf), (1, 2)))
    assert len(packed) == 8


@pytest.mark.parametrize(
    "row",
    [
        (b"k", b"not json", b""),
        (b"k", b"[]", b""),
        (b"k", b'["a","eos",1,[1]]', b"abc"),
        (b"k", b'["a","eos",1,5]', b""),
    ],
)
def test_an_answer_that_cannot_be_read_is_no_answer(row):
    assert module._read(row) is None


def test_round_trip_over_close_and_open(tmp_path):
    path = tmp_path / "new" / "answers.sqlite"
    some, others = keys(1200), keys(3, "other")
    with Cache.open(path) as cache:
        cache.put_many(dict.fromkeys(some, ANSWER))
        assert cache.get_many([*some, *others]) == dict.fromkeys(some, ANSWER)
    with Cache.open(path) as cache:
        assert cache.get_many([*some, *others]) == dict.fromkeys(some, ANSWER)
        assert cache.info().answers == 1200
        assert cache.info().bytes > 10_000
        assert cache.info().usable
        assert cache.clear() == 1200
        assert cache.info().answers == 0
        assert cache.get_many(some) == {}


def test_waiting_answers_are_found_and_written_after_a_while(tmp_path, monkeypatch):
    with Cache.open(tmp_path / "a") as cache, Cache.open(tmp_path / "a") as other:
        cache.put_many({b"1": ANSWER})
        assert cache.get_many([b"1"]) == {b"1": ANSWER}
        assert other.get_many([b"1"]) == {}
        monkeypatch.setattr(module, "_SECONDS", -1.0)
        cache.put_many({b"2": ANSWER})
        assert other.get_many([b"1", b"2"]) == {b"1": ANSWER, b"2": ANSWER}


def test_keys_tell_parts_apart():
    digests = {
        key("ab", "c"), key("a", "bc"), key("abc"), key(["ab", "c"]), key(1), key("1"), key(None),
        key({"a": 1, "b": 2}), key({"a": 1}, {"b": 2}), key("\ud800"), key("\udc00"),
    }  # fmt: skip
    assert len(digests) == 11
    assert {len(digest) for digest in digests} == {16}
    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})


def test_a_text_that_is_not_unicode_is_not_kept(tmp_path):
    with Cache.open(tmp_path / "a") as cache:
        cache.put_many({b"1": Completion("\ud800"), b"2": ANSWER})
        assert cache.get_many([b"1", b"2"]) == {b"2": ANSWER}


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_set_aside(tmp_path, caplog, content):
    path = tmp_path / "answers.sqlite"
    path.write_bytes(content)
    fill(path, 3)
    (aside,) = tmp_path.glob("answers.sqlite.damaged-*")
    assert aside.read_bytes() == content
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert aside.name in caplog.text
    with Cache.open(path) as cache:
        assert len(cache.get_many(keys(3))) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA user_version = 99",
        "PRAGMA user_version = 0",
        "ALTER TABLE answers RENAME TO guests",
    ],
)
def test_another_version_or_program_is_set_aside(tmp_path, caplog, statement):
    path = tmp_path / "answers.sqlite"
    fill(path, 3)
    db = sqlite3.connect(path)
    db.execute(statement)
    db.close()
    with Cache.open(path) as cache:
        assert cache.get_many(keys(3)) == {}
        assert cache.usable
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize("act", ["read", "write"])
def test_damage_met_in_the_middle_of_a_run(tmp_path, caplog, act):
    path = tmp_path / "answers.sqlite"
    fill(path, 5000)
    with path.open("r+b") as file:  # the first page, with the schema, stays
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    with Cache.open(path) as cache:
        if act == "read":
            assert cache.get_many(keys(5000)) == {}
        cache.put_many(dict.fromkeys(keys(50, "new"), ANSWER))
        cache.flush()
        assert len(cache.get_many(keys(50, "new"))) == 50
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    assert len(caplog.records) == 1


def test_a_file_replaced_by_another_process_is_not_set_aside_again(tmp_path):
    path = tmp_path / "answers.sqlite"
    fill(path, 1)
    with Cache.open(path) as cache:
        os.replace(path, tmp_path / "moved")
        fill(path, 2)
        cache._set_aside("damaged")
        assert len(cache.get_many(keys(2))) == 2
    assert not list(tmp_path.glob("*.damaged-*"))


def test_a_directory_that_cannot_be_made_is_one_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with Cache.open(tmp_path / "file" / "answers.sqlite") as cache:
        cache.put_many({b"1": ANSWER})
        cache.put_many({b"2": ANSWER})
        assert cache.get_many([b"1"]) == {}
        assert not cache.info().usable
    assert len(caplog.records) == 1
    assert "running without the cache" in caplog.text


def test_a_path_that_is_a_directory_is_one_warning(tmp_path, caplog):
    with Cache.open(tmp_path) as cache:
        assert not cache.usable
    assert len(caplog.records) == 1


@pytest.mark.parametrize("limit", ["PRAGMA query_only = ON", "PRAGMA max_page_count = 1"])
def test_a_disk_that_takes_no_more_still_gives(tmp_path, caplog, limit):
    path = tmp_path / "answers.sqlite"
    fill(path, 3)
    with Cache.open(path) as cache:
        cache._db.execute(limit).close()
        for number in range(3):
            cache.put_many(dict.fromkeys(keys(500, f"new{number}"), ANSWER))
            cache.flush()
        assert len(cache.get_many(keys(3))) == 3
    assert len(caplog.records) == 1
    assert "new answers are not kept" in caplog.text


def test_a_medium_that_cannot_be_written_is_read(tmp_path, monkeypatch, caplog):
    path = tmp_path / "a #1?.sqlite"
    fill(path, 3)
    before = path.read_bytes()
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    with Cache.open(path) as cache:
        assert len(cache.get_many(keys(3))) == 3
        cache.put_many({b"1": ANSWER})
    assert path.read_bytes() == before
    assert len(caplog.records) == 1


def test_answers_wait_while_another_process_writes(tmp_path, caplog):
    path = tmp_path / "a"
    fill(path, 1)
    with Cache.open(path) as cache:
        cache._db.execute("PRAGMA busy_timeout = 1").close()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        cache.put_many({b"1": ANSWER})
        cache.flush()
        assert cache.clear() == 0
        cache.put_many({b"1": ANSWER})
        assert cache.get_many([b"1"]) == {b"1": ANSWER}
        other.execute("COMMIT")
        other.close()
    with Cache.open(path) as cache:
        assert cache.get_many([b"1"]) == {b"1": ANSWER}
    assert "not cleared" in caplog.text


WRITER = """
import sys, time
from pathlib import Path
from b2ner_cli.core.engine import Completion
from b2ner_cli.tagging.answer_cache import Cache, key
path, name, rounds, wait = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
with Cache.open(path) as cache:
    for number in range(rounds):
        cache.put_many({key(name, number): Completion("x" * 200)})
        cache.flush()
        print(number, flush=True)
        time.sleep(wait)
"""


def writer(path, name, rounds, wait):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(rounds), str(wait)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_two_processes_share_a_file(tmp_path, caplog):
    path = tmp_path / "answers.sqlite"
    for process in [writer(path, name, 100, 0) for name in ("one", "two")]:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with Cache.open(path) as cache:
        assert cache.info().answers == 200
        assert len(cache.get_many(keys(100, "one") + keys(100, "two"))) == 200
    assert not caplog.records


def test_a_killed_process_leaves_what_it_committed(tmp_path, caplog):
    path = tmp_path / "answers.sqlite"
    with writer(path, "k", 10_000, 0.001) as process:
        for _ in range(20):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    with Cache.open(path) as cache:
        assert len(cache.get_many(keys(last + 1))) == last + 1
    assert not caplog.records


def test_the_default_file_is_in_the_cache_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("B2NER_CACHE_DIR", str(tmp_path))
    with Cache.open() as cache:
        assert cache.path == tmp_path / "answers.sqlite"
