"""Jensen-Shannon kernels: how much batches overlap, pair by pair, without a matrix.

With base-2 entropies the divergence of two distributions is (Lin, "Divergence measures
based on the Shannon entropy", IEEE Trans. Inf. Theory 37, 1991, eq. 4.1)::

    JSD(p, q) = 1 + (F(p) + F(q) - sum_b s_b log2 s_b) / 2,
    F(p) = sum_b p_b log2 p_b,   s = p + q

so a pair costs one logarithm for each bin. The distance is its root, and a Gaussian of
the distance needs no root: ``exp(-JSD / (2 h^2)) / sqrt(2 pi)``.

Logarithms and powers are series of double precision, cut where they are off by less
than 1e-12: loops over them become vector instructions, those over ``math.log2`` do not.
Single precision would be twice as fast, and draw another batch now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from jaxtyping import Float32, Float64

    Shares = Float64[np.ndarray, "n k"]
    Columns = Float64[np.ndarray, "k n"]
    Sums = Float64[np.ndarray, " n"]

PEAK = 1 / np.sqrt(2 * np.pi)
"""Height of the standard normal density: the kernel of a distance of 0."""
TILE = 512
TINY = 1e-300
"""Added to a share, so that ``s log2 s`` of an empty bin is 0."""
_LN2 = float(np.log(2))
_L1, _L3, _L5, _L7, _L9, _L11, _L13, _L15 = (2 / _LN2 / i for i in range(1, 17, 2))
_E1, _E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11 = (
    _LN2**i / float(np.prod(np.arange(1.0, i + 1))) for i in range(1, 12)
)
_ONE, _S1, _S3, _S5, _S7 = (np.float32(v) for v in (1.0, _L1, _L3, _L5, _L7))
_ROOT_HALF_BITS_SINGLE = np.int32(np.sqrt(np.float32(0.5)).view(np.int32))
_N_MANTISSA_BITS_SINGLE = np.int32(23)
_ROOT_HALF_BITS = int(np.sqrt(0.5).view(np.int64))
_N_MANTISSA_BITS = 52
_LEAST_POWER = -1000.0


def overlap(p: Shares, q: Shares, bandwidth: float) -> Float64[np.ndarray, "n m"]:
    """The kernel of each pair by the formula, as a reference of what is below."""
    s = p[:, None, :] + q[None, :, :]
    logs = np.log2(s, out=np.zeros_like(s), where=s > 0)
    both = negative_entropies(p)[:, None] + negative_entropies(q)[None, :]
    divergence = np.maximum(1 + (both - (s * logs).sum(axis=2)) / 2, 0)
    return PEAK * np.exp(-divergence / (2 * bandwidth**2))


def negative_entropies(shares: Shares) -> Sums:
    """``F`` of each distribution, in bits."""
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return (shares * logs).sum(axis=1)


def overlap_sums(p: Shares, q: Shares | None, bandwidth: float) -> Sums:
    """For each row of ``p`` the sum of its kernels with ``q``; None for ``p``."""
    columns, entropies = columns_of(p)
    scale = kernel_scale(bandwidth)
    if q is None:
        return _sums_within(columns, entropies, scale)
    others, other_entropies = columns_of(q)
    return _sums_across(columns, entropies, others, other_entropies, scale)


def columns_of(shares: Shares) -> tuple[Columns, Sums]:
    """Bin by bin, as the loops read it, and the entropies."""
    return np.ascontiguousarray(shares.T), negative_entropies(shares)


def kernel_scale(bandwidth: float) -> float:
    """What a divergence is multiplied by to become a power of two."""
    return -0.5 / (bandwidth * bandwidth * _LN2)


_FAST = {"contract", "nsz", "arcp", "nnan"}


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def kernels_of_one(
    own: Sums,
    entropy: float,
    others: Columns,
    entropies: Sums,
    start: int,
    scale: float,
    out: Sums,
) -> None:
    """Write the kernels of one with others from ``start``, over ``PEAK``."""
    end = start + len(out)
    out[:] = 0.0
    for b in range(len(own)):
        p = own[b] + TINY
        row = others[b, start:end]
        for j in range(len(row)):
            s = p + row[j]
            bits = np.float64(s).view(np.int64)
            exponent = (bits - _ROOT_HALF_BITS) >> _N_MANTISSA_BITS
            m = np.int64(bits - (exponent << _N_MANTISSA_BITS)).view(np.float64)
            t = (m - 1.0) / (m + 1.0)
            z = t * t
            series = _L9 + z * (_L11 + z * (_L13 + z * _L15))
            series = _L1 + z * (_L3 + z * (_L5 + z * (_L7 + z * series)))
            out[j] += s * (np.float64(exponent) + t * series)
    near = entropies[start:end]
    for j in range(len(out)):
        divergence = max(1.0 + 0.5 * (entropy + near[j] - out[j]), 0.0)
        out[j] = scale * divergence
    raise_two_to(out)


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def raise_two_to(powers: Sums) -> None:
    """Put two to the power of each number in its place; none is above 0.

    What is below 2 to the -1000 is that.
    """
    for j in range(len(powers)):
        power = max(powers[j], _LEAST_POWER)
        whole = np.floor(power + 0.5)
        r = power - whole
        series = _E7 + r * (_E8 + r * (_E9 + r * (_E10 + r * _E11)))
        series = _E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * series)))
        series = 1.0 + r * (_E1 + r * (_E2 + r * series))
        bits = (np.int64(whole) + np.int64(1023)) << _N_MANTISSA_BITS
        powers[j] = series * np.int64(bits).view(np.float64)


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def _sums_within(columns: Columns, entropies: Sums, scale: float) -> Sums:
    """Sums over all pairs, each of which is looked at once."""
    n = len(entropies)
    sums = np.full(n, 1.0)
    found = np.empty(TILE)
    for start in range(0, n, TILE):
        end = min(start + TILE, n)
        for i in range(start + 1, n):
            last = min(i, end)
            out = found[: last - start]
            own = columns[:, i]
            kernels_of_one(own, entropies[i], columns, entropies, start, scale, out)
            sums[start:last] += out
            sums[i] += out.sum()
    return sums * PEAK


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def _sums_across(
    columns: Columns,
    entropies: Sums,
    others: Columns,
    other_entropies: Sums,
    scale: float,
) -> Sums:
    """Sums of each over all others."""
    n = len(entropies)
    sums = np.zeros(n)
    found = np.empty(TILE)
    for start in range(0, len(other_entropies), TILE):
        end = min(start + TILE, len(other_entropies))
        out = found[: end - start]
        for i in range(n):
            own = columns[:, i]
            kernels_of_one(
                own, entropies[i], others, other_entropies, start, scale, out
            )
            sums[i] += out.sum()
    return sums * PEAK


@njit(cache=True, error_model="numpy", fastmath=_FAST)
def base_two_logarithms(
    numbers: Float32[np.ndarray, " n"], out: Float32[np.ndarray, " n"]
) -> None:
    """Write base-2 logarithms of single precision; that of 0 is finite."""
    bits = numbers.view(np.int32)
    for j in range(len(out)):
        exponent = (bits[j] - _ROOT_HALF_BITS_SINGLE) >> _N_MANTISSA_BITS_SINGLE
        rest = bits[j] - (exponent << _N_MANTISSA_BITS_SINGLE)
        m = np.int32(rest).view(np.float32)
        t = (m - _ONE) / (m + _ONE)
        z = t * t
        series = _S1 + z * (_S3 + z * (_S5 + z * _S7))
        out[j] = np.float32(exponent) + t * series
