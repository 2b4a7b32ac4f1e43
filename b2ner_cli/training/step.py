"""The gradients of one step, in as many parts as memory asks for and on all processes.

    rows of the step -> share of this process -> parts that fit -> gradients, summed over all

What an answer token counts is settled for the whole step, so that loss and gradients are those of
the step in one piece, however it is split. Gradients are few under LoRA: they are summed once a
step.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache

from b2ner_cli.errors import B2nerError
from b2ner_cli.models.device_errors import is_out_of_memory
from b2ner_cli.training.packing import AnswerLoss, PackedRow, collate

log = logging.getLogger("b2ner")

Shared = tuple[PackedRow, float]


@dataclass(frozen=True, slots=True)
class Step:
    """The rows of a step that have answers, those of all processes; `number` counts from 0.

    The loss is a mean over `mean_over` rows' answer tokens, and over these means; 0: over all.
    """

    number: int
    rows: Sequence[PackedRow]
    seed: int
    mean_over: int = 0

    @property
    def shared(self) -> list[Shared]:
        """The rows, with what each answer token of a row counts; all of them make 1."""
        size = self.mean_over or max(1, len(self.rows))
        means = [self.rows[begin : begin + size] for begin in range(0, len(self.rows), size)]
        return [
            (row, 1 / (len(means) * sum(len(each.targets) for each in together)))
            for together in means
            for row in together
        ]


def gradients(
    module: AnswerLoss, accelerator: Accelerator, step: Step, micro_batch: int
) -> tuple[float, int]:
    """Leave a step's gradients in the parameters; gives its loss, and how many rows fit at once.

    `micro_batch` is what earlier steps found, 0 for all rows. Where memory runs out, rows are
    halved; raises B2nerError where one alone does not fit.
    """
    mine = step.shared[accelerator.process_index :: accelerator.num_processes]
    while True:
        # one mask over all rows would grow with the square of them
        size = micro_batch if module.grouped else 1
        loss, failed = _attempt(module, accelerator, step, _parts(mine, size))
        worst = _least(accelerator, failed)
        if not worst:
            return _summed(module, accelerator, loss), micro_batch
        if worst == 1:
            longest = max(len(row.ids) for row in step.rows)
            raise B2nerError(
                f"out of memory at step {step.number + 1}: a single row does not fit, of up to "
                f"{longest} tokens",
                "go on from the last checkpoint with --resume --set checkpointing=true, or start "
                "over with a lower group, max_tokens or max_chars, e.g. --set group=1",
            )
        micro_batch = (worst + 1) // 2
        if accelerator.is_main_process:
            log.warning(
                "out of memory at step %d: from here on %d rows at once, whose gradients are added "
                "up; the result stays the same",
                step.number + 1,
                micro_batch,
            )


def _parts(rows: Sequence[Shared], micro_batch: int) -> list[Sequence[Shared]]:
    size = micro_batch or max(1, len(rows))
    return [rows[begin : begin + size] for begin in range(0, len(rows), size)]


def _attempt(
    module: AnswerLoss,
    accelerator: Accelerator,
    step: Step,
    parts: list[Sequence[Shared]],
) -> tuple[float, int]:
    """The share of the loss that these parts make; and the rows of the part that did not fit."""
    module.zero_grad(set_to_none=True)
    # dropout, the same after a resume, another in each process
    torch.manual_seed(step.seed * accelerator.num_processes + accelerator.process_index)
    total = 0.0
    for part in parts:
        try:
            total += _backward(module, accelerator, step, part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            continue
        # Here and not above: while the error is at hand, its frames hold on to all they computed.
        module.zero_grad(set_to_none=True)
        clear_device_cache(garbage_collection=True)
        return 0.0, len(part)
    return total, 0


def _backward(
    module: AnswerLoss, accelerator: Accelerator, step: Step, part: Sequence[Shared]
) -> float:
    """Add the gradients of a part of the rows; its share of the step's loss."""
    rows, shares = zip(*part, strict=True)
    batch = collate(rows, accelerator.device, step.rows, shares)
    with accelerator.autocast():
        loss = module(batch, step.number)
    accelerator.backward(loss)
    return float(loss.item())


def loss(module: AnswerLoss, accelerator: Accelerator, rows: Sequence[PackedRow]) -> float:
    """The mean loss over the answer tokens of rows, NaN without any; nothing drops out, and nothing
    is left changed. Each process computes all of it.
    """
    training = {part: part.training for part in module.modules()}
    module.eval()
    with torch.no_grad(), accelerator.autocast():
        losses = [float(module(collate([row], accelerator.device, rows), 0)) for row in rows]
    for part, flag in training.items():
        part.training = flag
    return sum(losses) if rows else math.nan


def _least(accelerator: Accelerator, failed: int) -> int:
    """The fewest rows that did not fit in some process, 0 where all did: all go on alike."""
    if accelerator.num_processes == 1:
        return failed
    every = accelerator.gather(torch.tensor([failed], device=accelerator.device)).tolist()
    return min((rows for rows in every if rows), default=0)


def _summed(module: AnswerLoss, accelerator: Accelerator, loss: float) -> float:
    """Add up loss and gradients over the processes."""
    if accelerator.num_processes == 1:
        return loss
    trained = [p for p in module.parameters() if p.requires_grad]
    # a process without rows has none
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    own = torch.cat([grads[0].new_tensor([loss]), *(g.flatten() for g in grads)])
    summed = accelerator.reduce(own, "sum")
    gradients_of_all = summed[1:].split([p.numel() for p in trained])
    for p, gradient in zip(trained, gradients_of_all, strict=True):
        p.grad = gradient.view_as(p)
    return float(summed[0])
