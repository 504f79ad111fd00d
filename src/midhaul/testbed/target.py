"""Where requests go, and what comes back: all that the load generator needs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Reply(Protocol):
    """The answer to a request; a failure is an answer too."""

    @property
    def status(self) -> str:
        """``ok``, or what went wrong: timeout, refused, broken, http-CODE."""
        ...

    @property
    def error(self) -> str | None:
        """What the node or the client said; none when ok."""
        ...

    @property
    def meta(self) -> Mapping[str, object]:
        """What the answer says about itself, by column name."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Body sent."""
        ...

    @property
    def received_bytes(self) -> int:
        """Body of the answer."""
        ...


class Target(Protocol):
    """Where requests go."""

    async def send(
        self, node: str, images: Sequence[str], *, timeout_s: float
    ) -> Reply:
        """Ask a node about some images; time-outs and failures are replies.

        Args:
            node: name of the node.
            images: ids of the images.
            timeout_s: after which the reply is a time-out.
        """
        ...
