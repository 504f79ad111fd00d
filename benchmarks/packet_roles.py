"""The processes that the packet lab starts: server, clients and link.

    python benchmarks/packet_roles.py serve '{"port": 8443, ...}'

Without a role nothing is done.
"""

from __future__ import annotations

import json
import sys

from packet_client import ask
from packet_link import link
from packet_server import serve

_ROLES = {"serve": serve, "ask": ask, "link": link}

if __name__ == "__main__" and sys.argv[1:]:
    _ROLES[sys.argv[1]](json.loads(sys.argv[2]))
