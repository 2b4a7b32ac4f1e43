"""What several tests of training look at, made once."""

import pytest


@pytest.fixture(scope="session")
def undisturbed(tiny_llama, tmp_path_factory):
    """A run of six steps that nothing interrupted: its folder, summary and progress."""
    from tests.training.test_loop import run

    out = tmp_path_factory.mktemp("undisturbed")
    seen = []
    trained = run(tiny_llama, out, checkpoint_every=2, report=seen.append)
    return out, trained, seen
