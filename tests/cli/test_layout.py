"""Tables on a terminal: whatever its width, nothing that was to be shown is missing."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from midhaul.cli.layout import aligned, table, that_fit

WORDS = st.text("abc xyz-é日", max_size=40)
TABLES = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.text("ab", min_size=1, max_size=12), min_size=n, max_size=n),
        st.lists(st.lists(WORDS, min_size=n, max_size=n), max_size=5),
    )
)


def _letters(text: str) -> str:
    return "".join(sorted(c for c in text if c.isalpha()))


@example(
    drawn=(["a" * 12, "a" * 8, "aaa", "a" * 12, "a"], [[*[""] * 4, "aaaaaaaaa日日日"]]),
    width=57,
    may_fold=True,
)
@given(drawn=TABLES, width=st.integers(40, 120), may_fold=st.booleans())
def test_nothing_is_cut_and_nothing_is_wider_than_the_terminal(
    drawn: tuple[list[str], list[list[str]]],
    width: int,
    may_fold: bool,  # noqa: FBT001  as hypothesis hands it over
) -> None:
    """Every letter of every cell is there, in lines that fit."""
    heads, rows = drawn
    lines = table(heads, rows, width, fold=set(heads) if may_fold else ())
    assert all(cell_len(line) <= width for line in lines)
    told = "".join(lines)
    for row in rows:
        for cell in row:
            assert all(told.count(c) >= cell.count(c) for c in set(_letters(cell)))


def test_rows_that_do_not_fit_become_blocks() -> None:
    """Each column is a line then, behind its heading."""
    lines = table(["name", "what it is"], [["a" * 30, 1.5], ["b" * 30, None]], 40)
    assert lines[0] == f"name        {'a' * 28}"
    assert lines[2] == "what it is  1.5"
    assert lines[3] == ""
    assert lines[-1] == "what it is  -"


def test_numbers_stand_at_the_right_of_columns_that_fit() -> None:
    """Texts are set to the left; a truth is no number."""
    lines = table(["a", "n", "ok"], [["x", 1, True], ["y", 100, False]], 80)
    assert lines == ["a    n  ok", "─  ───  ───", "x    1  yes", "y  100  no"]


def test_columns_are_left_out_from_the_right() -> None:
    """As many as have room are counted, two at least."""
    rows = [["a" * 20, "b" * 20, "c" * 20]]
    assert [that_fit(["x", "y", "z"], rows, w) for w in (64, 60, 10)] == [3, 2, 2]


def test_the_name_of_a_metric_yields_before_its_value() -> None:
    """Where four columns have no room the last goes, and long labels are folded."""
    rows = [["median latency", "251 ms", "228 – 275", "latency_p50_s"]]
    assert "latency_p50_s" in aligned(rows, 60)[0][0]
    (line,) = aligned(rows, 40)
    assert line == ["median latency  251 ms  228 – 275"]
    (folded,) = aligned([["a b c d " * 5, "1 ms", "0 – 2", "m"]], 40)
    assert len(folded) > 1
