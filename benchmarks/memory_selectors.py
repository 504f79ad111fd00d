"""What does it cost to choose samples, and does it grow with the memory?

Every selector that needs no second model: CPU time a sample of an offer as large as the
memory, and of offers of 256 into a full memory, for three capacities. LARS beside the
same done plainly, which looks at the whole memory for each sample that comes in.

    python benchmarks/memory_selectors.py [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np

from midhaul.memory.checks import check_stream
from midhaul.memory.sample_memory import SampleMemory
from midhaul.memory.samples import Bins
from midhaul.memory.selectors.catalogue import SELECTORS
from midhaul.memory.selectors.lars import going_shares, replace_by_loss

BINS = Bins.of_classes(21)
NAMES = (
    "reservoir",
    "fifo",
    "reservoir-forgetting",
    "reservoir-half-life",
    "class-balanced",
    "loss",
    "confidence",
    "lars",
    "jtt",
    "stalled-sessions",
    "priority",
)
TOLD = {"bins": BINS, "half_life_s": 1e5, "slow_from": 15.0}
SMALL = 256


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller memories")
    quick = parser.parse_args().quick
    capacities = (500, 2000, 8000) if quick else (1000, 10_000, 100_000)
    growths: dict[str, float] = {}
    print("CPU us a sample: an offer as large as the memory, then offers of 256 to it")
    for name in NAMES:
        costs = [cost_us(name, capacity) for capacity in capacities]
        whole = "".join(f"{one:8.2f}" for one, _ in costs)
        small = "".join(f"{one:8.1f}" for _, one in costs)
        span = np.log(capacities[-1] / capacities[0])
        growths[name] = float(np.log(costs[-1][0] / costs[0][0]) / span)
        print(f"  {name:22}{whole}  {small}   growth {growths[name]:+.2f}")
    ratio = lars_over_plain(1000 if quick else 5000)
    figures = (
        ("lars_speedup_over_plain", ratio, ">=", 20.0),
        ("largest_growth_exponent_of_a_sample", max(growths.values()), "<=", 0.3),
    )
    is_short = False
    for name, value, sign, bar in figures:
        is_met = value >= bar if sign == ">=" else value <= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {value:.2f} - bar {sign}{bar:g} {verdict}")
    return int(is_short)


def cost_us(name: str, capacity: int) -> tuple[float, float]:
    """CPU time a sample, of a large offer and of small ones into a full memory."""
    told = {"capacity": capacity, **TOLD}
    memory = SampleMemory(SELECTORS.called(name, **told), BINS)
    spent: list[float] = []
    for new in check_stream(BINS, (*[capacity] * 4, *[SMALL] * 6)):
        begin = time.process_time()
        memory.offer(new)
        spent.append(time.process_time() - begin)
    large = min(spent[2:4]) / capacity
    return 1e6 * large, 1e6 * min(spent[4:]) / SMALL


def lars_over_plain(capacity: int) -> float:
    """How many times longer replacements take sample by sample over the memory."""
    rng = np.random.default_rng(0)
    n_new = capacity
    loss = rng.exponential(1.0, capacity + n_new)
    output = rng.choice(21, capacity + n_new, p=np.arange(1, 22) / 231)
    comes = capacity + np.arange(n_new)
    spent: list[float] = []
    for _ in range(3):
        begin = time.process_time()
        replace_by_loss(np.arange(capacity), comes, loss, output, 21, False, rng)  # noqa: FBT003
        spent.append(time.process_time() - begin)
    n_plain = 100
    slots = np.arange(capacity)
    begin = time.process_time()
    for new in comes[:n_plain]:
        shares = going_shares(loss[slots], output[slots], is_text=False)
        slots[rng.choice(capacity, p=shares)] = new
    plain = (time.process_time() - begin) / n_plain
    ours = min(spent) / n_new
    print(
        f"LARS of {capacity:,}: {1 / ours:,.0f} replacements/CPU-s, plainly "
        f"{1 / plain:,.0f}"
    )
    return plain / ours


if __name__ == "__main__":
    sys.exit(main())
