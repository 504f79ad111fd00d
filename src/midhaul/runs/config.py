"""What an experiment is asked to do: the base of every kind's config.

A config is a frozen pydantic model. It is strict (``"3"`` is no number), knows its keys
(an unknown one is an error) and describes each of them. Reading one from a file is in
:mod:`midhaul.runs.experiment_file`.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import core_schema

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import GetCoreSchemaHandler

_HASH_LENGTH = 12
_NAMES_A_FILE = re.compile(r"/|\.[A-Za-z]\w*$")


class Spec(str):
    """Text of the form ``kind:location?key=value``, such as a detector.

    Its location and the values of its options may name files; see :meth:`resolved`.
    """

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate like a string."""
        del source, handler
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(strict=True),
            serialization=core_schema.to_string_ser_schema(),
        )

    def resolved(self, folder: Path) -> Spec:
        """The same with its files absolute: relative ones are taken from ``folder``.

        The location or an option's value names a file when it has a slash in it or ends
        in a suffix that begins with a letter; ``builtin:small`` names none, and neither
        does the address ``http://host:8000``. ``local:SPEC`` has the files of its spec.
        """
        kind, colon, rest = self.partition(":")
        if not colon or rest.startswith("//"):
            return self
        if kind == "local":
            return Spec(f"local:{Spec(rest).resolved(folder)}")
        location, mark, options = rest.partition("?")
        pairs = [pair.partition("=") for pair in options.split("&")]
        options = "&".join(k + eq + _absolute(v, folder) for k, eq, v in pairs)
        return Spec(kind + colon + _absolute(location, folder) + mark + options)


def _absolute(text: str, folder: Path) -> str:
    return str((folder / text).resolve()) if _NAMES_A_FILE.search(text) else text


class Section(BaseModel):
    """A part of a config: strict, frozen and without unknown keys."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=False,
    )


class Config(Section):
    """What every kind of experiment can be told; each kind adds its own keys."""

    kind: str = Field(description="What kind of experiment this is.")
    seed: int = Field(
        default=0, ge=0, description="Seed of everything that is left to chance."
    )

    def plain(self) -> dict[str, Any]:
        """All keys, defaults included, as what JSON and TOML can hold."""
        return self.model_dump(mode="json")

    def hash(self) -> str:
        """Twelve hex digits that change when any key does, defaults included."""
        text = json.dumps(self.plain(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
