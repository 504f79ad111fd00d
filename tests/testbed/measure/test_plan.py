"""From an experiment file to the values that the testbed works with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from midhaul.runs.spec import Spec
from midhaul.testbed.load.scenarios import (
    Bursts,
    Constant,
    Gamma,
    MultiStream,
    Offline,
    Poisson,
    Recorded,
    Server,
    SingleStream,
)
from midhaul.testbed.measure import from_config
from midhaul.testbed.measure.config import (
    DataConfig,
    LinkConfig,
    LoadConfig,
    NodeConfig,
)
from midhaul.testbed.measure.from_config import expand

if TYPE_CHECKING:
    from pathlib import Path

CLOUD = NodeConfig(name="cloud", role="cloud", detector=Spec("builtin:street-m"))
EDGE = NodeConfig(
    name="edge1",
    role="edge",
    cloud="cloud",
    detector=Spec("builtin:street-n"),
    forward="image",
)


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (LoadConfig(), SingleStream()),
        (
            LoadConfig(scenario="multi stream", n_samples=3),
            MultiStream(images_per_request=3),
        ),
        (LoadConfig(scenario="offline"), Offline()),
        (
            LoadConfig(scenario="bursts", requests_per_burst=4, images_per_request=2),
            Bursts(requests=4, images_per_request=2),
        ),
        (
            LoadConfig(scenario="server", arrivals="constant", rate_hz=3.0),
            Server(arrivals=Constant(rate_hz=3.0)),
        ),
        (LoadConfig(scenario="server"), Server(arrivals=Poisson(rate_hz=10.0))),
        (
            LoadConfig(scenario="server", arrivals="gamma", cv=0.5),
            Server(arrivals=Gamma(rate_hz=10.0, cv=0.5)),
        ),
    ],
)
def test_every_scenario_can_be_written(load: LoadConfig, expected: object) -> None:
    """The words of the file stand for MLPerf's scenarios and the thesis's bursts."""
    assert from_config.scenario_of(load) == expected


def test_recorded_arrivals_are_read(tmp_path: Path) -> None:
    """A file of seconds is played, again from the first at its end."""
    file = tmp_path / "arrivals.txt"
    file.write_text("0\n0.5\n0.6\n")
    scenario = from_config.scenario_of(
        LoadConfig(scenario="server", arrivals="file", file=file)
    )
    assert isinstance(scenario, Server)
    assert isinstance(scenario.arrivals, Recorded)
    assert scenario.arrivals.loops
    assert scenario.arrivals.times_s.tolist() == [0, 0.5, 0.6]


def test_a_link_has_two_directions() -> None:
    """The way back has its own rate where one is given."""
    link = LinkConfig(
        source="a", target="b", rate_bps=8e6, back_rate_bps=2e6, delay_s=0.01
    )
    there, back = from_config.links_of([link])
    assert (there.name, there.rate_bps, there.delay_s) == ("a->b", 8e6, 0.01)
    assert (back.name, back.rate_bps, back.delay_s) == ("b->a", 2e6, 0.01)
    same = LinkConfig(source="a", target="b", rate_bps=8e6)
    assert [found.rate_bps for found in from_config.links_of([same])] == [8e6, 8e6]


def test_the_same_seed_draws_the_same_images() -> None:
    """A sample of the data set is drawn with the seed of the experiment."""
    data = DataConfig(n_scenes=30, n_images=5)
    first, again = (from_config.dataset_of(data, 3).image_ids for _ in range(2))
    assert first == again
    assert len(first) == 5


@pytest.mark.parametrize(
    ("changes", "detector"),
    [
        ({}, "street-m"),
        ({"forward": "uncertain"}, "street-n → street-m"),
        ({"forward": "nothing"}, "street-n"),
        ({"forward": "results"}, "street-n"),
    ],
)
def test_the_detector_is_the_one_whose_answer_counts(
    changes: dict[str, object], detector: str
) -> None:
    """The cloud's where images get there, both where that depends on the image."""
    edge = EDGE.model_copy(update=changes)
    (configuration,) = expand({}, (CLOUD, edge), LoadConfig())
    assert from_config.configuration_row(configuration)["detector"] == detector


def test_names_of_configurations_are_unique() -> None:
    """Every combination of a grid has a name of its own."""
    grid = {
        "cloud.detector": (Spec("builtin:street-n"), Spec("builtin:street-m")),
        "edge.encode": (Spec("keep"), Spec("jpeg:50")),
        "edge.resize": (1.0, 0.5),
        "edge.gray": (False, True),
        "load.n_requests": (10, 20),
    }
    names = [from_config.name_of(c) for c in expand(grid, (CLOUD, EDGE), LoadConfig())]
    assert len(set(names)) == len(names) == int(np.prod([2] * 5))
    assert names[0] == "street-n · keep · resize 100 % · colour · n_requests 10"
