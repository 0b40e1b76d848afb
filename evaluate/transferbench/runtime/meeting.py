"""How the processes of one start find each other, and none of an earlier start."""

import os
import socket
import time
from typing import Any

import torch.distributed as dist

from transferbench.runtime.launch import Launch

PORT = "transferbench's port"


def meeting(place: Launch) -> dict[str, Any]:
    """Where to meet, in the words of `init_process_group`.

    The store of torchrun's agent outlives the processes, and what they left there, addresses that nobody answers at,
    would be found by those started anew (torch 2.15). So the first process opens a store of its own, which ends with
    it, and only the port of that stands in the agent's.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True):
        return {"init_method": place.meet}
    agents: Any = next(dist.rendezvous("env://"))[0]  # pyright: ignore[reportPrivateImportUsage]
    host, limit = os.environ["MASTER_ADDR"], agents.timeout
    if place.rank == 0:
        own = dist.TCPStore(host, 0, is_master=True, timeout=limit, wait_for_workers=False)  # pyright: ignore[reportPrivateImportUsage]
        agents.set(PORT, str(own.port))
        return {"store": own}
    port = _answered(host, agents, time.monotonic() + limit.total_seconds())
    return {"store": dist.TCPStore(host, port, timeout=limit)}  # pyright: ignore[reportPrivateImportUsage]


def _answered(host: str, agents: Any, deadline: float) -> int:
    """The first process's port, read anew until somebody answers at it. Raises OSError when nobody has by then."""
    while True:
        port = int(agents.get(PORT))
        try:
            socket.create_connection((host, port), 1).close()
            return port
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
