"""An HTB plan in force: applied, changed and counted with ``tc``."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from midhaul.deploy.enforcement.htb import FIRST_MINOR, down_command, up_commands
from midhaul.errors import DataError, NodeError, PrerequisiteError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.deploy.enforcement.htb import HtbPlan

_TIMEOUT_S = 20.0
_KERNEL = "this kernel has no sch_htb, cls_u32 (ports) or cls_fw (marks)"
_CLASS = re.compile(
    r"class htb \w+:(?P<minor>\w+) .*?"
    r"Sent (?P<bytes>\d+) bytes (?P<packets>\d+) pkt \(dropped (?P<dropped>\d+),",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """What the kernel has counted for a class.

    Attributes:
        n_bytes: sent, Ethernet headers included.
        n_packets: sent.
        n_dropped: packets dropped because its queue was full.
    """

    n_bytes: int
    n_packets: int
    n_dropped: int


def apply(plan: HtbPlan, *, command: Sequence[str] = ()) -> None:
    """Put a plan into force, in place of the one before.

    Args:
        plan: what to do.
        command: what stands before ``tc``, such as a namespace's.

    Raises:
        PrerequisiteError: ``tc`` is missing.
        NodeError: the kernel refuses; nothing is in force then.
    """
    remove(plan, command=command)
    try:
        for argv in up_commands(plan):
            _call(argv, command)
    except NodeError:
        remove(plan, command=command)
        raise


def remove(plan: HtbPlan, *, command: Sequence[str] = ()) -> None:
    """Take a plan out of force; harmless where none is.

    Raises:
        PrerequisiteError: ``tc`` is missing.
    """
    _run(down_command(plan), command)


def change_rates(
    plan: HtbPlan, rates_bps: Mapping[str, float], *, command: Sequence[str] = ()
) -> HtbPlan:
    """Give the classes of a plan in force new rates; what waits keeps its place.

    Returns:
        The plan that is in force now.

    Raises:
        DataError: a class is unknown, or rates are impossible.
        NodeError: the kernel refuses.
    """
    if unknown := set(rates_bps) - {one.name for one in plan.classes}:
        message = f"expected rates of classes of the plan, found {sorted(unknown)}"
        raise DataError(message)
    classes = tuple(
        replace(one, rate_bps=rates_bps.get(one.name, one.rate_bps))
        for one in plan.classes
    )
    changed = replace(plan, classes=classes)
    for argv in up_commands(changed):
        if argv[1] == "class":
            _call([*argv[:2], "change", *argv[3:]], command)
    return changed


def read_counts(
    plan: HtbPlan, *, command: Sequence[str] = ()
) -> dict[str, ClassCounts]:
    """What the kernel has counted, by analytic; ``""`` is everything else.

    Raises:
        NodeError: the plan is not in force.
    """
    said = _call(["tc", "-s", "class", "show", "dev", plan.device], command)
    blocks = said.split("\n\n")
    by_minor: dict[int, ClassCounts] = {}
    for block in blocks:
        if match := _CLASS.search(block):
            by_minor[int(match["minor"], 16)] = ClassCounts(
                n_bytes=int(match["bytes"]),
                n_packets=int(match["packets"]),
                n_dropped=int(match["dropped"]),
            )
    names = [*(one.name for one in plan.classes), ""]
    if not {FIRST_MINOR + index for index in range(len(names))} <= set(by_minor):
        message = f"the plan is not in force on {plan.device}"
        raise NodeError(message, "apply it first")
    return {name: by_minor[FIRST_MINOR + index] for index, name in enumerate(names)}


def _call(argv: Sequence[str], command: Sequence[str]) -> str:
    done = _run(argv, command)
    if done.returncode:
        message = f"{shlex.join(argv)} failed: {done.stderr.strip()}"
        is_kernel = "classifier not found" in done.stderr or "unknown" in done.stderr
        hint = _KERNEL if is_kernel else "shaping needs root and CAP_NET_ADMIN"
        raise NodeError(message, hint)
    return done.stdout


def _run(
    argv: Sequence[str], command: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    if shutil.which("tc") is None:
        message = "this needs tc, which is not installed"
        raise PrerequisiteError(message, "apt install iproute2")
    return subprocess.run(  # noqa: S603 - fixed programs, no shell
        [*command, *argv],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
