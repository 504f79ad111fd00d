"""What is kept between runs is what was made, or it is made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from midhaul.machine.cache import cache_folder, cached_text

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def _broken() -> str:
    message = "made again"
    raise AssertionError(message)


def test_a_text_is_made_once(home: Path) -> None:
    """The second time it is read, whatever stands in it."""
    text = "a\r\nb\n\né"
    assert cached_text("one", lambda: text) == text
    assert cached_text("one", _broken) == text
    assert [file.name for file in (home / "midhaul").iterdir()] == ["one"]


@pytest.mark.parametrize("kept", [b"", b"cut", b"0\nother", b"\xff\xfe"])
def test_what_is_not_whole_is_made_again(home: Path, kept: bytes) -> None:
    """A cut file, a changed one and one of bytes are no text of ours."""
    assert home == cache_folder().parent
    cached_text("one", lambda: "right")
    (cache_folder() / "one").write_bytes(kept)
    assert cached_text("one", lambda: "right") == "right"
    assert cached_text("one", _broken) == "right"


def test_without_a_folder_it_is_made_each_time(home: Path) -> None:
    """A file where the folder should be keeps nobody from a report."""
    (home / "midhaul").write_text("in the way", encoding="utf-8")
    assert [cached_text("one", lambda: "right") for _ in range(2)] == ["right"] * 2
