"""Arrow streams of strangers: read as Arrow reads them, or refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.served_memory import arrow, stream

from midhaul.memory.serving.arrow_stream import read_stream

MOST = 1000
WHOLE = arrow(stream(7))
TYPES = [pa.float32(), pa.float64(), pa.int8(), pa.uint16(), pa.int32(), pa.uint64()]


def _written(batches: list[pa.RecordBatch], **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    said = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(sink, batches[0].schema, options=said) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


@given(
    kinds=st.lists(st.sampled_from(TYPES), min_size=1, max_size=5),
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    width=st.integers(1, 5),
)
def test_columns_are_read_as_arrow_reads_them(
    kinds: list[pa.DataType], lengths: list[int], width: int
) -> None:
    """Numbers of all sizes, lists of a fixed size, several batches, and nulls."""
    batches = []
    for n in lengths:
        columns: dict[str, Any] = {
            f"c{i}": pa.array([None if k % 4 == 3 else k for k in range(n)], kind)
            for i, kind in enumerate(kinds)
        }
        flat = pa.array(np.arange(n * width, dtype=np.float32))
        columns["x"] = pa.FixedSizeListArray.from_arrays(flat, width)
        batches.append(pa.record_batch(columns))
    found = read_stream(_written(batches), most=MOST)
    table = pa.Table.from_batches(batches)
    assert list(found) == table.column_names
    for name in table.column_names:
        wanted = table[name].to_pylist()
        values = found[name].tolist()
        assert [
            None if isinstance(one, float) and np.isnan(one) else one for one in values
        ] == wanted


@pytest.mark.parametrize(
    ("batch", "options", "said"),
    [
        (pa.record_batch({"a": ["x"]}), {}, "no number"),
        (pa.record_batch({"a": pa.array([[1.0]])}), {}, "no number"),
        (pa.record_batch({"a": pa.array([1.5], pa.float16())}), {}, "no number"),
        (
            pa.record_batch({"a": pa.array(["x"]).dictionary_encode()}),
            {},
            "dictionary",
        ),
        (pa.record_batch({"a": [1.0] * 500}), {"compression": "lz4"}, "compressed"),
        (pa.record_batch({"a": [1.0] * 500}), {"compression": "zstd"}, "compressed"),
        (pa.record_batch({"a": [1.0] * (MOST + 1)}), {}, "more than 1,000 rows"),
        (
            pa.record_batch({"a": pa.array([[1.0], None], pa.list_(pa.float32(), 1))}),
            {},
            "has nulls",
        ),
    ],
)
def test_what_is_not_read_is_refused_in_words(
    batch: pa.RecordBatch, options: dict[str, Any], said: str
) -> None:
    """Texts, lists of any size, dictionaries, compressed buffers, too many rows."""
    with pytest.raises(ValueError, match=said):
        read_stream(_written([batch], **options), most=MOST)


def test_an_early_end_is_refused_or_has_whole_batches_only() -> None:
    """A stream may end without its end mark, as Arrow's reader allows too."""
    n_whole = 0
    for size in range(len(WHOLE)):
        try:
            found = read_stream(WHOLE[:size], most=MOST)
        except ValueError:
            continue
        assert len(found["x"]) in {0, 7}
        n_whole += len(found["x"]) == 7
    assert n_whole


@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)),
        min_size=1,
        max_size=8,
    )
)
def test_any_bytes_are_read_or_refused(changes: list[tuple[int, int]]) -> None:
    """Arrow's own reader ends the process on some of these."""
    data = bytearray(WHOLE)
    for at, value in changes:
        data[at] = value
    try:
        found = read_stream(bytes(data), most=MOST)
    except ValueError:
        return
    assert all(len(column) <= MOST for column in found.values())


def test_arrays_may_be_written_to_and_are_aligned() -> None:
    """Kernels are compiled for such arrays, and once more for any others."""
    found = read_stream(WHOLE, most=MOST)
    for column in found.values():
        assert column.flags.writeable
        assert column.flags.aligned
