"""Tests use no network and none of the user's own files."""

import logging
import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # two libraries of threads on few cores wait for each other
os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is imported


def pytest_configure(config):
    config.addinivalue_line("markers", "mini: uses the embedded model from the user's cache")


@pytest.fixture(autouse=True)
def _own_cache(request, tmp_path_factory, monkeypatch):
    if not request.node.get_closest_marker("mini"):
        monkeypatch.setenv("B2NER_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory):
    from tests.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory):
    from tests.tiny import tiny_model

    return tiny_model(tmp_path_factory.mktemp("models") / "gemma3", "gemma3")


@pytest.fixture
def warned():
    """The warnings of the package, as they come, whatever its log was set up to show."""
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    log = logging.getLogger("b2ner")
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    yield messages
    log.removeHandler(handler)
    log.setLevel(before)
