"""Where a run starts: the bare model or an adapter, as options or an earlier run say."""

import json
from dataclasses import replace

import pytest

from b2ner_cli.errors import UsageError
from b2ner_cli.models.embedded import EMBEDDED
from b2ner_cli.training import run as training_run
from b2ner_cli.training.job import Before, TrainJob
from b2ner_cli.training.recipes import read_recipe
from b2ner_cli.training.start import Asked, choose, lora_settings, name_of
from tests.tiny import tiny_adapter
from tests.training.test_groups import write
from tests.training.test_run_folder import SMALL, data  # noqa: F401

SHIPPED = EMBEDDED["mini"].adapter_directory()


@pytest.mark.parametrize(
    "asked, name, recipe, why",
    [
        (Asked("mini"), "mini", "fine-tune", "--from-scratch starts from the bare model"),
        (Asked("mini", "mini"), "mini", "fine-tune", "--from-adapter"),
        (Asked("other", "mini"), "mini", "fine-tune", "--from-adapter"),
        (Asked("mini", "some/run"), "run", "fine-tune", "--from-adapter"),
        (Asked("mini", from_scratch=True), "", "default", "--from-scratch"),
        (Asked("mini", recipe="mini"), "", "default", "recipe mini means --from-scratch"),
        (Asked("mini", recipe="mini-varied"), "", "default", "recipe mini-varied means"),
        (Asked("mini", recipe="paper-7b"), "", "default", "recipe paper-7b means --from-scratch"),
        (Asked("mini", "mini", recipe="mini-varied"), "mini", "fine-tune", "--from-adapter"),
        (Asked("mini", recipe="default"), "mini", "fine-tune", "--from-scratch starts"),
        (Asked("other"), "", "default", "no adapter is shipped with it"),
        (Asked("mini", before=""), "", "default", "as the run did that is repeated"),
        (Asked("mini", before="mini"), "mini", "fine-tune", "as the run did that is repeated"),
        (Asked("mini", before="stage-1"), "", "default", "--from-adapter names stage-1"),
    ],
)
def test_options_say_where_a_run_starts(asked, name, recipe, why):
    start = choose(asked)
    assert (start.name, start.recipe) == (name, recipe)
    assert why in start.why
    words = "the bare model" if not name else "shipped with mini" if name == "mini" else "some/run"
    assert words in start.line(asked.model)


def test_from_scratch_and_from_an_adapter_exclude_each_other():
    with pytest.raises(UsageError, match="exclude each other"):
        Asked("mini", "mini", from_scratch=True)


def test_the_shipped_adapter_has_its_models_name_by_its_folder_too():
    assert name_of(SHIPPED) == name_of(SHIPPED / ".." / SHIPPED.name) == "mini"
    assert name_of(None) == ""


def test_the_lora_is_as_the_adapter_has_it(tmp_path, tiny_llama):
    adapter = tiny_adapter(tmp_path / "a", tiny_llama, 2, target_modules=["q_proj", "v_proj"],
                           layers_to_transform=[1])  # fmt: skip
    found = lora_settings(adapter)
    recipe = read_recipe("fine-tune", None, [], lora=found)
    assert (recipe.rank, recipe.alpha, recipe.experiments.first_layer) == (2, 4, 1)
    assert recipe.targets == ("q_proj", "v_proj")
    assert read_recipe("fine-tune", None, ["rank=8"], lora=found).rank == 8
    assert read_recipe("default", None, [], lora=found).rank == 32
    assert lora_settings(None) == lora_settings(tmp_path) == {}


@pytest.fixture
def tuned(data, tiny_llama, tmp_path):  # noqa: F811
    """A run that started from an adapter whose run.json says this and that of it."""
    adapter = tiny_adapter(tmp_path / "start", tiny_llama, rank=2)
    said = {
        "constrain": True, "chunk_tokens": 25, "longest_document_tokens": 900,
        "calibration": {"a": 1}, "heldout": {"f1": 1}, "recipe": {}, "documents": 7, "steps": 1,
        "data": {},
    }  # fmt: skip
    (adapter / "run.json").write_text(json.dumps(said))
    recipe = replace(SMALL, min_steps=4, replay=1.0, alpha=4, max_tokens=4000)
    job = TrainJob(
        data, tmp_path / "run", recipe, str(tiny_llama), from_adapter=adapter, device="cpu",
        checkpoint_every=2,
    )  # fmt: skip
    training_run.run(job)
    return job


def test_a_stage_keeps_what_the_adapter_says_of_itself_where_it_still_holds(tuned):
    record = json.loads((tuned.out / "adapter" / "run.json").read_text())
    assert record["constrain"] is True
    assert (record["chunk_tokens"], record["longest_document_tokens"]) == (25, 900)
    assert not {"calibration", "heldout"} & record.keys()
    assert (record["from_adapter"], record["steps"]) == ("start", 4)
    assert (record["documents"], record["replayed"]) == (8, 4)
    assert set(record["new_loss"]) == {"before", "after"}
    assert "4 of these documents were replayed" in (tuned.out / "card.md").read_text()


def test_a_resumed_run_starts_as_it_did(tuned, tmp_path):
    assert choose(Asked("mini"), tuned.out).why.endswith("unless --from-adapter names start")
    assert choose(Asked("mini"), tuned.out.parent / "nothing").name == "mini"
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    (seeds / "seed-1").symlink_to(tuned.out)
    assert choose(Asked("mini"), seeds).adapter is None
    for name, begun in (("mini", "mini"), (None, "")):  # finished, without checkpoints
        write(tmp_path, "done", labels=[])
        (tmp_path / "done" / "run.json").write_text(json.dumps({"from_adapter": name}))
        assert choose(Asked("mini"), tmp_path / "done").name == begun


def test_a_repeated_run_starts_as_it_did(tmp_path):
    path = tmp_path / "run.json"
    for name, warned in (("mini", {}), (None, {}), ("stage-1", {"--from-adapter": "stage-1"})):
        path.write_text(json.dumps({"from_adapter": name}))
        before = Before.read(path)
        assert (before.start, before.again) == (name or "", warned)
    assert Before.read(None).start is None


@pytest.mark.parametrize("after, said", [(0.9, True), (0.2, False), (float("nan"), False)])
def test_a_loss_that_rose_is_warned_of(tuned, warned, after, said, monkeypatch):
    from b2ner_cli.training.loop import Trained

    trained = Trained([], 1, 1, 0, 9, 0.5, 1.0, new_loss=(0.5, after))
    training_run._warn_if_worse(tuned, trained)
    assert any("rose from 0.500 to 0.900" in each for each in warned) == said


def test_a_learning_rate_that_is_too_high_ends_in_that_warning(tuned, warned, tmp_path):
    learned = replace(tuned.recipe, learning_rate=3e-2, min_steps=30, replay=0.0)
    training_run.run(replace(tuned, recipe=learned, out=tmp_path / "learned"))
    assert not warned
    adapter = tmp_path / "learned" / "adapter"
    wild = replace(tuned, recipe=replace(learned, learning_rate=3.0), from_adapter=adapter)
    training_run.run(replace(wild, out=tmp_path / "wild"))
    assert any("--set learning_rate=0.8" in each for each in warned)
