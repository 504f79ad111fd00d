"""The link of the packet lab: packets between two namespaces, later and at a rate."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import struct
import time
from collections import deque
from pathlib import Path
from typing import Any


def link(options: dict[str, Any]) -> None:
    """Carry packets between two namespaces, later and at a rate."""
    devices = [_tun(name) for name in options["names"]]
    print("ready", flush=True)
    delay_s, rate_bps = options["delay_s"], options["rate_bps"]
    waiting: list[deque[tuple[float, bytes]]] = [deque(), deque()]
    free_s, n_sent = 0.0, 0
    while True:
        now = time.monotonic()
        due = [queue[0][0] for queue in waiting if queue]
        left_s = max(min(due) - now, 0) if due else None
        ready, _, _ = select.select(devices, [], [], left_s)
        now = time.monotonic()
        for device in ready:
            packet = os.read(device, 1 << 16)
            side = devices.index(device)
            leaves_s = now
            if side == 0:
                n_sent += 1
                if options["loss"] and n_sent % options["loss"] == 0:
                    continue
                if rate_bps:
                    free_s = max(free_s, now) + len(packet) * 8 / rate_bps
                    leaves_s = free_s
            waiting[side].append((leaves_s + delay_s, packet))
        now = time.monotonic()
        for side, queue in enumerate(waiting):
            while queue and queue[0][0] <= now:
                with contextlib.suppress(OSError):
                    os.write(devices[1 - side], queue.popleft()[1])


def _tun(namespace: str) -> int:
    """A tunnel device in a namespace, whose packets this process reads and writes."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{namespace}").open(encoding="ascii") as file:
        if libc.setns(file.fileno(), 0x40000000):
            message = f"setns: {os.strerror(ctypes.get_errno())}"
            raise OSError(message)
    device = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH22x", b"tun0", 0x0001 | 0x1000)
    fcntl.ioctl(device, 0x400454CA, request)
    return device
