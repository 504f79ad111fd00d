"""What an analytic does with its messages, whatever they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from midhaul.deploy.live.config import WorkloadConfig


class Workload(Protocol):
    """Messages of one sort, the program that answers them, and who knows the truth.

    Attributes:
        name: what tables call it.
        knobs: settings from the cheapest to the best; the last is 1.
    """

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def knobs(self) -> tuple[float, ...]:
        """Settings from the cheapest to the best, which is 1."""
        ...

    def message(self, content: int, knob: float) -> bytes:
        """A message as a file.

        Args:
            content: which one; every number stands for another.
            knob: how much of it is sent.
        """
        ...

    def answer(self, message: bytes) -> Any:
        """What the analytic finds in a message, as what JSON can hold."""
        ...

    def score(self, content: int, answer: Any) -> float:
        """How good an answer is, from 0 to 1."""
        ...

    def fresh(self) -> Workload:
        """The same with a program of its own, loaded now."""
        ...


WORKLOADS = ("images", "sounds")
"""Names of the two workloads."""


def workload_named(name: str, config: WorkloadConfig, seed: int) -> Workload:
    """One of the two workloads, made from a seed.

    Args:
        name: ``images`` or ``sounds``.
        config: which detector answers images.
        seed: of the messages.
    """
    if name == "images":
        from midhaul.deploy.live.images import Images  # noqa: PLC0415  slow to import

        return Images(str(config.detector), seed=seed)
    from midhaul.deploy.live.sounds import Sounds  # noqa: PLC0415  slow to import

    return Sounds(seed=seed)


def message_hz(name: str, config: WorkloadConfig) -> float:
    """Messages per second of one analytic."""
    period_s = config.image_period_s if name == "images" else config.sound_period_s
    return 1 / period_s
