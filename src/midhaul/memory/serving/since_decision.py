"""Samples since the last decision: what the next one looks at, of bounded size.

A rule compares whole clusters, so of too many samples whole clusters are left out. A
hash of its number says which: those below a limit stay, and the limit falls as clusters
come. So a cluster is in or out as a whole, whenever its samples come.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.memory.late_labels import matches
from midhaul.memory.samples import Samples, concatenate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midhaul.memory.serving.messages import LateLabels

_HIGHEST = np.iinfo(np.uint64).max


class SinceDecision:
    """At most ``most`` samples without their inputs, which no rule looks at.

    Attributes:
        n_left_out: samples that came since the decision and are not here.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.n_left_out = 0
        self._parts: list[Samples] = []
        self._labels: list[LateLabels] = []
        self._n = self._n_labels = 0
        self._limit = _HIGHEST

    def __len__(self) -> int:
        """How many are here."""
        return self._n

    def add(self, new: Samples) -> None:
        """Take what was offered."""
        is_in = _hashes(new.cluster) <= self._limit
        self.n_left_out += len(new) - int(is_in.sum())
        # A copy, as arrays of a body would keep all of it.
        some = replace(new, x=np.zeros((len(new), 0), np.float32)).take(is_in)
        if not len(some):
            return
        self._parts.append(some)
        self._n += len(some)
        if self._n > self.most:
            self._thin()

    def get(self) -> Samples:
        """All of them as one, with the outputs that came late."""
        if not self._parts:
            self._labels, self._n_labels = [], 0
            return Samples.of(np.zeros((0, 0), np.float32))
        whole = concatenate(self._parts)
        if self._labels:
            time_s, group, y = (
                np.concatenate([getattr(one, name) for one in self._labels])
                for name in ("time_s", "group", "y")
            )
            rows, at = matches(whole, time_s, group)
            known = whole.y.copy()
            known[rows] = y[at]
            whole = replace(whole, y=known)
            self._labels, self._n_labels = [], 0
        self._parts = [whole]
        return whole

    def label(self, labels: LateLabels) -> None:
        """Hear late outputs; they are looked up when somebody asks for samples."""
        self._labels.append(labels)
        self._n_labels += len(labels.y)
        if self._n_labels > self.most:
            self.get()

    def clear(self) -> None:
        """Begin anew."""
        self._parts, self._labels = [], []
        self._n = self._n_labels = self.n_left_out = 0
        self._limit = _HIGHEST

    def state(self) -> dict[str, Any]:
        """All that it holds."""
        whole = self.get()
        return {
            "rows": {f.name: getattr(whole, f.name) for f in fields(whole)},
            "limit": np.array(self._limit, np.uint64),
            "n_left_out": self.n_left_out,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        whole = Samples(**state["rows"])
        whole.check()
        self.clear()
        self._parts = [whole] if len(whole) else []
        self._n = len(whole)
        self._limit = int(state["limit"])
        self.n_left_out = int(state["n_left_out"])

    def _thin(self) -> None:
        """Leave out half of the clusters, again and again until the rest fits.

        One cluster that is too large by itself is cut, and nothing is taken after it.
        """
        whole = self.get()
        hashes = _hashes(whole.cluster)
        n_before = len(whole)
        while len(whole) > self.most:
            found = np.unique(hashes)
            if len(found) == 1:
                whole, self._limit = whole.take(slice(0, self.most)), 0
                break
            self._limit = int(found[(len(found) - 1) // 2])
            is_in = hashes <= self._limit
            whole, hashes = whole.take(is_in), hashes[is_in]
        self.n_left_out += n_before - len(whole)
        self._parts, self._n = [whole], len(whole)


def _hashes(cluster: np.ndarray) -> np.ndarray:
    """SplitMix64 of each number."""
    h = cluster.view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))
