"""From an experiment file to the values that the testbed works with.

The configurations that a grid spans.

A grid names settings by the role or the name of a node (``edge.encode``,
``edge2.detector``) or of the load (``load.rate_hz``), each with its values; a
configuration is one combination, applied to the whole testbed.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from midhaul.errors import ConfigError
from midhaul.model import Link
from midhaul.runs.section import value_of
from midhaul.testbed.load.scenarios import (
    Bursts,
    Constant,
    Gamma,
    MultiStream,
    Offline,
    Poisson,
    Server,
    SingleStream,
    Stop,
    Warmup,
    read_arrivals,
)
from midhaul.testbed.measure.config import GridValue, LoadConfig, NodeConfig
from midhaul.testbed.nodes.settings import NodeSettings
from midhaul.vision.data.dataset import Faults
from midhaul.vision.data.opening import open_dataset
from midhaul.vision.detectors.detector import short_name
from midhaul.vision.images.image import Preprocessing
from midhaul.vision.judge.matching import COCO_IOU, JudgeRules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midhaul.testbed.load.scenarios import Arrivals, Scenario
    from midhaul.testbed.measure.config import DataConfig, JudgeConfig, LinkConfig
    from midhaul.vision.data.dataset import Dataset

WORKLOAD = "workload"
"""Name of the end from which requests come."""


def dataset_of(data: DataConfig, seed: int, faults: Faults | None = None) -> Dataset:
    """Open a data set and draw the images that are used.

    The seed says which scenes are made and which images are drawn; ``faults`` takes in
    mistakes of single images, instead of ``data.on_bad_item``. DataError if something
    is missing or is not what it should be.
    """
    dataset = open_dataset(
        data.kind,
        images=data.images,
        annotations=data.annotations,
        names=data.names or None,
        select=data.select,
        on_size_mismatch=data.on_size_mismatch,
        voc_origin=data.voc_origin,
        faults=faults or Faults(data.on_bad_item),
        n_images=data.n_scenes,
        seed=seed,
    )
    if data.n_images == 0:
        return dataset
    return dataset.sample(data.n_images, np.random.default_rng([seed, 1]))


def rules_of(judge: JudgeConfig) -> JudgeRules:
    """How answers are judged."""
    return JudgeRules(
        max_detections=judge.max_detections,
        iou=tuple(_as_coco(one) for one in judge.iou),
        match_iou=_as_coco(judge.match_iou),
        area_limits_px=judge.area_limits_px,
    )


def preprocessing_of(node: NodeConfig) -> Preprocessing:
    """What a node does to an image before anything else."""
    return Preprocessing(gray=node.gray, resize=node.resize, encode=node.encode)


def settings_of(node: NodeConfig, seed: int) -> NodeSettings:
    """The settings with which a node is started."""
    return value_of(
        NodeSettings,
        node,
        detector=str(node.detector) or None,
        preprocessing=preprocessing_of(node),
        workdir=None if node.workdir is None else str(node.workdir),
        seed=seed,
    )


def links_of(links: Sequence[LinkConfig]) -> tuple[Link, ...]:
    """Both directions of every link of the file."""
    found: list[Link] = []
    for link in links:
        up = link.rate_bps or float("inf")
        down = link.back_rate_bps or up
        ends = ((link.source, link.target, up), (link.target, link.source, down))
        found += [
            Link(source=source, target=target, rate_bps=rate, delay_s=link.delay_s)
            for source, target, rate in ends
        ]
    return tuple(found)


def scenario_of(load: LoadConfig) -> Scenario:
    """How the workload behaves; DataError if a recorded arrival file cannot be used."""
    if load.scenario == "single stream":
        return SingleStream()
    if load.scenario == "multi stream":
        return MultiStream(images_per_request=load.n_samples)
    if load.scenario == "offline":
        return Offline()
    if load.scenario == "bursts":
        return Bursts(
            requests=load.requests_per_burst, images_per_request=load.images_per_request
        )
    return Server(arrivals=_arrivals(load))


def stop_of(load: LoadConfig) -> Stop:
    """When a cell has asked enough."""
    if load.duration_s is not None:
        return Stop(duration_s=load.duration_s)
    return Stop(count=load.n_requests)


def warmup_of(load: LoadConfig) -> Warmup | None:
    """When a cell counts as steady; None where it counts from the begin."""
    if load.max_warmup == 0:
        return None
    return Warmup(window=load.warmup_window, max_requests=load.max_warmup)


def name_of(configuration: Configuration) -> str:
    """A short name of a configuration, from the settings that vary."""
    if not configuration.settings:
        return "all"
    words: list[str] = []
    for key, value in configuration.settings.items():
        owner, _, setting = key.partition(".")
        if setting == "detector":
            words.append(short_name(str(value)) if value else f"no {owner} detector")
        elif setting == "resize":
            words.append(f"resize {float(value) * 100:g} %")
        elif setting == "gray":
            words.append("gray" if value else "colour")
        elif setting == "encode":
            words.append(str(value))
        else:
            words.append(f"{setting} {value}")
    return " · ".join(words)


def configuration_row(configuration: Configuration) -> dict[str, object]:
    """A configuration as a row of the table ``configurations``.

    Where edges differ, the first of them stands for all.
    """
    edge = next(n for n in configuration.nodes if n.role == "edge")
    cloud = next((n for n in configuration.nodes if n.name == edge.cloud), None)
    edge_name = short_name(edge.detector) if edge.detector else None
    cloud_name = None
    if (
        cloud is not None
        and cloud.detector
        and edge.forward not in {"nothing", "results"}
    ):
        cloud_name = short_name(cloud.detector)
    if edge.forward == "uncertain" and cloud_name is not None:
        answers = f"{edge_name} → {cloud_name}"
    else:
        answers = cloud_name or edge_name or "none"
    steps = preprocessing_of(edge)
    return {
        "configuration": configuration.index,
        "name": name_of(configuration),
        "detector": answers,
        "edge_detector": edge_name,
        "cloud_detector": cloud_name,
        "preprocessing": steps.label,
        "encode": edge.encode,
        "quality": steps.quality,
        "resize": edge.resize,
        "gray": edge.gray,
        "forward": edge.forward,
        "settings": json.dumps(dict(configuration.settings)),
    }


def _as_coco(iou: float) -> float:
    """COCO's own number where one is meant: its 0.9 is 0.8999999999999999."""
    near = [one for one in COCO_IOU if math.isclose(one, iou, rel_tol=1e-9)]
    return near[0] if near else iou


def _arrivals(load: LoadConfig) -> Arrivals:
    if load.arrivals == "constant":
        return Constant(rate_hz=load.rate_hz)
    if load.arrivals == "gamma":
        return Gamma(rate_hz=load.rate_hz, cv=load.cv)
    if load.arrivals == "file" and load.file is not None:
        return read_arrivals(load.file, loops=True)
    return Poisson(rate_hz=load.rate_hz)


_Model = TypeVar("_Model", bound=BaseModel)

FIXED = frozenset(
    {"name", "role", "cloud", "port", "workdir", "cpu_limit", "memory_limit_bytes"}
    | {"monitor_period_s", "threads", "workers"}
)
"""Settings of a node that cannot change while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One combination of the grid.

    Attributes:
        index: its number, from 0.
        settings: the varied settings and their values here.
        nodes: every node with its settings applied.
        load: the load with its settings applied.
    """

    index: int
    settings: Mapping[str, GridValue]
    nodes: tuple[NodeConfig, ...]
    load: LoadConfig


def expand(
    grid: Mapping[str, Sequence[GridValue]],
    nodes: Sequence[NodeConfig],
    load: LoadConfig,
) -> tuple[Configuration, ...]:
    """All combinations of a grid, the last key turning fastest.

    Args:
        grid: values by setting; an empty grid gives one configuration.
        nodes: the testbed as the file describes it.
        load: the load as the file describes it.

    Raises:
        ConfigError: a key names no node or no setting, or a value does not fit it.
    """
    for key, values in grid.items():
        _check_key(key, nodes)
        if not values:
            message = f"grid.{key} has no values"
            raise ConfigError(message, "give at least one value, or drop the key")
    return tuple(
        _configuration(index, dict(zip(grid, values, strict=True)), nodes, load)
        for index, values in enumerate(itertools.product(*grid.values()))
    )


def _check_key(key: str, nodes: Sequence[NodeConfig]) -> None:
    owner, _, setting = key.partition(".")
    owners = ["load", *dict.fromkeys(n.role for n in nodes), *(n.name for n in nodes)]
    if owner not in owners:
        message = f"grid.{key}: expected one of {', '.join(owners)}, found {owner!r}"
        raise ConfigError(message, "name a role, a node or load before the point")
    known = set(LoadConfig.model_fields)
    if owner != "load":
        known = set(NodeConfig.model_fields) - FIXED
    if setting not in known:
        message = f"grid.{key}: {owner} has no setting {setting!r} that can vary"
        raise ConfigError(message, f"settings that can: {', '.join(sorted(known))}")


def _configuration(
    index: int,
    settings: dict[str, GridValue],
    nodes: Sequence[NodeConfig],
    load: LoadConfig,
) -> Configuration:
    applied = list(nodes)
    for key, value in settings.items():
        owner, _, setting = key.partition(".")
        if owner == "load":
            continue
        for place, node in enumerate(applied):
            if owner in {node.role, node.name}:
                change = {setting: value}
                applied[place] = applied[place].model_copy(update=change)
    changes = {k[5:]: v for k, v in settings.items() if k.startswith("load.")}
    return Configuration(
        index=index,
        settings=settings,
        nodes=tuple(_validated(node, settings) for node in applied),
        load=_validated(load.model_copy(update=changes), settings),
    )


def _validated(model: _Model, settings: Mapping[str, GridValue]) -> _Model:
    try:
        return type(model).model_validate(model.model_dump())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        shown = ", ".join(f"{k} = {v}" for k, v in settings.items())
        text = first["msg"]
        message = f"grid: {place} {text} (in the combination {shown})"
        raise ConfigError(message, "change the values of the grid") from error
