"""The sequences of one call: which wait, which are under way, and where their keys and values are.

    admit             waiting sequences begin where there is room: in the step, in the cache
    remove_finished   those at their end leave, and the last ones take their places

A sequence under way has the place in the cache that it has in `active`. Computes nothing.
"""

from __future__ import annotations

from collections import abc, deque

from b2ner_cli.engine.kv_cache import KVCache
from b2ner_cli.engine.memory_limits import MemoryLimits
from b2ner_cli.engine.sequences import Sequence

_GROWTH = 64  # answer positions a sequence gets at first, and again when it needs more
_MOST = 2  # times `batch_tokens`: what sequences may grow to before the longest have to wait


class Scheduler:
    """All sequences that are not at their end, the longest of a prefix first.

    They begin while their own tokens and 64 of answer fit into `batch_tokens` positions, and their
    prefixes into as many. Answers may grow to twice that; then the longest wait, and go on when
    there is room. Prompts never share a step with one that outgrows `context`.
    """

    def __init__(
        self, sequences: abc.Iterable[Sequence], limits: MemoryLimits, context: int
    ) -> None:
        # Longest first: like stands by like, and nothing long is left for the end.
        order = sorted(sequences, key=lambda s: (s.prefix_ids, -len(s.prompt_ids), s.index))
        self._unfinished = {sequence.index: sequence for sequence in order}
        self._limits = limits
        self._context = context
        self._positions = 0  # that each place in the cache needs in the next step
        self.waiting = deque(order)
        self.active: list[Sequence] = []
        self.cache = KVCache()

    def admit(self) -> list[Sequence]:
        """Begin as many of those that wait as there is room for; they are active from now on."""
        self._set_aside()
        begun: list[Sequence] = []
        limits = self._limits
        tokens = sum(len(sequence.tokens) for sequence in self.active)
        widest = max((sequence.width for sequence in self.active), default=0)
        while self.waiting:
            first = self.waiting[0]
            count = len(self.active) + 1
            positions = max(self._positions, _grown(first.needed + _GROWTH))
            widest = max(widest, first.width)
            if self.active and (
                widest > self._context  # its rotary embeddings might change its neighbours'
                or count > limits.sequences
                # One may begin however long it is: it would wait until all others are done.
                or (begun and tokens + first.needed > limits.step_tokens)
                or count * positions > limits.batch_tokens
                or self._prefixes_with(first) > limits.batch_tokens
            ):
                break
            self.waiting.popleft()
            tokens, self._positions = tokens + first.needed, positions
            begun.append(first)
            self.active.append(first)
        return begun

    def make_room(self) -> None:
        """See that the cache has a place for each active sequence; all have their prefix by now."""
        rows, positions, cache = len(self.active), self._positions, self.cache
        if rows > cache.rows or positions > cache.positions:
            # Some rows more than now, so that room is not made at every step.
            spare = min(self._limits.sequences, self._limits.batch_tokens // positions)
            used = sum(sequence.prefilled for sequence in self.active)
            cache.resize(max(rows, spare), positions, used, self.active[0].prefix)

    def remove_finished(self) -> list[Sequence]:
        """Let go, and give, the sequences that are at their end."""
        finished = [sequence for sequence in self.active if sequence.stop]
        self._close_up([place for place, each in enumerate(self.active) if each.stop])
        for sequence in finished:
            del self._unfinished[sequence.index]
        return finished

    def restart(self) -> None:
        """Have all that are not at their end wait, and give the memory of the cache back."""
        for sequence in self._unfinished.values():
            sequence.restart()
        self.waiting, self.active = deque(self._unfinished.values()), []
        self.cache.clear()

    def _prefixes_with(self, sequence: Sequence) -> int:
        """Positions of the prefixes that those under way hold together with one more sequence."""
        if sequence.prefix_ids is self.active[-1].prefix_ids:
            return 0  # no more than before
        held = {each.prefix_ids for each in self.active} | {sequence.prefix_ids}
        return sum(len(prefix) for prefix in held)

    def _set_aside(self) -> None:
        """Have the longest wait where all would outgrow their room."""
        order = sorted(range(len(self.active)), key=lambda place: self.active[place].needed)
        limit = max(1, _MOST * self._limits.batch_tokens)
        while len(order) > 1 and len(order) * self._size(order[-1]) > limit:
            order.pop()
        self._positions = self._size(order[-1]) if order else 0
        kept = set(order)
        holes = [place for place in range(len(self.active)) if place not in kept]
        for place in holes:
            self.active[place].wait()
            self.waiting.append(self.active[place])
        self._close_up(holes)

    def _size(self, place: int) -> int:
        return _grown(self.active[place].needed)

    def _close_up(self, holes: abc.Sequence[int]) -> None:
        """Move the last sequences to where others are done."""
        count = len(self.active) - len(holes)
        gone = set(holes)
        sources = [place for place in range(count, len(self.active)) if place not in gone]
        targets = [place for place in holes if place < count]
        self.cache.move(sources, targets)
        for source, target in zip(sources, targets, strict=True):
            self.active[target] = self.active[source]
        del self.active[count:]


def _grown(positions: int) -> int:
    return -(-positions // _GROWTH) * _GROWTH
