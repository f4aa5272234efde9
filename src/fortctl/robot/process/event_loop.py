"""The robot's event loop: uvloop's, without the threads that it keeps for ever once it has connected a socket."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import uvloop


class SingleThreadLoop(uvloop.Loop):
    """A loop that connects without asking its pool of threads what a numeric address means (decision 0020)."""

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        try:
            sock.connect(address)
            return
        except (BlockingIOError, InterruptedError):
            pass
        writable: asyncio.Future[None] = self.create_future()
        self.add_writer(sock, lambda: None if writable.done() else writable.set_result(None))
        try:
            await writable
        finally:
            self.remove_writer(sock)
        failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise OSError(failed, f"connect to {address}: {os.strerror(failed)}")
