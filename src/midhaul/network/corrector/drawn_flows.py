"""Drawn flows: the part of the law of scenarios that says who sends what and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.network.corrector.drawn_transports import loguniform
from midhaul.network.decomposition.crossed import HERE, CrossedPath
from midhaul.network.decomposition.part import UNBOUND_BPS
from midhaul.network.transports import RdmaTransport, framing
from midhaul.network.workload.sizes import (
    EmpiricalSize,
    ExponentialSize,
    FixedSize,
    GaussianSize,
    LognormalSize,
    ParetoSize,
    published_sizes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int64

    from midhaul.model import Link
    from midhaul.network.corrector.drawn_transports import ScenarioAmount
    from midhaul.network.transports import Transport
    from midhaul.network.workload.sizes import SizeLaw

PUBLISHED = ("webserver", "cachefollower", "hadoop", "websearch")
"""Laws of sizes that are published; whole ones are held out."""

_LAWS = ("exponential", "lognormal", "pareto", "gaussian", "steps")
_SHARE_PUBLISHED = 0.1
_MOST_SIZE = 30e6


def _steps(rng: np.random.Generator) -> EmpiricalSize:
    """A law by a CDF of some random points."""
    n = int(rng.integers(3, 8))
    sizes = np.sort(np.exp(rng.uniform(np.log(60), np.log(5e6), n)))
    sizes[-1] = max(sizes[-1], 2000.0)
    shares = np.sort(rng.random(n))
    shares[0], shares[-1] = 0.0, 1.0
    return EmpiricalSize(size_bytes=sizes, share=shares)


def _size_law(rng: np.random.Generator) -> tuple[str, SizeLaw]:
    if rng.random() < _SHARE_PUBLISHED:
        name = PUBLISHED[int(rng.integers(len(PUBLISHED)))]
        return name, published_sizes(name)  # pyright: ignore[reportArgumentType]
    name = _LAWS[int(rng.integers(len(_LAWS)))]
    mean = loguniform(rng, 1e3, 300e3)
    law: SizeLaw
    if name == "exponential":
        law = ExponentialSize(mean_bytes=mean)
    elif name == "lognormal":
        law = LognormalSize(mean_bytes=mean, sigma=float(rng.uniform(0.5, 2.5)))
    elif name == "pareto":
        law = ParetoSize(mean_bytes=mean, shape=float(rng.uniform(1.2, 2.5)))
    elif name == "steps":
        law = _steps(rng)
    elif rng.random() < 0.2:  # noqa: PLR2004
        name, law = "fixed", FixedSize(mean_bytes=mean)
    else:
        spread = float(rng.uniform(0.1, 0.7))
        law = GaussianSize(mean_bytes=mean, deviation_bytes=mean * spread)
    return name, law


def size_laws(rng: np.random.Generator) -> tuple[str, SizeLaw, SizeLaw]:
    """Those of the foreground and of the background, mostly the same."""
    name, law = _size_law(rng)
    if rng.random() < 0.75:  # noqa: PLR2004
        return name, law, law
    other_name, other = _size_law(rng)
    if other_name in PUBLISHED:
        return name, law, law
    return name, law, other


def crossing_flows(  # noqa: PLR0913, PLR0917  all that a workload depends on
    rng: np.random.Generator,
    noise: np.random.Generator,
    links: Sequence[Link],
    back: Sequence[Link],
    transport: Transport,
    laws: tuple[SizeLaw, SizeLaw],
    load: float,
    sigma: float,
    amount: ScenarioAmount,
    round_trip_s: float,
) -> CrossedPath:
    """Foreground and background with their ends, sizes and starts."""
    h = len(links)
    own_share = loguniform(rng, 0.08, 0.6)
    classes, weights = _classes(rng, h)
    weights = np.append(own_share, (1 - own_share) * weights)
    n = _n_flows(rng, transport, laws, classes, weights, h, amount)
    kind = np.searchsorted(
        np.cumsum(weights), noise.random(n) * weights.sum(), side="right"
    )
    kind = np.minimum(kind, len(weights) - 1)
    own = kind == 0
    sizes = laws[0].draw(noise, n)
    if laws[1] is not laws[0]:
        sizes = np.where(own, sizes, laws[1].draw(noise, n))
    sizes = np.minimum(sizes, int(_MOST_SIZE))
    enters = np.append(0, [c[0] for c in classes])[kind]
    leaves = np.append(h, [c[1] for c in classes])[kind]
    rates = np.array([link.rate_bps for link in links])
    wire = framing(transport).wire_bytes(sizes)
    carried = np.zeros(h)
    for i in range(h):
        carried[i] = wire[(enters <= i) & (leaves > i)].sum()
    horizon_ns = float((carried / rates).max() * 8e9 / load)
    starts = _starts(rng, noise, n, horizon_ns, sigma)
    ends = _sending_ends(
        rng, noise, classes, kind, wire, horizon_ns, rates, round_trip_s
    )
    receiver, receiver_ns = _receiving_ends(rng, classes, kind, round_trip_s)
    return CrossedPath(
        links=tuple(links),
        back=tuple(back),
        flow=np.arange(n),
        size_bytes=sizes,
        start_ns=starts,
        transport=np.zeros(n, np.int64),
        enters=enters.astype(np.int64),
        leaves=leaves.astype(np.int64),
        sender=ends[0],
        receiver=receiver,
        sender_bps=ends[1],
        sender_ns=ends[2],
        receiver_ns=receiver_ns,
        transports=(transport,),
    )


def _classes(
    rng: np.random.Generator, h: int
) -> tuple[list[tuple[int, int, bool, bool]], Float64[np.ndarray, " k"]]:
    """Where background enters and leaves, and whether its ends are the path's own."""
    pairs = [(i, j) for i in range(h) for j in range(i + 1, h + 1)]
    n = int(rng.integers(1, min(len(pairs), 10) + 1))
    chosen = rng.permutation(len(pairs))[:n].tolist()
    classes: list[tuple[int, int, bool, bool]] = []
    for pair in chosen:
        enters, leaves = pairs[pair]
        is_from = enters == 0 and bool(rng.random() < 0.8)  # noqa: PLR2004
        is_to = leaves == h and bool(rng.random() < 0.8)  # noqa: PLR2004
        if is_from and is_to:
            is_to = False
        classes.append((enters, leaves, is_from, is_to))
    return classes, rng.dirichlet(np.full(n, 0.8))


def _n_flows(
    rng: np.random.Generator,
    transport: Transport,
    laws: tuple[SizeLaw, SizeLaw],
    classes: Sequence[tuple[int, int, bool, bool]],
    weights: Float64[np.ndarray, " k1"],
    h: int,
    amount: ScenarioAmount,
) -> int:
    """As many flows as the budget of packets times links allows."""
    payload = framing(transport).payload_bytes
    spans = np.array([h, *(leaves - enters for enters, leaves, *_ in classes)])
    packets = [
        float(np.mean(np.ceil(np.minimum(law.draw(rng, 2000), _MOST_SIZE) / payload)))
        for law in laws
    ]
    of_kind = np.array([packets[0], *([packets[1]] * len(classes))])
    each = float(np.sum(weights * of_kind * spans) / weights.sum())
    budget = (
        amount.rdma_hops if isinstance(transport, RdmaTransport) else amount.tcp_hops
    )
    n = loguniform(rng, 0.5, 1.0) * amount.most
    return int(np.clip(min(n, budget / each), amount.fewest, amount.most))


def _starts(
    rng: np.random.Generator,
    noise: np.random.Generator,
    n: int,
    horizon_ns: float,
    sigma: float,
) -> Int64[np.ndarray, " n"]:
    """Starts that fill the horizon; some are those of a larger network, thinned."""
    more = 1
    if sigma and rng.random() < 0.5:  # noqa: PLR2004
        more = round(loguniform(rng, 2, 30))
    if sigma:
        gaps = noise.lognormal(-(sigma**2) / 2, sigma, n * more + 1)
    else:
        gaps = noise.standard_exponential(n + 1)
    ends = np.cumsum(gaps)
    starts = ends[:-1] * (horizon_ns / ends[-1])
    if more > 1:
        starts = np.sort(noise.permutation(starts)[:n])
    return np.rint(starts).astype(np.int64)


def _sending_ends(
    rng: np.random.Generator,
    noise: np.random.Generator,
    classes: Sequence[tuple[int, int, bool, bool]],
    kind: Int64[np.ndarray, " n"],
    wire: Int64[np.ndarray, " n"],
    horizon_ns: float,
    rates: Float64[np.ndarray, " h"],
    round_trip_s: float,
) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, " s"], Int64[np.ndarray, " s"]]:
    """From which end each flow comes, how fast these are, and how far away."""
    sender = np.full(len(kind), HERE, np.int64)
    bps: list[float] = []
    away_ns: list[int] = []
    is_unbound = rng.random() < 0.2  # noqa: PLR2004
    card = float(rates[0])
    for i, (enters, _, is_from, _) in enumerate(classes, 1):
        if is_from:
            continue
        mine = np.flatnonzero(kind == i)
        needs_bps = 2 * 8e9 * float(wire[mine].sum()) / horizon_ns
        rate = card
        if rng.random() < 0.3:  # noqa: PLR2004
            rate = float(rates[enters]) * loguniform(rng, 0.2, 2.0)
        n_ends = max(int(np.ceil(needs_bps / rate)), round(loguniform(rng, 1, 40)))
        if is_unbound or n_ends > 80:  # noqa: PLR2004
            rate, n_ends = UNBOUND_BPS, 1
        far_ns = round(loguniform(rng, 0.02, 0.6) * round_trip_s / 2 * 1e9)
        sender[mine] = len(bps) + noise.integers(0, n_ends, len(mine))
        bps += [float(np.rint(rate))] * n_ends
        away_ns += [far_ns] * n_ends
    return sender, np.array(bps, np.float64), np.array(away_ns, np.int64)


def _receiving_ends(
    rng: np.random.Generator,
    classes: Sequence[tuple[int, int, bool, bool]],
    kind: Int64[np.ndarray, " n"],
    round_trip_s: float,
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " r"]]:
    """To which end each flow goes, and how far away these are."""
    receiver = np.full(len(kind), HERE, np.int64)
    away_ns: list[int] = []
    for i, (*_, is_to) in enumerate(classes, 1):
        if not is_to:
            receiver[kind == i] = len(away_ns)
            far = loguniform(rng, 0.02, 0.6) * round_trip_s / 2 * 1e9
            away_ns.append(round(far))
    return receiver, np.array(away_ns, np.int64)
