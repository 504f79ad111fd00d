"""The process of a served memory: an HTTP server around its engine."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.errors import MidhaulError, require
from midhaul.memory.predictors.onnx_net import OnnxPredictor
from midhaul.memory.samples import Samples
from midhaul.memory.serving.config import read_memory_file
from midhaul.memory.serving.engine import Operation, Refused, ServedMemory
from midhaul.memory.serving.messages import Piece
from midhaul.memory.serving.snapshots import Snapshots
from midhaul.memory.serving.store import MemoryStore
from midhaul.memory.serving.worker import MemoryWorker

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from midhaul.memory.serving.config import MemoryFile
    from midhaul.memory.serving.store import Restored

_SWITCH_S = 5e-4
"""For how long a thread may keep others from running Python; 5 ms is most of a batch's
time, and the loop that answers would wait for it."""


def serve(file: Path) -> None:
    """Serve a memory until it is told to stop by SIGTERM or SIGINT.

    MidhaulError if the file is wrong, something that it names is missing, its port or
    its folder is in use, or what an earlier process left cannot be read.
    """
    config = read_memory_file(file)
    require("prometheus_client", "memory")
    from midhaul.services.http import (  # noqa: PLC0415 - optional
        ServerLimits,
        allow_connections,
        token_for,
    )

    token = token_for(config.host)
    from midhaul.services.memory_application import (  # noqa: PLC0415 - optional
        MemoryApplication,
    )
    from midhaul.services.memory_metrics import MemoryMetrics  # noqa: PLC0415
    from midhaul.services.server import listen, server_of, url_of  # noqa: PLC0415

    signal.signal(signal.SIGTERM, _leave)
    sys.setswitchinterval(_SWITCH_S)
    allow_connections()
    with contextlib.closing(MemoryStore(config.journal.dir)) as store:
        engine, restored = opened(config, store)
        if restored.sentence:
            sys.stderr.write(f"{config.name}: {restored.sentence}\n")
            sys.stderr.flush()
        snapshots = Snapshots(
            engine,
            store,
            time.monotonic,
            every_s=config.journal.snapshot_s,
            max_bytes=config.journal.max_bytes,
        )
        worker = MemoryWorker(
            engine,
            store,
            time.time,
            is_synced=config.journal.sync == "always",
            after=snapshots.consider,
        )
        metrics = MemoryMetrics()
        metrics.watch(engine, store, snapshots)
        listening = listen(config.name, config.host, config.port)

        def say() -> None:
            what = f"{config.memory.selector}, {config.retrain.rule}"
            sys.stdout.write(f"{config.name}: {url_of(listening)}/offer ({what})\n")
            sys.stdout.flush()

        application: Any = MemoryApplication(
            config, engine, worker, snapshots, metrics, on_ready=say
        )
        limits = ServerLimits.of(config)
        grace_s = math.ceil(config.drain_s)
        server = server_of(application, limits, token, grace_s=grace_s)
        server.run(sockets=[listening])


def opened(config: MemoryFile, store: MemoryStore) -> tuple[ServedMemory, Restored]:
    """An engine where an earlier process left it, with a snapshot of that.

    MidhaulError if it cannot be, or the model of the file is none.
    """
    engine = ServedMemory(config, lambda data: _loaded(store.folder, data), store.read)
    _warm(config)
    restored = store.restore(engine)
    if restored.is_new and config.model is not None:
        try:
            piece = Piece(data=config.model.read_bytes(), is_json=False)
        except OSError as error:
            message = f"model {config.model} cannot be read: {error}"
            raise MidhaulError(message, "export it again") from error
        operation = Operation(
            kind="model",
            now_s=time.time(),
            pieces=(piece,),
            version=config.model_version,
        )
        (outcome,) = engine.perform(operation)
        if isinstance(outcome, Refused):
            message = f"model {config.model} is of no use: {outcome.text}"
            raise MidhaulError(message, "export a model of these inputs and bins")
    store.write(store.begin(), engine.state())
    return engine, restored


def _loaded(folder: Path, data: bytes) -> OnnxPredictor:
    """A model of bytes; it is read out of a file, as elsewhere."""
    file = folder / ".model.partial"
    try:
        file.write_bytes(data)
        return OnnxPredictor(file)
    finally:
        file.unlink(missing_ok=True)


def _warm(config: MemoryFile) -> None:
    """Have kernels compiled, or loaded, before anybody waits for them."""
    memory = config.made()
    n_bins = memory.bins.n
    x = np.zeros((4, config.n_inputs or 4), np.float32)
    said = np.full((4, n_bins), 1 / n_bins, np.float32)
    samples = Samples.of(x, np.zeros(4), prediction=said, model_version=0)
    for _ in range(2):
        with contextlib.suppress(MidhaulError):
            memory.offer(samples)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
