"""The fast engine against vLLM and llama.cpp on CPU: the same merged model and prompts, in turns.

    python tests/bench/bench_peers.py --vllm-python ~/vllm/bin/python --documents 500 \\
        --data SETS --short WNUT17:person,location --long TASTEset
    python tests/bench/bench_peers.py --llama-python ~/llama/bin/python     sentences in samples/

Every engine has a process of its own and the same cores; the peers' come from virtual environments
of their own. All answer greedily and freely, the fast engine constrained as well. Documents are cut
into slices, and every slice is answered by all before the next one; who begins changes. Loading and
the first prompts, for another label, are not counted; nor is, for the peers alone, turning text
into tokens and back. Answers may differ: no two of them round alike.

Memory: 2 GB for each engine and 2 GB more for vLLM.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import peer_model
import torch
from bench_engine import workloads
from peer import Peer

from b2ner_cli.core.engine import Prompt
from b2ner_cli.engine import PackedEngine
from b2ner_cli.errors import B2nerError
from b2ner_cli.labels.label_set import LabelSet
from b2ner_cli.models import loading
from b2ner_cli.models.loading import Backbone
from b2ner_cli.prompts import rendering

HERE = Path(__file__).parent
OURS = ("free", "constrained")
WARM = 8  # prompts answered before anything counts


@dataclass(frozen=True, slots=True)
class Turn:
    """The answers to a slice, and what they took."""

    said: list[str]
    tokens: int
    wall: float
    cpu: float


Run = Callable[[Sequence[Prompt]], Turn]


# The engines --------------------------------------------------------------------------------------


def own_engine(loaded: Backbone, max_answer: int, constrain: bool) -> Run:
    engine = PackedEngine(loaded, max_answer=max_answer, constrain=constrain)

    def run(asked):
        wall, cpu = time.perf_counter(), time.process_time()
        completions = dict(engine.generate(asked))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        said = [completions[index] for index in range(len(asked))]
        tokens = sum(len(answer.ends) for answer in said)
        return Turn([answer.text.strip() for answer in said], tokens, wall, cpu)

    return run


def peer_engine(peer: Peer, loaded: Backbone, max_answer: int) -> Run:
    def run(asked):
        turn = peer.ask(token_ids(loaded, asked), max_answer)
        said = [loaded.tokenizer.decode(ids).strip() for ids in turn.said]
        return Turn(said, sum(map(len, turn.said)), turn.wall, turn.cpu)

    return run


def token_ids(loaded: Backbone, asked: Sequence[Prompt]) -> list[list[int]]:
    """Prompts as the fast engine reads them."""
    tokenizer = loaded.tokenizer
    shared = tokenizer.encode([prompt.prefix for prompt in asked])
    owns = tokenizer.encode([prompt.own for prompt in asked], continued=True)
    return [[*tokenizer.bos, *before, *own] for before, own in zip(shared, owns, strict=True)]


def open_peers(options, loaded: Backbone, folder: Path) -> list[Peer]:
    """Start the peers that were asked for, with the model they read."""
    stops = ["--stops", *map(str, loaded.tokenizer.stops)]
    quiet = {"OMP_NUM_THREADS": str(options.cores), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    peers = []
    for dtype in options.vllm_dtype if options.vllm_python else ():
        command = [options.vllm_python, str(HERE / "peer_vllm.py"), str(folder / "merged")]
        command += [*stops, "--dtype", dtype, *options.vllm_option]
        environment = quiet | {
            "DO_NOT_TRACK": "1",
            "VLLM_CPU_KVCACHE_SPACE": "2",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # its CPU time is that of one process
        }
        peers.append(Peer(command, environment, folder / f"vllm-{dtype}.log"))
    if options.llama_python:
        command = [options.llama_python, str(HERE / "peer_llama.py"), str(folder / "q8_0.gguf")]
        command += [*stops, "--threads", str(options.cores), *options.llama_option]
        peers.append(Peer(command, quiet, folder / "llama.log"))
    return peers


def write_models(options, folder: Path) -> None:
    """Write what the peers read, where it is not there yet: merged in float32."""
    wanted = {"merged": options.vllm_python, "q8_0.gguf": options.llama_python}
    if not any(python and not (folder / name).exists() for name, python in wanted.items()):
        return
    merged = loading.load(options.model, options.adapter, device="cpu", dtype="float32")
    if options.vllm_python:
        peer_model.write_directory(merged, folder / "merged")
    if options.llama_python:
        like = options.gguf or peer_model.original(merged, folder)
        if like is None:
            sys.exit(f"llama.cpp needs a description of {merged.source.name}: give --gguf FILE")
        peer_model.write_gguf(merged, like, folder / "q8_0.gguf")


# The measurement ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """The pace of an engine, medians of the slices, and the share of answers like ours, free."""

    documents_per_second: float
    cpu_seconds_per_document: float
    answer_tokens: float
    same: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast ours is as a peer, by the clock and by CPU time: medians."""

    ours: str
    peer: str
    wall: float
    cpu: float


def measure(engines: Mapping[str, Run], asked: Sequence[Prompt], rounds: int):
    """What each engine needs for the prompts, and the ratios of ours to each peer."""
    labels = LabelSet(("word",))
    other = {"prefix": rendering.prefix(labels, "en"), "labels": labels.names}
    for run in engines.values():
        run([replace(prompt, **other) for prompt in asked[:WARM]])
    size = -(-len(asked) // rounds)
    slices = [asked[start : start + size] for start in range(0, len(asked), size)]
    turns: dict[str, list[Turn]] = {name: [] for name in engines}
    for number, piece in enumerate(slices):
        first = number % len(engines)
        for name in [*list(engines)[first:], *list(engines)[:first]]:
            turns[name].append(engines[name](piece))
        pace = ", ".join(f"{name} {len(piece) / t[-1].wall:.2f}" for name, t in turns.items())
        print(f"slice {number + 1} of {len(slices)}: {pace}", file=sys.stderr, flush=True)
    ours = [answer for turn in turns[OURS[0]] for answer in turn.said]
    found = {}
    for name, taken in turns.items():
        said = [answer for turn in taken for answer in turn.said]
        found[name] = Measured(
            statistics.median(len(turn.said) / turn.wall for turn in taken),
            statistics.median(turn.cpu / len(turn.said) for turn in taken),
            sum(turn.tokens for turn in taken) / len(said),
            sum(one == other for one, other in zip(said, ours, strict=True)) / len(said),
        )
    ratios = [
        Ratio(
            own,
            name,
            statistics.median(p.wall / o.wall for p, o in pairs),
            statistics.median(p.cpu / o.cpu for p, o in pairs),
        )
        for name in engines
        if name not in OURS
        for own in OURS
        if (pairs := list(zip(turns[name], turns[own], strict=True)))
    ]
    return found, ratios


def show(title: str, found: Mapping[str, Measured], ratios: Sequence[Ratio]) -> None:
    print(title)
    wide = max(map(len, found))
    for name, each in found.items():
        print(
            f"  {name:<{wide}} {each.documents_per_second:>8.2f} documents a second"
            f" {each.cpu_seconds_per_document:>8.3f} CPU seconds a document"
            f" {each.answer_tokens:>6.1f} tokens   {each.same:>6.1%} as free"
        )
    for each in ratios:
        print(
            f"  {each.ours} is {each.wall:.2f} times as fast as {each.peer}"
            f", {each.cpu:.2f} times by CPU time"
        )


def take_cores(count: int) -> None:
    """Keep this process, and those it starts, to so many cores."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < count:
            sys.exit(f"there are {len(cores)} cores here: give --cores {len(cores)}")
        os.sched_setaffinity(0, cores[:count])
    torch.set_num_threads(count)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vllm-python", metavar="PYTHON", help="one that has vLLM for CPU")
    parser.add_argument(
        "--vllm-dtype", nargs="+", default=["bfloat16"], metavar="DTYPE", help="one peer for each"
    )
    parser.add_argument(
        "--vllm-option", action="append", default=[], metavar="OPTION", help="for peer_vllm.py"
    )
    parser.add_argument("--llama-python", metavar="PYTHON", help="one that has llama-cpp-python")
    parser.add_argument(
        "--llama-option", action="append", default=[], metavar="OPTION", help="for peer_llama.py"
    )
    parser.add_argument("--gguf", type=Path, help="the model as GGUF in any type; not for mini")
    parser.add_argument("--models", type=Path, help="keep what the peers read in this folder")
    parser.add_argument("--model", default="mini", help="a model as `b2ner tag -m` takes it")
    parser.add_argument("--adapter", help="its adapter; mini brings its own")
    parser.add_argument("--dtype", default="auto", help="of the fast engine")
    parser.add_argument("--data", type=Path, help="data sets in B2NERD layout, else samples/")
    parser.add_argument("--short", metavar="SET[:LABEL,...]", help="set and labels of that name")
    parser.add_argument("--long", metavar="SET[:LABEL,...]")
    parser.add_argument("--only", default="short,long", help="workloads of bench_engine.py")
    parser.add_argument("--languages", metavar="en,zh,...", help="of the mixed workload, else all")
    parser.add_argument("--documents", type=int, default=100, metavar="N", help="each workload")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="slices")
    parser.add_argument("--max-answer", type=int, default=256, metavar="TOKENS")
    parser.add_argument("--cores", type=int, default=2, metavar="N")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not (options.vllm_python or options.llama_python):
        parser.error("nothing to compare with: give --vllm-python, --llama-python or both")
    return options


def compare(options, folder: Path):
    """Both workloads: name, title, engines and ratios of each."""
    write_models(options, folder)
    loaded = loading.load(options.model, options.adapter, device="cpu", dtype=options.dtype)
    with ExitStack() as stack:
        engines = {
            name: own_engine(loaded, options.max_answer, name == "constrained") for name in OURS
        }
        for peer in open_peers(options, loaded, folder):
            stack.enter_context(closing(peer))
            engines[peer.name] = peer_engine(peer, loaded, options.max_answer)
        for name, labels, asked in workloads(options):
            tokens = sum(map(len, token_ids(loaded, asked))) / len(asked)
            title = (
                f"{name}: {len(asked)} documents, {len(labels)} labels, {tokens:.0f} prompt tokens"
                f" each; the fast engine in {loaded.dtype}, {options.cores} cores"
            )
            yield name, title, *measure(engines, asked, options.rounds)


def main():
    options = parse()
    take_cores(options.cores)
    report = {}
    with ExitStack() as stack:
        folder = options.models or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name, title, found, ratios in compare(options, folder):
                report[name] = {
                    "engines": {engine: asdict(each) for engine, each in found.items()},
                    "ratios": [asdict(ratio) for ratio in ratios],
                }
                if not options.json:
                    show(title, found, ratios)
        except B2nerError as error:
            sys.exit(f"{error.message}\n{error.hint}")
    if options.json:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
