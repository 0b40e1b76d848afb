"""How the processes of one start find each other, and none of an earlier start."""

import ipaddress
import os
import socket
import time
from typing import Any

from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.distributed.rendezvous import rendezvous

from transferbench.runtime.launch import Launch

ADDRESS = "transferbench's host and port"


def meeting(place: Launch) -> dict[str, Any]:
    """Where to meet, in the words of `init_process_group`.

    The store of torchrun's agent outlives the processes, and what they left there, addresses that nobody answers at,
    would be found by those started anew (torch 2.15). So the first process opens a store of its own, which ends with
    it, and only the address of that stands in the agent's.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True):
        return {"init_method": place.meet}
    agents: Any = next(rendezvous("env://"))[0]
    limit = agents.timeout
    if place.rank == 0:
        host = own_host(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        own = TCPStore(host, 0, is_master=True, timeout=limit, wait_for_workers=False)
        agents.set(ADDRESS, f"{host} {own.port}")
        return {"store": own}
    host, port = _answered(agents, time.monotonic() + limit.total_seconds())
    return {"store": TCPStore(host, port, timeout=limit)}


def own_host(agent: str, port: int) -> str:
    """What others call this machine: `agent`, if the agent's store is on it, else the address it calls there from.

    After a restart the first process need not be where the agent's store is.
    """
    with socket.create_connection((agent, port)) as call:
        address = call.getsockname()[0]
    return agent if ipaddress.ip_address(address).is_loopback else address


def _answered(agents: Any, deadline: float) -> tuple[str, int]:
    """The first process's address, read anew until somebody answers. Raises OSError when nobody has by `deadline`."""
    while True:
        host, port = agents.get(ADDRESS).decode().split()
        try:
            socket.create_connection((host, int(port)), 1).close()
            return host, int(port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
