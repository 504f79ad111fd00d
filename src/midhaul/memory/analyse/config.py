"""The experiment file of memory.analyse, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from midhaul.memory.sources.puffer_download import PUFFER_URL
from midhaul.runs.config import Config, Section, setting


class ViewingSection(Section):
    """Where days of viewing come from."""

    kind: Literal["builtin", "puffer", "download", "table"] = setting(
        "builtin",
        "builtin: days that midhaul draws, to see how it looks; puffer: files as "
        "Puffer publishes them; download: the same, downloaded first; table: one row "
        "for each stream.",
    )
    folder: Path | None = setting(
        None,
        "Folder of video_sent_*.csv and video_acked_*.csv, of expt_settings as well "
        "where schemes shall have names (puffer, download).",
    )
    file: Path | None = setting(
        None,
        "Parquet or CSV with abr, day, ssim_db, variation_db, stall_s, play_s, and "
        "perhaps viewer (table).",
    )
    days: tuple[str, ...] = setting(
        (),
        "Days that are used, by how their names begin, such as 2021-10-17; all when "
        "empty (puffer); those that are downloaded (download).",
    )
    base_url: str = setting(PUFFER_URL, "Where days are published (download).")
    max_bytes: int = setting(
        8_000_000_000, "Largest file that is downloaded (download).", ge=1
    )
    timeout_s: float = setting(
        3600.0, "Longest time that a file may take (download).", gt=0
    )
    n_days: int = setting(3, "Days that are drawn (builtin).", ge=1)
    n_streams: int = setting(300, "Streams that are drawn of each day (builtin).", ge=6)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.kind in ("puffer", "download") and self.folder is None:
            message = f"days of kind {self.kind} need the key folder"
            raise ValueError(message)
        if self.kind == "table" and self.file is None:
            message = "days of kind table need the key file"
            raise ValueError(message)
        if self.kind == "download" and not self.days:
            message = "days of kind download need the key days"
            raise ValueError(message)
        return self


class AnalyseConfig(Config):
    """Compare ABR schemes by day, and watch samples shift."""

    kind: str = setting("memory.analyse", "Kind of the experiment.")
    viewing: ViewingSection = setting(ViewingSection, "The days of viewing.")
    least_s: float = setting(
        4.0, "Streams that played for a shorter time are left out.", ge=0
    )
    baseline: str = setting(
        "", "Scheme that others are held against; the one watched longest when empty."
    )
    n_resamples: int = setting(
        1000, "Bootstrap resamples behind each interval.", ge=100
    )
