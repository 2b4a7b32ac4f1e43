"""Two processes train as one does: the same batches, to the rounding of sums in another order.

Weights after all steps are the same to 1e-4 and the losses of steps to 1e-5. Without dropout: each
process drops other values.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from b2ner_cli.errors import UsageError
from b2ner_cli.training import prepare
from tests.training.test_groups import row, write

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = (
    "batch=8",
    "group=2",
    "rank=2",
    "sampled_softmax=60",
    "learning_rate=1e-2",
    "dtype=float32",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Answers of different lengths, and a step of a single row: one process has none of it."""
    root = tmp_path_factory.mktemp("data")
    rows = [
        row(f"Ann{i} sleeps " + "on " * (i % 9), *[("person", f"Ann{i}")][: i % 3])
        for i in range(34)
    ]
    write(root, "NER_en/one", train=rows, labels=["person"])
    return root


def command(data, model, out, *options):
    asked = ["train", "--data", data, "-m", model, "-o", out, "--device", "cpu", *options]
    for setting in SETTINGS:
        asked += ["--set", setting]
    return [*map(str, asked), "--checkpoint-every", "1"]


def started(arguments, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment, text=True,
        capture_output=True, timeout=300,
    )  # fmt: skip


def launched(program, folder):
    """Run a program in two processes, by torch's launcher.

    `accelerate launch --cpu --num_processes 2` starts one process, unless it is given MPI's hosts.
    """
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return started([*launcher, *program], folder)


def log_of(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def same_training(out, expected):
    lines, others = log_of(out), log_of(expected)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    for line, other in zip(lines, others, strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert line["documents"] == other["documents"]
    file = Path("checkpoints") / "step-000005" / "state.safetensors"
    got, wanted = load_file(out / file), load_file(expected / file)
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor, atol=1e-4, rtol=1e-3)


@pytest.fixture(scope="module")
def alone(data, tiny_llama, tmp_path_factory):
    """A run in one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    done = started(["b2ner_cli", *command(data, tiny_llama, out)], out.parent)
    assert done.returncode == 0, done.stderr
    return out


def test_two_processes_train_one_adapter(data, tiny_llama, tmp_path, alone):
    out = tmp_path / "run"
    done = launched(["-m", "b2ner_cli", *command(data, tiny_llama, out)], tmp_path)
    assert done.returncode == 0, done.stderr
    same_training(out, alone)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in alone.iterdir()
    )
    assert done.stderr.count("adapter in") == 1  # said by the first alone
    one, other = (json.loads((folder / "run.json").read_text()) for folder in (out, alone))
    assert (one["processes"], other["processes"]) == (2, 1)
    assert (one["documents"], one["steps"]) == (other["documents"], other["steps"]) == (34, 5)
    # resumed in one process; had it begun anew, there would be lines of other times
    (out / "checkpoints" / "step-000005" / "state.safetensors").unlink()
    before = log_of(out)[:4]
    again = started(["b2ner_cli", *command(data, tiny_llama, out, "--resume")], tmp_path)
    assert again.returncode == 0, again.stderr
    assert log_of(out)[:4] == before
    same_training(out, alone)


LITTLE = """
import os, sys
from b2ner_cli.cli import app
from b2ner_cli.training.packing import AnswerLoss

whole = AnswerLoss.forward

def forward(self, batch, seed):
    if batch.rows > 1 and os.environ["RANK"] == "1":
        raise MemoryError
    return whole(self, batch, seed)

AnswerLoss.forward = forward
app.main()
"""


def test_memory_that_runs_out_in_one_process(data, tiny_llama, tmp_path, alone):
    """The other does not wait for it, and both go on with half the rows."""
    (tmp_path / "little.py").write_text(LITTLE)
    out = tmp_path / "run"
    done = launched(["little.py", *command(data, tiny_llama, out)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("from here on 1 rows at once") == 1
    same_training(out, alone)


SLOW = """
import time
from datetime import timedelta
import torch.distributed.distributed_c10d as distributed
from b2ner_cli.cli import app
from b2ner_cli.training import evaluation

distributed.default_pg_timeout = timedelta(seconds=3)

def score(job):
    time.sleep(8)
    return {"datasets": {}, "averages": {"overall": 0.5}}

evaluation.score = score
app.main()
"""


def test_the_others_wait_while_the_first_evaluates(data, tiny_llama, tmp_path):
    """For longer than processes wait for each other by default, which is minutes on cards."""
    (tmp_path / "slow.py").write_text(SLOW)
    out = tmp_path / "run"
    evaluated = ["--eval-data", data, "--eval-split", "train", "--set", "epochs=0.5"]
    done = launched(["slow.py", *command(data, tiny_llama, out, *evaluated)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line["f1"] for line in log_of(out) if "f1" in line] == [0.5]


def test_a_mistake_ends_all_processes(data, tiny_llama, tmp_path):
    wrong = command(data, tiny_llama, tmp_path / "run", "--only", "NER_en_two")
    done = launched(["-m", "b2ner_cli", *wrong], tmp_path)
    assert done.returncode != 0
    assert "no data set NER_en_two" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_a_split_model_is_refused(monkeypatch, kind):
    monkeypatch.setattr(
        prepare, "Accelerator", lambda **options: SimpleNamespace(distributed_type=kind)
    )
    with pytest.raises(UsageError, match=f"set up for {kind.value}") as caught:
        prepare.make_accelerator("cpu", "float32")
    assert "without FSDP" in caught.value.hint
