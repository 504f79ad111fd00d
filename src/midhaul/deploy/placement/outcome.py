"""What a choice takes of each gateway, in words of the problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.deploy.placement.assembly import present_on
from midhaul.deploy.placement.base import GatewayUse, Pull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Bool

    from midhaul.deploy.placement.building import Built
    from midhaul.deploy.placement.schedule import Schedule
    from midhaul.deploy.problem import PlacementProblem


def pulls_of(built: Built, timetable: Schedule) -> tuple[Pull, ...]:
    """The pulls of a schedule, with names."""
    catalogue, gateways = built.catalogue, built.problem.gateways
    begins, ends = timetable.begins_s.tolist(), timetable.ends_s.tolist()
    return tuple(
        Pull(
            gateway=gateways[batch.gateway].name,
            image=catalogue.images[batch.image],
            digests=tuple(catalogue.digests[layer] for layer in batch.layers),
            compressed_bytes=int(batch.n_bytes),
            begins_s=begin_s,
            ends_s=end_s,
        )
        for batch, begin_s, end_s in zip(timetable.batches, begins, ends, strict=True)
    )


def uses_of(built: Built, chosen: Bool[np.ndarray, " n"]) -> tuple[GatewayUse, ...]:
    """What the chosen items take of each gateway."""
    problem, catalogue = built.problem, built.catalogue
    sizes = _sizes_elsewhere(problem, catalogue.number_of)
    uses: list[GatewayUse] = []
    for number, gateway in enumerate(problem.gateways):
        mine = np.flatnonzero(chosen & (built.gateways == number))
        analytics = [problem.analytics[i] for i in built.analytics[mine]]
        needed = np.zeros(len(catalogue.digests), np.bool_)
        needed[catalogue.refs(np.unique(built.images[mine]))[1]] = True
        held = catalogue.marks(gateway.held)
        present = catalogue.marks(present_on(gateway))
        disk = catalogue.uncompressed_bytes[needed & ~held].sum()
        pulled = needed & ~present
        kept = catalogue.uncompressed_bytes[(present | pulled) & ~held].sum()
        kept += sum(sizes.get(digest, 0) for digest in gateway.layers - gateway.held)
        uses.append(
            GatewayUse(
                gateway=gateway.name,
                disk_bytes=int(disk),
                pulled_bytes=int(catalogue.compressed_bytes[pulled].sum()),
                n_cores=float(sum(a.n_cores for a in analytics)),
                memory_bytes=float(sum(a.memory_bytes for a in analytics)),
                deleted_bytes=int(max(0.0, np.ceil(kept - gateway.disk_bytes))),
            )
        )
    return tuple(uses)


def _sizes_elsewhere(
    problem: PlacementProblem, known: Mapping[str, int]
) -> dict[str, int]:
    """Disk use of layers on gateways that no candidate needs, where it is known."""
    others = frozenset().union(*(g.layers for g in problem.gateways)) - known.keys()
    if not others:
        return {}
    return {
        layer.digest: layer.uncompressed_bytes
        for image in problem.all_images()
        for layer in image.layers
        if layer.digest in others
    }
