"""Files that one process holds."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from midhaul.machine.locks import FileLock

if TYPE_CHECKING:
    from pathlib import Path

_HOLDS = """
import sys, time
from pathlib import Path
from midhaul.machine.locks import FileLock
lock = FileLock(Path(sys.argv[1]), "somebody")
print("ready", flush=True)
time.sleep(600)
"""


def test_the_second_is_told_who_has_it_and_gets_it_when_that_one_is_killed(
    tmp_path: Path,
) -> None:
    """The system lets go of a lock, however its holder ends."""
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(path)], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == b"ready\n"
    with pytest.raises(BlockingIOError, match="somebody"):
        FileLock(path)
    holder.kill()
    holder.wait()
    again = FileLock(path, "me")
    assert path.read_text() == "me"
    with pytest.raises(BlockingIOError, match="me"):
        FileLock(path)
    again.release()
    again.release()
    FileLock(path).release()
