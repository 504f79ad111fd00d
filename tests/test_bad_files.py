"""Every reader against every content that it cannot have expected.

What a reader says then is a ``MidhaulError`` of a bounded length, with the file in it;
it may also find the content good, as an empty list of words is. Errors of Python or of
a library never get out.
"""

from __future__ import annotations

import contextlib
import resource
import struct
import zipfile
import zlib
from functools import partial
from pathlib import Path

import pytest
from tests.support.bad_files import ALL
from tests.support.readers import READERS, SUFFIXES, told

from midhaul.errors import MidhaulError
from midhaul.kinds import load_experiment
from midhaul.npz_state import read_state
from midhaul.runs.experiment_file import Override, read_file


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every content as a file, by name and ending."""
    folder = tmp_path_factory.mktemp("bad")
    found: dict[str, Path] = {}
    for number, (name, data) in enumerate(ALL.items()):
        place = folder / f"{number}"
        place.mkdir()
        for ending in (".toml", ".json", ".txt", ".csv", ".parquet", ".yaml", ".names"):
            file = place / f"file{ending}"
            file.write_bytes(data)
            found[f"{name}{ending}"] = file
    return found


@pytest.mark.parametrize("content", ALL)
def test_no_reader_lets_an_error_of_python_out(
    content: str, contents: dict[str, Path]
) -> None:
    """Whatever the file holds: it is good, or what is wrong is said in a few words."""
    escaped = [
        f"{name} on {content}{ending}: {error!r}"
        for name, read in READERS.items()
        for ending in SUFFIXES.get(name, (".txt",))
        if (error := told(read, contents[content + ending])) is not None
    ]
    assert not escaped, "\n".join(escaped)


def test_the_corpus_is_large() -> None:
    """Readers times contents: more than three thousand bad inputs."""
    assert len(ALL) >= 90
    assert len(ALL) * len(READERS) >= 3000


ODD_NAMES = {
    "missing": "nothing-here",
    "a folder": ".",
    "too long": "x" * 300,
    "a path too long": "x/" * 3000 + "y",
    "NUL": "a\0b",
    "half a pair": "a\udc80b",
    "a loop": "loop",
    "below a file": "file/file",
}


_MADE = frozenset({"voc", "journal", "metadata of a model"})


@pytest.mark.parametrize("odd", ODD_NAMES)
def test_no_name_of_a_file_breaks_a_reader(odd: str, tmp_path: Path) -> None:
    """Missing, a folder, no name at all: it is said."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    path = tmp_path / ODD_NAMES[odd]
    for name, read in READERS.items():
        if isinstance(read, partial) or name in _MADE:
            continue  # these read what the test wrote, or bytes
        with pytest.raises(MidhaulError):
            read(path)


def test_a_device_that_never_ends_is_refused() -> None:
    """Reading stops at the bound."""
    with pytest.raises(MidhaulError, match="at most"):
        read_file(Path("/dev/zero"))


def test_bombs_are_refused_before_they_are_read(tmp_path: Path) -> None:
    """An archive of 3 MB for 3 GB costs no more memory than it has bytes."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeeze.compress(bytes(16_000_000)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    data = block * 200 + squeeze.flush()
    head = struct.pack("<HHHHHLLLHH", 20, 0, 8, 0, 0, 0, len(data), 3_200_000_000, 5, 0)
    local = b"PK\3\4" + head + b"a.npy" + data
    place = struct.pack("<HHHLL", 0, 0, 0, 0, 0)
    entry = b"PK\1\2\x14\0" + head + place + b"a.npy"
    end = struct.pack("<HHHHLLH", 0, 0, 1, 1, len(entry), len(local), 0)
    bomb = tmp_path / "bomb.npz"
    bomb.write_bytes(local + entry + b"PK\5\6" + end)
    with zipfile.ZipFile(bomb) as archive, archive.open("a.npy") as member:
        assert len(member.read(1000)) == 1000  # it is an archive that inflates
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MidhaulError, match="in memory"):
        read_state(bomb)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # kB


SETTINGS = (
    "seed=99999999999999999999999999",
    "seed=" + "9" * 5000,
    "seed=1e400",
    "seed=" + "[" * 100_000,
    "data.n_scenes=-9223372036854775808",
    "data.n_scenes=9223372036854775807",
    "data.n_scenes=1000000000000",
    "data.images=" + "x" * 100_000,
    "a." * 5000 + "b=1",
    "=",
    "seed",
    "seed=\ud800",
    "detectors=[" + ",".join(["1"] * 10_000) + "]",
    '"\ud800"=1',
)


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_no_setting_breaks_the_reading_of_settings(number: int, tmp_path: Path) -> None:
    """Values of ``--set`` that nobody means."""
    file = tmp_path / "x.toml"
    file.write_text('kind = "testbed.accuracy"\n')
    with contextlib.suppress(MidhaulError):
        load_experiment(read_file(file), [Override.parse(SETTINGS[number])])


def test_counts_that_would_never_end_are_refused(tmp_path: Path) -> None:
    """The key is named, before anything is made room for."""
    file = tmp_path / "x.toml"
    file.write_text('kind = "testbed.accuracy"\n')
    setting = Override.parse("data.n_scenes=1000000000000")
    with pytest.raises(MidhaulError, match=r"x\.toml .*10,000,000 of anything"):
        load_experiment(read_file(file), [setting])
