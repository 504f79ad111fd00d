"""Fusing several answers into one: by rule, or as learned from examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from midhaul.errors import ConfigError, DataError
from midhaul.federation.fusion.base import Fuser
from midhaul.registry import Entry, Registry

if TYPE_CHECKING:
    import numpy as np

    from midhaul.federation.recordings.problem import Recording
    from midhaul.npz_state import State

__all__ = ["Fuser", "SavedFuser", "fit_fuser", "fuser_from_state", "fuser_named"]

SAVED_FUSERS: Registry[Any] = Registry(
    "kind of saved fuser",
    {
        "boxes": f"{__name__}.boxes:BoxFuser",
        "vote": f"{__name__}.votes:VoteFuser",
        "stacked-boxes": f"{__name__}.stacked_boxes:StackedBoxes",
        "stacked-labels": f"{__name__}.stacked_labels:StackedLabels",
        "stacked-tags": f"{__name__}.stacked_tags:StackedTags",
    },
    error=DataError,
)

_STACKED: Registry[Any] = Registry(
    "task",
    {
        "boxes": Entry(
            place=f"{__name__}.stacked_boxes:fit_stacked_boxes", options=("iou",)
        ),
        "labels": f"{__name__}.stacked_labels:fit_stacked_labels",
        "tags": f"{__name__}.stacked_tags:fit_stacked_tags",
    },
)


class SavedFuser(Fuser, Protocol):
    """A fuser that can be written down."""

    def state(self) -> State:
        """Everything that it needs to be made again."""
        ...


def fuser_named(name: str, *, iou: float = 0.55) -> SavedFuser:
    """A fuser that needs no learning.

    Args:
        name: ``vote`` for labels and tags; for boxes a method of
            :mod:`midhaul.federation.fusion.boxes`, with ``/consensus`` or
            ``/unanimous`` behind it where objects are voted on.
        iou: overlap of boxes that mean the same object.

    Raises:
        ConfigError: there is no such fuser.
    """
    if name == "vote":
        from midhaul.federation.fusion.votes import VoteFuser  # noqa: PLC0415

        return VoteFuser()
    from midhaul.federation.fusion.boxes import METHODS, BoxFuser  # noqa: PLC0415

    method, _, vote = name.partition("/")
    if method not in METHODS:
        message = f"there is no fuser {name!r}"
        raise ConfigError(message, f"there are stacked, vote, {', '.join(METHODS)}")
    said: Any = {"vote": vote} if vote else {}
    return BoxFuser(method=method, iou=iou, **said)


def fit_fuser(
    name: str, recording: Recording, *, rng: np.random.Generator, iou: float = 0.55
) -> SavedFuser:
    """A fuser, learned where it has to be.

    Args:
        name: ``stacked``, or a name of :func:`fuser_named`.
        recording: items with a truth, which nothing will be judged on.
        rng: chance of the fit.
        iou: overlap of boxes that mean the same object.

    Raises:
        ConfigError: there is no such fuser for this task.
        DataError: it has to learn, and there is no truth.
    """
    if name == "stacked":
        if recording.truth is None:
            message = "stacked fusion learns from a truth, and the recording has none"
            raise DataError(message, "name its file in data.truth")
        return _STACKED.called(recording.task, recording, rng, iou=iou)
    fuser = fuser_named(name, iou=iou)
    if (name == "vote") == (recording.task == "boxes"):
        message = f"fusion {name!r} does not fit answers that are {recording.task}"
        raise ConfigError(message, "vote fits labels and tags, the others fit boxes")
    return fuser


def fuser_from_state(state: State) -> SavedFuser:
    """What a fuser's ``state()`` gave.

    Raises:
        DataError: the state is of no fuser that is known.
    """
    return SAVED_FUSERS.named(state.get("fuser")).from_state(state)
