"""Several processes answer what one engine would, in shards that depend on nothing but the prompts.

Most tests have processes with scripted engines, the last ones with models. One engine is started as
it really is, and so are those of the commands that are cut; others are forks, which is quicker.
"""

import functools
import logging
import multiprocessing
import os
import signal
import time
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2ner_cli.core.engine import Prompt
from b2ner_cli.engine import workers
from b2ner_cli.errors import B2nerError, ModelError, UsageError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.prompts.rendering import render
from tests.scripted import KillAt, ScriptedEngine, Shell, numbered

# Shards -------------------------------------------------------------------------------------------

prompts_of_any_kind = st.lists(
    st.builds(Prompt, st.sampled_from(["a", "b"]), st.integers(0, 900).map("x".__mul__))
)


@given(prompts_of_any_kind, st.integers(1, 9), st.integers(1, 60))
def test_each_prompt_is_in_one_shard_alike_ones_together_longest_first(asked, count, least):
    cut = workers.shards(asked, count, least)
    flat = [index for shard in cut for index in shard]
    assert sorted(flat) == list(range(len(asked)))
    assert all(cut)
    keys = [(asked[index].prefix, -len(asked[index].own)) for index in flat]
    assert keys == sorted(keys)


@given(st.integers(0, 700), st.integers(1, 9), st.integers(1, 60))
def test_shards_get_smaller_and_none_is_idle_for_want_of_one(documents, count, least):
    cut = workers.shards([Prompt("a", "x" * 50)] * documents, count, least)
    sizes = [len(shard) for shard in cut]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes, default=0) <= -(-documents // count)
    assert all(size >= min(least, documents // count) for size in sizes[:-1])
    if documents >= 2 * count * least:
        assert sizes[0] == -(-documents // (2 * count))
        assert sizes[-1] <= least + 1


def test_a_long_document_is_a_share_of_its_own():
    asked = [Prompt("a", "x" * size) for size in (10, 5000, 20, 30)]
    assert workers.shards(asked, 2, 100) == [[1], [3, 2, 0]]
    assert workers.shards([], 2, 100) == []


# Processes with scripted engines ------------------------------------------------------------------


def at_some_pace(count):
    time.sleep(0.002 * (os.getpid() % 3))


def scripted(device, on_answer=at_some_pace, only="", **more):
    """An engine of which that on the device `only` does something else before its answers."""
    more = more if device == only or not only else {}
    return ScriptedEngine(
        on_answer=on_answer if device == only or not only else at_some_pace, drift=True, **more
    )


def words(text):
    return len(text.split())


@pytest.fixture
def start(quick_start):
    """Starts engines, and stops their processes when the test is over."""
    started = []

    def start(make=scripted, devices=("a", "b")):
        started.append(workers.start(devices, make, words))
        return started[-1]

    yield start
    for engine in started:
        engine.close()


@pytest.fixture(scope="module")
def pool():
    """An engine of two processes that are started as they really are."""
    engine = workers.start(("a", "b"), scripted, words)
    yield engine
    engine.close()


@pytest.fixture
def quick_start(tmp_path, monkeypatch):
    """Processes are forks of one that has imported torch."""
    Shell(tmp_path)
    forkserver.ensure_running()  # here, where Ctrl-C is not kept from those that are started
    context = SimpleNamespace(get_context=lambda kind: Shell._context)
    monkeypatch.setattr(workers, "multiprocessing", context)


def asked(count, labels=("person", "city")):
    return [
        render(LabelSet(labels), f"Person{i} met " + "x " * (i % 7), "en") for i in range(count)
    ]


def processes(engine):
    return [worker.process for worker in engine._workers]


def alive(pid):
    """Whether a process runs; one that waits for its parent's look at it does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(ready, seconds=30):
    limit = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.01)


def test_several_say_what_one_says_and_each_time_the_same_to_the_last_bit(pool, start):
    engine, prompts = pool, asked(90)
    said = dict(engine.generate(prompts))
    one = dict(ScriptedEngine().generate(prompts))
    assert {i: answer.text for i, answer in said.items()} == {i: a.text for i, a in one.items()}
    for _ in range(3):
        assert dict(engine.generate(prompts)) == said
    assert dict(start(devices=("b", "a")).generate(prompts)) == said
    assert list(engine.generate([])) == []


def test_it_is_the_engine_that_each_of_them_is_with_room_for_all(pool):
    engine = pool
    one = ScriptedEngine()
    assert (engine.identity, engine.context) == (one.identity, one.context)
    assert engine.max_answer == one.max_answer
    assert engine.batch_tokens == 2 * one.batch_tokens
    assert engine.count("two words") == 2


def test_shards_that_are_answered_are_left_out_and_others_asked_as_before(pool):
    engine, prompts = pool, asked(90)
    whole = dict(engine.generate(prompts))
    cut = workers.shards(prompts, 2, 6144 // 256)
    assert len(cut) > 2
    known = {*cut[0], cut[1][0], *cut[-1]}
    rest = dict(engine.generate(prompts, known))
    assert not set(cut[0]) & set(rest)
    assert not set(cut[-1]) & set(rest)
    assert set(rest) >= set(range(90)) - known
    assert rest == {index: whole[index] for index in rest}
    assert list(engine.generate(prompts, set(range(90)))) == []


def test_calls_that_take_turns_or_are_given_up_do_not_meet(pool):
    engine, prompts = pool, asked(60)
    expected = dict(engine.generate(prompts))
    given_up = engine.generate(asked(40, labels=("thing",)))
    next(given_up)
    given_up.close()
    runs = [engine.generate(prompts), engine.generate(prompts[::-1])]
    said = ({}, {})
    while any(runs):
        for number, run in enumerate(runs):
            found = next(run, None) if run else None
            if found is None:
                runs[number] = None
            else:
                said[number][found[0]] = found[1]
    assert said[0] == expected
    assert {59 - i: a.text for i, a in said[1].items()} == {i: a.text for i, a in expected.items()}


def test_closing_ends_the_processes_and_nothing_can_be_asked(start):
    engine = start()
    pids = [process.pid for process in processes(engine)]
    assert all(map(alive, pids))
    under_way = engine.generate(asked(60))
    next(under_way)
    engine.close()
    engine.close()
    assert not any(map(alive, pids))
    with pytest.raises(B2nerError, match="are stopped"):
        list(engine.generate(asked(2)))
    with pytest.raises(B2nerError, match="are stopped"):
        list(under_way)


def test_processes_end_with_the_engine_that_nobody_closed(start):
    pids = [process.pid for process in processes(workers.start(("a", "b"), scripted, words))]
    wait_until(lambda: not any(map(alive, pids)))


# What goes wrong ----------------------------------------------------------------------------------


def fail(error, count):
    raise error


def speak(level, message, count):
    if count == 3:
        logging.getLogger("b2ner").log(level, message)


def silent_end(device):
    os._exit(3)


def unable(device):
    logging.getLogger("b2ner").warning("the adapter is doubtful")
    raise ModelError("no such model", "get it")


def telling(device):
    log = logging.getLogger("b2ner")
    log.warning("the adapter is doubtful")
    log.info("this is %s", device)
    log.debug("too much")
    return ScriptedEngine()


def identity_by_device(device):
    return ScriptedEngine(identity=f"model/{device}")


def test_a_process_that_is_killed_ends_the_run_with_its_name_and_what_to_do(start):
    engine = start(functools.partial(scripted, on_answer=KillAt(20), only="b"))
    pids = [process.pid for process in processes(engine)]
    with pytest.raises(B2nerError) as caught:
        list(engine.generate(asked(90)))
    assert caught.value.message == "process 2 of 2, b ended while it answered: killed by SIGKILL"
    assert "--resume goes on" in caught.value.hint
    assert not any(map(alive, pids))


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            B2nerError("out of memory for a single prompt", "less"),
            B2nerError,
            "for a single prompt",
        ),
        (ModelError("no head", "get one"), ModelError, "no head"),
        (RuntimeError("CUDA error: lost\nmore"), B2nerError, "RuntimeError: CUDA error: lost"),
    ],
)
def test_what_an_engine_raises_says_in_which_process(start, error, kind, message):
    engine = start(functools.partial(scripted, on_answer=functools.partial(fail, error), only="b"))
    with pytest.raises(B2nerError) as caught:
        list(engine.generate(asked(30)))
    assert type(caught.value) is kind
    assert caught.value.message.startswith("process 2 of 2, b: ")
    assert caught.value.message.endswith(message)
    assert caught.value.hint


def test_engines_that_cannot_be_made_end_it_at_once(start):
    with pytest.raises(ModelError, match=r"^no such model$") as caught:
        start(unable)
    assert caught.value.hint == "get it"
    with pytest.raises(B2nerError, match=r"of 2, . ended before it had its model: exit code 3"):
        start(silent_end)
    with pytest.raises(UsageError, match="not answer alike: model/a on 1 of 2, a, model/b on 2 of"):
        start(identity_by_device)


def test_what_all_say_at_the_start_is_said_once(start, caplog):
    caplog.set_level(logging.INFO, "b2ner")
    start(telling)
    assert sorted(caplog.messages) == [
        "1 of 2, a: this is a",
        "2 of 2, b: this is b",
        "the adapter is doubtful",
    ]


def test_what_one_says_later_bears_its_name(start, warned):
    speaking = functools.partial(speak, logging.WARNING, "out of memory: going on")
    engine = start(functools.partial(scripted, on_answer=speaking, only="b"))
    assert len(dict(engine.generate(asked(60)))) == 60
    assert warned == ["2 of 2, b: out of memory: going on"]


# With a model -------------------------------------------------------------------------------------


TEXTS = [f"Ann{i} met Bob in Rome . " + "Paris " * (i % 5) for i in range(40)]


def tagged(model, **more):
    from b2ner_cli import Settings, Tagger

    settings = Settings(str(model), dtype="float32", max_answer=24, **more)
    with Tagger.load(settings, ["person", "city"]) as tagger:
        return tagger.engine, list(tagger.tag(TEXTS))


@pytest.mark.parametrize("more", [{}, {"constrain": True}, {"engine": "plain"}])
def test_two_processes_say_what_one_device_says(tiny_llama, more, caplog, quick_start):
    caplog.set_level(logging.INFO, "b2ner")
    one, expected = tagged(tiny_llama, device="cpu", **more)
    alone = set(caplog.messages)
    caplog.clear()
    engine, found = tagged(tiny_llama, device="cpu,cpu", **more)
    assert isinstance(engine, workers.WorkerPool)
    assert engine.identity == one.identity  # so the cache of one is that of the other
    assert engine.batch_tokens == 2 * one.batch_tokens
    assert [result.answers for result in found] == [result.answers for result in expected]
    for result, other in zip(found, expected, strict=True):
        assert [e[:4] for e in result.entities] == [e[:4] for e in other.entities]
        scores = [entity.score for entity in result.entities]
        assert scores == pytest.approx([entity.score for entity in other.entities], abs=1e-4)
    assert len({result.answers for result in found}) > 5
    assert any("devices cpu, cpu: asked for, a process each" in line for line in caplog.messages)
    assert len(caplog.messages) == len(set(caplog.messages))
    assert set(caplog.messages) >= alone
    again = tagged(tiny_llama, device="cpu,cpu", **more)[1]
    assert again == found  # to the last bit


def short_of_memory(model, device):
    """An engine that has no memory for its third step with more than a row, in one process."""
    import torch

    from b2ner_cli.engine import PackedEngine
    from b2ner_cli.models.loading import load

    engine = PackedEngine(load(str(model), device="cpu", dtype="float32"), max_answer=24)
    original, steps = engine.forward, []

    def forward(tokens, step):
        steps.append(len(step.sizes))
        if device == "b" and len(steps) > 2 and steps[-1] > 3:
            raise torch.OutOfMemoryError("out of memory")
        return original(tokens, step)

    engine.forward = forward
    return engine


def test_memory_that_runs_out_is_the_matter_of_one_process(start, tiny_llama, warned):
    prompts = [render(LabelSet(("person",)), text, "en") for text in TEXTS]
    expected = dict(short_of_memory(tiny_llama, "alone").generate(prompts))
    engine = start(functools.partial(short_of_memory, tiny_llama))
    said = dict(engine.generate(prompts))
    assert {i: a.text for i, a in said.items()} == {i: a.text for i, a in expected.items()}
    assert warned
    assert all(line.startswith("2 of 2, b: out of memory: going on with ") for line in warned)


# As a command -------------------------------------------------------------------------------------

COUNT = 110  # windows of 32, 64 and 14 documents


@pytest.fixture
def shell(tmp_path):
    (tmp_path / "docs.jsonl").write_bytes(numbered(COUNT))
    return Shell(tmp_path)


def command(output, *options):
    return ["tag", "docs.jsonl", "-l", "person,city", "-o", output,
            "--cache", f"{output}.sqlite", *options]  # fmt: skip


def stuck(count):
    if count == 20:  # each answers 16 documents of the first window
        time.sleep(600)


def both(make):
    """An engine of two processes in the place of a model, for a shell."""
    return functools.partial(workers.start, ("a", "b"), make, words)


def start_forks():
    """As `workers.start`, in a process of a shell: its processes are forks of that one."""
    fork = SimpleNamespace(get_context=lambda kind: multiprocessing.get_context("fork"))
    workers.multiprocessing = fork
    return workers.start(("a", "b"), scripted, words)


def slow_to_make(device):
    time.sleep(600)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a run that nobody cut."""
    shell = Shell(tmp_path_factory.mktemp("whole"))
    (shell.folder / "docs.jsonl").write_bytes(numbered(COUNT))
    done = shell.run(command("whole.jsonl"), engine=start_forks)
    assert done.code == 0, done.err
    return (shell.folder / "whole.jsonl").read_bytes()


def children(pid):
    """The processes that a process started to answer."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            line = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"spawn_main" in line:
            found.append(int(path.parent.name))
    return found


def lines_in(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def begun(shell, output):
    """A run that has written the first window and is busy with the second, and its processes."""
    engine = both(functools.partial(scripted, on_answer=stuck))
    running = shell.start(command(output), engine=engine)
    running.wait_until(lambda: lines_in(shell.folder / f"{output}.part") >= 32)
    pids = children(running.process.pid)
    assert len(pids) == 2
    return running, pids


def interrupt(running, pids):
    for pid in (*pids, running.process.pid):  # a terminal tells all of them
        os.kill(pid, signal.SIGINT)
    done = running.wait()
    assert done.code == 130
    assert "Traceback" not in done.err


def kill(running, pids):
    running.kill()
    assert running.wait().code == -signal.SIGKILL


def kill_one(running, pids):
    os.kill(pids[0], signal.SIGKILL)
    done = running.wait()
    assert done.code == 2
    assert "ended while it answered: killed by SIGKILL" in done.err
    assert "--resume goes on" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("cut", [interrupt, kill, kill_one])
def test_a_run_that_is_cut_ends_with_the_bytes_of_one_that_is_not(shell, whole, cut):
    running, pids = begun(shell, "out.jsonl")
    cut(running, pids)
    wait_until(lambda: not any(map(alive, pids)))
    assert not (shell.folder / "out.jsonl").exists()
    done = shell.run(command("out.jsonl", "--resume"), engine=start_forks)
    assert done.code == 0, done.err
    assert (shell.folder / "out.jsonl").read_bytes() == whole


def test_ctrl_c_while_models_are_loaded_is_quiet(shell):
    running = shell.start(command("out.jsonl"), engine=both(slow_to_make))
    running.wait_until(lambda: len(children(running.process.pid)) == 2)
    pids = children(running.process.pid)
    interrupt(running, pids)
    assert not any(map(alive, pids))


def test_what_several_answered_is_known_to_one(shell, tiny_llama):
    model = ["-m", tiny_llama, "--dtype", "float32", "--max-answer", "40", "--limit", "50"]
    done = shell.run(command("out.jsonl", *model, "--device", "cpu,cpu", "-v"))
    assert done.code == 0, done.err
    assert "devices cpu, cpu: asked for, a process each; CPU threads of each: 1" in done.err
    assert "tagged 50 documents" in done.err
    whole = (shell.folder / "out.jsonl").read_bytes()
    done = shell.run(command("out.jsonl", *model, "--device", "cpu", "--force"))
    assert "100% from cache" in done.err
    assert (shell.folder / "out.jsonl").read_bytes() == whole


def test_what_cannot_be_is_said_before_any_process_is_started(shell, tmp_path):
    done = shell.run(command("out.jsonl", "-m", tmp_path, "--device", "cpu,cpu"))
    assert done.code == 2
    assert "has no config.json" in done.err
    options = ["-m", "mini", "--device", "cpu,cpu", "--device-map", "auto"]
    done = shell.run(command("out.jsonl", *options))
    assert done.code == 2
    assert "exclude each other" in done.err


def test_commands_for_one_device_say_so(shell, tiny_llama):
    done = shell.run(["bench", "-m", tiny_llama, "--device", "cpu,cpu"])
    assert done.code == 2
    assert "one device is needed here, not cpu,cpu" in done.err
    assert "only tag and predict take several" in done.err
