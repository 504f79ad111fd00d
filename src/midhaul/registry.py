"""Names and what they stand for: registered once, imported when they are asked for.

A :class:`Registry` says where each thing of a kind is as ``module:attribute``, so that
names can be listed, and configs be read, without the libraries that the things need.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from midhaul.errors import ConfigError, require, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.errors import MidhaulError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a thing with a name is, and what has to be known before it is imported.

    Attributes:
        place: ``module:attribute``, a module, or the thing itself.
        needs: libraries, each with the extra of midhaul that brings it.
        options: what it can be told.
        fixed: what it is told always.
        example: how it is written, where it is more than its name.
    """

    place: str | Callable[..., Any]
    needs: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    example: str = ""


class Registry(Mapping[str, Entry], Generic[T]):
    """The things of a kind by their names.

    Entries say where each is; ``error`` is raised for a name that is not there.
    """

    def __init__(
        self,
        what: str,
        entries: Mapping[str, str | Callable[..., Any] | Entry],
        *,
        error: type[MidhaulError] = ConfigError,
    ) -> None:
        self._what = what
        self._error = error
        self._entries = {
            name: entry if isinstance(entry, Entry) else Entry(place=entry)
            for name, entry in entries.items()
        }

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name; KeyError if there is none, see :meth:`entry`."""
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        """The names in their order."""
        return iter(self._entries)

    def __len__(self) -> int:
        """How many names there are."""
        return len(self._entries)

    def __repr__(self) -> str:
        """What it holds, by names."""
        return f"{type(self).__name__} of {self._what}: {', '.join(self._entries)}"

    @property
    def names(self) -> tuple[str, ...]:
        """All names in their order."""
        return tuple(self._entries)

    def entry(self, name: object, where: str = "") -> Entry:
        """The entry of a name that a user gave, in a text ``where`` if that is longer.

        The registry's error if there is nothing of that name.
        """
        if isinstance(name, str) and name in self._entries:
            return self._entries[name]
        place = f" in {where!r}" if where else ""
        near = suggestion(str(name), self._entries)
        message = f"unknown {self._what} {name!r}{place}{near}"
        raise self._error(message, f"choose one of: {', '.join(self._entries)}")

    def named(self, name: object) -> T:
        """The thing of that name, imported.

        The registry's error if there is none; PrerequisiteError if a library is
        missing.
        """
        entry = self.entry(name)
        for library, extra in entry.needs:
            require(library, extra)
        return imported(entry.place)

    def called(self, name: object, *args: Any, **told: Any) -> Any:
        """What the thing of that name gives, told those options that it has.

        Errors as :meth:`named`.
        """
        make: Any = self.named(name)
        entry = self.entry(name)
        known = {key: told[key] for key in entry.options if key in told}
        return make(*args, **entry.fixed, **known)


def imported(place: str | Callable[..., Any]) -> Any:
    """What stands at ``module:attribute``, or the module."""
    if not isinstance(place, str):
        return place
    module, _, attribute = place.partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
