"""Online learning of a served federation: the policy that learns, and its state file.

The state is one ``.npz`` without pickles, replaced as a whole, so that a process that
is killed leaves the one before; a lock beside it keeps others away.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Self

from midhaul.errors import ConfigError, DataError, MidhaulError, StoreError
from midhaul.federation.npz_state import read_state, write_state
from midhaul.federation.policies.catalogue import CATALOGUE
from midhaul.federation.policies.online.online import OnlineRefit
from midhaul.federation.policies.online.refit_settings import Recipe
from midhaul.machine.locks import FileLock

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from midhaul.federation.bundle import Bundle
    from midhaul.federation.serving.config import ServedOnlineConfig

_FORMAT = 1
_REFITTED = tuple(
    entry.name
    for entry in CATALOGUE
    if entry.name == "single" or (entry.is_family and not entry.knows_truth)
)
"""Policies that are learned in seconds, at an exchange rate or without one."""


class OnlineState:
    """The file of what was learned; nobody else's until it is closed.

    The ``.npz`` file need not be there. StoreError where another process has it, or its
    folder cannot be written.
    """

    def __init__(self, file: Path, trained: Path) -> None:
        self.file = file
        self._trained = trained
        self._digest = ""
        try:
            self._lock = FileLock(file.with_name(f"{file.name}.lock"))
        except BlockingIOError as error:
            message = f"{file} is in use by another process"
            hint = "give each federation a file of its own: policy.online.file"
            raise StoreError(message, hint) from error
        except OSError as error:
            message = f"{file} cannot be written: {error.strerror}"
            raise StoreError(message) from error

    def __enter__(self) -> Self:
        """It is open already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of the file."""
        self._lock.release()

    def policy(
        self, config: ServedOnlineConfig, bundle: Bundle, seed: int
    ) -> OnlineRefit:
        """The policy as it was saved last, or the trained one to begin with.

        MidhaulError where the file is damaged or of another training.
        """
        self._digest = hashlib.sha256(self._trained.read_bytes()).hexdigest()
        settings, recipe = config.settings, recipe_of(config, bundle, seed)
        if not self.file.exists():
            return online_of(config, bundle, seed)
        hint = f"move {self.file.name} away to begin with the trained policy again"
        try:
            state = read_state(self.file)
            if state.get("format") != _FORMAT:
                message = f"{self.file} is no state of format {_FORMAT}"
                raise DataError(message)
            if state.get("trained") != self._digest:
                message = f"{self.file} was learned on top of another training"
                raise DataError(message)
            return OnlineRefit.from_state(state["policy"], settings, recipe)
        except MidhaulError as error:
            raise DataError(error.message, hint) from error
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            message = f"{self.file} is no state of a policy: {error}"
            raise DataError(message, hint) from error

    def save(self, policy: OnlineRefit) -> None:
        """Replace the file by what a policy knows now.

        OSError where it cannot be written; the one before is still there.
        """
        state = {
            "format": _FORMAT,
            "trained": self._digest,
            "policy": policy.state(),
        }
        write_state(self.file, state)


def online_of(config: ServedOnlineConfig, bundle: Bundle, seed: int) -> OnlineRefit:
    """A trained federation's policy, to be kept up to date from now on.

    ConfigError where what it should learn is not learned while it serves.
    """
    return OnlineRefit(
        bundle.policy,
        recipe_of(config, bundle, seed),
        bundle.fuser,
        bundle.providers,
        bundle.prices_usd,
        config.settings,
    )


def recipe_of(config: ServedOnlineConfig, bundle: Bundle, seed: int) -> Recipe:
    """What is learned anew; ConfigError where it is not learned while it serves."""
    name = config.refit or bundle.policy.name
    if name not in _REFITTED:
        message = f"policy {name!r} is not learned while it serves"
        known = ", ".join(_REFITTED)
        raise ConfigError(message, f"policy.online.refit is one of {known}")
    rate = config.rate(bundle.prices_usd)
    return Recipe(name=name, told={}, multiplier=rate, seed=seed)
