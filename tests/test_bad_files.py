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
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.bad_files import ALL

from midhaul.deploy.catalogue import read_images
from midhaul.deploy.curve_readers import read_awstream, read_table
from midhaul.deploy.enforcement.bridge_config import read_bridge
from midhaul.deploy.enforcement.rate_map import read_rate_map
from midhaul.deploy.enforcement.traces import read_mahimahi
from midhaul.deploy.registry.manifests import parse_config, parse_manifest
from midhaul.deploy.registry.store_index import load_index
from midhaul.deploy.requests import read_requests, read_requests_csv
from midhaul.errors import MidhaulError
from midhaul.federation.latency.opening import read_key_log
from midhaul.federation.ledger_file import read_ledger
from midhaul.federation.price_files import read_price_list
from midhaul.federation.readers.source import RecordingSource, open_recording
from midhaul.federation.record.journal import Journal
from midhaul.federation.saving import read_state
from midhaul.federation.serving.config import read_federation
from midhaul.federation.vocabulary import read_vocabulary
from midhaul.kinds import load_experiment
from midhaul.runs.experiment_file import Override, read_file
from midhaul.runs.listing import list_runs
from midhaul.runs.run import Run
from midhaul.services.application import _json_object
from midhaul.testbed.arrivals.files import read_arrivals
from midhaul.testbed.nodes import NodeFile
from midhaul.vision.card import read_card
from midhaul.vision.codecs import decode, size
from midhaul.vision.data import open_dataset
from midhaul.vision.names import names_from_file
from midhaul.vision.runtimes.recorded import read_recording
from midhaul.wire.message import unpack_answer, unpack_request

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 10_000


def experiment(file: Path) -> None:
    """An experiment file, with the config of its kind."""
    load_experiment(read_file(file), [])


def coco(file: Path) -> None:
    """Annotations in COCO's layout."""
    open_dataset("coco", images=file.parent, annotations=file)


def yolo(file: Path, *, suffix: str, is_names: bool) -> None:
    """A label file, or the file of the names, of a YOLO folder."""
    folder = file.parent / f"yolo-{suffix}"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    picture(folder / "images" / "a.png")
    names = folder / f"names{suffix}" if is_names else ["a", "b"]
    target = folder / f"names{suffix}" if is_names else folder / "labels" / "a.txt"
    put(file, target)
    (folder / "labels" / "a.txt").touch()
    open_dataset("yolo", images=folder / "images", names=names)


def voc(file: Path) -> None:
    """An XML file of Pascal VOC."""
    folder = file.parent / "voc"
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    (folder / "Annotations").mkdir(exist_ok=True)
    picture(folder / "JPEGImages" / "a.png")
    put(file, folder / "Annotations" / "a.xml")
    open_dataset("voc", images=folder / "JPEGImages")


def run_folder(file: Path, *, name: str) -> None:
    """A file of a run's folder that holds something else."""
    folder = file.parent / "runs" / f"20260101T000000Z-toy-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    put(file, folder / name)
    assert list(list_runs(folder.parent)) == []
    Run.open(folder).config_values()


def recorded(file: Path, *, kind: Any) -> None:
    """Recorded answers, or their truth, that hold something else."""
    folder = file.parent / f"recorded-{kind}"
    folder.mkdir(exist_ok=True)
    target = folder / ("a.json" if kind == "coco" else "meta.csv")
    put(file, target)
    source = file if kind == "parquet" else folder
    truth = file if kind == "coco" else None
    open_recording(RecordingSource(kind=kind, file=source, truth=truth, price_usd=0.1))


def journal(file: Path) -> None:
    """The journal of calls, which is opened for writing."""
    copy = file.parent / "journal"
    put(file, copy)
    Journal(copy).__exit__(None, None, None)


def of_bytes(file: Path, *, parse: Callable[[bytes], object]) -> None:
    """What comes over a network as bytes."""
    parse(file.read_bytes())


def picture(file: Path) -> None:
    """A small picture."""
    from PIL import Image  # noqa: PLC0415

    if not file.exists():
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file)


def put(file: Path, target: Path) -> None:
    """Have a content at a place where a reader looks for it."""
    target.unlink(missing_ok=True)
    target.symlink_to(file.resolve())


READERS: dict[str, Callable[[Path], object]] = {
    "experiment": experiment,
    "manifest": partial(run_folder, name="manifest.json"),
    "card": read_card,
    "coco": coco,
    "yolo labels": partial(yolo, suffix=".txt", is_names=False),
    "yolo names": partial(yolo, suffix=".yaml", is_names=True),
    "names": names_from_file,
    "voc": voc,
    "detections": lambda file: read_recording(file, None),
    "picture": partial(of_bytes, parse=lambda data: decode(data, where="picture")),
    "picture size": partial(of_bytes, parse=lambda data: size(data, where="picture")),
    "node": NodeFile.read,
    "arrivals": read_arrivals,
    "bridge": read_bridge,
    "rate map": read_rate_map,
    "trace": read_mahimahi,
    "requests CSV": read_requests_csv,
    "requests": read_requests,
    "layers": read_images,
    "curve": read_table,
    "AWStream": read_awstream,
    "manifest of an image": partial(
        of_bytes, parse=lambda data: parse_manifest(data, "here")
    ),
    "config of an image": partial(
        of_bytes, parse=lambda data: parse_config(data, "here")
    ),
    "layer store": partial(of_bytes, parse=lambda data: load_index(data, "here")),
    "prices": read_price_list,
    "vocabulary": read_vocabulary,
    "federation": read_federation,
    "recording": partial(recorded, kind="parquet"),
    "recording of COCO": partial(recorded, kind="coco"),
    "recording of FrugalML": partial(recorded, kind="frugalml"),
    "ledger": read_ledger,
    "journal": journal,
    "saved federation": read_state,
    "key log": read_key_log,
    "settings": partial(of_bytes, parse=_json_object),
    "request": partial(of_bytes, parse=unpack_request),
    "answer": partial(of_bytes, parse=unpack_answer),
}
SUFFIXES = {
    "bridge": (".toml", ".json"),
    "rate map": (".toml", ".json"),
    "arrivals": (".txt", ".csv", ".parquet"),
    "curve": (".csv", ".parquet"),
    "yolo names": (".yaml",),
    "names": (".txt", ".names"),
}


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


def told(read: Callable[[Path], object], file: Path) -> Exception | None:
    """What a reader lets out that is no word of ours."""
    try:
        read(file)
    except MidhaulError as error:
        return error if len(error.message) > LONGEST else None
    except Exception as error:  # noqa: BLE001  that is the question
        return error
    return None


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


@pytest.mark.parametrize("odd", ODD_NAMES)
def test_no_name_of_a_file_breaks_a_reader(odd: str, tmp_path: Path) -> None:
    """Missing, a folder, no name at all: it is said."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").touch()
    path = tmp_path / ODD_NAMES[odd]
    for name, read in READERS.items():
        if isinstance(read, partial) or name in {"voc", "journal"}:
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
