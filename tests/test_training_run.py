"""The folder of a training run."""

import pytest

from b2ner_cli.errors import OutputError
from b2ner_cli.training_run import _prepare_folder


def test_a_run_is_not_overwritten_unasked(tmp_path):
    (tmp_path / "log.jsonl").write_text("{}\n")
    with pytest.raises(OutputError) as caught:
        _prepare_folder(tmp_path, resume=False, force=False)
    assert "--resume" in caught.value.hint
    _prepare_folder(tmp_path, resume=True, force=False)
    assert (tmp_path / "log.jsonl").exists()
    _prepare_folder(tmp_path, resume=False, force=True)
    assert not (tmp_path / "log.jsonl").exists()
