"""How busy the machine's processors are, from the kernel's own counters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_IDLE = (3, 4)  # idle and waiting for disks, in the first line of /proc/stat


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTime:
    """Time of all processors since the machine was started, in ticks.

    Attributes:
        busy: spent on something.
        total: all of it.
    """

    busy: int
    total: int

    def busy_since(self, before: CpuTime) -> float:
        """Share of the time since a moment before that was spent on something."""
        return (self.busy - before.busy) / max(1, self.total - before.total)


def cpu_time() -> CpuTime:
    """The counters as of now."""
    first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    ticks = [int(text) for text in first.split()[1:9]]
    return CpuTime(busy=sum(ticks) - sum(ticks[i] for i in _IDLE), total=sum(ticks))
