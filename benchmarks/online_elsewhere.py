"""Does what keeps policies up to date do so on other streams than the reported ones?

``federation_online.py`` reports one stream of each of four sets, which were looked at
while the code was written, and one stream may pass by luck. Here are other splits of
``digit``, the set of the fewest items, with its strongest provider swapped on half,
70 % or all of the items, or failing; and three sets that are not reported. Leaving
providers out was tuned on these streams, so they are no untouched test either.

Bar, stated after they were streamed: in the last third at least 0.97 of the worth of
the best fixed subset of that very third, as a mean over the streams. How many are below
0.95, the bar of each reported stream, is printed beside.

    python benchmarks/online_elsewhere.py [--quick] [--data DIR]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from online_cases import case
from online_streams import kept_up_to_date, streamed, strongest_of

from midhaul.federation.evaluate.online import degraded
from midhaul.federation.policies.baselines import fit_fixed
from midhaul.federation.policies.catalogue import fit_policy

if TYPE_CHECKING:
    from midhaul.federation.evaluate.online import Degrading

DATA = Path(
    os.environ.get("MIDHAUL_DATA", Path(__file__).parent.parent.parent / "shared/data")
)
CHANGES: tuple[tuple[Degrading, float], ...] = (
    ("swapped", 0.5),
    ("swapped", 0.7),
    ("swapped", 1.0),
    ("failing", 0.7),
)
SPLITS = (
    *(("digit", seed, CHANGES) for seed in range(11, 17)),
    *((name, 11, CHANGES[1:2]) for name in ("yelp", "audiomnist", "fluent")),
)
MEAN, EACH = 0.97, 0.95
"""Bar of the mean, and what is counted as short."""


def main() -> int:
    """Stream, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one split only")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of data sets")
    options = parser.parse_args()
    begin = time.process_time()
    print(
        "set        split  provider            change        of the best  alarms (item)"
    )
    found: list[float] = []
    for name, seed, changes in SPLITS[:1] if options.quick else SPLITS:
        found += _split(options.data / "mlaas", name, seed, changes)
    if not found:
        print(f"no data sets in {options.data / 'mlaas'}")
        return 1
    mean, n_short = float(np.mean(found)), sum(one < EACH for one in found)
    print(f"\nleast {min(found):.4f}; {n_short} of {len(found)} below {EACH:g}")
    print(f"{time.process_time() - begin:.0f} s of CPU")
    verdict = "ok" if mean >= MEAN else "short"
    print(f"figure online_elsewhere_mean {mean:.4f} - bar >={MEAN:g} {verdict}")
    return int(mean < MEAN)


def _split(
    folder: Path, name: str, seed: int, changes: tuple[tuple[Degrading, float], ...]
) -> list[float]:
    """Worth of the last third over that of its best subset, for each change."""
    one = case(folder, name, seed)
    if one is None:
        return []
    fixed: Any = fit_fixed(one.train).at(one.multiplier)
    provider = strongest_of(one, fixed.mask)
    family: Any = fit_policy("cascade", one.train, {}, np.random.default_rng(6))
    policy, n = family.at(one.multiplier), len(one.later)
    found: list[float] = []
    for how, share in changes:
        rng = np.random.default_rng([seed, 5])
        worse = degraded(one.later, provider, n // 3, rng, share=share, how=how)
        online = kept_up_to_date(one, policy, "cascade")
        result = streamed(one, online, worse, 1.0)
        late = slice(2 * n // 3, None)
        best = float(result.worths[late].mean(axis=0).max())
        found.append(float(result.worth[late].mean()) / best)
        alarms = ", ".join(f"{a.item_number} {a.alarm.provider}" for a in result.alarms)
        change = f"{how} {share:.0%}"
        begin = f"{name:10} {seed:5}  {provider:18}  {change:12}"
        print(f"{begin}{found[-1]:13.4f}  {alarms}", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
