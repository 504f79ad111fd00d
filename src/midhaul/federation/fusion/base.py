"""What fuses the answers of a subset of providers into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int64

    from midhaul.federation.recordings.problem import Answers, Recording


class Fuser(Protocol):
    """Makes one answer of several; the conformance suite is ``fusion.checks``."""

    @property
    def name(self) -> str:
        """Short name, as tables show it."""
        ...

    def fuse(self, recording: Recording, asked: Int64[np.ndarray, " n"]) -> Answers:
        """Fuse, for each item, the answers of the providers that were asked.

        Args:
            recording: items and answers; missing answers count as not given. Its truth
                is never looked at.
            asked: ``(n,)`` mask of the providers to fuse for each item.

        Returns:
            One answer to each item; missing where nobody answered, one label per
            answered item where the task is ``labels``. The answer to an item depends
            on that item alone.
        """
        ...
