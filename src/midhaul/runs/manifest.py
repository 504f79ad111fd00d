"""What a run says about itself in ``manifest.json``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from midhaul import documents
from midhaul.errors import StoreError, UnknownRunError
from midhaul.model import Verdict

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA_VERSION = 1
NAME = "manifest.json"
Status = Literal["running", "done", "failed", "interrupted"]


class Process(BaseModel):
    """The process that runs a run, so that its death is noticed.

    ``boot`` and ``started`` keep a later process with the same number apart from it;
    both are empty where the system does not tell them.
    """

    model_config = ConfigDict(frozen=True)

    pid: int
    host: str
    boot: str
    started: str


class Manifest(BaseModel):
    """Who ran what, where and with which end."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    id: str
    kind: str
    status: Status
    created: datetime
    ended: datetime | None = None
    resumed: tuple[datetime, ...] = ()
    error: str | None = None
    process: Process
    seed: int
    config_hash: str
    code_version: str
    commit: str | None
    versions: dict[str, str]
    machine: dict[str, Any]
    group: str | None = None
    point: dict[str, Any] | None = None
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """What stands in the file; a verdict also says ``is_valid``."""
        plain = self.model_dump(mode="json")
        if self.verdict is not None:
            plain["verdict"] = {"is_valid": self.verdict.is_valid, **plain["verdict"]}
        return plain

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the run in ``folder``.

        UnknownRunError if there is none; StoreError if it holds something else.
        """
        file = folder / NAME
        try:
            data = documents.parse_json(documents.read_text(file))
            if (verdict := data.get("verdict")) is not None:
                verdict.pop("is_valid", None)
            return cls.model_validate(data)
        except FileNotFoundError as error:
            message = f"{folder} is no run: it has no {NAME}"
            raise UnknownRunError(message, "midhaul ls lists the runs") from error
        except (OSError, ValueError, AttributeError, ValidationError) as error:
            message = f"{file} cannot be read: {error}"
            raise StoreError(message) from error
