"""Does a served federation keep its budget and ledger under load, faults and SIGKILL?

The service runs as a process, as ``midhaul serve federation`` does, and so do its three
providers, which count every call when it arrives and fail as they please: HTTP 429 and
503, HTML instead of an answer, no answer at all.

1. Steady: requests at a moderate rate, open loop, latency from the planned send. Those
   whose first call answered are *healthy*; those that were answered after a failure,
   by a retry or another provider, *failed over*.
2. Burst: all requests at once, with less money than they need. In the middle the
   service is killed with SIGKILL and started again; clients that lost it ask again.
3. SIGTERM, and the ledger is held against what the providers counted.

    python benchmarks/federation_budget.py [--quick] [--data DIR]

DIR is not needed. A call that the service wrote down and that never arrived counts as
spent: the service was killed between the two, or its time was over while it waited to
be sent. The ledger may have these too much, and never one too few. They are told one by
one: where an item has more calls of a provider in the ledger than arrived, as many of
its calls must have been under way at SIGKILL, or given up after their whole time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import cv2
import numpy as np
from federation_budget_ledger import compare
from federation_budget_service import RETRY_S, TIMEOUT_S, Service, counting

from midhaul.federation.money.ledger_file import budget_nusd

if TYPE_CHECKING:
    from collections.abc import Sequence

MEAN_USD = 0.0005
"""About what a request costs with these faults."""
MONEY = 0.6
"""Share of what the burst would need that the budget has."""
KILL_AT = 0.15
"""Share of the burst that has an answer when the service is killed."""
PATIENCE_S = 150.0
SEED = 5
OK = 200
REFUSALS = (402, 502, 503, 504)


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a client saw of one request."""

    latency_s: float
    code: int
    said: dict[str, Any] = field(default_factory=dict[str, Any])
    n_tries: int = 1

    @property
    def failed_calls(self) -> int:
        """Calls that failed before the answer."""
        return sum(call["status"] != "ok" for call in self.said.get("calls", ()))


async def ask(
    session: aiohttp.ClientSession, url: str, image: bytes, item: str, planned: float
) -> Seen:
    """One request, made again where the service went away before it answered."""
    tries = 0
    while True:
        tries += 1
        try:
            async with session.post(
                f"{url}/detect",
                params={"item": item, "deadline_s": str(PATIENCE_S)},
                data=image + item.encode(),  # bytes behind the end: another content
            ) as response:
                said = await response.json(content_type=None)
                latency_s = time.perf_counter() - planned
                return Seen(
                    latency_s=latency_s, code=response.status, said=said, n_tries=tries
                )
        except (aiohttp.ClientError, OSError, TimeoutError):
            if time.perf_counter() - planned > PATIENCE_S:
                return Seen(latency_s=PATIENCE_S, code=0, n_tries=tries)
            await asyncio.sleep(0.3)


async def steady(service: Service, image: bytes, rate_hz: float, n: int) -> list[Seen]:
    """Requests at planned times, whatever becomes of those before."""
    gaps = np.random.default_rng(SEED).exponential(1 / rate_hz, n)
    begin = time.perf_counter() + 0.5
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0)
    ) as session:

        async def one(number: int, planned: float) -> Seen:
            await asyncio.sleep(planned - time.perf_counter())
            return await ask(session, service.url, image, f"s{number}", planned)

        plan = (begin + np.cumsum(gaps)).tolist()
        return await asyncio.gather(*(one(i, at) for i, at in enumerate(plan)))


async def burst(service: Service, image: bytes, n: int) -> tuple[list[Seen], int]:
    """All requests at once, and a SIGKILL; also the most the service had at a time."""
    n_done, most = 0, 0
    n_kill = int(KILL_AT * n)
    killed = asyncio.Event()
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout
    ) as session:

        async def one(number: int, planned: float) -> Seen:
            nonlocal n_done
            seen = await ask(session, service.url, image, f"b{number}", planned)
            n_done += 1
            if n_done == n_kill:
                killed.set()
            return seen

        async def kill() -> None:
            await killed.wait()
            await asyncio.to_thread(service.end, signal.SIGKILL)
            await asyncio.to_thread(service.start)

        async def watch() -> None:
            nonlocal most
            while n_done < n:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"{service.url}/info") as response:
                        most = max(most, (await response.json())["n_requests"])
                await asyncio.sleep(0.2)

        begin = time.perf_counter()
        side = [asyncio.create_task(kill()), asyncio.create_task(watch())]
        seen = await asyncio.gather(*(one(i, begin) for i in range(n)))
        await asyncio.gather(*side)
        return list(seen), most


async def counts_of(port: int) -> dict[str, Any]:
    """What the providers counted."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/counts") as response,
    ):
        return await response.json()


def latencies(seen: Sequence[Seen]) -> dict[str, float]:
    """The steady requests, healthy and failed over, in seconds."""
    answered = [one for one in seen if one.code == OK]
    healthy = [one.latency_s for one in answered if not one.failed_calls]
    over = [one.latency_s for one in answered if one.failed_calls]
    found = {
        f"{name}_p{q}_s": float(np.quantile(values, q / 100))
        for name, values in (("healthy", healthy), ("failover", over))
        for q in (50, 95)
    }
    print(
        f"steady: {len(seen)} requests, {len(healthy)} healthy "
        f"(p50 {found['healthy_p50_s'] * 1e3:.1f} ms, p95 "
        f"{found['healthy_p95_s'] * 1e3:.1f} ms), {len(over)} failed over "
        f"(p50 {found['failover_p50_s'] * 1e3:.1f} ms, p95 "
        f"{found['failover_p95_s'] * 1e3:.1f} ms)"
    )
    return found


def main() -> int:
    """Measure, print the figures, and fail when one is short."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    parser.add_argument("--data", type=Path, help="not needed")
    options = parser.parse_args()
    n_burst, n_steady = (1_000, 200) if options.quick else (10_000, 1_200)
    rate_hz = 40.0 if options.quick else 50.0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    image = cv2.imencode(".jpg", np.full((64, 64, 3), 90, np.uint8))[1].tobytes()
    budget_usd = MEAN_USD * (n_steady + MONEY * n_burst)
    with (
        tempfile.TemporaryDirectory() as name,
        counting(Path(name), budget_usd) as ports,
        Service(Path(name), ports, budget_usd) as service,
    ):
        slow = latencies(asyncio.run(steady(service, image, rate_hz, n_steady)))
        begin = time.perf_counter()
        seen, most = asyncio.run(burst(service, image, n_burst))
        took_s = time.perf_counter() - begin
        code = service.end(signal.SIGTERM)
        counts = asyncio.run(counts_of(ports[0]))
        found = compare(service.ledger, counts)
    codes = Counter(one.code for one in seen)
    again = sum(one.n_tries > 1 for one in seen)
    print(
        f"burst: {n_burst} requests at once, up to {most} in the service, in "
        f"{took_s:.1f} s; {dict(sorted(codes.items()))}; {again} asked again after "
        f"SIGKILL; the service ended with {code} after SIGTERM"
    )
    lost = sum(n for code, n in codes.items() if code not in (OK, *REFUSALS))
    bound_s = TIMEOUT_S + 2 * RETRY_S + 3 * slow["healthy_p95_s"]
    share = found["charged_nusd"] / budget_nusd(budget_usd)
    figures = [
        ("budget_violations", counts["n_violations"], "-", 0.0),
        ("charged_over_budget", share, "-", 1.0),
        ("calls_missing_in_ledger", found["missing"], "-", 0.0),
        ("calls_billed_and_not_in_ledger", found["unpaid"], "-", 0.0),
        ("calls_in_ledger_unexplained", found["unexplained"], "-", 0.0),
        ("calls_open_at_the_end", found["open"], "-", 0.0),
        ("requests_lost", lost, "-", 0.0),
        ("failover_p50", slow["failover_p50_s"], "s", bound_s),
        ("failover_p95", slow["failover_p95_s"], "s", bound_s),
        ("exit_code_after_sigterm", float(code), "-", 0.0),
    ]
    is_short = False
    for name, value, unit, bar in figures:
        is_met = value <= bar
        is_short |= not is_met
        verdict = "ok" if is_met else "short"
        print(f"figure {name} {value:.4f} {unit} bar <={bar:g} {verdict}")
    return int(is_short)


if __name__ == "__main__":
    sys.exit(main())
