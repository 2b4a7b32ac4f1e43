"""Folders of files, on disk or inside a zip archive, which is read in place and never unpacked.

    data                        a folder
    B2NERD_data.zip             an archive, as if it were a folder
    B2NERD_data.zip/B2NERD      a folder in it

Gives pathlib's paths or zipfile's, which are alike, and streams of their files. Knows nothing of
what is in the files.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import IO

from b2ner_cli.errors import DataError

Place = Path | zipfile.Path

_ZIP = b"PK\x03\x04"


def root(path: str | Path) -> tuple[Place, tuple[str, ...]]:
    """Find a folder, and the names on the way to it. Raises DataError if it is none."""
    path = Path(path)
    if path.is_dir():
        return path, path.resolve().parts
    for archive in (path, *path.parents):
        if archive.is_file():
            names = path.relative_to(archive).parts
            return _inside(archive, names), (archive.resolve().stem, *names)
    raise DataError(f"{path}: no such folder", _near(path) or "name a folder, or a zip archive")


def children(folder: Place) -> list[Place]:
    """Everything in a folder by name, without what systems hide in it."""
    try:
        found: list[Place] = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: {(error.strerror or str(error)).lower()}") from error
    shown = [each for each in found if not each.name.startswith((".", "__MACOSX"))]
    return sorted(shown, key=lambda each: each.name)


@contextmanager
def opened(place: Place) -> Iterator[IO[bytes]]:
    """Open a file for reading its bytes; whatever goes wrong with it is a DataError."""
    try:
        with place.open("rb") as stream:
            yield stream
    except OSError as error:
        raise DataError(f"{place}: {(error.strerror or str(error)).lower()}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DataError(
            f"{place}: the archive is damaged here: {error}", "get it again, or try: unzip -t"
        ) from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown compression, a password
        raise DataError(f"{place}: {error}", "unpack the archive, and name the folder") from error


def _inside(archive: Path, names: tuple[str, ...]) -> Place:
    if not zipfile.is_zipfile(archive):
        with archive.open("rb") as stream:
            begins_well = stream.read(4) == _ZIP
        if begins_well:
            size = archive.stat().st_size / 1e6
            raise DataError(
                f"{archive}: a zip archive that is cut off: its end is missing",
                f"it has {size:,.1f} MB; compare that with its source and get it again",
            )
        raise DataError(f"{archive}: neither a folder nor a zip archive", "name a folder of sets")
    place: Place = _opened_archive(archive)
    for name in names:
        there = {each.name: each for each in children(place) if each.is_dir()}
        if name not in there:
            close = get_close_matches(name, there, n=1)
            has = ", ".join(there) or "no folder"
            hint = f"did you mean {close[0]}?" if close else f"it has {has}"
            raise DataError(f"{place}: no folder {name!r} in it", hint)
        place = there[name]
    return place


def _opened_archive(archive: Path) -> zipfile.Path:
    try:
        try:
            # Names without a mark of their encoding are most often UTF-8 all the same.
            return zipfile.Path(zipfile.ZipFile(archive, metadata_encoding="utf-8"))
        except UnicodeDecodeError:
            return zipfile.Path(zipfile.ZipFile(archive))
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{archive}: not a readable zip archive: {error}", "get it again") from None


def _near(path: Path) -> str:
    try:
        names = [each.name for each in path.parent.iterdir()]
    except OSError:
        return ""
    close = get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else ""
