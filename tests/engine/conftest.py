"""Small models of each architecture, loaded once a process."""

import functools

import pytest

from b2ner_cli.models import loading
from tests.tiny import tiny_model


@pytest.fixture(scope="session")
def load_tiny(tmp_path_factory):
    """Gives the model of an architecture, in float32 on the CPU; to be left as it is."""

    @functools.cache
    def load_tiny(architecture):
        folder = tiny_model(tmp_path_factory.mktemp("models") / architecture, architecture)
        return loading.load(str(folder), device="cpu", dtype="float32")

    return load_tiny
