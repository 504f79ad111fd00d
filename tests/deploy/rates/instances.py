"""Demands for the tests of rates."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from midhaul.deploy.curves.qos_curve import QosCurve
from midhaul.deploy.curves.seed_curves import seed_curve
from midhaul.deploy.rates import Demands


@st.composite
def small_demands(draw: st.DrawFn) -> Demands:
    """Up to five analytics with up to five steps, rates whole kbit/s or not."""
    n = draw(st.integers(0, 5))
    scale = draw(st.sampled_from([1000.0, 333.33, 1.0]))
    curves = []
    for _ in range(n):
        steps = draw(
            st.lists(
                st.tuples(st.integers(0, 40), st.integers(1, 20)),
                min_size=1,
                max_size=5,
            )
        )
        rates, qualities = np.array(steps, dtype=np.float64).T
        knobs = np.arange(len(steps), dtype=np.float64)
        curves.append(QosCurve.of("small", knobs, rates * scale, qualities / 20))
    weights = draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    return Demands.of([f"a{i}" for i in range(n)], [w / 3 for w in weights], curves)


def seed_demands(n: int, rng: np.random.Generator) -> Demands:
    """The seed's two kinds, mixed, with random weights."""
    kinds = ["audio" if is_audio else "yolo" for is_audio in rng.random(n) < 0.5]
    curves = {kind: seed_curve(kind, "cloud") for kind in ("audio", "yolo")}
    return Demands.of(
        [f"{kind}-{i}" for i, kind in enumerate(kinds)],
        np.round(rng.random(n), 3).tolist(),
        [curves[kind] for kind in kinds],
    )


def random_demands(n: int, n_steps: int, rng: np.random.Generator) -> Demands:
    """Many analytics with as many steps each, rates and qualities rising."""
    size = n, n_steps
    return Demands(
        names=tuple(f"a{i}" for i in range(n)),
        weights=rng.random(n),
        offsets=np.arange(n + 1) * n_steps,
        knobs=np.tile(np.arange(n_steps, dtype=np.float64), n),
        rates_bps=np.cumsum(rng.uniform(1e3, 1e5, size), axis=1).ravel(),
        qualities=np.sort(rng.uniform(0.01, 1, size), axis=1).ravel(),
    )
