"""What cannot be told apart, counted once: analytics, their items and elements."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from midhaul.deploy.joint.model import JointModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Classes:
    """A joint problem with each kind of analytic once, ``k`` kinds and ``j`` moves.

    A move is what the members of a class can do alike: go to one gateway.

    Attributes:
        members: by class, its analytics.
        items: by move, the items of the members, in the order of ``members``.
        item_classes: ``(j,)`` class of each move.
        usage: ``(j, r)`` what one item of a move takes of each row.
        needs: ``(m, 2)`` pairs of a move and an element group that it needs.
        costs: ``(f, r)`` what an element group takes of each row.
    """

    members: tuple[Int64[np.ndarray, " c"], ...]
    items: tuple[Int64[np.ndarray, " c"], ...]
    item_classes: Int64[np.ndarray, " j"]
    usage: Float64[np.ndarray, "j r"]
    needs: Int64[np.ndarray, "m 2"]
    costs: Float64[np.ndarray, "f r"]

    @property
    def counts(self) -> Int64[np.ndarray, " k"]:
        """Number of members of each class, ``(k,)``."""
        return np.array([len(members) for members in self.members], np.int64)

    @property
    def first(self) -> Int64[np.ndarray, " k"]:
        """One member of each class, ``(k,)``."""
        return np.array([members[0] for members in self.members], np.int64)


def classes_of(model: JointModel) -> Classes:
    """Analytics that differ in nothing but their names become one class.

    Elements that cost nothing are left out, and those that the same moves need become
    one group.
    """
    instance = model.instance
    items_of: list[list[int]] = [[] for _ in range(model.n)]
    for item, analytic in enumerate(model.item_analytics.tolist()):
        items_of[analytic].append(item)
    kinds: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for analytic in range(model.n):
        kinds[_kind(model, analytic, items_of[analytic])].append(analytic)
    members = [np.array(kind, np.int64) for kind in kinds.values()]
    items: list[Int64[np.ndarray, " c"]] = []
    item_classes: list[int] = []
    for k, kind in enumerate(members):
        for move in range(len(items_of[kind[0]])):
            items.append(np.array([items_of[a][move] for a in kind], np.int64))
            item_classes.append(k)
    movers: dict[int, list[int]] = defaultdict(list)
    is_costly: list[bool] = np.any(instance.costs > 0, axis=1).tolist()
    for move, same in enumerate(items):
        for element in _elements(model, int(same[0])).tolist():
            if is_costly[element]:
                movers[element].append(move)
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for element, needed_by in movers.items():
        groups[tuple(needed_by)].append(element)
    needs = [(move, f) for f, needed_by in enumerate(groups) for move in needed_by]
    costs = [instance.costs[elements].sum(axis=0) for elements in groups.values()]
    n_rows = len(instance.capacities)
    usage = [instance.usage[same[0]] for same in items]
    return Classes(
        members=tuple(members),
        items=tuple(items),
        item_classes=np.array(item_classes, np.int64),
        usage=np.array(usage, np.float64).reshape(len(items), n_rows),
        needs=np.array(needs, np.int64).reshape(len(needs), 2),
        costs=np.array(costs, np.float64).reshape(len(costs), n_rows),
    )


def _kind(model: JointModel, analytic: int, items: list[int]) -> tuple[object, ...]:
    """All that can make a difference to a plan."""
    steps, offsets = model.steps, model.steps.offsets
    curves = [
        values[offsets[row] : offsets[row + 1]].tobytes()
        for row in (analytic, model.n + analytic)
        for values in (steps.rates_bps, steps.qualities)
    ]
    moves = [
        part.tobytes()
        for item in items
        for part in (model.instance.usage[item], _elements(model, item))
    ]
    return (model.weights[analytic], model.homes[analytic], *curves, *moves)


def _elements(model: JointModel, item: int) -> Int64[np.ndarray, " m"]:
    """The elements that an item needs."""
    instance = model.instance
    return instance.indices[instance.indptr[item] : instance.indptr[item + 1]]
