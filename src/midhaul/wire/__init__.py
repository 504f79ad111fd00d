"""What travels between workload, edge and cloud, and the client that sends it."""

from midhaul.wire.client import Answer, Client
from midhaul.wire.message import Item

__all__ = ["Answer", "Client", "Item"]
