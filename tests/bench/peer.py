"""Another engine in a process of its own: both ends of the line, for bench_peers.py.

    parent    {"asked": [[token, ...], ...], "room": 256}
    child     {"said": [[token, ...], ...], "wall": 1.9, "cpu": 3.7}

Lines of JSON. A child says `{"ready": "name and version"}` when its model is loaded. It runs under
a Python of its own and may not have b2ner, so this file needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Tokens = list[int]
Answer = Callable[[list[Tokens], int], list[Tokens]]


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said to a list of prompts, without the ends of answers, and what that took."""

    said: list[Tokens]
    wall: float
    cpu: float


class Peer:
    """The parent's end. What the child writes besides its lines goes to the file `log`."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("w") as messages:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                env={**os.environ, **environment},
            )
        self.name = self._read()["ready"]

    def ask(self, asked: list[Tokens], room: int) -> Turn:
        self._process.stdin.write(json.dumps({"asked": asked, "room": room}) + "\n")
        self._process.stdin.flush()
        return Turn(**self._read())

    def close(self) -> None:
        """End the child: it stops when nothing more can come."""
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a peer ended before it answered: see the end of {self.log}")
        return json.loads(line)


def serve(load: Callable[[], tuple[str, Answer]]) -> None:
    """The child's end: load a model, then answer until the parent is gone."""
    with os.fdopen(os.dup(1), "w") as lines:
        os.dup2(2, 1)  # whatever libraries print must not come between the lines
        name, answer = load()
        print(json.dumps({"ready": name}), file=lines, flush=True)
        for line in sys.stdin:
            question = json.loads(line)
            wall, cpu = time.perf_counter(), time.process_time()
            said = answer(question["asked"], question["room"])
            turn = {
                "said": said,
                "wall": time.perf_counter() - wall,
                "cpu": time.process_time() - cpu,
            }
            print(json.dumps(turn), file=lines, flush=True)
