"""Sizes of flows: exponential, lognormal, Pareto, Gaussian, empirical, published.

Every law is stated by its mean, so that laws can be exchanged under one load. Sizes are
whole bytes and at least 1, which lifts the mean of laws with much below a byte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from midhaul.errors import ConfigError, choice_hint
from midhaul.model.display import Shown

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

MAX_BYTES = 1 << 50
"""No law draws more; it is where whole numbers of float64 end being safe to add."""


class SizeLaw(Protocol):
    """How large flows are."""

    @property
    def mean_bytes(self) -> float:
        """The mean of the law, before sizes are made whole."""
        ...

    def draw(self, rng: np.random.Generator, n: int) -> Int64[np.ndarray, " n"]:
        """``(n,)`` sizes of at least 1 byte."""
        ...


def _whole(sizes: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    return np.clip(np.rint(sizes), 1, MAX_BYTES).astype(np.int64)


def _check(law: str, name: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value > least):
        message = f"{law}: {name} must be above {least:g}, found {value:g}"
        raise ConfigError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedSize:
    """Flows that are all as large.

    Attributes:
        mean_bytes: of each.
    """

    mean_bytes: float

    def __post_init__(self) -> None:
        """Refuse flows of no size."""
        _check("a fixed size", "mean_bytes", self.mean_bytes, 0)

    def draw(self, rng: np.random.Generator, n: int) -> Int64[np.ndarray, " n"]:
        """``(n,)`` times the same."""
        del rng
        return _whole(np.full(n, self.mean_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialSize:
    """Exponential sizes.

    Attributes:
        mean_bytes: of the law.
    """

    mean_bytes: float

    def __post_init__(self) -> None:
        """Refuse flows of no size."""
        _check("exponential sizes", "mean_bytes", self.mean_bytes, 0)

    def draw(self, rng: np.random.Generator, n: int) -> Int64[np.ndarray, " n"]:
        """``(n,)`` sizes."""
        return _whole(rng.standard_exponential(n) * self.mean_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class LognormalSize:
    """Lognormal sizes.

    Attributes:
        mean_bytes: of the law.
        sigma: deviation of the logarithm.
    """

    mean_bytes: float
    sigma: float = 1.0

    def __post_init__(self) -> None:
        """Refuse flows of no size."""
        _check("lognormal sizes", "mean_bytes", self.mean_bytes, 0)
        _check("lognormal sizes", "sigma", self.sigma, 0)

    def draw(self, rng: np.random.Generator, n: int) -> Int64[np.ndarray, " n"]:
        """``(n,)`` sizes."""
        mu = math.log(self.mean_bytes) - self.sigma**2 / 2
        return _whole(rng.lognormal(mu, self.sigma, n))


@dataclass(frozen=True, slots=True, kw_only=True)
class ParetoSize:
    """Pareto sizes: a few flows carry most bytes.

    Attributes:
        mean_bytes: of the law.
        shape: above 1; the tail of sizes falls as their power of it.
    """

    mean_bytes: float
    shape: float = 1.5

    def __post_init__(self) -> None:
        """Refuse laws without a mean."""
        _check("Pareto sizes", "mean_bytes", self.mean_bytes, 0)
        _check("Pareto sizes", "shape", self.shape, 1)

    def draw(self, rng: np.random.Generator, n: int) -> Int64[np.ndarray, " n"]:
        """``(n,)`` sizes."""
        least = self.mean_bytes * (self.shape - 1) / self.shape
        return _whole((rng.pareto(self.shape, n) + 1) * least)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianSize:
    """Gaussian sizes; what would be below a byte is one.

    Attributes:
        mean_bytes: of the law.
        deviation_bytes: its standard deviation.
    """

    mean_bytes: float
    deviation_bytes: float

    def __post_init__(self) -> None:
        """Refuse flows of no size."""
        _check("Gaussian sizes", "mean_bytes", self.mean_bytes, 0)
        _check("Gaussian sizes", "deviation_bytes", self.deviation_bytes, 0)

    def draw(self, rng: np.random.Generator, n: int) -> Int64[np.ndarray, " n"]:
        """``(n,)`` sizes."""
        return _whole(rng.normal(self.mean_bytes, self.deviation_bytes, n))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class EmpiricalSize(Shown):
    """Sizes by a measured CDF, linear between its points.

    Attributes:
        size_bytes: ``(k,)`` sizes, rising.
        share: ``(k,)`` share of flows that are at most so large, rising to 1; what the
            first point has is the share of flows of exactly its size.

    Raises:
        ConfigError: there are no points, they do not rise, or shares do not end at 1.
    """

    size_bytes: Float64[np.ndarray, " k"]
    share: Float64[np.ndarray, " k"]

    def __post_init__(self) -> None:
        """Refuse what is no CDF."""
        n = len(self.size_bytes)
        if not n or n != len(self.share):
            message = f"a CDF needs as many sizes as shares, found {n} and "
            raise ConfigError(message + str(len(self.share)))
        for name, values in (("sizes", self.size_bytes), ("shares", self.share)):
            is_good = np.isfinite(values) & (values >= 0)
            is_good[1:] &= np.diff(values) >= 0
            if not is_good.all():
                at = int(np.argmin(is_good))
                message = f"the {name} of a CDF rise from 0 or more, point {at} has "
                raise ConfigError(message + f"{values[at]:g}")
        if abs(float(self.share[-1]) - 1) > 1e-9:  # noqa: PLR2004  rounding of 100 %
            message = f"the shares of a CDF end at 1, found {self.share[-1]:g}"
            raise ConfigError(message)
        if not self.size_bytes[-1] > 0:
            message = "a CDF needs a size above 0 B, found none"
            raise ConfigError(message)

    @property
    def mean_bytes(self) -> float:
        """The mean, with flows spread evenly between points."""
        middles = (self.size_bytes[1:] + self.size_bytes[:-1]) / 2
        below = self.size_bytes[0] * self.share[0]
        return float(below + np.sum(middles * np.diff(self.share)))

    def draw(self, rng: np.random.Generator, n: int) -> Int64[np.ndarray, " n"]:
        """``(n,)`` sizes."""
        return _whole(np.interp(rng.random(n), self.share, self.size_bytes))


PublishedName = Literal["webserver", "cachefollower", "hadoop", "websearch"]

_CURVES: dict[PublishedName, str] = {
    "webserver": """
        0:50 0.01:110 0.05:150 0.1:220 0.102:280 0.2:300 0.3:720 0.4:1200 0.5:1500
        0.6:2000 0.7:3200 0.8:9800 0.85:22000 0.9:63000 0.95:220000 0.97:310000
        0.99:630000 0.994:1400000 1:20000000
    """,
    "cachefollower": """
        0:50 0.01:72 0.05:230 0.1:330 0.2:450 0.3:700 0.4:2700 0.5:23000 0.6:100000
        0.7:250000 0.75:410000 0.8:1400000 0.85:1900000 0.9:2300000 0.95:2600000
        0.98:3000000 0.99:4000000 0.995:5100000 0.9975:12000000 1:28000000
    """,
    "hadoop": """
        0:50 0.01:180 0.05:300 0.1:320 0.2:400 0.3:540 0.4:610 0.5:680 0.6:1000
        0.7:6300 0.75:42000 0.8:48000 0.9:130000 0.95:300000 0.97:1100000
        0.985:2200000 0.99:7800000 0.991:12000000 1:96000000
    """,
    "websearch": """
        0:1 0.15:10000 0.2:20000 0.3:30000 0.4:50000 0.53:80000 0.6:200000
        0.7:1000000 0.8:2000000 0.9:5000000 0.97:10000000 1:30000000
    """,
}
"""Shares of flows and the size in bytes that they do not exceed."""


def published_sizes(name: PublishedName) -> EmpiricalSize:
    """Sizes of a published workload; ConfigError if there is none of that name.

    The first three are of A. Roy, H. Zeng, J. Bagga, G. Porter, A. C. Snoeren: *Inside
    the Social Network's (Datacenter) Network*, SIGCOMM 2015, figure 6; WebSearch is of
    M. Alizadeh et al.: *Data Center TCP (DCTCP)*, SIGCOMM 2010, figure 4. They are
    percentiles of the published curves in two digits, with a straight line between any
    two, so that means are within some per cent of those of the curves (91 KB, 610 KB,
    569 KB, 1.7 MB).
    """
    if name not in _CURVES:
        message = f"expected a published workload, found {name!r}"
        raise ConfigError(message, choice_hint(name, _CURVES))
    points = [point.split(":") for point in _CURVES[name].split()]
    share, size_bytes = np.array(points, np.float64).T.copy()
    return EmpiricalSize(size_bytes=size_bytes, share=share)
