"""Conformance suite of ABR schemes, ours or a stranger's."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from midhaul.memory.sessions.base import N_KNOWN, Players

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midhaul.memory.sessions.base import Abr

_CHUNK_S = 2.002


def check_players() -> Iterator[Players]:
    """Players that a scheme must answer; some are odd."""
    rng = np.random.default_rng(5)
    base = _players(rng, n=6, n_ahead=5, n_rungs=4)
    yield base
    yield replace(base, n_past=1)
    yield _players(rng, n=1, n_ahead=1, n_rungs=1)
    yield replace(base, buffer_s=np.zeros(6))
    yield replace(base, buffer_s=np.full(6, base.most_s))
    yield replace(base, past_s=base.past_s * 1000)
    yield replace(base, past_s=base.past_s / 1000)


def _players(
    rng: np.random.Generator, *, n: int, n_ahead: int, n_rungs: int
) -> Players:
    shape = (n, n_ahead, n_rungs)
    return Players(
        n_past=N_KNOWN,
        buffer_s=rng.random(n) * 15,
        past_bytes=rng.lognormal(12, 1, (n, N_KNOWN)),
        past_s=rng.lognormal(-1, 0.7, (n, N_KNOWN)),
        past_buffer_s=rng.random((n, N_KNOWN)) * 15,
        last_quality=rng.random(n) * 16,
        sizes_bytes=np.sort(rng.lognormal(12, 1, shape), axis=2),
        quality=np.sort(rng.random(shape) * 16, axis=2),
        chunk_s=_CHUNK_S,
        most_s=15.0,
    )


def check_abr(abr: Abr) -> None:
    """Hold a scheme to its protocol; AssertionError says where it does not keep it."""
    _demand(bool(abr.name), "a scheme has a name")
    for number, now in enumerate(check_players()):
        before = {f.name: np.copy(getattr(now, f.name)) for f in fields(now)}
        found = abr.choose(now)
        n_rungs = now.sizes_bytes.shape[2]
        _demand(found.shape == (now.n,), f"case {number}: a rung for each player")
        is_rung = bool(((found >= 0) & (found < n_rungs)).all())
        _demand(is_rung, f"case {number}: rungs from 0 to {n_rungs - 1}")
        is_same = np.array_equal(found, abr.choose(now))
        _demand(is_same, f"case {number}: the same again, as it remembers nothing")
        for name, value in before.items():
            is_same = np.array_equal(value, getattr(now, name))
            _demand(is_same, f"case {number}: {name} is left as it was")
        is_same = abr.choose(_only(now, 0))[0] == found[0]
        _demand(bool(is_same), f"case {number}: players have nothing to do with others")


def _demand(is_kept: bool, what: str) -> None:  # noqa: FBT001  it is a demand
    if not is_kept:
        raise AssertionError(what)


def _only(now: Players, player: int) -> Players:
    names = ("n_past", "chunk_s", "most_s")
    arrays = {
        f.name: getattr(now, f.name)[player : player + 1]
        for f in fields(now)
        if f.name not in names
    }
    return replace(now, **arrays)
