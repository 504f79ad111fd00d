"""Every reader of midhaul as a function of one file, and what it may let out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.captures.key_log import read_key_log
from midhaul.deploy.catalogue import read_images
from midhaul.deploy.curves.readers import read_awstream, read_table
from midhaul.deploy.enforcement.bridge_config import read_bridge
from midhaul.deploy.enforcement.rate_map import read_rate_map
from midhaul.deploy.requests import read_requests, read_requests_csv
from midhaul.deploy.store.manifests import parse_config, parse_manifest
from midhaul.deploy.store.store_index import load_index
from midhaul.errors import MidhaulError
from midhaul.federation.money.ledger_file import read_ledger
from midhaul.federation.money.prices import read_price_list
from midhaul.federation.record.caller import Journal
from midhaul.federation.recordings.source import RecordingSource, open_recording
from midhaul.federation.recordings.vocabulary import read_vocabulary
from midhaul.federation.serving.config import read_federation
from midhaul.kinds import load_experiment
from midhaul.memory.serving import messages
from midhaul.memory.serving.config import read_memory_file
from midhaul.memory.serving.journal import read_journal
from midhaul.memory.sources.puffer import read_day
from midhaul.memory.sources.streams import PUFFER_DAYS, cellular_stream, puffer_stream
from midhaul.memory.sources.table import SampleColumns, read_samples, table_stream
from midhaul.memory.sources.traffic import traffic_stream
from midhaul.memory.sources.viewings import read_schemes, read_viewings
from midhaul.model import Link, Topology
from midhaul.network.topology import (
    read_demands,
    read_graphml,
    read_json,
    read_repetita,
)
from midhaul.network.workload import read_flows, read_matrix, read_sizes, read_starts
from midhaul.npz_state import read_state
from midhaul.runs.experiment_file import read_file
from midhaul.runs.listing import list_runs
from midhaul.runs.run import Run
from midhaul.services.node import _json_object
from midhaul.testbed.load.scenarios import read_arrivals
from midhaul.testbed.nodes.settings import NodeFile
from midhaul.traces import read_mahimahi
from midhaul.vision.data.names import names_from_file
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.detectors.card import read_card
from midhaul.vision.detectors.recognition.facts import ModelFacts
from midhaul.vision.detectors.recognition.said import what_is_said
from midhaul.vision.detectors.recorded import read_recording
from midhaul.vision.detectors.replay import load as replayed
from midhaul.vision.images.codecs import decode, size
from midhaul.wire.message import unpack_answer, unpack_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONGEST = 10_000
"""Characters that a message may have."""


def experiment(file: Path) -> None:
    """An experiment file, with the config of its kind."""
    load_experiment(read_file(file), [])


def coco(file: Path) -> None:
    """Annotations in COCO's layout."""
    open_dataset("coco", images=file.parent, annotations=file)


def marked(file: Path, *, kind: Any) -> None:
    """Annotations of other tools, beside an image."""
    folder = file.parent / f"marked-{kind}"
    folder.mkdir(exist_ok=True)
    picture(folder / "a.png")
    target = folder / "a.json" if kind == "labelme" else folder / "file"
    put(file, target)
    annotations = folder if kind == "labelme" else target
    open_dataset(kind, images=folder, annotations=annotations)


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


def beside_a_model(file: Path) -> None:
    """What lies beside a model and says how it is fed."""
    folder = file.parent / "model"
    folder.mkdir(exist_ok=True)
    for name in ("config.json", "preprocessor_config.json", "metadata.yaml"):
        put(file, folder / name)
    texts = {"names": file.read_bytes()[:10_000].decode("utf-8", "replace")}
    nothing = ModelFacts(
        file=folder / "model.onnx",
        kind="onnx",
        inputs=(),
        outputs=(),
        metadata=texts,
        run=lambda _: [],
    )
    what_is_said(nothing)


def puffer_streams(file: Path, *, n_periods: tuple[int, int]) -> None:
    """Two days of send gaps."""
    folder = file.parent / "streams"
    folder.mkdir(exist_ok=True)
    for name in PUFFER_DAYS:
        put(file, folder / name)
    puffer_stream(folder, n_periods=n_periods)


def flows_of_runs(file: Path, *, pattern: Any) -> None:
    """Runs of a simulated network, of which the table of flows is read."""
    folder = file.parent / "run" / "tables" / "flows"
    folder.mkdir(parents=True, exist_ok=True)
    put(file, folder / "part-0000.parquet")
    traffic_stream([file.parent / "run"] * 3, pattern=pattern)


def body(file: Path, *, read: Callable[..., object], is_json: bool) -> None:
    """What a memory is sent."""
    read(messages.Piece(data=file.read_bytes(), is_json=is_json), most=1000)


_TWO_NODES = Topology(nodes=("a", "b"), links=(Link(source="a", target="b"),))

READERS: dict[str, Callable[[Path], object]] = {
    "experiment": experiment,
    "manifest": partial(run_folder, name="manifest.json"),
    "card": read_card,
    "metadata of a model": beside_a_model,
    "coco": coco,
    "yolo labels": partial(yolo, suffix=".txt", is_names=False),
    "yolo names": partial(yolo, suffix=".yaml", is_names=True),
    "names": names_from_file,
    **{
        kind: partial(marked, kind=kind)
        for kind in ("labelme", "createml", "cvat", "table")
    },
    "voc": voc,
    "detections": lambda file: read_recording(file, None),
    "replayed results": lambda file: replayed(
        str(file), {"names": "coco91"}, threads=1, seed=0
    ),
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
    "topology": read_json,
    "topology as GraphML": read_graphml,
    "topology of Repetita": read_repetita,
    "demands of Repetita": partial(read_demands, n_nodes=3),
    "flows": partial(read_flows, topology=_TWO_NODES),
    "starts": read_starts,
    "sizes": read_sizes,
    "traffic matrix": read_matrix,
    "day of Puffer": lambda file: read_day(file, file),
    "samples": read_samples,
    "samples in a table": partial(
        table_stream, columns=SampleColumns(x=("size_bytes",), y="start_ns")
    ),
    "flows as samples": partial(flows_of_runs, pattern="periodic"),
    "batch in Arrow": partial(body, read=messages.read_samples, is_json=False),
    "batch in JSON": partial(body, read=messages.read_samples, is_json=True),
    "labels in JSON": partial(body, read=messages.read_labels, is_json=True),
    "memory": read_memory_file,
    "journal of a memory": read_journal,
    "schemes": read_schemes,
    "viewings": read_viewings,
    "stream of Puffer": partial(puffer_streams, n_periods=(1, 1)),
    "stream of downloads": partial(cellular_stream, shift="periodic"),
    "settings": partial(of_bytes, parse=_json_object),
    "request": partial(of_bytes, parse=unpack_request),
    "answer": partial(of_bytes, parse=unpack_answer),
}
SUFFIXES: dict[str, tuple[str, ...]] = {
    "bridge": (".toml", ".json"),
    "rate map": (".toml", ".json"),
    "arrivals": (".txt", ".csv", ".parquet"),
    "curve": (".csv", ".parquet"),
    "flows": (".csv", ".parquet"),
    "starts": (".csv", ".parquet"),
    "day of Puffer": (".csv",),
    "viewings": (".csv", ".parquet"),
    "samples": (".parquet",),
    "samples in a table": (".csv", ".parquet"),
    "stream of Puffer": (".parquet",),
    "stream of downloads": (".parquet",),
    "yolo names": (".yaml",),
    "replayed results": (".json", ".csv"),
    "names": (".txt", ".names"),
}


def told(read: Callable[[Path], object], file: Path) -> Exception | None:
    """What a reader lets out that is no word of ours."""
    try:
        read(file)
    except MidhaulError as error:
        return error if len(error.message) > LONGEST else None
    except Exception as error:  # noqa: BLE001  that is the question
        return error
    return None
