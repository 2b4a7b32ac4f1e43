"""Files of their own for tests of formats."""

import pytest


@pytest.fixture
def put(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return name

    return write
