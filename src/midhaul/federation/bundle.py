"""A trained federation: whom to ask, how to fuse, and what the words and prices were.

``federation.train`` writes one; ``federation.evaluate`` and the service
read it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, cast

import numpy as np

from midhaul.errors import DataError
from midhaul.federation.fusion import fuser_from_state
from midhaul.federation.fusion.calibration import Calibration
from midhaul.federation.policies.base import policy_from_state
from midhaul.model.display import Shown
from midhaul.npz_state import read_state, write_state

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float64

    from midhaul.federation.fusion import SavedFuser
    from midhaul.federation.policies.base import SavedPolicy
    from midhaul.federation.recordings.problem import Recording, Task

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Bundle(Shown):
    """Everything that a federation needs to answer.

    Attributes:
        task: what an answer is.
        names: the label set.
        providers: names of the providers, in the order of the policy's bits.
        prices_usd: ``(M,)`` prices of a call that the policy was learned with.
        features: names of the item features that the policy expects; may be empty.
        calibration: of the providers' scores; None where they are taken as they are.
        fuser: what fuses the answers.
        policy: who is asked.
    """

    task: Task
    names: tuple[str, ...]
    providers: tuple[str, ...]
    prices_usd: Float64[np.ndarray, " p"]
    features: tuple[str, ...]
    calibration: Calibration | None
    fuser: SavedFuser
    policy: SavedPolicy

    def save(self, file: Path) -> None:
        """Write everything into one ``.npz`` without pickles."""
        calibration = self.calibration
        write_state(
            file,
            {
                "format": _FORMAT,
                "task": self.task,
                "names": self.names,
                "providers": self.providers,
                "prices_usd": self.prices_usd,
                "features": self.features,
                "calibration": None if calibration is None else calibration.state(),
                "fuser": self.fuser.state(),
                "policy": self.policy.state(),
            },
        )

    @classmethod
    def load(cls, file: Path) -> Bundle:
        """Read what :meth:`save` wrote.

        Raises:
            DataError: the file is missing, or no bundle that this version reads.
        """
        state = read_state(file)
        if state.get("format") != _FORMAT:
            message = f"{file} is no federation of format {_FORMAT}"
            raise DataError(message, "federation.train writes one")
        absent = [one.name for one in fields(cls) if one.name not in state]
        if absent:
            message = f"{file} is a federation without {', '.join(absent)}"
            raise DataError(message, "federation.train writes a whole one")
        calibration = state["calibration"]
        return cls(
            task=cast("Task", state["task"]),
            names=tuple(state["names"]),
            providers=tuple(state["providers"]),
            prices_usd=np.asarray(state["prices_usd"], np.float64),
            features=tuple(state["features"]),
            calibration=None
            if calibration is None
            else Calibration.from_state(calibration),
            fuser=fuser_from_state(state["fuser"]),
            policy=policy_from_state(state["policy"]),
        )

    def check_fits(self, recording: Recording) -> None:
        """Demand that a recording has these providers and words, in this order.

        Raises:
            DataError: it has others.
        """
        self._demand("providers", self.providers, recording.providers)
        self._demand("labels", self.names, recording.names)

    @staticmethod
    def _demand(what: str, mine: Sequence[str], theirs: Sequence[str]) -> None:
        if tuple(mine) != tuple(theirs):
            message = (
                f"the federation was trained with the {what} {', '.join(mine)}, "
                f"the data have {', '.join(theirs)}"
            )
            raise DataError(message, "train on data of the same layout")
