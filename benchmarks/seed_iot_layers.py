"""Which layers stay: six rules and their limit, for seed_iot.py."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from seed_iot_worlds import DISK_BYTES, Figure, Inputs, aware, sums

from midhaul.deploy.eviction.replay import FarthestNextUse, Need, offline_limit, replay
from midhaul.deploy.plan.choices import EVICTIONS, eviction_named, placer_named

if TYPE_CHECKING:
    from collections.abc import Sequence


def eviction_figures(inputs: Inputs) -> list[Figure]:
    """Replacement: in the loop, and against the limit on the same needs."""
    print(
        "\n## Layers: each request wants its image once; 3 GB; pulled GB (hit rate)\n"
    )
    print("| policy | with water marks 0.8/0.6 | without |\n|---|---|---|")
    needs = [
        [Need(image=a.image, begin_s=a.arrival_s, end_s=a.arrival_s) for a in analytics]
        for analytics in (world.analytics for world in inputs.worlds)
    ]
    pulled: dict[str, float] = {}
    asked = 0.0
    for name in EVICTIONS:
        cells: list[str] = []
        for high, low in ((0.8, 0.6), (1.0, 1.0)):
            done = [
                replay(
                    sequence,
                    inputs.images,
                    DISK_BYTES,
                    eviction_named(name),
                    high_water=high,
                    low_water=low,
                )
                for sequence in needs
            ]
            pulled[name] = sum(sum(d.pulled_bytes) for d in done) / 1e9
            asked = sum(d.asked_bytes for d in done) / 1e9
            cells.append(f"{pulled[name]:.1f} ({1 - pulled[name] / asked:.1%})")
        print(f"| {name} | {cells[0]} | {cells[1]} |")
    bound, gap = offline_rows(inputs, needs, asked)
    in_the_loop(inputs)
    images = min(pulled[name] for name in ("lru", "mru", "lfu", "mfu"))
    ours = pulled["value-per-byte"]
    return [
        ("value_per_byte_over_best_image_rule", ours / images, "-", "<=", 1.0),
        ("value_per_byte_over_limit", ours / bound, "-", "<=", 1.25),
        ("limit_gap", gap, "-", "<=", 1e-2),
    ]


def offline_rows(
    inputs: Inputs, needs: Sequence[Sequence[Need]], asked: float
) -> tuple[float, float]:
    """What could be done with the future known: bound in GB, and the search's gap."""
    far = 0.0
    for sequence in needs:
        oracle = FarthestNextUse(sequence, inputs.images)
        done = replay(
            sequence, inputs.images, DISK_BYTES, oracle, high_water=1.0, low_water=1.0
        )
        far += sum(done.pulled_bytes) / 1e9
    begun_s = time.perf_counter()
    limits = [
        offline_limit(sequence, inputs.images, DISK_BYTES, time_limit_s=30.0, gap=1e-3)
        for sequence in needs
    ]
    took_s = time.perf_counter() - begun_s
    best = sum(limit.pulled_bytes for limit in limits) / 1e9
    bound = sum(limit.bound_bytes for limit in limits) / 1e9
    n_gaps = sum(limit.n_gaps for limit in limits)
    print(f"| farthest next use, by size | | {far:.1f} ({1 - far / asked:.1%}) |")
    print(f"| offline optimum | | {best:.1f} ({1 - best / asked:.1%}) |")
    print(
        f"\nNo policy pulls less than {bound:.1f} GB "
        f"({n_gaps} decisions, {took_s:.0f} s)"
    )
    return bound, best / bound - 1


def in_the_loop(inputs: Inputs) -> None:
    """What replacement changes where a placer decides, by disk and water marks."""
    cases = [(3e9, 0.8, 0.6), (12e9, 0.8, 0.6), (6e9, 1.0, 1.0), (12e9, 1.0, 1.0)]
    heads = [f"{d / 1e9:g} GB, {high:g}/{low:g}" for d, high, low in cases]
    print(
        "\nIn the loop (mincut, lifetimes, exact rates), pulled GB and kbit/s saved:\n"
    )
    print("| policy | " + " | ".join(heads) + " |")
    print("|---" * (1 + len(cases)) + "|")
    for name in EVICTIONS:
        cells: list[str] = []
        for disk_bytes, high, low in cases:
            worlds = [
                replace(w, gateway=replace(w.gateway, disk_bytes=disk_bytes))
                for w in inputs.worlds
            ]
            policy = aware(placer_named("mincut"), name)
            found = sums(worlds, replace(policy, high_water=high, low_water=low))
            saved_bps = found["saved_bits"].sum() / found["duration_s"].sum()
            pulled = found["pulled_bytes"].sum() / 1e9
            cells.append(f"{pulled:.1f}, {saved_bps / 1e3:.0f}")
        print(f"| {name} | " + " | ".join(cells) + " |")
