"""States on disk: what is written is what is read, and broken files are told."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from jaxtyping import Float32, Int64

from midhaul.errors import DataError
from midhaul.npz_state import (
    SavedFields,
    from_state,
    read_state,
    state_of,
    write_state,
)

KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
ARRAYS = of_numpy.arrays(
    st.sampled_from([np.float64, np.float32, np.int64, np.int32, np.bool_]),
    of_numpy.array_shapes(min_dims=0, min_side=0, max_side=3),
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | ARRAYS
)
STATES = st.dictionaries(
    KEYS,
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def same(a: Any, b: Any) -> bool:
    """Whether two states hold the same, arrays with their types."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        both = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
        return both and a.dtype == b.dtype and np.array_equal(a, b, a.dtype.kind == "f")
    if isinstance(a, dict):
        return (
            isinstance(b, dict)
            and list(a) == list(b)
            and all(same(a[key], b[key]) for key in a)
        )
    if isinstance(a, list):
        return (
            isinstance(b, list)
            and len(a) == len(b)
            and all(same(x, y) for x, y in zip(a, b, strict=True))
        )
    return type(a) is type(b) and a == b


def stored(state: dict[str, Any]) -> dict[str, Any]:
    """A state, written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.npz"
        write_state(file, state)
        assert [one.name for one in Path(folder).iterdir()] == ["state.npz"]
        return read_state(file)


def write_meta(file: Path, text: bytes) -> None:
    """An archive with nothing but the names of a state."""
    names: dict[str, Any] = {"meta.json": np.frombuffer(text, np.uint8)}
    np.savez(file, **names)


@given(state=STATES)
@settings(max_examples=60, deadline=None)
def test_a_state_comes_back_as_it_was(state: dict[str, Any]) -> None:
    """Nested names, JSON values and arrays of any shape and type, and nothing else."""
    assert same(state, stored(state))


def test_names_with_slashes_do_not_run_into_each_other() -> None:
    """Labels may be called anything, and each keeps its own array."""
    state = {"a/b": np.zeros(1), "a": {"b": np.ones(2), "": np.zeros(3)}}
    assert same(state, stored(state))


def test_tuples_and_numpy_numbers_are_told_plainly() -> None:
    """They come back as lists and Python's numbers."""
    found = stored({"names": ("cat", "dog"), "n": np.int64(3), "x": np.float64(0.5)})
    assert found == {"names": ["cat", "dog"], "n": 3, "x": 0.5}


@pytest.mark.parametrize("step", [13, 17])
def test_a_broken_file_is_an_error_that_says_so(tmp_path: Path, step: int) -> None:
    """Whichever byte is wrong, and wherever it ends, nothing but a DataError comes."""
    file = tmp_path / "state.npz"
    write_state(file, {"x": np.arange(400), "y": {"z": [1, "two"]}})
    whole = file.read_bytes()
    n_read = 0
    for place in range(0, len(whole), step):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        for content in (bytes(flipped), whole[:place]):
            file.write_bytes(content)
            with contextlib.suppress(DataError):
                read_state(file)
                n_read += 1
    assert n_read < len(whole) / step


def test_other_files_are_refused(tmp_path: Path) -> None:
    """None, an array alone, text, an archive of something else, and a folder."""
    file = tmp_path / "state.npz"
    with pytest.raises(DataError, match="does not exist"):
        read_state(file)
    with pytest.raises(DataError, match="no saved federation"):
        read_state(tmp_path)
    with file.open("wb") as stream:
        np.save(stream, np.ones(3))
    with pytest.raises(DataError, match="no saved federation"):
        read_state(file)
    file.write_text("policy = 3")
    with pytest.raises(DataError, match="no saved federation"):
        read_state(file)
    np.savez(file, weights=np.ones(3))
    with pytest.raises(DataError, match="no saved federation"):
        read_state(file)
    write_meta(file, b"[1, 2]")
    with pytest.raises(DataError, match="no names"):
        read_state(file)
    write_meta(file, b'{"x": {"$array": "gone"}}')
    with pytest.raises(DataError, match="no saved federation"):
        read_state(file)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    """Neither written nor read: an array of objects could run anything."""
    file = tmp_path / "state.npz"
    objects = np.array([{1: 2}], object)
    with pytest.raises(ValueError, match="allow_pickle"):
        write_state(file, {"x": objects})
    assert not file.exists()
    np.savez(file, allow_pickle=True, **{"meta.json": objects})
    with pytest.raises(DataError, match="allow_pickle"):
        read_state(file)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    """All of a state or nothing of it: the one before stays readable."""
    file = tmp_path / "state.npz"
    write_state(file, {"x": 1})
    with pytest.raises(TypeError):
        write_state(file, {"x": {1, 2}})
    with pytest.raises(ValueError, match="allow_pickle"):
        write_state(file, {"x": np.array([None], object)})
    assert read_state(file) == {"x": 1}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leaf(SavedFields):
    """Something fitted within something else."""

    weights: Float32[np.ndarray, " n"]
    places: tuple[Int64[np.ndarray, " k"], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree(SavedFields):
    """Fields of all the types that fitted things have."""

    how: Literal["one", "two"]
    names: tuple[str, ...]
    share: float
    n: int
    is_on: bool
    leaf: Leaf
    leaves: tuple[Leaf, ...]
    perhaps: Leaf | None
    stem: Leaf
    made: dict[str, int] = field(init=False, repr=False, default_factory=dict)

    tag: ClassVar[str] = "policy"
    flat: ClassVar[tuple[str, ...]] = ("stem",)
    kind: ClassVar[str] = "tree"


def _leaf(value: float) -> Leaf:
    return Leaf(weights=np.array([value], np.float32), places=(np.arange(2),))


def test_fields_are_the_state(tmp_path: Path) -> None:
    """In their order, behind the tag; flat ones among the others; and back again."""
    tree = Tree(
        how="two",
        names=("a", "b"),
        share=0.25,
        n=3,
        is_on=True,
        leaf=_leaf(1),
        leaves=(_leaf(2), _leaf(3)),
        perhaps=None,
        stem=_leaf(4),
    )
    state = tree.state()
    head = ["policy", "how", "names", "share", "n", "is_on", "leaf", "leaves"]
    assert list(state) == [*head, "perhaps", "weights", "places"]
    write_state(tmp_path / "tree.npz", state)
    read = read_state(tmp_path / "tree.npz")
    again = Tree.from_state(read)
    assert (again.how, again.names, again.share) == ("two", ("a", "b"), 0.25)
    assert (again.n, again.is_on, again.perhaps, again.made) == (3, True, None, {})
    assert again.leaves[1].weights.tolist() == [3.0]
    assert again.stem.weights.dtype == np.float32
    assert again.stem.places[0].tolist() == [0, 1]
    given = from_state(Tree, read, flat=("stem",), given={"leaf": _leaf(9)})
    assert given.leaf.weights.tolist() == [9.0]
    assert state_of(again.leaf)["weights"].tolist() == [1.0]


def test_a_state_that_lacks_a_field_is_none() -> None:
    """Nothing is taken for what is not there."""
    with pytest.raises(KeyError, match="places"):
        Leaf.from_state({"weights": np.zeros(1)})
