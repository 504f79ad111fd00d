"""A client of MQTT 5.0 and 3.1.1 whose user acknowledges and chooses packet ids.

A bridge has to write a message down before it acknowledges it, and has to send it again
under the same packet id after it was killed. Clients that do this by themselves cannot:
see ``docs/decisions``, *The bridge speaks MQTT itself*.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
