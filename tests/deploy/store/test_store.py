"""The layer store: what is there, who uses it, and what a crash leaves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.deploy.store.layers import Hand, put
from tests.deploy.store.stub import digest_of

from midhaul.deploy.store.store import LayerStore
from midhaul.errors import DataError, StoreError


def test_a_layer_that_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    """With its sizes, its times and its counts."""
    clock = Hand()
    clock.now_s = 5.0
    with LayerStore(tmp_path, clock=clock) as store:
        digest = put(store, b"abc", 7)
        store.register("im", [digest])
        before = store.state()
        assert store.path(digest).read_bytes() == b"abc"
    with LayerStore(tmp_path, clock=clock) as store:
        assert store.state() == before
    layer = before.layers[digest]
    assert (layer.compressed_bytes, layer.uncompressed_bytes) == (3, 7)
    assert (layer.pulled_s, layer.last_used_s, layer.n_pulls) == (5.0, 5.0, 1)
    assert before.users(digest) == ("im",)
    assert (before.compressed_bytes, before.uncompressed_bytes) == (3, 7)


def test_uses_are_counted_for_images_and_their_layers(tmp_path: Path) -> None:
    """A hold counts as a use; a release moves the time of the last use."""
    clock = Hand()
    with LayerStore(tmp_path, clock=clock) as store:
        base, top = put(store, b"base"), put(store, b"top")
        store.register("a", [base, top])
        store.register("b", [base])
        clock.now_s = 1.0
        store.hold("a")
        clock.now_s = 2.0
        store.hold("b")
        clock.now_s = 3.0
        store.release("a")
        state = store.state()
    assert (state.layers[base].n_uses, state.layers[top].n_uses) == (2, 1)
    assert state.layers[base].last_used_s == 3.0
    assert (state.images["a"].last_used_s, state.images["b"].last_used_s) == (3.0, 2.0)
    assert state.held == {base}


def test_a_layer_in_use_cannot_be_deleted(tmp_path: Path) -> None:
    """The error names the image; after the last release it can be."""
    with LayerStore(tmp_path) as store:
        digest = put(store, b"abc", 9)
        store.register("im", [digest])
        store.hold("im")
        store.hold("im")
        store.release("im")
        with pytest.raises(StoreError, match="in use by im"):
            store.delete(digest)
        store.release("im")
        assert store.delete(digest) == 9
        assert not store.path(digest).exists()
        assert store.state().images == {}


def test_a_layer_of_a_pull_in_progress_cannot_be_deleted(tmp_path: Path) -> None:
    """Nor one that comes while it is reserved."""
    with LayerStore(tmp_path) as store:
        digest = put(store, b"abc")
        with store.reserve([digest]):
            with pytest.raises(StoreError, match="a pull in progress"):
                store.delete(digest)
            assert store.state().held == {digest}
        store.delete(digest)


def test_an_image_that_is_held_keeps_its_layers_when_its_name_moves_on(
    tmp_path: Path,
) -> None:
    """A tag may lead to other layers while the old ones are running."""
    with LayerStore(tmp_path) as store:
        old, new = put(store, b"old"), put(store, b"new")
        store.register("im", [old])
        store.hold("im")
        store.register("im", [new])
        with pytest.raises(StoreError, match="in use by im"):
            store.delete(old)
        store.delete(new)
        store.release("im")
        store.delete(old)


def test_an_image_is_whole_or_not(tmp_path: Path) -> None:
    """Cut by a deletion, it is known and cannot be held; pulled again, it can."""
    with LayerStore(tmp_path) as store:
        base, top = put(store, b"base"), put(store, b"top")
        store.register("im", [base, top])
        store.delete(top)
        assert not store.state().is_whole("im")
        assert store.state().past_pulls == {top: 1}
        with pytest.raises(DataError, match="with all its layers"):
            store.hold("im")
        put(store, b"top")
        assert store.state().layers[top].n_pulls == 2
        assert store.state().past_pulls == {}
        store.hold("im")


def test_misuse_is_said(tmp_path: Path) -> None:
    """Of layers and images that are not there, and of names that are no digests."""
    with LayerStore(tmp_path) as store:
        digest = f"sha256:{0:064x}"
        with pytest.raises(DataError, match="is not in"):
            store.delete(digest)
        with pytest.raises(DataError, match="is not held"):
            store.release("im")
        with pytest.raises(DataError, match="are not in"):
            store.register("im", [digest])
        for evil in ("../../etc/passwd", "sha256:../x", "sha256:" + "0" * 63):
            with pytest.raises(DataError, match="digest"):
                store.path(evil)
            with pytest.raises(DataError, match="digest"):
                store.partial(evil)


def test_only_one_process_has_a_store(tmp_path: Path) -> None:
    """The second one is told, and what it would have done is not done."""
    with LayerStore(tmp_path), pytest.raises(StoreError, match="open in another"):
        LayerStore(tmp_path)
    LayerStore(tmp_path).close()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', "\x00"])
def test_an_index_that_is_none_is_said(tmp_path: Path, text: str) -> None:
    """The hint is the way out; the store can be opened after it."""
    LayerStore(tmp_path).close()
    (tmp_path / "index.json").write_text(text)
    for _ in range(2):
        with pytest.raises(DataError, match=r"index\.json: expected"):
            LayerStore(tmp_path)
    (tmp_path / "index.json").unlink()
    LayerStore(tmp_path).close()


def test_files_and_index_that_do_not_agree_are_mended(tmp_path: Path) -> None:
    """A layer that is gone or cut is not there; one that nobody knows is a partial."""
    with LayerStore(tmp_path) as store:
        gone, cut, kept = (put(store, text) for text in (b"gone", b"cut", b"kept"))
        store.register("im", [gone, cut, kept])
        store.path(gone).unlink()
        store.path(cut).write_bytes(b"c")
        unknown = f"sha256:{1:064x}"
        store.path(unknown).write_bytes(b"unknown")
    with LayerStore(tmp_path) as store:
        assert set(store.state().layers) == {kept}
        assert store.partial(unknown).read_bytes() == b"unknown"
        assert store.partial_bytes() == len(b"unknown") + 1
        store.drop_partials()
        assert store.partial_bytes() == 0


CHILD = """
    import hashlib, sys
    from pathlib import Path
    from midhaul.deploy.store.store import LayerStore

    store = LayerStore(Path(sys.argv[1]))
    for n in range(10**6):
        content = str(n % 50).encode() * 100
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if store.has(digest):
            store.delete(digest)
        store.partial(digest).write_bytes(content)
        store.commit(digest, n)
        store.register(f"im{n % 7}", [digest])
        print(n, flush=True)
"""


def test_a_store_whose_process_is_killed_is_whole(tmp_path: Path) -> None:
    """At any moment: files and index agree, nothing is left over, all can be used."""
    for round_ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        for _ in range(7 + 13 * round_):
            assert child.stdout.readline()
        time.sleep(0.003 * round_)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        with LayerStore(tmp_path) as store:
            state = store.state()
            files = {f"sha256:{p.name}" for p in (tmp_path / "blobs").glob("*/*")}
            assert files == set(state.layers)
            assert not list(tmp_path.rglob("*.part"))
            for name in state.images:
                if state.is_whole(name):
                    store.hold(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_said_and_mended_by_a_deletion(tmp_path: Path) -> None:
    """The hint is to delete layers; after that there is room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount") or "mount"
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)],
        check=False,
        capture_output=True,
    )
    if done.returncode:
        pytest.skip(f"no tmpfs here: {done.stderr.decode()}")
    try:
        with LayerStore(disk) as store:
            digest = put(store, os.urandom(60_000))
            (disk / "other").write_bytes(bytes(48_000))
            with pytest.raises(StoreError, match="cannot write") as caught:
                store.register("im" * 10_000, [digest])
            assert "delete layers" in caught.value.hint
            store.delete(digest)
            put(store, b"small")
        with LayerStore(disk) as store:
            assert len(store.state().layers) == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


class StoreMachine(RuleBasedStateMachine):
    """A store next to a model of it: dictionaries of what should be there."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = LayerStore(self.folder)
        self.present: set[bytes] = set()
        self.images: dict[str, tuple[bytes, ...]] = {}
        self.held: list[str] = []

    @rule(content=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def put(self, content: bytes) -> None:
        """A layer comes."""
        put(self.store, content)
        self.present.add(content)

    @precondition(lambda self: self.present)
    @rule(name=st.sampled_from(["x", "y"]), data=st.data())
    def register(self, name: str, data: st.DataObject) -> None:
        """An image of present layers comes, unless it is in use."""
        if name in self.held:
            return
        layers = data.draw(
            st.lists(st.sampled_from(sorted(self.present)), min_size=1, unique=True)
        )
        self.store.register(name, [digest_of(c) for c in layers])
        self.images[name] = tuple(layers)

    @rule(name=st.sampled_from(["x", "y"]))
    def hold(self, name: str) -> None:
        """An image is used, if it is whole."""
        if name in self.images and set(self.images[name]) <= self.present:
            self.store.hold(name)
            self.held.append(name)
        else:
            with pytest.raises(DataError):
                self.store.hold(name)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A use ends."""
        name = data.draw(st.sampled_from(self.held))
        self.store.release(name)
        self.held.remove(name)

    @rule(content=st.sampled_from([b"a", b"b", b"c", b"d"]))
    def delete(self, content: bytes) -> None:
        """A layer goes, unless it is in use or not there."""
        in_use = {c for name in self.held for c in self.images[name]}
        if content not in self.present:
            with pytest.raises(DataError):
                self.store.delete(digest_of(content))
        elif content in in_use:
            with pytest.raises(StoreError):
                self.store.delete(digest_of(content))
        else:
            self.store.delete(digest_of(content))
            self.present.discard(content)
            self.images = {
                name: layers
                for name, layers in self.images.items()
                if set(layers) & self.present
            }

    @rule()
    def restart(self) -> None:
        """The process ends and starts again; uses end with it."""
        self.store.close()
        self.store = LayerStore(self.folder)
        self.held = []

    @invariant()
    def agrees(self) -> None:
        """The store says what the model says."""
        state = self.store.state()
        assert set(state.layers) == {digest_of(c) for c in self.present}
        assert {n: set(i.digests) for n, i in state.images.items()} == {
            n: {digest_of(c) for c in layers} for n, layers in self.images.items()
        }
        assert state.held == {
            digest_of(c) for name in self.held for c in self.images[name]
        }

    def teardown(self) -> None:
        """Nothing stays."""
        self.store.close()
        shutil.rmtree(self.folder)


class TestStoreMachine(StoreMachine.TestCase):  # type: ignore[name-defined]
    """Whatever is done in whatever order, the store does what the model does."""


TestStoreMachine.settings = settings(
    max_examples=15, stateful_step_count=25, deadline=None
)
