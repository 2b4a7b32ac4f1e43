"""Task configs: read from presets, files and folders; sets found; documents drawn; whole runs."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from b2ner_cli.datasets import task_configs
from b2ner_cli.datasets.b2nerd import DataSet
from b2ner_cli.datasets.balance import Limits
from b2ner_cli.datasets.task_configs import ConfigEntry, Part
from b2ner_cli.errors import DataError, UsageError
from b2ner_cli.training import selection
from b2ner_cli.training.job import Before, TrainJob
from b2ner_cli.training.recipes import Recipe, read_recipe
from b2ner_cli.training.run import run
from b2ner_cli.training.selection import choose
from tests.scripted import ScriptedEngine, Shell
from tests.training.test_groups import row, rows, write


def entry(name, sampling="full"):
    return {"sampling strategy": sampling, "dataset name": name}


def save(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def made(tmp_path, content):
    return task_configs.read(save(tmp_path / "mine.json", content))


def listed(config, split):
    return [(e.task, e.name, e.sampling) for e in config.section(split)]


# Reading


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("bilingual_full", (20 + 21, 19 + 21, 7 + 7)),
        ("bilingual_b2nerd_only", (19 + 21, 19 + 21, 7 + 7)),
        ("bilingual_idsupervised", (22 + 21, 19 + 21, 20 + 6)),
        ("crosslingual_multiconer22", (20 + 19, 19 + 21, 6)),
    ],
)
def test_presets(name, counts):
    config = task_configs.read(name)
    assert config.name == name
    assert tuple(len(config.section(split)) for split in ("train", "dev", "test")) == counts
    assert {e.sampling for e in config.section("test")} == {"full"}


def test_presets_say_what_the_reference_says():
    train = listed(task_configs.read("crosslingual_multiconer22"), "train")
    assert ("NER_en", "PileNER", "random_50000") in train
    assert train[0] == ("NER_en", "ACE 2004", "random")
    test = listed(task_configs.read("crosslingual_multiconer22"), "test")
    assert test[0] == ("NER_en_other", "multiconer22_de_sample_5000", "full")


def test_a_presets_name_is_the_preset_whatever_lies_about(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "bilingual_full", {"NER_en": [entry("a")]})
    assert len(task_configs.read("bilingual_full").section("test")) == 14
    assert len(task_configs.read("./bilingual_full").section("test")) == 1


def test_a_file_with_sections_and_one_without(tmp_path):
    both = made(tmp_path, {"train": {"NER_en": [entry("a")]}, "test": {"NER_zh": [entry("b")]}})
    assert listed(both, "train") == [("NER_en", "a", "full")]
    assert listed(both, "test") == [("NER_zh", "b", "full")]
    bare = made(tmp_path, {"NER_en": [entry("b", "random_3"), entry("a", "upsample_9")]})
    for split in ("train", "dev", "test"):
        assert listed(bare, split) == [("NER_en", "b", "random_3"), ("NER_en", "a", "upsample_9")]


def test_the_references_files_one_by_one_and_by_folder(tmp_path):
    save(tmp_path / "train_tasks.json", {"NER_en": [entry("a")]})
    save(tmp_path / "test_tasks.json", {"NER_en": [entry("b")]})
    folder = task_configs.read(str(tmp_path))
    assert [e.name for e in folder.section("train") + folder.section("test")] == ["a", "b"]
    single = task_configs.read(str(tmp_path / "test_tasks.json"))
    assert [e.name for e in single.section("test")] == ["b"]
    with pytest.raises(UsageError, match=r"test_tasks\.json has no train section") as caught:
        single.section("train")
    assert "it has test" in caught.value.hint
    save(tmp_path / "x.dev_tasks.json", {"NER_en": [entry("c")]})
    assert [e.name for e in task_configs.read(str(tmp_path / "x")).section("dev")] == ["c"]


def test_a_byte_order_mark(tmp_path):
    assert made(tmp_path, "\ufeff" + json.dumps({"NER_en": [entry("a")]})).section("dev")


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        ("{\n[", r"mine\.json:2: malformed JSON", "JSON object"),
        ("", "malformed JSON", "JSON object"),
        ([], "a list, not an object of tasks", "NER_en"),
        ({}, "names no data set", "for example"),
        ({"NER_en": []}, "names no data set", "for example"),
        ({"NER_en": {}}, "NER_en is an object, not a list", "for example"),
        ({"REL_en": [entry("a")]}, "no task 'REL_en'", "tasks are EE, NER, RE"),
        ({"test": {"NER_en": [entry("a")]}, "NER_zh": []}, "'NER_zh' stands beside", "put it"),
        ({"NER_en": ["a"]}, "NER_en, entry 1: a string, not an object", ""),
        ({"NER_en": [{"dataset name": "a"}]}, "entry 1: no 'sampling strategy'", "'dataset name'"),
        ({"NER_en": [{}]}, "entry 1: no 'dataset name'", "nothing"),
        ({"NER_en": [entry("a"), entry(3)]}, "entry 2: 'dataset name' is a number", ""),
        ({"NER_en": [entry("../a")]}, "is no data set's name", "folder"),
        ({"NER_en": [entry("a", "some")]}, r"entry 1 \(a\): no sampling strategy 'some'", "full"),
        ({"NER_en": [entry("a", "random_0")]}, "'random_0'", "random_N"),
        ({"NER_en": [entry("a", "full_3")]}, "'full_3'", "upsample_N"),
        ({"NER_en": [entry("a", "upsample")]}, "'upsample'", "upsample_N"),
        ({"NER_en": [entry("a"), entry("a")]}, "entry 2: 'a' stands there already", "a_EXTRA"),
        ({"NER_en": [entry("a"), entry("NER_en_a")]}, "'NER_en_a' stands there already", "EXTRA"),
        ('{"NER_en": [], "NER_en": []}', "'NER_en' stands twice", "one list"),
        ({"test": {"NER_en": [entry("a", "x")]}}, r"mine\.json: test: NER_en, entry 1", "full"),
    ],
)
def test_bad_configs_name_file_and_entry(tmp_path, content, message, hint):
    with pytest.raises(DataError, match=message) as caught:
        made(tmp_path, content)
    assert "mine.json" in caught.value.message
    assert hint in caught.value.hint


def test_not_text_and_not_there(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(DataError, match="not UTF-8"):
        task_configs.read(str(tmp_path / "x.json"))
    with pytest.raises(UsageError, match="bilingual_ful: no such task config") as caught:
        task_configs.read("bilingual_ful")
    assert caught.value.hint == "did you mean bilingual_full?"
    with pytest.raises(UsageError, match="no task config in it") as caught:
        task_configs.read(str(tmp_path))
    assert "crosslingual_multiconer22" in caught.value.hint


# Drawing


def drawn(sampling, size, seed=1, most=None, name="a"):
    kind, _, count = sampling.partition("_")
    return ConfigEntry("NER_en", name, kind, int(count) if count else None).rows(size, seed, most)


def test_full_takes_all_whatever_the_cap():
    assert drawn("full", 5, most=2) == [0, 1, 2, 3, 4]


def test_random_takes_up_to_the_cap():
    assert drawn("random", 5) == [0, 1, 2, 3, 4] == drawn("random", 5, most=5)
    some = drawn("random", 50, most=7)
    assert some == sorted(set(some))
    assert len(some) == 7 and some[-1] < 50


def test_random_n_overrides_the_cap():
    assert len(drawn("random_9", 50, most=3)) == 9
    assert drawn("random_90", 50, most=3) == list(range(50))


def test_draws_follow_the_seed_and_the_name():
    assert drawn("random_9", 50) == drawn("random_9", 50)
    assert drawn("random_9", 50) != drawn("random_9", 50, seed=2)
    assert drawn("random_9", 50) != drawn("random_9", 50, name="a_EXTRA")


@pytest.mark.parametrize(("size", "count"), [(3, 3), (3, 7), (3, 9), (3, 2), (1, 4), (0, 5)])
def test_upsample_repeats_evenly(size, count):
    taken = drawn(f"upsample_{count}", size)
    times = Counter(taken)
    assert len(taken) == (max(size, count) if size else 0)
    assert set(times) == set(range(size))
    assert not times or max(times.values()) - min(times.values()) <= 1


def test_a_part_says_how_it_is_taken():
    dataset = DataSet("NER_en", "a", "en", None, ("x",), ("test",))
    assert str(Part(dataset)) == "NER_en_a"
    two = (ConfigEntry("NER_en", "a", "full"), ConfigEntry("NER_en", "a_EXTRA", "random", 2))
    assert str(Part(dataset, two)) == "NER_en_a (NER_en_a full, NER_en_a_EXTRA random_2)"


def test_once_has_no_document_twice():
    dataset = DataSet("NER_en", "a", "en", None, ("x",), ("test",))
    more = Part(
        dataset,
        (ConfigEntry("NER_en", "a", "full"), ConfigEntry("NER_en", "a_EXTRA", "upsample", 9)),
    )
    assert more.once(iter("abc")) == ["a", "b", "c"]
    some = Part(dataset, (ConfigEntry("NER_en", "a", "random", 2),)).once("abcdefgh")
    assert len(some) == 2 and list(some) == sorted(some)


# Finding


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    write(root, "NER_en/CoNLL 2003", ["person"], train=rows(30), test=rows(6))
    write(root, "NER_en/zoo", ["person", "city"], train=rows(9) + rows(9, "city"), test=rows(4))
    write(root, "NER_zh/bank", ["person"], dev=rows(5))
    return root


def names(parts):
    return ["/".join((part.dataset.task, part.dataset.name)) for part in parts]


def test_find_keeps_the_configs_order_and_joins_entries_of_a_set(tmp_path, data):
    config = made(
        tmp_path,
        {"NER_zh": [entry("bank")], "NER_en": [entry("NER_en_zoo"), entry("CoNLL 2003")],
         "NER_en_EXTRA": [entry("zoo")]},
    )  # fmt: skip
    parts = task_configs.find(config, "train", data)
    assert names(parts) == ["NER_zh/bank", "NER_en/zoo", "NER_en/CoNLL 2003"]
    assert [len(part.entries) for part in parts] == [1, 2, 1]


def test_only_filters_a_config(tmp_path, data):
    config = made(tmp_path, {"NER_en": [entry("nowhere"), entry("zoo"), entry("zoo_EXTRA")]})
    kept = config.only("train", ["NER_en_zoo"])
    assert [e.name for e in kept.section("train")] == ["zoo", "zoo_EXTRA"]
    assert names(task_configs.find(kept, "train", data)) == ["NER_en/zoo"]
    with pytest.raises(DataError, match="no data set NER_en_zo in its train section") as caught:
        config.only("train", ["NER_en_zo"])
    assert caught.value.hint == "did you mean NER_en_zoo?"


def test_a_set_that_is_not_there(tmp_path, data):
    config = made(tmp_path, {"NER_en": [entry("conll 2003"), entry("zoo"), entry("x")]})
    with pytest.raises(DataError, match=r"mine\.json: test names NER_en/conll 2003") as caught:
        task_configs.find(config, "test", data)
    assert str(data) in caught.value.message and "1 more" in caught.value.message
    assert "did you mean NER_en/CoNLL 2003?" in caught.value.hint
    assert "--only" in caught.value.hint


def test_a_set_without_the_split(tmp_path, data):
    config = made(tmp_path, {"NER_zh": [entry("bank")]})
    assert names(task_configs.find(config, "train", data)) == ["NER_zh/bank"]  # dev stands in
    with pytest.raises(DataError, match=r"NER_zh/bank, which has no test\.json") as caught:
        task_configs.find(config, "test", data)
    assert "it has dev" in caught.value.hint


# Training documents


def picked(config, data, seed=1, most=50, limits=Limits()):
    return selection.draw(data, task_configs.find(config, "train", data), limits, seed, most)


def test_strategies_say_how_many_and_caps_do_not(tmp_path, data):
    config = made(
        tmp_path,
        {"NER_en": [entry("zoo"), entry("CoNLL 2003", "random")],
         "NER_zh": [entry("bank", "upsample_12")]},
    )  # fmt: skip
    tight = Limits(per_set=3, per_label=1, empty=0.0)
    picks = picked(config, data, most=20, limits=tight)
    assert [(p.name, len(p.documents), p.read) for p in picks] == [
        ("NER_en_zoo", 18, 18), ("NER_en_CoNLL 2003", 20, 30), ("NER_zh_bank", 12, 5),
    ]  # fmt: skip
    assert picks == picked(config, data, most=20)
    assert picks != picked(config, data, most=20, seed=2)


def test_extra_adds_documents_to_the_same_pick(tmp_path, data):
    config = made(tmp_path, {"NER_en": [entry("zoo", "random_4"), entry("zoo_EXTRA", "full")]})
    (pick,) = picked(config, data)
    assert len(pick.documents) == 22
    assert len({document.id for document in pick.documents}) == 18


def test_too_long_and_blank_are_left_out_first_and_counted(tmp_path):
    train = [*rows(5), row("x" * 99), row(" "), row("nothing")]
    write(tmp_path / "data", "NER_en/a", ["person"], train=train)
    config = made(tmp_path, {"NER_en": [entry("a", "random_6")]})
    (pick,) = picked(config, tmp_path / "data", limits=Limits(max_chars=50))
    assert (pick.read, pick.unfit, len(pick.documents)) == (8, 2, 6)


def test_nothing_left_to_train_on(tmp_path, data):
    config = made(tmp_path, {"NER_en": [entry("zoo")]})
    with pytest.raises(DataError, match="no training documents"):
        picked(config, data, limits=Limits(max_chars=1))


def test_picks_without_a_config_are_as_ever(tmp_path):
    write(tmp_path, "NER_en/a", ["person", "city"], train=rows(30) + rows(30, "city"))
    write(tmp_path, "NER_zh/b", ["person"], dev=rows(20))
    ids = [
        {p.name: " ".join(d.id for d in p.documents) for p in choose(tmp_path, limits, 23)}
        for limits in (Limits(per_set=8), Limits(per_label=3))
    ]
    assert ids == [
        {"NER_en_a": "53 40 37 3 47 39 13 0", "NER_zh_b": "16 19 7 3 9 2 15 11"},
        {"NER_en_a": "53 40 37 3 13 0", "NER_zh_b": "16 19 7"},
    ]


# run.json


def test_a_run_json_gives_its_config_again(tmp_path):
    content = {"NER_en": [entry("b", "random_3"), entry("a")], "NER_zh": [entry("银行")]}
    record = made(tmp_path, content).only("train", ["NER_en_a", "NER_zh_银行"]).record("train")
    assert record["train"] == {"NER_en": [entry("a")], "NER_zh": [entry("银行")]}
    path = tmp_path / "run.json"
    save(path, {"recipe": {}, "tasks": record})
    again = task_configs.for_training(None, path)
    assert again.record("train") == record
    assert task_configs.for_training("bilingual_full", path).name == "bilingual_full"
    save(path, {"recipe": {}})
    assert task_configs.for_training(None, path) is None
    assert task_configs.for_training(None, tmp_path / "recipe.toml") is None
    assert task_configs.for_training(None, None) is None


def test_a_run_json_says_what_the_run_was_told(tmp_path, data, tiny_llama):
    shell = Shell(tmp_path)
    tags = ["--task", "ner", "--only", "NER_en_zoo"]
    command = ["train", "--data", str(data), "--device", "cpu", "--set", "epochs=0.1"]
    first = shell.run([*command, "-m", str(tiny_llama), *tags, "-o", "first"])
    assert first.code == 0, first.err
    path = tmp_path / "first" / "run.json"
    assert Before.read(path) == Before(str(tiny_llama), ("NER_en_zoo",), ("NER",), "")
    second = shell.run([*command, "--config", "first/run.json", "--from-adapter", "first/adapter",
                        "-o", "second"])  # fmt: skip
    assert second.code == 0, second.err
    record = json.loads((tmp_path / "second" / "run.json").read_text())
    assert (record["only"], record["task"]) == (["NER_en_zoo"], ["NER"])
    assert set(record["data"]) == {"NER_en_zoo"}
    third = shell.run([*command, "--config", "second/run.json", "-o", "third"])
    assert third.code == 0, third.err
    assert "the run of second/run.json had --from-adapter (adapter): give it" in third.err
    assert Before.read(tmp_path / "recipe.toml") == Before.read(None) == Before()
    save(path, "[]")
    with pytest.raises(UsageError, match=r"run\.json holds no run"):
        Before.read(path)


@pytest.mark.parametrize("content", ["[", "[]", '{"tasks": {"name": "x"}}', '{"tasks": 3}'])
def test_a_run_json_that_is_none(tmp_path, content):
    path = tmp_path / "run.json"
    save(path, content)
    with pytest.raises(UsageError, match=r"run\.json holds no run"):
        task_configs.for_training(None, path)


# Whole runs


def test_predict(tmp_path, data):
    shell = Shell(tmp_path)
    save(
        tmp_path / "test_tasks.json",
        {"NER_en": [entry("zoo", "upsample_9"), entry("CoNLL 2003", "random_2")]},
    )

    def predict(out, *options):
        command = ["predict", "--data", "data", "-o", out, "--tasks", *options]
        return shell.run(command, engine=ScriptedEngine)

    def asked(out):
        lines = (tmp_path / out / "predict_eval_predictions.jsonl").read_text().splitlines()
        return [(r["Dataset"], r["Instance"]["id"]) for r in map(json.loads, lines)]

    done = predict("out", "test_tasks.json")
    assert done.code == 0, done.err
    first = asked("out")
    assert [name for name, _ in first] == ["zoo"] * 4 + ["CoNLL 2003"] * 2
    assert [number for _, number in first[:4]] == ["0", "1", "2", "3"]
    assert predict("again", ".").code == 0
    assert asked("again") == first
    assert (
        predict("one", "test_tasks.json", "--only", "NER_en_CoNLL 2003", "--limit", "1").code == 0
    )
    assert asked("one") == first[4:5]
    missing = predict("none", "bilingual_full")
    assert missing.code == 2
    assert "NER_en/CrossNER_AI" in missing.err and "did you mean" in missing.err
    lacking = predict("none", "test_tasks.json", "--split", "dev")
    assert lacking.code == 2
    assert "has no dev section" in lacking.err
    assert not (tmp_path / "none").exists()


RECIPE = ["batch=4", "group=2", "rank=2", "alpha=4", "dtype=float32", "sampled_softmax=60"]


def test_train_and_train_again_from_run_json(tmp_path, data, tiny_llama):
    shell = Shell(tmp_path)
    save(
        tmp_path / "mine.json",
        {"NER_en": [entry("zoo", "random_6"), entry("CoNLL 2003", "random")],
         "NER_zh": [entry("bank", "upsample_8")]},
    )  # fmt: skip
    command = ["train", "--data", "data", "-m", tiny_llama, "--device", "cpu"]
    settings = [part for setting in (*RECIPE, "random_most=4") for part in ("--set", setting)]
    only = ["--only", "NER_en_zoo", "--only", "NER_zh_bank", "--only", "NER_en_CoNLL 2003"]
    trained = shell.run([*command, "-o", "run", "--tasks", "mine.json", *settings, *only])
    assert trained.code == 0, trained.err
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["tasks"]["name"] == "mine.json"
    assert {name: counts["documents"] for name, counts in record["data"].items()} == {
        "NER_en_zoo": 6, "NER_en_CoNLL 2003": 4, "NER_zh_bank": 8,
    }  # fmt: skip
    assert record["data"]["NER_zh_bank"]["left_out_as_blank_or_too_long"] == 0
    assert "task config mine.json" in (tmp_path / "run/card.md").read_text()

    (tmp_path / "mine.json").unlink()
    again = ["train", "--data", "data", "--device", "cpu", "-o", "again"]
    again = shell.run([*again, "--config", "run/run.json"])  # the model is in it, too
    assert again.code == 0, again.err
    assert "had --" not in again.err
    assert json.loads((tmp_path / "again/run.json").read_text())["tasks"] == record["tasks"]
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (tmp_path / "run" / weights).read_bytes()


def test_a_run_does_not_resume_with_another_config(tmp_path, data, tiny_llama):
    recipe = read_recipe("default", None, RECIPE)
    one = made(tmp_path, {"NER_en": [entry("zoo", "random_4")]})
    other = made(tmp_path, {"NER_en": [entry("zoo", "random_5")]})

    def train(config, **more):
        job = TrainJob(
            data, tmp_path / "run", recipe, str(tiny_llama), config=config, device="cpu",
            checkpoint_every=1, **more,
        )  # fmt: skip
        run(job)

    train(one)
    train(one, resume=True)
    for config in (other, None):
        with pytest.raises(UsageError, match="has another task config"):
            train(config, resume=True)


def test_without_a_config_run_json_says_nothing_of_one(tmp_path, data, tiny_llama):
    run(TrainJob(data, tmp_path / "run", Recipe(epochs=0.1), str(tiny_llama), device="cpu"))
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert "tasks" not in record
    assert set(record["data"]["NER_en_zoo"]) == {
        "documents", "read", "labels", "mentions_left_out_for_semicolons",
    }  # fmt: skip


def test_a_checkpoint_from_before_task_configs_is_resumed(tmp_path, data, tiny_llama):
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    recipe, out = read_recipe("default", None, [*RECIPE, "epochs=0.2"]), tmp_path / "run"
    job = TrainJob(data, out, recipe, str(tiny_llama), device="cpu", checkpoint_every=1)
    run(job)
    path = max((out / "checkpoints").iterdir()) / "state.safetensors"
    with safe_open(path, "pt") as stored:
        notes = stored.metadata()
    del notes["tasks"]
    older = {k: v for k, v in json.loads(notes["recipe"]).items() if k != "random_most"}
    save_file(load_file(path), path, {**notes, "recipe": json.dumps(older)})
    run(replace(job, resume=True))
    other = read_recipe("default", None, [*RECIPE, "epochs=0.2", "random_most=9"])
    with pytest.raises(UsageError, match="has another recipe"):
        run(replace(job, recipe=other, resume=True))


# Other tasks


def events(tmp_path):
    """A folder with a set of events, one of relations and one of named entities."""
    event = {"type": "attack", "trigger": "bombed", "arguments": [{"name": "Rebels", "role": "by"}]}
    base = {"sentence": "Rebels bombed Homs", "entities": []}
    relation = {"type": "in", "head": {"name": "Rebels"}, "tail": {"name": "Homs"}}
    root = tmp_path / "data"
    both = {"train": [base | {"events": [event]}], "test": [base | {"events": [event]}]}
    write(root, "EE_en/war", {"attack": ["by"]}, **both)
    write(root, "RE_en/war", ["in"], test=[base | {"relations": [relation]}])
    write(root, "NER_en/war", ["place"], test=rows(1))
    return root


@pytest.mark.parametrize(
    ("section", "wanted", "found"),
    [
        (["EE_en", "RE_en"], [], [("EE_en", "EET"), ("RE_en", "RE")]),
        (["EE_en", "RE_en"], ["EEA"], [("EE_en", "EEA")]),
        (["EEA_en", "newEET_en"], [], [("EE_en", "EEA"), ("EE_en", "newEET")]),
        (["NER_en", "EEA_en"], ["EEA", "NER"], [("NER_en", "NER"), ("EE_en", "EEA")]),
    ],
)
def test_sets_of_other_tasks(tmp_path, section, wanted, found):
    config = made(tmp_path, {task: [entry("war")] for task in section})
    parts = task_configs.find(config, "test", events(tmp_path), wanted)
    assert [(part.dataset.task, part.task) for part in parts] == found


def test_a_task_that_no_set_is_for(tmp_path):
    config = made(tmp_path, {"EET_en": [entry("war")]})
    with pytest.raises(UsageError, match="of which task re can be asked") as caught:
        task_configs.find(config, "test", events(tmp_path), ["RE"])
    assert "EET_en" in caught.value.hint


def test_training_and_predicting_other_tasks(tmp_path):
    data = events(tmp_path)
    config = made(tmp_path, {"EET_en": [entry("war", "upsample_3")], "EEA_en": [entry("war")]})
    parts = task_configs.find(config, "train", data)
    picks = selection.draw(data, parts, Limits(), 1, 9)
    assert [(p.name, p.form.task, len(p.documents)) for p in picks] == [
        ("EET_en_war", "EET", 3), ("EEA_en_war", "EEA", 1),
    ]  # fmt: skip
    shell = Shell(tmp_path)
    predict = ["predict", "--data", "data", "--tasks", "mine.json", "-o", "out"]
    done = shell.run(predict, engine=ScriptedEngine)
    assert done.code == 2 and "--task eea or eet" in done.err
    done = shell.run([*predict, "--task", "eea"], engine=ScriptedEngine)
    assert done.code == 0, done.err
    line = json.loads((tmp_path / "out" / "predict_eval_predictions.jsonl").read_text())
    assert (line["Task"], line["Instance"]["ground_truth"]) == ("EEA", " by: Rebels")
