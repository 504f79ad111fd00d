"""Layer store on a gateway's disk: content-addressed, and whole after any crash.

::

    FOLDER/
    ├── blobs/sha256/HEX       layers, verified before they get this name
    ├── partial/sha256-HEX     pulls in progress; a later pull continues them
    ├── index.json             replaced as a whole
    └── lock                   one process at a time

What is deleted when the disk is full is a policy's business
(:mod:`midhaul.deploy.eviction`): it reads :meth:`LayerStore.state` and answers digests,
and :meth:`LayerStore.delete` carries that out.

Its files have one owner, and errors that say what to do.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from midhaul.deploy.problem import Layer
from midhaul.deploy.store.manifests import check_digest
from midhaul.deploy.store.store_index import (
    StoreState,
    dump_index,
    load_index,
    with_layer,
    with_name,
    with_use,
    without,
)
from midhaul.errors import DataError, StoreError
from midhaul.runs.store import remove_leftovers, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path
    from typing import Self

    from midhaul.deploy.store.store_index import StoredLayer

FULL_HINT = (
    "delete layers (an eviction policy says which), or give the store a larger disk; "
    "what was pulled so far is kept, and the next pull continues from there"
)


@contextlib.contextmanager
def store_errors(path: Path) -> Generator[None]:
    """Turn the system's errors about a store into a StoreError that helps."""
    try:
        yield
    except OSError as error:
        message = f"cannot write {path}: {error.strerror or error}"
        raise StoreError(message, FULL_HINT) from error


def lock(path: Path) -> IO[bytes]:
    """Take a file until it is closed or the process ends; StoreError if it is taken."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        message = f"the layer store {path.parent} is open in another process"
        raise StoreError(message, "end that one first, or choose another folder") from (
            error
        )
    return file


def size_of(path: Path) -> int:
    """Size of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def sync(path: Path) -> None:
    """Have a file on the disk, not in memory only."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LayerStore:
    """Layers on a disk, and who uses them; a context manager.

    All methods may be called from any thread. Holds end with the process; whoever runs
    analytics holds their images again after a restart.

    Args:
        folder: made if it is not there.
        clock: seconds; what ``pulled_s`` and ``last_used_s`` are on.

    Raises:
        StoreError: another process has the store open, or it cannot be written.
        DataError: its index is not one.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self._clock = clock
        self._mutex = threading.RLock()
        self._holds: dict[str, list[tuple[str, ...]]] = {}
        self._reserved: list[tuple[str, ...]] = []
        self._index = folder / "index.json"
        with store_errors(folder):
            (folder / "partial").mkdir(parents=True, exist_ok=True)
            (folder / "blobs").mkdir(exist_ok=True)
            self._lock = lock(folder / "lock")
        try:
            self._state = self._recover()
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        """The store is open from its construction."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let others open the store."""
        self.close()

    def close(self) -> None:
        """Let others open the store; doing it twice is harmless."""
        self._lock.close()

    def state(self) -> StoreState:
        """All layers and images, and what is in use, as of now."""
        with self._mutex:
            uses = [*self._reserved, *(u for us in self._holds.values() for u in us)]
            held = frozenset(digest for use in uses for digest in use)
            return replace(self._state, held=held & self._state.layers.keys())

    def has(self, digest: str) -> bool:
        """True if a layer is present, whole and verified."""
        return digest in self._state.layers

    def path(self, digest: str) -> Path:
        """Where the file of a present layer is.

        Raises:
            DataError: the text is no digest.
        """
        algorithm, _, text = check_digest(digest, str(self.folder)).partition(":")
        return self.folder / "blobs" / algorithm / text

    def partial(self, digest: str) -> Path:
        """Where a pull in progress writes; the file may exist from an earlier one.

        Raises:
            DataError: the text is no digest.
        """
        name = check_digest(digest, str(self.folder)).replace(":", "-")
        return self.folder / "partial" / name

    def partial_bytes(self) -> int:
        """What unfinished pulls take on the disk."""
        return sum(path.stat().st_size for path in (self.folder / "partial").iterdir())

    def drop_partials(self) -> None:
        """Delete what unfinished pulls left; only while nothing is being pulled."""
        for path in (self.folder / "partial").iterdir():
            path.unlink(missing_ok=True)

    def commit(self, digest: str, uncompressed_bytes: int) -> StoredLayer:
        """Make a layer present whose partial file is complete and verified.

        Raises:
            StoreError: the disk is full or cannot be written.
        """
        partial, path = self.partial(digest), self.path(digest)
        with self._mutex, store_errors(path):
            sync(partial)
            path.parent.mkdir(exist_ok=True)
            partial.replace(path)
            layer = Layer(
                digest=digest,
                compressed_bytes=path.stat().st_size,
                uncompressed_bytes=uncompressed_bytes,
            )
            self._write(with_layer(self._state, layer, self._clock()))
            return self._state.layers[digest]

    def register(self, name: str, digests: Sequence[str]) -> None:
        """Note that an image was pulled; its layers must be present.

        Raises:
            DataError: one is not.
            StoreError: the index cannot be written.
        """
        with self._mutex:
            if missing := [d for d in digests if not self.has(d)]:
                message = f"image {name}: layers {missing} are not in {self.folder}"
                raise DataError(message, "pull the image first")
            now_s = self._clock()
            self._write(with_name(self._state, name, tuple(digests), now_s))

    def hold(self, name: str) -> None:
        """Note that an image is in use from now on; it can be held several times.

        Raises:
            DataError: the image is not there, or not all of it.
            StoreError: the index cannot be written.
        """
        with self._mutex:
            if not self._state.is_whole(name):
                message = f"image {name} is not in {self.folder} with all its layers"
                raise DataError(message, "pull the image before it is used")
            digests = self._state.images[name].digests
            self._holds.setdefault(name, []).append(digests)
            self._touch(name, digests, n_new=1)

    def release(self, name: str) -> None:
        """Note that one use of an image has ended.

        Raises:
            DataError: it is not held.
            StoreError: the index cannot be written.
        """
        with self._mutex:
            if not self._holds.get(name):
                message = f"image {name} is not held in {self.folder}"
                raise DataError(message)
            self._touch(name, self._holds[name].pop(0), n_new=0)

    @contextlib.contextmanager
    def reserve(self, digests: Sequence[str]) -> Generator[None]:
        """Keep layers from being deleted for a while, those that come as well."""
        use = tuple(digests)
        with self._mutex:
            self._reserved.append(use)
        try:
            yield
        finally:
            with self._mutex:
                self._reserved.remove(use)

    def delete(self, digest: str) -> int:
        """Delete a layer.

        Returns:
            The uncompressed bytes that are free now.

        Raises:
            StoreError: an image in use needs it, or it cannot be deleted.
            DataError: it is not there.
        """
        with self._mutex:
            layer = self._state.layers.get(digest)
            if layer is None:
                message = f"layer {digest} is not in {self.folder}"
                raise DataError(message)
            if digest in self.state().held:
                users = [
                    n for n, uses in self._holds.items() if digest in sum(uses, ())
                ]
                who = ", ".join(users) or "a pull in progress"
                message = f"layer {digest} is in use by {who}"
                raise StoreError(message, "release these images first")
            with store_errors(self.path(digest)):
                self.path(digest).unlink(missing_ok=True)
            self._write(without(self._state, [digest]))
            return layer.uncompressed_bytes

    def _touch(self, name: str, digests: tuple[str, ...], *, n_new: int) -> None:
        now_s = self._clock()
        self._write(with_use(self._state, name, now_s, n_new=n_new, digests=digests))

    def _write(self, state: StoreState) -> None:
        """Keep a state, also on the disk; images without any layer are forgotten."""
        images = {
            name: image
            for name, image in state.images.items()
            if any(digest in state.layers for digest in image.digests)
        }
        state = replace(state, images=images)
        text = dump_index(state)

        def put(path: Path) -> None:
            path.write_bytes(text)

        try:
            write_whole(self._index, put)
        except StoreError as error:
            raise StoreError(error.message, FULL_HINT) from error
        finally:
            self._state = state

    def _recover(self) -> StoreState:
        """The state on the disk, after a clean end or any other one."""
        remove_leftovers(self.folder)
        state = StoreState()
        if self._index.exists():
            state = load_index(self._index.read_bytes(), str(self._index))
        layers = {
            digest: layer
            for digest, layer in state.layers.items()
            if size_of(self.path(digest)) == layer.compressed_bytes
        }
        with store_errors(self.folder):
            for path in (self.folder / "blobs").glob("*/*"):
                digest = f"{path.parent.name}:{path.name}"
                if digest not in layers:
                    path.replace(self.folder / "partial" / digest.replace(":", "-"))
        return replace(state, layers=layers)
