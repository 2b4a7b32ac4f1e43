"""The library that loads models is kept quiet meanwhile, and is as it was after."""

import os

import huggingface_hub.utils as hub
import pytest
import transformers.utils.logging as library

from b2ner_cli.errors import ModelError
from b2ner_cli.models import loading
from b2ner_cli.models.library import quiet_loading


def settings():
    return (
        library.get_verbosity(),
        library.is_progress_bar_enabled(),
        hub.are_progress_bars_disabled(),
        os.environ.get("TOKENIZERS_PARALLELISM"),
    )


@pytest.fixture(params=[True, False], ids=["bars", "no bars"])
def chosen(request, monkeypatch):
    """Settings as a user of the Python interface may have chosen them."""
    before = library.get_verbosity(), library.is_progress_bar_enabled()
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    library.set_verbosity_info()
    (library.enable_progress_bar if request.param else library.disable_progress_bar)()
    yield settings()
    library.set_verbosity(before[0])
    (library.enable_progress_bar if before[1] else library.disable_progress_bar)()


def test_loading_leaves_the_process_as_it_was(chosen, tiny_llama):
    with quiet_loading():
        assert settings()[:3] == (library.ERROR, False, True)
    assert settings() == chosen
    loading.load(str(tiny_llama), device="cpu", dtype="float32")
    assert settings() == chosen


def test_loading_that_fails_does_so_too(chosen, tmp_path):
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelError, match="cannot load model"):
        loading.load(str(tmp_path), device="cpu", dtype="float32")
    with pytest.raises(ZeroDivisionError), quiet_loading():
        1 / 0
    assert settings() == chosen
