"""llama.cpp behind the line of peer.py: greedy, with the prefix of all prompts computed once.

Started by bench_peers.py with a Python that has llama-cpp-python. Its C functions are called as an
engine for many prompts would: one batch a step, of a token of every answer under way and the own
tokens of prompts just begun; a sequence whose answer has ended is taken by the next prompt.
"""

from __future__ import annotations

import argparse
import ctypes
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import llama_cpp as llama
import numpy as np
import peer

SHARED = 0  # the sequence that holds what all prompts begin with


@dataclass(slots=True)
class Row:
    """An answer under way. `new` are the tokens that the next step computes, from `position` on."""

    index: int
    sequence: int
    position: int
    new: list[int]
    said: list[int] = field(default_factory=list)


class Engine:
    def __init__(self, options) -> None:
        if options.backends:  # a build with kernels for several kinds of CPU
            library = ctypes.CDLL(str(options.backends / "libggml.so"))
            library.ggml_backend_load_all_from_path(str(options.backends).encode())
        llama.llama_backend_init()
        settings = llama.llama_model_default_params()
        self.model = llama.llama_model_load_from_file(options.model.encode(), settings)
        context = llama.llama_context_default_params()
        context.n_ctx = options.positions
        context.n_batch = context.n_ubatch = options.step
        context.n_seq_max = options.rows + 1
        context.n_threads = context.n_threads_batch = options.threads
        context.kv_unified = True  # else every sequence has a share of the positions of its own
        self.context = llama.llama_init_from_model(self.model, context)
        if not self.context:
            raise SystemExit(f"llama.cpp cannot load {options.model}")
        self.memory = llama.llama_get_memory(self.context)
        self.vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.batch = llama.llama_batch_init(options.step, 0, 1)
        self.options = options
        self.shared: list[int] = []

    def answer(self, asked, room):
        self.share(asked)
        lengths = [len(tokens) for tokens in asked]
        waiting = deque(sorted(range(len(asked)), key=lambda index: -lengths[index]))
        free = list(range(1, self.options.rows + 1))
        rows: list[Row] = []
        said: list[list[int]] = [[] for _ in asked]
        while waiting or rows:
            self.admit(asked, waiting, rows, free, room)
            for row, token in zip(list(rows), self.step(rows), strict=True):
                ended = token in self.options.stops
                if not ended:
                    row.said.append(token)
                if ended or len(row.said) >= room:
                    said[row.index] = row.said
                    rows.remove(row)
                    free.append(row.sequence)
                    llama.llama_memory_seq_rm(self.memory, row.sequence, -1, -1)
                else:
                    row.position += len(row.new)
                    row.new = [token]
        return said

    def share(self, asked):
        """Compute what all prompts begin with, unless that was done for the last ones."""
        first, last = min(asked), max(asked)
        most = min(len(first), len(last)) - 1  # a prompt needs a token of its own
        count = next((i for i in range(most) if first[i] != last[i]), most)
        if first[:count] == self.shared:
            return
        llama.llama_memory_clear(self.memory, True)
        self.shared = first[:count]
        for start in range(0, count, self.options.step):
            part = self.shared[start : start + self.options.step]
            self.decode([Row(-1, SHARED, start, part)])

    def admit(self, asked, waiting, rows, free, room):
        """Begin as many prompts as a step and the store have room for."""
        tokens = sum(len(row.new) for row in rows)
        shared = len(self.shared)
        used = shared + sum(row.position - shared + len(row.new) + room for row in rows)
        while waiting and free:
            own = asked[waiting[0]][shared:]
            tokens, used = tokens + len(own), used + len(own) + room
            if rows and (tokens > self.options.step or used > self.options.positions):
                break
            if len(own) > self.options.step:
                raise SystemExit(f"a document of {len(own)} tokens: --step {len(own)} at least")
            row = Row(waiting.popleft(), free.pop(), shared, own)
            llama.llama_memory_seq_cp(self.memory, SHARED, row.sequence, 0, shared)
            rows.append(row)

    def step(self, rows):
        """The next token of every row."""
        best = []
        for place in self.decode(rows):
            logits = llama.llama_get_logits_ith(self.context, place)
            best.append(int(np.ctypeslib.as_array(logits, (self.vocabulary,)).argmax()))
        return best

    def decode(self, rows):
        """Run the model on what is new in the rows; the place of each row's last token."""
        batch, at, last = self.batch, 0, []
        for row in rows:
            for offset, token in enumerate(row.new):
                batch.token[at] = token
                batch.pos[at] = row.position + offset
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = row.sequence
                batch.logits[at] = offset == len(row.new) - 1
                at += 1
            last.append(at - 1)
        batch.n_tokens = at
        if status := llama.llama_decode(self.context, batch):
            raise SystemExit(f"llama.cpp cannot go on: llama_decode gave {status}")
        return last


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--stops", type=int, nargs="+", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--step", type=int, default=512)
    parser.add_argument("--positions", type=int, default=32768)
    parser.add_argument("--backends", type=Path, help="folder of ggml's libraries, if apart")
    options = parser.parse_args()
    peer.serve(lambda: ("llama.cpp, Q8_0", Engine(options).answer))


if __name__ == "__main__":
    main()
