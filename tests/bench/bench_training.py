"""The training loop against transformers' own Trainer: the same documents, prompts and LoRA.

    python tests/bench/bench_training.py --model tiny         random weights: does the script run
    python tests/bench/bench_training.py --data B2NERD_open --only NER_en_SNIPS
    python tests/bench/bench_training.py --parts --candidates 0,4000      what the gain is made of

    trainer    Trainer with DataCollatorForSeq2Seq: a row for each document, padded to the longest
               of its step; the loss on the answer, the output head on all positions
    ours       `b2ner train`: documents packed without padding behind the prefix they share, and
               attention to these alone; the head on answer positions only, against the batch's
               tokens and a sample of the vocabulary
    parts      trainer, then one thing more at a time: answer positions only, the sample, the
               shared prefix

On CPU, in one process, in turns: each round trains every variant anew for a few steps, of which
the first warms up. What is compared is the median of all steps. The trainer is given the batches
of ours, tokenised beforehand, and so documents of similar length; by its own choice it would pad
more. `--candidates` prices the loss alone: so many random entries of the vocabulary, 0 for all.

LoRA, seed, precision and optimiser are the same, and so are frozen layers: with the whole
vocabulary the losses of the first step must agree, else this fails.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path

import peft
import torch
import transformers

from b2ner_cli.core.document import Document
from b2ner_cli.core.tasks import as_task
from b2ner_cli.datasets import balance
from b2ner_cli.models import loading
from b2ner_cli.models.files import locate
from b2ner_cli.models.tokenizer import load_tokenizer
from b2ner_cli.prompts import rendering
from b2ner_cli.prompts.examples import read_examples
from b2ner_cli.training import packing, selection
from b2ner_cli.training.groups import PromptChoices
from b2ner_cli.training.loop import Hooks, Setup, train
from b2ner_cli.training.recipes import read_recipe
from b2ner_cli.training.run import keep_freed_memory

SAMPLES = Path(__file__).parents[2] / "samples"
IGNORED = -100  # what cross entropy passes over
AGREE = 1e-3  # of the loss; the trainer reports it to four digits


@dataclass(frozen=True)
class Step:
    """What one step took; `tokens` are those its layers saw, padding included."""

    seconds: float
    cpu_seconds: float
    documents: int
    tokens: int
    loss: float


class Clock:
    """Both clocks at the ends of steps."""

    def __init__(self):
        self.times = []

    def tick(self, *_, **__):
        self.times.append((time.perf_counter(), time.process_time()))

    def steps(self, sizes, losses):
        """The steps, but the first, of which the beginning is not known."""
        return [
            Step(after[0] - before[0], after[1] - before[1], *size, loss)
            for before, after, size, loss in zip(
                self.times, self.times[1:], sizes[1:], losses[1:], strict=False
            )
        ]


# The documents ------------------------------------------------------------------------------------


def choose(options, recipe):
    """Documents of data sets, or those in samples/, again and again until there are enough."""
    if options.data:
        limits = balance.Limits(recipe.per_set, recipe.per_label, recipe.empty, recipe.max_chars)
        return selection.choose(options.data, limits, recipe.seed, options.only, options.task)
    read = read_examples(SAMPLES / "gold.jsonl")
    labels = tuple(dict.fromkeys(m.label for each in read for m in each.mentions))
    documents = tuple(
        Document(str(number), each.text, mentions=each.mentions)
        for number, each in zip(
            range(recipe.batch * (options.steps + 1)), cycle(read), strict=False
        )
    )
    return [selection.Selection("NER_en_samples", "en", labels, documents, len(documents), 0)]


def with_softmax(recipe, count):
    """A recipe with so many random entries of the vocabulary in the loss."""
    return replace(recipe, experiments=replace(recipe.experiments, sampled_softmax=count))


def schedule(picks, recipe, steps):
    """The recipe with so few epochs that it has `steps` steps, and the bundles of each."""
    every = packing.Schedule(picks, replace(recipe, epochs=1.0), PromptChoices.of(recipe))
    recipe = replace(recipe, epochs=steps / every.steps)
    short = replace(every, recipe=recipe)
    if short.steps != steps or every.steps < steps:
        sys.exit(f"the data has {every.steps} steps, not {steps}: give more documents")
    return recipe, [bundles for _, bundles in short.batches()]


def examples(bundles, tokenizer, most):
    """A step's documents as the trainer takes them; those of over `most` tokens are left out."""
    found = []
    for group in (group for bundle in bundles for group in bundle):
        shared = rendering.prefix(group.labels, group.language, group.form)
        head = [*tokenizer.bos, *tokenizer.encode([shared])[0]]
        for text, target in zip(group.texts, group.targets, strict=True):
            own, said = tokenizer.encode(
                [
                    rendering.own(group.labels, text, group.language, group.form),
                    rendering.answer(target, group.form.task),
                ],
                continued=True,
            )
            ids = [*head, *own, *said, tokenizer.eos]
            if len(ids) > most:
                continue
            asked = len(head) + len(own)
            found.append({
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "labels": [IGNORED] * asked + ids[asked:],
            })  # fmt: skip
    return found


# The two loops ------------------------------------------------------------------------------------


def run_ours(model, picks, recipe, steps, folder):
    """Train for a few steps; gives them, the loss of the first, and the LoRA's settings."""
    recipe, batches = schedule(picks, recipe, steps)
    tokenizer = load_tokenizer(locate(model, "none"))
    rows = [[packing.pack(b, tokenizer, recipe.max_tokens) for b in bundles] for bundles in batches]
    sizes = [
        (sum(row.documents for row in step), sum(len(row.ids) for row in step)) for step in rows
    ]
    clock, losses = Clock(), []

    def report(progress):
        clock.tick()
        losses.append(progress.loss)

    train(picks, Setup(model, folder, recipe, device="cpu"), Hooks(report=report))
    lora = peft.LoraConfig.from_pretrained(folder / "adapter")
    return clock.steps(sizes, losses), losses[0], lora


def run_trainer(model, picks, recipe, steps, lora, folder):
    """The same with transformers' Trainer; gives its steps and the loss of the first."""
    recipe, batches = schedule(picks, recipe, steps)
    network, tokenizer = loading.load_parts(locate(model, "none"), torch.float32)
    torch.manual_seed(recipe.seed)
    lora.inference_mode = False
    network = peft.get_peft_model(network, lora)
    collator = transformers.DataCollatorForSeq2Seq(tokenizer.hf, label_pad_token_id=IGNORED)
    data = [examples(bundles, tokenizer, recipe.max_tokens) for bundles in batches]
    sizes = [(len(step), len(step) * max(len(each["input_ids"]) for each in step)) for step in data]
    clock = Clock()
    watch = type("Watch", (transformers.TrainerCallback,), {"on_step_end": clock.tick})
    trainer = transformers.Trainer(
        model=network,
        args=transformers.TrainingArguments(
            output_dir=str(folder), max_steps=steps, use_cpu=True, seed=recipe.seed,
            # An item is a step's documents, whose number may differ from step to step.
            per_device_train_batch_size=1, train_sampling_strategy="sequential",
            learning_rate=recipe.learning_rate, adam_beta2=0.98, weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.clip, lr_scheduler_type="cosine", warmup_steps=1,
            logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True,
            remove_unused_columns=False,
        ),
        train_dataset=data,
        data_collator=lambda items: collator(items[0]),
        callbacks=[watch()],
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return clock.steps(sizes, losses), losses[0]


# The measurement ----------------------------------------------------------------------------------


def variants(recipe, options):
    """Name and recipe of each way to train with our loop."""
    found = {}
    if options.parts:
        found["answer positions"] = with_softmax(replace(recipe, group=1), 0)
        found["+ vocabulary sample"] = replace(recipe, group=1)
    found["ours"] = recipe
    for count in options.candidates:
        found[f"ours, {count or 'all'} candidates"] = with_softmax(recipe, count)
    return found


def measure(model, picks, recipe, options):
    """The steps of every variant over all rounds, and the loss that both begin with."""
    keep_freed_memory()
    ours = variants(recipe, options)
    spent = {name: [] for name in ("trainer", *ours)}
    steps = options.steps + 1
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        whole = with_softmax(recipe, 0)
        _, exact, lora = run_ours(model, picks, whole, 1, out / "exact")
        _, first = run_trainer(model, picks, recipe, 1, lora, out / "trainer")
        if not math.isclose(first, exact, rel_tol=AGREE):
            sys.exit(f"not the same training: the first loss is {exact} here and {first} there")
        for number in range(options.rounds):
            for name, chosen in ours.items():
                taken, *_ = run_ours(model, picks, chosen, steps, out / f"{number} {name}")
                note(spent, name, number, taken)
            taken, _ = run_trainer(model, picks, recipe, steps, lora, out / "trainer")
            note(spent, "trainer", number, taken)
    return spent, (exact, first)


def note(spent, name, number, taken):
    """Keep the steps of a round, and say on stderr how it goes."""
    spent[name] += taken
    seconds = statistics.median(step.seconds for step in taken)
    print(f"round {number + 1}, {name}: {seconds:.1f} seconds a step", file=sys.stderr, flush=True)


def summary(spent):
    """Medians of each variant, and how many times as fast as the trainer it is."""
    found = {}
    for name, steps in spent.items():
        found[name] = {
            "documents a second": statistics.median(s.documents / s.seconds for s in steps),
            "CPU seconds a document": statistics.median(s.cpu_seconds / s.documents for s in steps),
            "seconds a step": statistics.median(s.seconds for s in steps),
            "tokens a document": sum(s.tokens for s in steps) / sum(s.documents for s in steps),
        }
    base = found["trainer"]
    for row in found.values():
        row["ratio"] = row["documents a second"] / base["documents a second"]
        row["CPU ratio"] = base["CPU seconds a document"] / row["CPU seconds a document"]
    return found


def show(found, losses, recipe, options):
    asked = recipe.experiments
    print(
        f"batch {recipe.batch} in groups of {recipe.group}, first layer {asked.first_layer}, "
        f"rank {recipe.rank}, {asked.sampled_softmax} candidates, {recipe.dtype}; "
        f"{options.rounds} rounds of {options.steps} steps, {torch.get_num_threads()} threads"
    )
    columns = list(next(iter(found.values())))
    print(" " * 24, *(f"{column:>23}" for column in columns))
    for name, row in found.items():
        print(f"{name:<24}", *(f"{row[column]:>23.3f}" for column in columns))
    print(f"loss of the first step  {losses[0]:.4f} ours, {losses[1]:.4f} the trainer's")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="mini", help="as `b2ner train -m` takes it, or tiny")
    parser.add_argument("--data", type=Path, help="data sets in B2NERD layout, else samples/")
    parser.add_argument("--only", action="append", default=[], metavar="SET")
    parser.add_argument("--task", action="append", default=[], type=as_task)
    parser.add_argument("--recipe", default="mini")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=4, metavar="N", help="that count, a round")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--parts", action="store_true", help="what the gain is made of")
    parser.add_argument("--candidates", default=[], metavar="N,...",
                        type=lambda said: [int(part) for part in said.split(",")])  # fmt: skip
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    recipe = read_recipe(options.recipe, None, ["dtype=float32", *options.set])
    picks = choose(options, recipe)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if model == "tiny":
            from tests.tiny import tiny_model

            kinds = ["sliding_attention", "full_attention"] * 4
            model = str(
                tiny_model(folder, "gemma3", num_hidden_layers=len(kinds), layer_types=kinds)
            )
        spent, losses = measure(model, picks, recipe, options)
    found = summary(spent)
    if options.json:
        steps = {name: [asdict(step) for step in taken] for name, taken in spent.items()}
        print(json.dumps({"medians": found, "losses": losses, "steps": steps}, indent=2))
    else:
        show(found, losses, recipe, options)


if __name__ == "__main__":
    main()
