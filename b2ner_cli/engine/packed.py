"""The fast engine: one packed sequence of tokens a step, no padding, rows refilled at once.

    prefix   keys and values once per label set, shared by all of its rows
    step     one token of every answer under way, and the own tokens of rows just begun
    row      leaves when its answer ends; the next prompt takes its place in the next step

The model's modules are transformers' own; attention and the key-value store are ours. The output
head is evaluated where a next token is due, and nowhere else. In float32 the answers are those of
`generate`, one prompt at a time, token for token.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from inspect import signature
from typing import Any

import torch

from b2ner_cli.core.engine import Completion, Prompt
from b2ner_cli.engine import int8_head, next_token
from b2ner_cli.engine.detokenizer import Speller, identity
from b2ner_cli.engine.drafting import LONGEST, Drafter, spare_tokens
from b2ner_cli.engine.grammar import AnswerGrammar, Grammars, Progress
from b2ner_cli.engine.kv_cache import PACKED, KeyValue, Prefix, Slots, Step
from b2ner_cli.engine.sequences import Request, Row
from b2ner_cli.errors import B2nerError
from b2ner_cli.models import attention
from b2ner_cli.models.device_errors import failing_clearly, is_out_of_memory
from b2ner_cli.models.loading import Backbone

log = logging.getLogger("b2ner")

_PREFIXES = 64  # prefixes kept computed, if they are no longer together than the rows
_GROWTH = 64  # answer positions a row gets at first, and again when it needs more
_MOST = 2  # times `batch_tokens`: what rows may grow to before the longest of them have to wait


class PackedEngine:
    """Answers prompts, those of a label set together and the longest of them first.

    Rows begin while their own tokens and 64 of answer fit into `batch_tokens` positions, and their
    prefixes into as many. Answers may grow to twice that; then the longest wait, and go on when
    there is room. While no more than `spare_tokens` tokens are in a step, the next ones of its rows
    are drafted, too.
    """

    name = "fast"

    def __init__(
        self,
        backbone: Backbone,
        *,
        max_answer: int = 256,
        batch_tokens: int | None = None,
        constrain: bool = False,
    ) -> None:
        self.backbone = backbone
        self.max_answer = max_answer
        self.identity = identity(self.name, backbone, constrain)
        self.context = backbone.context
        self.batch_tokens, reason = (
            (batch_tokens, "asked for") if batch_tokens else _choose_batch_tokens(backbone)
        )
        on_card = backbone.device.startswith("cuda")
        self.step_tokens, self.most_rows = (2048, 512) if on_card else (512, 128)
        head = backbone.model.get_output_embeddings()
        self._screened = not constrain and int8_head.is_worth_it(head, backbone.device)
        self.spare_tokens, why = spare_tokens(backbone.device, constrain or self._screened)
        self.notes: tuple[str, ...] = (
            f"engine fast: {self.batch_tokens} tokens at once: {reason}",
            f"answers drafted, up to {self.spare_tokens} tokens in a step: {why}",
        )
        if self._screened:
            most = int8_head.MOST_ROWS
            why = f"to read all of its {head.weight.numel():,} weights takes longer"
            self.notes += (f"output head screened in 8 bits, up to {most} rows in a step: {why}",)
        self._speller = Speller(backbone.tokenizer)
        self._grammars = Grammars(backbone.tokenizer) if constrain else None
        self._prefixes: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._halved = False
        self._body = backbone.model.base_model
        self._packed_body = attention.view(self._body, PACKED)
        self._config = backbone.model.config.get_text_config()

    def count(self, text: str) -> int:
        """Number of tokens of a text."""
        return self.backbone.tokenizer.count(text)

    def generate(
        self, prompts: Sequence[Prompt], answered: Collection[int] = ()
    ) -> Iterator[tuple[int, Completion]]:
        """Answer prompts greedily; yields (index, completion) as they finish.

        All prompts are asked, in the same steps whatever is in `answered`, until those that are
        not in it have their answers. Raises B2nerError when one prompt does not fit into memory,
        or the device fails.
        """
        missing, done = set(range(len(prompts))).difference(answered), set[int]()
        if not missing:
            return
        drafter = Drafter()  # knows these answers alone: the steps are the same every time
        # Longest first: rows of a kind stand together, and nothing long is left for the end.
        order = sorted(self._requests(prompts), key=lambda r: (r.prefix, -len(r.own), r.index))
        waiting, active, slots = deque(order), list[Row](), Slots()
        while missing:
            finished: list[tuple[Row, str]] | None = None
            try:
                under_way = f"with {len(active)} answers under way"
                with failing_clearly(self.backbone.device, under_way), torch.inference_mode():
                    finished = self._step(slots, waiting, active, drafter)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            if finished is None:  # out here the error no longer holds the step's tensors
                left = [request for request in order if request.index not in done]
                waiting, rows, active = deque(left), len(active) or self.most_rows, []
                slots.clear()
                self._shrink(left[0], rows)
                continue
            for row, stop in finished:
                done.add(row.request.index)
                missing.discard(row.request.index)
                yield (
                    row.request.index,
                    self._speller.completion(
                        row.said, row.sure, "eos" if stop == "eos" else "length", row.request.width
                    ),
                )

    def _requests(self, prompts: Sequence[Prompt]) -> list[Request]:
        tokenizer = self.backbone.tokenizer
        texts = list(dict.fromkeys(prompt.prefix for prompt in prompts))
        encoded = zip(texts, tokenizer.encode(texts), strict=True)
        prefixes = {text: (*tokenizer.bos, *ids) for text, ids in encoded}
        owns = tokenizer.encode([prompt.own for prompt in prompts], continued=True)
        return [
            Request(index, prefixes[prompt.prefix], own, prompt)
            for index, (prompt, own) in enumerate(zip(prompts, owns, strict=True))
        ]

    # One step -------------------------------------------------------------------------------------

    def _step(
        self,
        slots: Slots,
        waiting: deque[Request],
        active: list[Row],
        drafter: Drafter,
    ) -> list[tuple[Row, str]]:
        """Run the model once; leaves in `active` the rows that go on, gives those that do not."""
        self._draft(active, waiting, drafter)
        active += self._admit(slots, waiting, active)
        step = Step(
            slots,
            [row.prefix for row in active],
            [row.length for row in active],
            [len(row.tokens) for row in active],
        )
        hidden = self.forward([token for row in active for token in row.tokens], step)
        asked = [
            range(last - len(row.draft), last + 1)
            for row, last in zip(active, step.last, strict=True)
        ]
        tokens, logprobs = self._best(hidden[[at for places in asked for at in places]], active)
        stops, done = self.backbone.tokenizer.stops, 0
        finished, holes = [], []
        for place, (row, places) in enumerate(zip(active, asked, strict=True)):
            drafted, before = len(row.draft), len(row.said)
            part = slice(done, done + len(places))
            done = part.stop
            stop = row.take_all(tokens[part], logprobs[part], stops)
            if drafted:
                drafter.note(drafted, max(0, len(row.said) - before - 1))
            if stop:
                finished.append((row, stop))
                holes.append(place)
                drafter.learn(row.said)
        _close_up(slots, active, holes)
        return finished

    def _draft(self, active: list[Row], waiting: Collection[Request], drafter: Drafter) -> None:
        """Draft the next tokens of each row where a step has room to spare."""
        # Prompts that wait fill a step with what has to be computed anyway.
        most = 0 if waiting or not active else self.spare_tokens // len(active) - 1
        if most > 0 and drafter.active():
            for row in active:
                row.guess(drafter, min(most, LONGEST))

    def _admit(self, slots: Slots, waiting: deque[Request], active: list[Row]) -> list[Row]:
        """Begin as many waiting prompts as there is room for: in the step, and in the store."""
        begun: list[Row] = []
        positions = self._set_aside(slots, waiting, active)
        tokens = sum(len(row.tokens) for row in active)
        widest = max((row.request.width for row in active), default=0)
        while waiting:
            request = waiting[0]
            rows = len(active) + len(begun) + 1
            needed = max(positions, _grown(request.size + _GROWTH))
            widest = max(widest, request.width)
            if rows > 1 and (
                widest > self.context  # its rotary embeddings might change its neighbours'
                or rows > self.most_rows
                # One may begin however long it is: it would wait until all others are done.
                or (begun and tokens + request.size > self.step_tokens)
                or rows * needed > self.batch_tokens
                or self._prefixes_with(request, (*active, *begun)) > self.batch_tokens
            ):
                break
            waiting.popleft()
            tokens, positions = tokens + request.size, needed
            begun.append(self._begin(request))
        self._make_room(slots, len(active), len(begun), positions, (*active, *begun)[0].prefix)
        return begun

    def _begin(self, request: Request) -> Row:
        room, progress = min(self.max_answer, self.context - request.width), request.progress
        if progress is None and self._grammars is not None:
            labels = self._grammars.of(request.prompt.labels)
            progress = Progress(AnswerGrammar(labels, request.prompt.about))
        prefix = self._prefix(request.prefix)
        return Row(request, prefix, room, progress, list(request.said), list(request.sure))

    def _prefixes_with(self, request: Request, rows: Sequence[Row]) -> int:
        """Positions of the prefixes that rows hold together with one more prompt."""
        if request.prefix is rows[-1].request.prefix:
            return 0  # no more than before
        held = (row.request.prefix for row in rows)
        return sum(map(len, {id(prefix): prefix for prefix in (request.prefix, *held)}.values()))

    def _set_aside(self, slots: Slots, waiting: deque[Request], active: list[Row]) -> int:
        """Have the longest rows wait where all would outgrow their room; the positions needed."""
        needed = max((row.length + len(row.tokens) for row in active), default=0)
        limit = max(1, _MOST * self.batch_tokens)
        if len(active) * _grown(needed) <= limit:
            return _grown(needed)
        sizes = [row.length + len(row.tokens) for row in active]
        order = sorted(range(len(active)), key=sizes.__getitem__)
        while len(order) > 1 and len(order) * _grown(sizes[order[-1]]) > limit:
            order.pop()
        kept = set(order)
        holes = [place for place in range(len(active)) if place not in kept]
        waiting.extend(active[place].waiting() for place in holes)
        _close_up(slots, active, holes)
        return _grown(sizes[order[-1]])

    def _make_room(self, slots: Slots, used: int, more: int, positions: int, like: Prefix) -> None:
        if used + more > slots.rows or positions > slots.positions:
            # Some rows more than now, so that room is not made at every step.
            rows = min(self.most_rows, max(used + more, self.batch_tokens // positions))
            slots.resize(rows, positions, used, like)

    def forward(self, tokens: list[int], step: Step) -> torch.Tensor:
        """Hidden states of packed tokens. *Shape:* (tokens, hidden)"""
        body, device = self._packed_body, self.backbone.device
        seen = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=device)  # the step knows better
        hidden: torch.Tensor = body(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([step.positions], device=device),
            attention_mask=attention.masks(
                body.config.get_text_config(), seen, torch.zeros_like(seen)
            ),
            use_cache=False,
            step=step,
        ).last_hidden_state
        return hidden[0].to(device)  # the last layers may be on another card

    def _best(self, hidden: torch.Tensor, rows: list[Row]) -> tuple[list[int], list[float]]:
        if self._grammars is None:
            few = self._screened and len(hidden) <= int8_head.MOST_ROWS
            return next_token.best(self.backbone.model, hidden, self._screen if few else None)
        allowed = [
            moves
            for row in rows
            if row.progress is not None
            for moves in row.progress.follow(row.draft)
        ]
        return next_token.best_allowed(self.backbone.model, hidden, allowed)

    @cached_property
    def _screen(self) -> int8_head.Screen:
        return int8_head.read_in_bytes(self.backbone.model.get_output_embeddings().weight)

    # Prefixes and memory --------------------------------------------------------------------------

    def _prefix(self, ids: tuple[int, ...]) -> Prefix:
        """Keys and values of a prefix in every layer, computed once and kept."""
        known = self._prefixes.get(ids)
        if known is None:
            known = self._prefixes[ids] = self.compute_prefix(ids)
            while len(self._prefixes) > 1 and (
                len(self._prefixes) > _PREFIXES or sum(map(len, self._prefixes)) > self.batch_tokens
            ):
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(ids)
        return known

    def compute_prefix(self, ids: Sequence[int]) -> Prefix:
        """Keys and values of some tokens at the start of a prompt."""
        device, capture = self.backbone.device, _Capture()
        positions = torch.arange(len(ids), device=device)
        distance = (positions[:, None] - positions)[None, None]
        self._body(
            input_ids=torch.tensor([list(ids)], device=device),
            position_ids=positions[None],
            attention_mask=attention.masks(self._config, distance >= 0, distance),
            use_cache=True,
            **{_cache_argument(self._body): capture},
        )
        return Prefix(capture.layers, len(ids))

    def _shrink(self, first: Request, rows: int) -> None:
        """Halve the room after memory ran out with `rows` under way; all of them begin again."""
        if self.most_rows == 1:
            raise B2nerError(
                f"out of memory for a single prompt of {first.width} tokens",
                "use --device cpu, a smaller --max-answer, or --dtype bfloat16",
            )
        self._prefixes.clear()
        if self.backbone.device.startswith("cuda"):
            with failing_clearly(self.backbone.device, "when memory ran out"):
                torch.cuda.empty_cache()
        self.most_rows = max(1, min(self.most_rows, rows) // 2)
        self.batch_tokens = max(1, self.batch_tokens // 2)
        self.step_tokens = max(1, self.step_tokens // 2)
        log.log(
            logging.INFO if self._halved else logging.WARNING,  # a line is enough
            "out of memory: going on with %d rows at once, or fewer if need be; nothing is lost",
            self.most_rows,
        )
        self._halved = True


def _close_up(slots: Slots, active: list[Row], holes: Sequence[int]) -> None:
    """Move the last rows to where rows are done."""
    count = len(active) - len(holes)
    gone = set(holes)
    sources = [place for place in range(count, len(active)) if place not in gone]
    targets = [place for place in holes if place < count]
    slots.move(sources, targets)
    for source, target in zip(sources, targets, strict=True):
        active[target] = active[source]
    del active[count:]


def _grown(positions: int) -> int:
    return -(-positions // _GROWTH) * _GROWTH


def _cache_argument(body: Any) -> str:
    """What a model calls the argument that keeps its keys and values."""
    known = signature(body.forward).parameters  # `cache` from transformers 5.24 on
    return "cache" if "cache" in known else "past_key_values"


class _Capture:
    """Stands in for a transformers cache and keeps what each layer puts in."""

    def __init__(self) -> None:
        self.layers: list[KeyValue] = []

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> KeyValue:
        self.layers.append((keys[0], values[0]))
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


def _choose_batch_tokens(backbone: Backbone) -> tuple[int, str]:
    """How many positions the rows may hold together, and why."""
    config = backbone.model.config.get_text_config()
    try:
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        per_token = 2 * config.num_hidden_layers * heads * size * backbone.model.dtype.itemsize
    except AttributeError:  # no heads, or not the same in each layer: it will not be packed
        return 2048, "nothing is known of the model's states"
    if not backbone.device.startswith("cuda"):
        return min(12288, max(2048, 2**30 // per_token)), "a CPU gains little from more"
    free, _ = torch.cuda.mem_get_info(backbone.device)
    # Answers may take as much again as rows begin with, and prefixes as much.
    tokens = int(free * 0.25 / per_token)
    return min(tokens, 65536), f"a quarter of {free / 1e9:.0f} GB free, {per_token} bytes a token"
