"""States in which one thing is not what it was: gone, of another type, out of range."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    State = dict[str, Any]

GONE = object()
ODD = (
    GONE, None, "x", -1, 0, 1e308, float("nan"), [], {}, [1, "b"], 2**70, True,
    np.zeros(0), np.zeros(3), np.full(5, np.nan), np.array("a"), np.zeros((2, 2)),
    np.array(-5), np.array(2**63, np.uint64), {"a": np.zeros(2)},
)  # fmt: skip


def odd_states(
    state: State, rng: random.Random, n: int = 2
) -> Iterator[tuple[str, State]]:
    """``n`` states for each leaf and branch of one: what was changed, and the state."""
    for path in _paths(state):
        values = [*ODD, *_near(_at(state, path))]
        for value in rng.sample(values, n):
            found = copy.deepcopy(state)
            *branch, name = path
            inner = _at(found, tuple(branch))
            if value is GONE:
                del inner[name]
            else:
                inner[name] = value
            yield f"{'/'.join(path)} = {value!r:.60}", found


def _paths(state: State, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in state.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _paths(value, (*above, name))


def _at(state: State, path: tuple[str, ...]) -> Any:
    for name in path:
        state = state[name]
    return state


def _near(value: Any) -> Iterator[Any]:
    """Arrays that are nearly the same."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
        return
    yield value[None]
    yield value[:-1] if value.ndim else value[None, None]
    yield value + np.asarray(100, value.dtype)
    yield value.astype(float) * np.nan
    yield value.astype(float) - 1e9
    yield np.full_like(value, np.inf, float)
