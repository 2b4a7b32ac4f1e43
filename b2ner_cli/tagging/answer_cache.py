"""Answers kept on disk, so that no prompt is answered twice: one sqlite file, shared by runs.

Keys are digests of everything an answer depends on; what goes into them is the caller's matter.
The cache never ends a run: a damaged file is set aside, a disk that is full or cannot be written
is reported once on the ``b2ner`` logger, and the run goes on without.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import orjson
import xxhash

from b2ner_cli.core.engine import Completion
from b2ner_cli.core.paths import cache_directory
from b2ner_cli.errors import UsageError

SCHEMA = 1  # PRAGMA user_version; a file with another one is not read
FILE_NAME = "answers.sqlite"

_BATCH = 1000  # answers a transaction
_SECONDS = 2.0  # the longest an answer waits for its transaction while others come in
_KEYS = 500  # keys a query
_MOST_PENDING = 20_000  # answers held while another process keeps the file locked

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

_CREATE = """
CREATE TABLE IF NOT EXISTS answers (
    key      BLOB PRIMARY KEY,
    answer   BLOB NOT NULL,  -- JSON: [text, stop, prompt_tokens, ends]
    logprobs BLOB NOT NULL   -- little-endian, 4 or 8 bytes each, as many as ends
)
"""

_log = logging.getLogger("b2ner")

Row = tuple[bytes, bytes, bytes]


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """What a cache holds; `usable` is False where the file cannot be opened."""

    path: Path
    answers: int
    bytes: int
    usable: bool


def key(*parts: Any) -> bytes:
    """Return the 16-byte digest of JSON values; different parts give different digests."""
    try:
        encoded = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half a surrogate pair in a text, which orjson refuses
        encoded = json.dumps(parts, sort_keys=True).encode()
    return xxhash.xxh3_128_digest(encoded)


class Cache:
    """An open answer file, used from one thread at a time; writes are buffered.

    Open it with `Cache.open`, as a context manager or with `close`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._writable = True
        self._pending: dict[bytes, Row] = {}
        self._committed = time.monotonic()
        self._connect()

    @classmethod
    def open(cls, path: Path | None = None) -> Cache:
        """Open or create the file, by default in the user's cache directory.

        Raises UsageError for a file that is something else: it must not be set aside as damaged.
        """
        if path is not None:
            _check_not_alien(path)
        return cls(cache_directory() / FILE_NAME if path is None else path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def usable(self) -> bool:
        """Whether answers can be looked up at all."""
        return self._db is not None

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, Completion]:
        """Return the known answers among the keys."""
        wanted = sorted(keys)  # in the order of the index: fewer pages are read twice
        pending = self._pending
        rows = [pending[one] for one in wanted if one in pending] if pending else []
        if rows:
            wanted = [one for one in wanted if one not in pending]
        for start in range(0, len(wanted), _KEYS):
            rows += self._select(wanted[start : start + _KEYS])
        return {row[0]: answer for row in rows if (answer := _read(row)) is not None}

    def put_many(self, answers: Mapping[bytes, Completion]) -> None:
        """Keep answers; they reach the disk in batches, within seconds, and on close."""
        if self._db is None or not self._writable:
            return
        for one, answer in answers.items():
            if (row := _row(one, answer)) is not None:
                self._pending[one] = row
        late = time.monotonic() - self._committed > _SECONDS
        if len(self._pending) >= _BATCH or (late and self._pending):
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        self._committed = time.monotonic()
        while self._pending and self._writable and (db := self._db) is not None:
            batch = list(islice(self._pending.values(), _BATCH))
            with self._trouble():
                with _transaction(db):
                    db.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", batch)
                for row in batch:
                    del self._pending[row[0]]
                continue
            if self._db is db:  # locked by another process; a file set aside gets another go
                break
        if not self._writable or len(self._pending) > _MOST_PENDING:
            self._pending.clear()

    def info(self) -> CacheInfo:
        """Count the answers and the bytes on disk."""
        self.flush()
        answers = 0
        if self._db is not None:
            with self._trouble():
                answers = self._db.execute("SELECT count(*) FROM answers").fetchone()[0]
        size = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):
                size += os.stat(f"{self.path}{suffix}").st_size
        return CacheInfo(self.path, answers, size, self.usable)

    def clear(self) -> int:
        """Forget every answer, give the space back, and return how many there were."""
        self._pending.clear()
        with self._trouble():
            if self._db is not None:
                gone = self._db.execute("DELETE FROM answers").rowcount
                with suppress(sqlite3.OperationalError):  # another process reads: space comes later
                    self._db.execute("VACUUM")
                    self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
                return gone
        _log.warning("%s: not cleared", self.path)
        return 0

    def close(self) -> None:
        """Write what is waiting and close the file."""
        self.flush()
        if self._pending:
            _log.warning("%s: %d answers could not be kept", self.path, len(self._pending))
            self._pending.clear()
        self._disconnect()

    def _select(self, keys: Sequence[bytes]) -> list[Row]:
        if self._db is None:
            return []
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, answer, logprobs FROM answers WHERE key IN ({marks})"
        with self._trouble():
            return self._db.execute(query, keys).fetchall()
        return []

    # --- the file and what can go wrong with it -----------------------------------------------

    def _connect(self) -> None:
        with self._trouble():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._db = _connect(self.path)
            self._inode = _inode(self.path)

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        """Turn any failure of the file into one warning and a cache that does less."""
        try:
            yield
        except _ForeignFile as error:
            self._set_aside(str(error))
        except sqlite3.Error as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code in _DAMAGED:
                self._set_aside(str(error))
            elif code in _BUSY and self._db is not None:
                _log.debug("%s: %s", self.path, error)  # another process writes: try again later
            elif self._db is not None and self._writable:
                self._writable = False
                _log.warning("%s: %s; new answers are not kept", self.path, error)
            elif self._db is None:
                _log.warning("%s: %s; running without the cache", self.path, error)
        except OSError as error:
            self._disconnect()
            _log.warning("%s: %s; running without the cache", self.path, error.strerror or error)

    def _set_aside(self, reason: str) -> None:
        """Move an unusable file out of the way and begin a new one."""
        self._disconnect()
        if _inode(self.path) != self._inode and self._inode is not None:
            self._connect()  # another process has set it aside already
            return
        stamp = time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}"
        aside = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        if aside.exists():  # twice in a second: this disk is not to be trusted
            _log.warning("%s: %s; running without the cache", self.path, reason)
            return
        try:
            os.replace(self.path, aside)
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")
        except OSError as error:
            _log.warning("%s: %s; running without the cache (%s)", self.path, reason, error)
            return
        _log.warning("%s: %s; set aside as %s", self.path, reason, aside.name)
        self._inode = None
        self._connect()


def _check_not_alien(path: Path) -> None:
    """Refuse what is no database at all, unless its name says that it was to be one."""
    if path.suffix.lower() in (".sqlite", ".sqlite3", ".db") or not path.is_file():
        return
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError:
        return  # opening it will say so
    if head and head != b"SQLite format 3\0":
        raise UsageError(f"{path} is no store of answers", "name another file, or a new one")


class _ForeignFile(Exception):
    """A database, but not one of ours, or of another version."""


def _connect(path: Path) -> sqlite3.Connection:
    # On a medium that cannot be written sqlite needs to be told that nobody else writes either.
    fixed = path.exists() and not os.access(path.parent, os.W_OK)
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}{'?immutable=1' if fixed else ''}",
        uri=True,
        timeout=10.0,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if _version(db) != SCHEMA:
            with _transaction(db):  # another process may be here too: look again, alone
                if _version(db) == 0 and not _tables(db):
                    db.execute(_CREATE)
                    db.execute(f"PRAGMA user_version = {SCHEMA}")
            if (version := _version(db)) != SCHEMA:
                raise _ForeignFile(f"not an answer cache of version {SCHEMA} (it says {version})")
        if "answers" not in _tables(db):
            raise _ForeignFile("not an answer cache")
        with suppress(sqlite3.OperationalError):  # read-only, or a file system without locks
            db.execute("PRAGMA journal_mode = WAL").close()
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection) -> int:
    with closing(db.execute("PRAGMA user_version")) as rows:
        return int(rows.fetchone()[0])


def _tables(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


# --- answers as bytes -------------------------------------------------------------------------


def _row(key: bytes, answer: Completion) -> Row | None:
    """The answer as stored, exactly: 4 bytes a log-probability where that loses nothing."""
    try:
        fields = orjson.dumps([answer.text, answer.stop, answer.prompt_tokens, answer.ends])
    except TypeError:  # half a surrogate pair
        return None
    count = len(answer.logprobs)
    try:
        packed = struct.pack(f"<{count}f", *answer.logprobs)
        exact = struct.unpack(f"<{count}f", packed) == answer.logprobs
    except OverflowError:
        exact = False
    return key, fields, packed if exact else struct.pack(f"<{count}d", *answer.logprobs)


def _read(row: Row) -> Completion | None:
    """The inverse; None for what cannot be read, which is then answered anew."""
    try:
        _, fields, packed = row
        text, stop, prompt_tokens, ends = orjson.loads(fields)
        kind = "f" if len(packed) == 4 * len(ends) else "d"
        logprobs = struct.unpack(f"<{len(ends)}{kind}", packed)
        return Completion(text, logprobs, tuple(ends), stop, prompt_tokens)
    except (ValueError, TypeError, struct.error):
        return None
