"""Links by name, and uplinks that change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.deploy.networks import NETWORKS, Network, network_named
from midhaul.errors import ConfigError, DataError
from midhaul.traces import read_mahimahi

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_have_the_seeds_names(name: str) -> None:
    """Each name gives a downlink and an uplink that does not change."""
    network = network_named(name)
    rates, width_s = network.uplink_rates(0, 60)
    assert (len(rates), width_s) == (1, 60)
    assert network.mean_uplink_bps(0, 60) == network.uplink_bps > 0
    assert network.downlink_bps > network.uplink_bps


def test_what_cannot_be_a_network_is_refused() -> None:
    """An unknown name, a downlink of 0 and an infinite rate are named."""
    with pytest.raises(ConfigError, match="optical50"):
        network_named("5G")
    with pytest.raises(DataError, match="nothing can be pulled"):
        Network(name="x", downlink_bps=0, uplink_bps=1)
    with pytest.raises(DataError, match="uplink_bps of at least 0"):
        Network(name="x", downlink_bps=1, uplink_bps=float("inf"))


def test_an_uplink_of_zero_is_a_network() -> None:
    """A gateway may be cut off upwards."""
    assert Network(name="x", downlink_bps=1, uplink_bps=0).mean_uplink_bps(0, 9) == 0


def test_a_trace_is_looked_at_second_by_second(tmp_path: Path) -> None:
    """The mean over a window is the mean of its seconds, and the trace loops."""
    file = tmp_path / "link.up"
    file.write_text("\n".join(str(ms) for ms in [*range(1, 1001, 10), 2000]) + "\n")
    trace = read_mahimahi(file)
    network = Network(
        name="trace", downlink_bps=1e6, uplink_bps=trace.mean_bps, trace=trace
    )
    rates, width_s = network.uplink_rates(0, 4)
    assert width_s == 1
    assert rates[0] == rates[2] > rates[1] == rates[3]
    assert network.mean_uplink_bps(0, 4) == pytest.approx(trace.mean_bps)
    assert np.allclose(network.uplink_rates(1, 2)[0], rates[1])
