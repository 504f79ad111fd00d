"""The running testbed: nodes, the links between them, and who watches them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from midhaul.machine.coroutines import run_coroutine
from midhaul.testbed.launcher import LocalLauncher, launch
from midhaul.testbed.links import Links
from midhaul.testbed.plan import WORKLOAD, links_of, settings_of
from midhaul.testbed.watch import Watch
from midhaul.wire import Client

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Self

    from midhaul.testbed.config import TestbedConfig
    from midhaul.testbed.config_parts import NodeConfig
    from midhaul.testbed.launcher import RunningNode

_CONFIGURE_S = 120.0


class Rig:
    """Starts the nodes and links of an experiment and holds them; a context manager.

    Args:
        config: the experiment.
        folder: for logs of the nodes.

    Raises:
        NodeError: a node does not start.
    """

    def __init__(self, config: TestbedConfig, folder: Path) -> None:
        self.folder = folder
        self._config = config
        self._stack = ExitStack()
        self._links = Links(())
        self._nodes: dict[str, RunningNode] = {}
        self._applied: dict[str, dict[str, Any]] = {}
        self.urls: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Start everything."""
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self._stack.close()

    def restart(self) -> None:
        """Stop what is left and start everything again."""
        self._stack.close()
        self._start()

    def configure(self, nodes: Sequence[NodeConfig]) -> None:
        """Give running nodes the settings of a configuration, where they differ.

        Raises:
            NodeError: a node refuses them.
        """
        changed: dict[str, dict[str, Any]] = {}
        for node in nodes:
            wanted = settings_of(node, self._config.seed).variable()
            if self._applied.get(node.name) != wanted:
                changed[node.name] = wanted
        if changed:
            run_coroutine(self._configure(changed))
            self._applied |= changed

    def measure_links(self, block: int) -> list[dict[str, Any]]:
        """Rows of the table ``links``: each measured by itself just now."""
        return [{"block": block, **found.row()} for found in self._links.measure()]

    def watch(self) -> Watch:
        """Watch what the nodes use; for a ``with`` block around a cell."""
        periods = {node.name: node.monitor_period_s for node in self._config.nodes}
        return Watch(nodes=self._nodes, periods_s=periods, links=self._links)

    def dead(self) -> dict[str, str]:
        """How nodes ended, by name, of those that did: the last line of their log."""
        ended: dict[str, str] = {}
        for name, node in self._nodes.items():
            if not node.is_alive():
                lines = node.log().strip().splitlines()
                ended[name] = lines[-1] if lines else "it left no word in its log"
        return ended

    def _start(self) -> None:
        config = self._config
        settings = [settings_of(node, config.seed) for node in config.nodes]
        self._links = self._stack.enter_context(Links(links_of(config.links)))
        launcher = self._stack.enter_context(LocalLauncher(self.folder))
        self._nodes = launch(launcher, settings, self._links.connect)
        self._applied = {node.name: node.variable() for node in settings}
        self.urls = {
            node.name: self._links.connect(
                WORKLOAD, node.name, self._nodes[node.name].url
            )
            for node in settings
            if node.role == "edge"
        }

    async def _configure(self, changed: dict[str, dict[str, Any]]) -> None:
        async with Client() as client:
            for name, settings in changed.items():
                await client.configure(
                    self._nodes[name].url, settings, timeout_s=_CONFIGURE_S
                )
