"""Make a placement instance smaller without changing its optimum.

Container images overlap in a regular way: a few thousand layers of a catalogue are
shared, and most others belong to one item. What is left after the steps below grows
with the catalogue and not with the number of items:

1. Items that do not fit alone, or are worth nothing, go; so do elements that cost
   nothing, and rows that everything together keeps.
2. Elements that one item needs become part of what that item itself takes.
3. Elements that the same items need are one *bundle*, with the sum of their costs.
   (LASA, IEEE Transactions on Services Computing 2022, groups layers in this way.)
4. Items that need the same bundles are of one *type*.

Sets are compared by sums of mixed 64-bit numbers, one for each member, and every match
is checked against the set itself.
"""
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from midhaul.deploy.placement.arrays import TOLERANCE
from midhaul.errors import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float64, Int64, UInt64

    from midhaul.deploy.placement.arrays import Instance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduced:
    """An instance in which every item has a type and types share bundles.

    Attributes:
        items: ``(k,)`` numbers of the items that are left, in the instance.
        rows: ``(r,)`` numbers of the rows that can bind, in the instance.
        values: ``(k,)`` worth of each item.
        own: ``(k, r)`` what an item takes for itself, with its private elements.
        types: ``(k,)`` type of each item.
        groups: ``(k,)`` items with the same number exclude each other, from 0 upwards.
        indptr: ``(t + 1,)`` where each type's bundles begin in ``indices``.
        indices: ``(a,)`` bundles of all types, rising within a type.
        costs: ``(b, r)`` what a bundle takes, once.
        capacities: ``(r,)``.
    """

    items: Int64[np.ndarray, " k"]
    rows: Int64[np.ndarray, " r"]
    values: Float64[np.ndarray, " k"]
    own: Float64[np.ndarray, "k r"]
    types: Int64[np.ndarray, " k"]
    groups: Int64[np.ndarray, " k"]
    indptr: Int64[np.ndarray, " t1"]
    indices: Int64[np.ndarray, " a"]
    costs: Float64[np.ndarray, "b r"]
    capacities: Float64[np.ndarray, " r"]

    @property
    def n_types(self) -> int:
        """Number of types."""
        return len(self.indptr) - 1

    @property
    def n_bundles(self) -> int:
        """Number of bundles."""
        return len(self.costs)

    @property
    def has_choices(self) -> bool:
        """True when some of the items exclude each other."""
        return len(self.groups) > 0 and int(self.groups.max()) + 1 < len(self.groups)

    def bundles_of(self, chosen: Bool[np.ndarray, " k"]) -> Bool[np.ndarray, " b"]:
        """The bundles that the chosen items need together, ``(b,)``."""
        is_open = np.zeros(self.n_types, np.bool_)
        is_open[self.types[chosen]] = True
        needed = np.zeros(self.n_bundles, np.bool_)
        needed[self.indices[np.repeat(is_open, np.diff(self.indptr))]] = True
        return needed

    def use(self, chosen: Bool[np.ndarray, " k"]) -> Float64[np.ndarray, " r"]:
        """What the chosen items take of each row, ``(r,)``."""
        bundles = self.costs[self.bundles_of(chosen)].sum(axis=0)
        return self.own[chosen].sum(axis=0) + bundles

    def is_feasible(self, chosen: Bool[np.ndarray, " k"]) -> bool:
        """True when the chosen items keep every capacity and every group."""
        if (self.use(chosen) > self.limits).any():
            return False
        return not self.has_choices or bool(
            np.bincount(self.groups[chosen], minlength=1).max() <= 1
        )

    def best_of_each(self) -> Bool[np.ndarray, " k"]:
        """Of each group the item that is worth most: what to do where no row binds."""
        order = np.lexsort((-self.values, self.groups))
        chosen = np.zeros(len(order), np.bool_)
        chosen[order[np.unique(self.groups[order], return_index=True)[1]]] = True
        return chosen

    @property
    def limits(self) -> Float64[np.ndarray, " r"]:
        """Capacities with half of the slack that an instance allows, ``(r,)``."""
        return self.capacities + TOLERANCE / 2 * np.maximum(self.capacities, 1.0)

    @property
    def scale(self) -> Float64[np.ndarray, " r"]:
        """What to divide rows by, so that numbers are near one, ``(r,)``."""
        return np.where(self.capacities > 0, self.capacities, 1.0)

    def left_by(
        self, chosen: Bool[np.ndarray, " k"]
    ) -> tuple[
        Bool[np.ndarray, " b"], Bool[np.ndarray, " g"], Float64[np.ndarray, " r"]
    ]:
        """Bundles that are paid, groups that are taken, and the room in each row."""
        is_taken = np.zeros(int(self.groups.max(initial=-1)) + 1, np.bool_)
        is_taken[self.groups[chosen]] = True
        return self.bundles_of(chosen), is_taken, self.limits - self.use(chosen)

    def add(
        self,
        order: Int64[np.ndarray, " m"],
        chosen: Bool[np.ndarray, " k"],
        is_paid: Bool[np.ndarray, " b"],
        is_taken: Bool[np.ndarray, " g"],
        room: Float64[np.ndarray, " r"],
    ) -> int:
        """Add items in an order, as :func:`add_in_order` does; how many were added."""
        return add_in_order(
            order,
            self.types,
            self.indptr,
            self.indices,
            self.own,
            self.costs,
            self.groups,
            chosen,
            is_paid,
            is_taken,
            room,
        )

    def lift(
        self, chosen: Bool[np.ndarray, " k"], n_items: int
    ) -> Bool[np.ndarray, " n"]:
        """The same choice in the whole instance, ``(n,)``."""
        lifted = np.zeros(n_items, np.bool_)
        lifted[self.items[chosen]] = True
        return lifted


def reduce(instance: Instance) -> Reduced:
    """The smallest instance that the steps above lead to; its optimum is the same."""
    require("numba", "deploy")
    owners = np.repeat(np.arange(instance.n_items), np.diff(instance.indptr))
    elements = instance.indices
    alone = instance.usage + _sums(owners, instance.costs, elements, instance.n_items)
    slack = TOLERANCE * np.maximum(instance.capacities, 1.0)
    fits = (alone <= instance.capacities + slack).all(axis=1) & (instance.values > 0)
    items = np.flatnonzero(fits)
    number = np.cumsum(fits) - 1
    stays = fits[owners] & (instance.costs[elements] > 0).any(axis=1)
    owners, elements = number[owners[stays]], elements[stays]
    n_uses = np.bincount(elements, minlength=instance.n_elements)
    total = instance.usage[items].sum(axis=0) + instance.costs[n_uses > 0].sum(axis=0)
    rows = np.flatnonzero(total > instance.capacities)
    costs = np.ascontiguousarray(instance.costs[:, rows])

    is_shared = n_uses > 1
    shared = np.flatnonzero(is_shared)
    is_private = ~is_shared[elements]
    own = instance.usage[np.ix_(items, rows)]
    own += _sums(owners[is_private], costs, elements[is_private], len(items))
    owners, elements = owners[~is_private], elements[~is_private]
    elements = (np.cumsum(is_shared) - 1)[elements]

    order = stable_order(elements, len(shared))
    heads, bundle_of = equal_sets(elements[order], owners[order], len(shared))
    bundle_costs = np.zeros((len(heads), len(rows)))
    np.add.at(bundle_costs, bundle_of, costs[shared])
    is_head = np.zeros(len(shared), np.bool_)
    is_head[heads] = True
    leads = is_head[elements]
    owners, bundles = owners[leads], bundle_of[elements[leads]]

    order = stable_order(bundles, len(heads))
    order = order[stable_order(owners[order], len(items))]
    owners, bundles = owners[order], bundles[order]
    heads, types = equal_sets(owners, bundles, len(items))
    indptr, indices = _rows_of(owners, bundles, heads, len(items))
    return Reduced(
        items=items,
        rows=rows,
        values=instance.values[items].astype(np.float64),
        own=own,
        types=types,
        groups=np.unique(instance.groups[items], return_inverse=True)[1],
        indptr=indptr,
        indices=indices,
        costs=bundle_costs,
        capacities=instance.capacities[rows],
    )


def mixed(numbers: Int64[np.ndarray, " m"], salt: int) -> UInt64[np.ndarray, " m"]:
    """Well mixed 64-bit numbers (splitmix64: Steele, Lea and Flood, OOPSLA 2014)."""
    bits = numbers.astype(np.uint64) + np.uint64(salt * 0x5851F42D + 1)
    bits *= np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def equal_sets(
    owners: Int64[np.ndarray, " m"],
    members: Int64[np.ndarray, " m"],
    n: int,
    mix: Callable[[Int64[np.ndarray, " m"], int], UInt64[np.ndarray, " m"]] = mixed,
) -> tuple[Int64[np.ndarray, " c"], Int64[np.ndarray, " n"]]:
    """The first owner of each class with the same members, and the class of each of n.

    Owners are from 0 to n − 1, not falling, and members rise within an owner. ``mix``
    gives each member a number, other ones for another salt.
    """
    sizes = np.bincount(owners, minlength=n)
    starts = np.cumsum(sizes) - sizes
    salt = 0
    while True:
        sums = np.zeros(n, np.uint64)
        np.add.at(sums, owners, mix(members, salt))
        _, heads, classes = np.unique(sums, return_index=True, return_inverse=True)
        head_of = heads[classes]
        if (sizes == sizes[head_of]).all():
            position = np.arange(len(owners)) - starts[owners]
            if (members == members[starts[head_of[owners]] + position]).all():
                return heads, classes
        salt += 1  # two sets with one sum: about once in 2**64 pairs


def _sums(
    owners: Int64[np.ndarray, " m"],
    costs: Float64[np.ndarray, "e r"],
    elements: Int64[np.ndarray, " m"],
    n: int,
) -> Float64[np.ndarray, "n r"]:
    """Costs of each owner's elements, summed by row."""
    sums = np.empty((n, costs.shape[1]))
    for row in range(costs.shape[1]):
        sums[:, row] = np.bincount(owners, costs[elements, row], n)
    return sums


def _rows_of(
    owners: Int64[np.ndarray, " m"],
    members: Int64[np.ndarray, " m"],
    heads: Int64[np.ndarray, " c"],
    n: int,
) -> tuple[Int64[np.ndarray, " c1"], Int64[np.ndarray, " a"]]:
    """The members of some owners in their order, as CSR."""
    sizes = np.bincount(owners, minlength=n)
    starts = np.cumsum(sizes) - sizes
    lengths = sizes[heads]
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    offsets = np.repeat(starts[heads] - indptr[:-1], lengths)
    return indptr, members[offsets + np.arange(indptr[-1])]


@njit(cache=True)
def stable_order(keys: Int64[np.ndarray, " m"], n: int) -> Int64[np.ndarray, " m"]:
    """The stable order of whole numbers below ``n``, by counting; in linear time."""
    begins = np.zeros(n + 1, np.int64)
    for key in keys:
        begins[key + 1] += 1
    for key in range(n):
        begins[key + 1] += begins[key]
    order = np.empty(len(keys), np.int64)
    for position in range(len(keys)):
        key = keys[position]
        order[begins[key]] = position
        begins[key] += 1
    return order


@njit(cache=True)
def add_in_order(  # noqa: C901, PLR0912, PLR0913, PLR0917 - one compiled loop
    order: Int64[np.ndarray, " m"],
    types: Int64[np.ndarray, " k"],
    indptr: Int64[np.ndarray, " t1"],
    indices: Int64[np.ndarray, " a"],
    own: Float64[np.ndarray, "k r"],
    costs: Float64[np.ndarray, "b r"],
    groups: Int64[np.ndarray, " k"],
    chosen: Bool[np.ndarray, " k"],
    is_paid: Bool[np.ndarray, " b"],
    is_taken: Bool[np.ndarray, " g"],
    room: Float64[np.ndarray, " r"],
) -> int:
    """Add items in an order, each if it fits with its bundles; how many were added.

    ``chosen``, ``is_paid`` (bundles), ``is_taken`` (groups) and ``room`` (rows) change
    in place.
    """
    n_rows = len(room)
    n_added = 0
    needed = np.empty(n_rows)
    for i in order:
        if chosen[i] or is_taken[groups[i]]:
            continue
        fits = True
        for r in range(n_rows):
            needed[r] = own[i, r]
            if needed[r] > room[r]:
                fits = False
        if not fits:
            continue
        begin, end = indptr[types[i]], indptr[types[i] + 1]
        for a in range(begin, end):
            if not is_paid[indices[a]]:
                for r in range(n_rows):
                    needed[r] += costs[indices[a], r]
        for r in range(n_rows):
            if needed[r] > room[r]:
                fits = False
        if not fits:
            continue
        for r in range(n_rows):
            room[r] -= needed[r]
        for a in range(begin, end):
            is_paid[indices[a]] = True
        chosen[i] = True
        is_taken[groups[i]] = True
        n_added += 1
    return n_added
