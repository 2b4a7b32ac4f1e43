"""The user's directory, by platform and environment."""

from pathlib import Path

import pytest

from b2ner_cli.core import paths


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"B2NER_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/b2ner"),
        ("linux", {"B2NER_CACHE_DIR": ""}, "/data/.cache/b2ner"),
        ("darwin", {}, "/data/Library/Caches/b2ner"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/b2ner"),
    ],
)
def test_cache_directory(monkeypatch, platform, variables, expected):
    for name in ("B2NER_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/data", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(paths.sys, "platform", platform)
    assert paths.cache_directory() == Path(expected)
