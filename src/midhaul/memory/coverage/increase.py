"""Coverage increase: which share of what is in memory was not covered in training.

The seed's test of whether to retrain. Batches of the memory have a density with respect
to the memory, and another with respect to what the model was trained on; both with what
the *present* model says of either (``d`` is the minimum over outputs and predictions)::

    increase = sum_i max(d_memory(i) - d_trained(i), 0) / sum_i d_memory(i)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midhaul.errors import ConfigError, DataError
from midhaul.memory.coverage.batches import Batches
from midhaul.memory.coverage.overlap import overlap, overlap_sums

if TYPE_CHECKING:
    from jaxtyping import Float64

    from midhaul.memory.coverage.batches import Sort
    from midhaul.memory.samples import Bins, Samples


def coverage_increase(
    memory: Samples,
    trained: Samples,
    bins: Bins,
    *,
    batch_size: int = 256,
    bandwidth: float = 0.1,
    sort: Sort = "value",
) -> float:
    """By how much the memory's coverage has grown since a training.

    Args:
        memory: what is in memory, with what the present model says of it.
        trained: what that model was trained on, with what it says of it.
        bins: how outputs are discretised.
        batch_size: samples of a batch; what does not fill one is left out.
        bandwidth: of the kernel of distances.
        sort: whether batches follow outputs or their bins.

    Returns:
        0 where training covered all of it as densely, 1 where it covered nothing.

    Raises:
        ConfigError: a batch size or a bandwidth of 0, or another order.
        DataError: fewer samples than a batch, an output that is not known, or other
            numbers of bins.
    """
    check_bandwidth(bandwidth)
    parts = {"memory": memory, "trained": trained}
    widths = {name: part.prediction.shape[1] for name, part in parts.items()}
    cut = {
        name: Batches.of([part], bins, batch_size=batch_size, sort=sort)
        for name, part in parts.items()
    }
    for name, batches in cut.items():
        if not len(batches):
            message = (
                f"{name}: expected a batch of {batch_size:,} samples or more, found "
                f"{len(parts[name]):,}"
            )
            raise DataError(message, "a smaller batch_size compares smaller memories")
    if len(set(widths.values())) > 1:
        message = f"predictions have other numbers of bins: {widths}"
        raise DataError(message, "predict both with the present model")
    now = densities(cut["memory"], None, bandwidth)
    before = densities(cut["memory"], cut["trained"], bandwidth)
    return float(np.maximum(now - before, 0).sum() / now.sum())


def densities(
    batches: Batches, others: Batches | None, bandwidth: float
) -> Float64[np.ndarray, " m"]:
    """The density of each batch with respect to others, or to themselves.

    It is the mean kernel, the least of the two spaces.
    """
    beside = batches if others is None else others
    told = None if others is None else others.predictions
    in_outputs = _output_sums(batches, beside, bandwidth)
    in_predictions = overlap_sums(batches.predictions, told, bandwidth)
    return np.minimum(in_outputs, in_predictions) / len(beside)


def check_bandwidth(bandwidth: float) -> None:
    """Hold a bandwidth to what it can be, else ConfigError."""
    if not 0 < bandwidth < np.inf:
        message = f"bandwidth: expected more than 0, found {bandwidth}"
        raise ConfigError(message, "the seed has 0.1, for distances from 0 to 1")


def _output_sums(
    batches: Batches, others: Batches, bandwidth: float
) -> Float64[np.ndarray, " m"]:
    """Sums over others in output space, where many batches are the same.

    In their order most batches lie in one bin as a whole, and at most one spans each
    edge, so that there are fewer than twice as many different ones as bins.
    """
    own, which = np.unique(batches.outputs, axis=0, return_inverse=True)
    other, times = np.unique(others.outputs, axis=0, return_counts=True)
    kernels = overlap(
        own / batches.rows.shape[1], other / others.rows.shape[1], bandwidth
    )
    return (kernels @ times)[which]
