import pytest

from b2ner_cli.errors import InputError, UsageError
from b2ner_cli.formats.predictions import FILE_NAME
from b2ner_cli.scoring.prediction_folders import Run, find_runs


def predictions(*folders):
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE_NAME).write_text("{}\n")


def test_a_file_and_a_folder_with_one_are_runs(tmp_path):
    predictions(tmp_path / "out")
    assert find_runs([tmp_path / "out"]) == (Run("out", {"": tmp_path / "out"}),)
    path = tmp_path / "out" / FILE_NAME
    assert find_runs([path])[0].steps == {"": path}


@pytest.mark.parametrize("kind", ["eval", "checkpoint"])
def test_steps_by_number(tmp_path, kind):
    steps = [tmp_path / f"{kind}-{number}" for number in (2, 10, 1)]
    predictions(*steps)
    (tmp_path / f"{kind}-3").mkdir()
    (tmp_path / f"{kind}-old").mkdir()
    (run,) = find_runs([tmp_path])
    assert list(run.steps) == [f"{kind}-1", f"{kind}-2", f"{kind}-10"]
    assert run.note == f"{tmp_path}: steps are scored; left out: {kind}-3"


def test_predictions_beside_steps_are_left_out_and_said_so(tmp_path):
    predictions(tmp_path, tmp_path / "eval-0")
    (run,) = find_runs([tmp_path])
    assert list(run.steps) == ["eval-0"]
    assert FILE_NAME in run.note


def test_a_folder_of_runs_and_several_runs(tmp_path):
    predictions(tmp_path / "seeds/23/eval-0", tmp_path / "seeds/33/eval-0")
    (tmp_path / "seeds/logs").mkdir()
    assert [run.name for run in find_runs([tmp_path / "seeds"])] == ["23", "33"]
    named = find_runs([tmp_path / "seeds/33", tmp_path / "seeds/23"])
    assert [run.name for run in named] == ["33", "23"]


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    predictions(tmp_path / "a/out", tmp_path / "b/out/eval-0", tmp_path / "c/out/eval-0")
    steps = find_runs([tmp_path / "b/out", tmp_path / "c/out"])
    assert [run.name for run in steps] == [str(tmp_path / "b/out"), str(tmp_path / "c/out")]
    with pytest.raises(UsageError, match="named twice"):
        find_runs([tmp_path / "a/out", tmp_path / "a/out"])


def test_a_folder_without_predictions(tmp_path):
    (tmp_path / "eval-0").mkdir()
    with pytest.raises(InputError, match=f"no {FILE_NAME} in this directory; eval-0 hold none"):
        find_runs([tmp_path])


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("run/eval-0", "run/checkpoint-0"), "eval-N and in checkpoint-N"),
        (("run", "run/other"), "a mixed layout, predictions of its own and runs in it, as other"),
        (("run/eval-0", "run/other"), "a mixed layout"),
        (("run/a", "run/b/eval-0"), "a has predictions and no steps, but b has eval-0"),
        (("run/a/eval-0", "run/b/eval-0", "run/b/eval-1"), "but b has eval-0, eval-1"),
    ],
)
def test_mixed_layouts(tmp_path, folders, message):
    predictions(*(tmp_path / folder for folder in folders))
    with pytest.raises(InputError) as caught:
        find_runs([tmp_path / "run"])
    assert message in caught.value.message
    assert caught.value.hint


def test_a_run_has_predictions():
    with pytest.raises(ValueError, match="without predictions"):
        Run("x", {})
