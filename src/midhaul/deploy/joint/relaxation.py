"""The Lagrangian of a joint problem: every capacity and every uplink has a price.

With ``lambda_h`` per bit/s of the uplink at ``h`` and ``mu_r`` per unit of row ``r``,
an analytic is worth ``c_a = max(0, max_s w_a q_as - lambda_h r_as)`` in the cloud and
``g_a``, likewise, on a gateway. What remains is a closure of highest weight, a minimum
cut (:mod:`midhaul.deploy.placement.closure`):

    L(lambda, mu) = lambda U + mu C + sum_a c_a
                    + max over closures of sum_i (g_a - c_a - mu u_i) x_i
                                         - sum_e (mu c_e) y_e

No plan is worth more than ``L`` at any prices, and the smallest ``L`` is the optimum of
the linear relaxation (Geoffrion, Mathematical Programming Study 2, 1974: both parts
have the integrality property). ``L`` is convex and has a price per row, a handful; its
slope is what is left of each row.

Items of one analytic on several gateways exclude each other. Each such analytic has one
more price ``nu_a``, paid by all of its items and paid back once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.closure import Network

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Int64

    from midhaul.deploy.joint.model import JointModel
    from midhaul.deploy.placement.reduction import Reduced


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Priced:
    """What all prices together lead to.

    Attributes:
        value: ``L``, from above.
        slope: ``(d,)`` a subgradient in the coordinates of the point.
        gains: ``(k,)`` what each item of the reduced instance earns before it pays for
            places: better on the gateway by this.
        profits: ``(k,)`` the same less its own places.
        type_rents: ``(t,)`` price of all bundles that the items of a type need.
        is_open: ``(t,)`` types of items in the best closure.
        base: what a plan that moves nobody is worth at most, at the uplinks' prices.
    """

    value: float
    base: float
    slope: Float64[np.ndarray, " d"]
    gains: Float64[np.ndarray, " k"]
    profits: Float64[np.ndarray, " k"]
    type_rents: Float64[np.ndarray, " t"]
    is_open: Bool[np.ndarray, " t"]


class Relaxation:
    """``L`` on the unit cube: coordinate 1 is the highest price that can make sense.

    Coordinates are the uplinks of all gateways, then the rows of the reduced instance.
    """

    def __init__(self, model: JointModel, reduced: Reduced) -> None:
        """Find the highest prices: one row's price cannot be worth more than all."""
        self._model = model
        self._reduced = reduced
        self._analytics = model.item_analytics[reduced.items]
        self._network = Network(reduced.indptr, reduced.indices, reduced.n_bundles)
        self._capacities = np.concatenate([model.uplinks_bps, reduced.capacities])
        self._n_homes = len(model.uplinks_bps)
        zero = np.zeros(self._n_homes)
        most = float(np.maximum(*model.best_values(zero)).sum())
        self._highest = np.divide(
            most,
            self._capacities,
            out=np.zeros(len(self._capacities)),
            where=self._capacities > 0,
        )
        self._limit_to_slopes()

    def _limit_to_slopes(self) -> None:
        """No uplink's price need be higher than the steepest way to spend it."""
        model = self._model
        rates_bps = model.steps.rates_bps
        slopes = model.step_values[rates_bps > 0] / rates_bps[rates_bps > 0]
        steepest = np.zeros(self._n_homes)
        np.maximum.at(steepest, model.step_homes[rates_bps > 0], slopes)
        self._highest[: self._n_homes] = np.minimum(
            self._highest[: self._n_homes], steepest
        )

    @property
    def n_prices(self) -> int:
        """Number of coordinates."""
        return len(self._highest)

    @property
    def items(self) -> Int64[np.ndarray, " k"]:
        """Items of the instance that may be chosen, ``(k,)``."""
        return self._reduced.items

    @property
    def rows(self) -> Int64[np.ndarray, " r"]:
        """Rows of the instance that have a price, ``(r,)``."""
        return self._reduced.rows

    def prices(self, point: Float64[np.ndarray, " d"]) -> Float64[np.ndarray, " d"]:
        """Prices per bit/s and per unit of each row at a point."""
        return point * self._highest

    def point(self, prices: Float64[np.ndarray, " d"]) -> Float64[np.ndarray, " d"]:
        """The point of some prices, cut to the cube."""
        shares = np.divide(
            prices, self._highest, out=np.zeros(len(prices)), where=self._highest > 0
        )
        return np.clip(shares, 0.0, 1.0)

    def at(
        self,
        point: Float64[np.ndarray, " d"],
        second: Float64[np.ndarray, " n"] | None = None,
    ) -> Priced:
        """``L`` and what its prices lead to.

        Args:
            point: prices, as shares of the highest.
            second: ``(n,)`` price of each analytic for moving; nothing by default.
        """
        model, reduced = self._model, self._reduced
        prices = self.prices(point)
        uplinks, rows = prices[: self._n_homes], prices[self._n_homes :]
        in_cloud, on_gateway = model.best_values(uplinks)
        gains = (on_gateway - in_cloud)[self._analytics]
        profits = gains - reduced.own @ rows
        left = profits if second is None else profits - second[self._analytics]
        weights = np.zeros(reduced.n_types)
        np.add.at(weights, reduced.types, np.maximum(left, 0.0))
        costs = reduced.costs @ rows
        closure = self._network.best(weights, costs)
        chosen = closure.types[reduced.types] & (left > 0)
        base = float(uplinks @ model.uplinks_bps) + float(in_cloud.sum())
        paid_back = 0.0 if second is None else float(second.sum())
        spare = self._capacities - self._used(uplinks, chosen)
        return Priced(
            value=base + float(rows @ reduced.capacities) + closure.weight + paid_back,
            base=base,
            slope=spare * self._highest,
            gains=gains,
            profits=profits,
            type_rents=np.add.reduceat(
                np.append(costs[reduced.indices], 0.0), reduced.indptr[:-1]
            )
            * (np.diff(reduced.indptr) > 0),
            is_open=closure.types,
        )

    def _used(
        self, uplinks: Float64[np.ndarray, " g"], chosen: Bool[np.ndarray, " k"]
    ) -> Float64[np.ndarray, " d"]:
        """What best steps and chosen items take; who moves twice counts twice."""
        model = self._model
        everyone = np.arange(model.n)
        in_cloud = model.best_rates_bps(everyone, uplinks)
        change = model.best_rates_bps(everyone + model.n, uplinks) - in_cloud
        movers = self._analytics[chosen]
        spent = np.bincount(model.homes, in_cloud, self._n_homes)
        spent += np.bincount(model.homes[movers], change[movers], self._n_homes)
        return np.concatenate([spent, self._reduced.use(chosen)])
