"""Tests of ``midhaul network``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from midhaul.network import simulators

if TYPE_CHECKING:
    import pytest
    from tests.cli.conftest import Midhaul


def test_kernels_are_compiled_one_simulator_after_the_other(
    midhaul: Midhaul, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is told with its seconds; what has to be compiled first is said."""
    asked: list[str] = []

    def warm(name: str, transports: object, *, say: object) -> float:
        del transports, say
        asked.append(name)
        return 1.5

    monkeypatch.setattr(simulators, "warm", warm)
    said = midhaul("network", "warm", "--json")
    assert said.code == 0
    assert json.loads(said.out) == {"seconds": dict.fromkeys(simulators.KERNELS, 1.5)}
    assert asked == list(simulators.KERNELS)
    assert "fluid" in midhaul("network", "warm", "fluid").out


def test_a_simulator_without_kernels_is_named(midhaul: Midhaul) -> None:
    """The one that was probably meant stands in the hint."""
    said = midhaul("network", "warm", "packets")
    assert said.code == 2
    assert "found 'packets'" in said.err
    assert "did you mean packet?" in said.err
