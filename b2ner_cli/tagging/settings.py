"""Which model answers, and how: what the model options of the commands say, as one value.

Settings("mini", device="cuda", dtype="bfloat16")

Built before anything heavy is imported, so that a wrong engine's name shows at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from b2ner_cli.errors import UsageError

ENGINES = ("fast", "plain")


@dataclass(frozen=True, slots=True)
class Settings:
    """A model by name or directory, how it is loaded and how it answers.

    `model` None is the adapter's own base, else ``mini``; what loads it, down to `load_in`, is
    told at `models.loading.load`. `max_answer` is the longest answer in tokens, `batch_tokens` None
    leaves the batch size to the engine. `constrain` holds answers to the labels asked for and
    the words of the text; None leaves that to what the adapter says of itself.
    """

    model: str | None = None
    adapter: str | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    device_map: str | None = None
    load_in: str | None = None
    engine: str = "fast"
    max_answer: int = 256
    batch_tokens: int | None = None
    constrain: bool | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"no engine {self.engine!r}", f"choose from {', '.join(ENGINES)}")
