"""The conformance suite of launchers, ours or a stranger's."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any, cast

from midhaul.testbed.nodes.launcher import is_ready
from midhaul.testbed.nodes.settings import NodeSettings

if TYPE_CHECKING:
    from midhaul.testbed.nodes.launcher import Launcher

_ASK_S = 10.0
_NAMES = ("cloud-check", "edge-check")


def check_launcher(launcher: Launcher) -> None:
    """Hold a launcher to what the testbed expects of it.

    Starts a cloud and an edge with null detectors, and stops them. ValueError if a node
    is not ready when ``start`` returns, is another one than was asked for, does not
    know its cloud, or outlives ``stop``; NodeError if one does not start.
    """
    cloud = NodeSettings(name=_NAMES[0], role="cloud", detector="null")
    edge = NodeSettings(name=_NAMES[1], cloud=_NAMES[0], forward="image")
    there = launcher.start(cloud, {})
    here = launcher.start(edge, {_NAMES[0]: there.url})
    for node, settings in ((there, cloud), (here, edge)):
        if node.name != settings.name:
            message = f"asked for {settings.name}, got {node.name}"
            raise ValueError(message)
        if not (node.is_alive() and is_ready(node.url, timeout_s=_ASK_S)):
            message = f"{node.name} must be ready when start returns"
            raise ValueError(message)
        if _info(node.url)["settings"] != settings.to_dict():
            message = f"{node.name} runs with other settings than it was given"
            raise ValueError(message)
        if node.throttled_s() < 0 or not set(node.limits) <= {"cpu", "memory"}:
            message = f"{node.name} tells limits that there are not"
            raise ValueError(message)
    if _info(here.url)["cloud_url"] != there.url:
        message = "an edge must reach its cloud at the URL it was given"
        raise ValueError(message)
    here.stop()
    here.stop()
    if here.is_alive() or not there.is_alive():
        message = "stop must end its own node and no other, and may be called twice"
        raise ValueError(message)
    launcher.stop()
    if there.is_alive() or is_ready(there.url, timeout_s=_ASK_S):
        message = "stop of a launcher must end every node"
        raise ValueError(message)


def _info(url: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/info", timeout=_ASK_S) as response:
        return cast("dict[str, Any]", json.loads(response.read()))
