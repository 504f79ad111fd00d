"""A disk for layers under a sequence of needs: what policies pull, and Belady's limit.

A need is an image that is used from one time to another; its layers are held then. It
is refused where it does not fit beside what is held, whatever the policy. Who is
refused does therefore not depend on the policy, and policies can be compared by the
bytes that they pull.

*Belady's limit* is what an eviction policy could do that knows the future. Between two
uses of a layer it is kept, which takes its bytes of disk for that time, or it is
deleted and pulled again. With ``z_k`` for "the layer is kept in gap k"::

    maximise    sum_k compressed_k z_k
    subject to  sum_{k over t} uncompressed_k z_k <= disk - held(t)  for each need t

a packing of intervals: L. A. Belady, "A study of replacement algorithms for a
virtual-storage computer", IBM Systems Journal 5, 1966, shows what is best for pages of
one size; for several sizes the problem is NP-hard (M. Chrobak et al., "Caching Is Hard,
Even in the Fault Model", Algorithmica 63, 2012) and HiGHS packs the intervals into the
disk.

Differences from what a policy can do:

1. No water marks: the limit uses the whole disk.
2. What is not needed again is deleted at once.

:class:`FarthestNextUse` knows the future and is a policy, for sequences that are too
long for the exact search.
"""

from __future__ import annotations

import bisect
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from midhaul.deploy.eviction.base import deletable, until_freed
from midhaul.deploy.placement.relaxed import quiet_solver
from midhaul.deploy.store.store_index import (
    StoreState,
    holding,
    with_image,
    with_use,
    without,
)
from midhaul.errors import DataError, SimulationError, require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jaxtyping import Float64, Int64

    from midhaul.deploy.eviction.base import EvictionPolicy
    from midhaul.deploy.problem import ContainerImage, Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """An image that is used for some time.

    Attributes:
        image: its name.
        begin_s: from when it is held; its missing layers are pulled at that moment.
        end_s: until when.

    Raises:
        DataError: it ends before it begins.
    """

    image: str
    begin_s: float
    end_s: float

    def __post_init__(self) -> None:
        """Check the times."""
        if not self.begin_s <= self.end_s or math.isinf(self.begin_s):
            message = (
                f"need of {self.image}: expected an end after its begin, found "
                f"{self.begin_s} to {self.end_s}"
            )
            raise DataError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictionReplay:
    """What a policy did with a sequence of needs.

    Attributes:
        policy: its name.
        pulled_bytes: ``(n)`` compressed bytes pulled for each need, in the order in
            which they were given; 0 for those that are refused.
        is_refused: ``(n)`` true where an image did not fit.
        asked_bytes: compressed bytes of all images that were not refused.
        deleted_bytes: uncompressed bytes deleted.
        peak_bytes: most uncompressed bytes on the disk at any time.
    """

    policy: str
    pulled_bytes: tuple[int, ...]
    is_refused: tuple[bool, ...]
    asked_bytes: int
    deleted_bytes: int
    peak_bytes: int

    @property
    def hit_rate(self) -> float:
        """Share of the asked bytes that were not pulled; 1 when nothing was asked."""
        if not self.asked_bytes:
            return 1.0
        return 1 - sum(self.pulled_bytes) / self.asked_bytes


def replay(
    needs: Sequence[Need],
    images: Mapping[str, ContainerImage],
    disk_bytes: float,
    policy: EvictionPolicy,
    *,
    high_water: float = 0.8,
    low_water: float = 0.6,
) -> EvictionReplay:
    """Serve needs one after the other from a disk that is empty at first.

    Args:
        needs: in any order; served by their begins.
        images: container images by name.
        disk_bytes: uncompressed bytes that it has.
        policy: says which layers go.
        high_water: share of the disk beyond which layers are deleted.
        low_water: share of the disk down to which they are.
    """
    accepted = fitting(needs, images, disk_bytes)
    pulled = [0] * len(needs)
    store, active = StoreState(), list[Need]()
    asked = deleted = peak = 0
    for number in in_order(needs):
        need = needs[number]
        if not accepted[number]:
            continue
        for ended in [n for n in active if n.end_s <= need.begin_s]:
            active.remove(ended)
            store = with_use(store, ended.image, ended.end_s, n_new=0)
        store = holding(store, images, [n.image for n in active])
        image = images[need.image]
        missing = [x for x in image.layers if x.digest not in store.layers]
        after = store.uncompressed_bytes + sum(x.uncompressed_bytes for x in missing)
        if after > high_water * disk_bytes:
            victims = policy.victims(
                store,
                n_bytes=after - low_water * disk_bytes,
                kept=frozenset(layer.digest for layer in image.layers),
                now_s=need.begin_s,
            )
            deleted += sum(store.layers[d].uncompressed_bytes for d in victims)
            store = without(store, victims)
        pulled[number] = sum(layer.compressed_bytes for layer in missing)
        asked += image.compressed_bytes
        if missing or need.image not in store.images:
            store = with_image(store, image, need.begin_s)
        store = with_use(store, need.image, need.begin_s)
        peak = max(peak, store.uncompressed_bytes)
        active.append(need)
    return EvictionReplay(
        policy=policy.name,
        pulled_bytes=tuple(pulled),
        is_refused=tuple(not fits for fits in accepted),
        asked_bytes=asked,
        deleted_bytes=deleted,
        peak_bytes=peak,
    )


def in_order(needs: Sequence[Need]) -> list[int]:
    """Numbers of the needs in the order in which they are served."""
    return sorted(range(len(needs)), key=lambda number: needs[number].begin_s)


def fitting(
    needs: Sequence[Need], images: Mapping[str, ContainerImage], disk_bytes: float
) -> list[bool]:
    """Whether each need fits beside what is held when it comes."""
    accepted = [False] * len(needs)
    active: list[Need] = []
    for number in in_order(needs):
        need = needs[number]
        if need.image not in images:
            message = f"need of {need.image}: not among the {len(images)} images"
            raise DataError(message)
        active = [n for n in active if n.end_s > need.begin_s]
        names = {need.image, *(n.image for n in active)}
        layers = {x.digest: x for name in names for x in images[name].layers}
        if sum(x.uncompressed_bytes for x in layers.values()) <= disk_bytes:
            accepted[number] = True
            active.append(need)
    return accepted


def pack(
    *,
    values: Float64[np.ndarray, " k"],
    sizes: Float64[np.ndarray, " k"],
    firsts: Int64[np.ndarray, " k"],
    lasts: Int64[np.ndarray, " k"],
    capacities: Float64[np.ndarray, " t"],
    time_limit_s: float,
    gap: float,
) -> tuple[float, float]:
    """The value of the best intervals found that fit at every time, and a bound on all.

    An interval takes its size at each time in ``firsts[k] .. lasts[k] - 1``; ``gap`` is
    the relative distance of value and bound that counts as none.
    """
    highspy: Any = require("highspy", "deploy")
    n, n_rows = len(values), len(capacities)
    lengths = np.maximum(lasts - firsts, 0)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.concatenate(
        [np.arange(a, b) for a, b in zip(firsts, lasts, strict=True)] or [np.zeros(0)]
    )
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = n, n_rows
    # In units of the largest size: HiGHS's tolerances are absolute.
    unit = max(float(sizes.max(initial=0)), 1.0)
    worth = max(float(values.max(initial=0)), 1.0)
    model.col_cost_ = -values / worth
    model.col_lower_, model.col_upper_ = np.zeros(n), np.ones(n)
    model.row_lower_ = np.full(n_rows, -highspy.kHighsInf)
    model.row_upper_ = np.maximum(capacities, 0) / unit
    matrix = model.a_matrix_
    matrix.format_ = highspy.MatrixFormat.kColwise
    matrix.start_ = starts.astype(np.int32)
    matrix.index_ = rows.astype(np.int32)
    matrix.value_ = np.repeat(sizes / unit, lengths)
    model.integrality_ = [highspy.HighsVarType.kInteger] * n
    solver = quiet_solver()
    solver.setOptionValue("time_limit", float(time_limit_s))
    solver.setOptionValue("mip_rel_gap", gap)
    solver.passModel(model)
    if solver.run() == highspy.HighsStatus.kError:
        message = "HiGHS failed on the offline limit of an eviction policy"
        raise SimulationError(message)
    info = solver.getInfo()
    found = -info.objective_function_value * worth
    if not np.isfinite(found):
        found = 0.0  # keeping nothing is always possible
    bound = min(-info.mip_dual_bound * worth, float(values.sum()))
    return found, max(bound, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineLimit:
    """The fewest bytes that must be pulled.

    Attributes:
        pulled_bytes: compressed bytes that the best found decisions pull.
        bound_bytes: no policy pulls fewer; equal where the search ended.
        asked_bytes: compressed bytes of all images that are served.
        n_gaps: decisions.
        solve_s: time that the search took.
    """

    pulled_bytes: float
    bound_bytes: float
    asked_bytes: int
    n_gaps: int
    solve_s: float

    @property
    def hit_rate(self) -> float:
        """Share of the asked bytes that are not pulled, by the best found decisions."""
        return 1 - self.pulled_bytes / self.asked_bytes if self.asked_bytes else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gap:
    """A layer between two uses: events at which it takes disk without being held."""

    layer: Layer
    first: int
    last: int


def offline_limit(
    needs: Sequence[Need],
    images: Mapping[str, ContainerImage],
    disk_bytes: float,
    *,
    time_limit_s: float = 60.0,
    gap: float = 1e-4,
    clock: Callable[[], float] = time.perf_counter,
) -> OfflineLimit:
    """The fewest compressed bytes that a disk can pull for some needs.

    Args:
        needs: as for :func:`~midhaul.deploy.eviction.replay.replay`; those that do not
            fit beside what is held are left out, as there.
        images: container images by name.
        disk_bytes: uncompressed bytes that the disk has.
        time_limit_s: for the search; what was found until then is the answer.
        gap: relative distance of what is kept and its bound that counts as none.
        clock: seconds on any monotonic clock.

    Raises:
        DataError: an image is not known.
        PrerequisiteError: HiGHS is not installed.
    """
    begin_s = clock()
    accepted = fitting(needs, images, disk_bytes)
    served = [needs[number] for number in in_order(needs) if accepted[number]]
    gaps, free_bytes, first_bytes = _gaps(served, images, disk_bytes)
    kept = bound = 0.0
    if gaps:
        kept, bound = _pack(gaps, free_bytes, time_limit_s, gap)
    total = first_bytes + sum(one.layer.compressed_bytes for one in gaps)
    return OfflineLimit(
        pulled_bytes=total - kept,
        bound_bytes=max(0.0, total - bound),
        asked_bytes=sum(images[need.image].compressed_bytes for need in served),
        n_gaps=len(gaps),
        solve_s=clock() - begin_s,
    )


def _gaps(
    served: Sequence[Need], images: Mapping[str, ContainerImage], disk_bytes: float
) -> tuple[list[_Gap], list[float], int]:
    """Gaps, free bytes at each event, and the bytes of all first pulls."""
    begins = [need.begin_s for need in served]
    held_until: dict[str, float] = {}
    last_use: dict[str, int] = {}
    layers: dict[str, Layer] = {}
    gaps: list[_Gap] = []
    free_bytes: list[float] = []
    first_bytes = 0
    for event, need in enumerate(served):
        for layer in images[need.image].layers:
            until_s = held_until.get(layer.digest)
            if until_s is None:
                first_bytes += layer.compressed_bytes
            elif until_s <= need.begin_s:
                # A need at the moment of the release no longer sees it held.
                first = bisect.bisect_left(begins, until_s)
                first = max(first, last_use[layer.digest] + 1)
                gaps.append(_Gap(layer=layer, first=first, last=event))
            layers[layer.digest] = layer
            last_use[layer.digest] = event
            held_until[layer.digest] = max(until_s or -math.inf, need.end_s)
        now_held = [d for d, until in held_until.items() if until > need.begin_s]
        now = {*now_held, *(x.digest for x in images[need.image].layers)}
        free_bytes.append(disk_bytes - sum(layers[d].uncompressed_bytes for d in now))
    return gaps, free_bytes, first_bytes


def _pack(
    gaps: Sequence[_Gap], free_bytes: Sequence[float], time_limit_s: float, gap: float
) -> tuple[float, float]:
    """Compressed bytes that are kept at best: found, and an upper bound."""
    return pack(
        values=np.array([one.layer.compressed_bytes for one in gaps], np.float64),
        sizes=np.array([one.layer.uncompressed_bytes for one in gaps], np.float64),
        firsts=np.array([one.first for one in gaps], np.int64),
        lasts=np.array([one.last for one in gaps], np.int64),
        capacities=np.array(free_bytes, np.float64),
        time_limit_s=time_limit_s,
        gap=gap,
    )


class FarthestNextUse:
    """Deletes what is needed latest, large layers first: Belady's rule, by size.

    Among layers that are needed again, the one with the largest product of the time to
    its next use and its bytes goes first; whatever is never needed goes before.

    Args:
        needs: all of them, those to come included.
        images: container images by name.
    """

    name = "farthest-next-use"

    def __init__(
        self, needs: Sequence[Need], images: Mapping[str, ContainerImage]
    ) -> None:
        self._uses: dict[str, list[float]] = {}
        for need in sorted(needs, key=lambda need: need.begin_s):
            for layer in images[need.image].layers:
                self._uses.setdefault(layer.digest, []).append(need.begin_s)

    def victims(
        self, state: StoreState, *, n_bytes: float, kept: frozenset[str], now_s: float
    ) -> tuple[str, ...]:
        """Digests to delete, in order."""

        def rank(digest: str) -> tuple[float, str]:
            uses = self._uses.get(digest, [])
            place = bisect.bisect_right(uses, now_s)
            if place == len(uses):
                return (-math.inf, digest)
            size = state.layers[digest].uncompressed_bytes
            return (-(uses[place] - now_s) * size, digest)

        order = sorted(deletable(state, kept), key=rank)
        return tuple(until_freed(state, order, n_bytes))
