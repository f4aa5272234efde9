"""The robot's socket: one JSON line in, one JSON line out (adapter).

Only processes of the same user, or root, are answered. Nothing here steers money but ``halt``, which can only stop.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from fortctl.errors import FortctlError, InternalError, UsageError
from fortctl.robot.process.local_robot import SOCKET_NAME, short_socket_path
from fortctl.robot.process.proc import peer_uid

Handler = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
_REQUEST_LIMIT = 64 * 1024


class ControlSocket:
    """Serve a robot's socket.

    Args:
        folder: the robot's folder; the socket is made in it, 0600.
        handlers: operation name → coroutine function from the request to the answer's data.
    """

    def __init__(self, folder: Path, handlers: Mapping[str, Handler]) -> None:
        self._folder = folder
        self._handlers = dict(handlers)
        self._server: asyncio.AbstractServer | None = None

    async def open(self) -> None:
        path = self._folder / SOCKET_NAME
        path.unlink(missing_ok=True)
        previous = os.umask(0o177)
        try:
            with short_socket_path(self._folder) as short:
                self._server = await asyncio.start_unix_server(self._serve, path=short, limit=_REQUEST_LIMIT)
        finally:
            os.umask(previous)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        (self._folder / SOCKET_NAME).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if peer_uid(writer.get_extra_info("socket")) not in (os.getuid(), 0):
                return
            answer = await self._answer(await reader.readline())
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the asker went away, or sent more than a request
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            handler = self._handlers.get(str(request.get("op")))
            if handler is None:
                raise UsageError("unknown operation")
            return {"ok": True, "data": dict(await handler(request))}
        except FortctlError as error:
            return {"ok": False, "error": error.as_json()}
        except (ValueError, AttributeError):
            return {"ok": False, "error": UsageError("no JSON object").as_json()}
        except Exception as error:  # the asker gets an answer whatever breaks; the log has the rest
            return {"ok": False, "error": InternalError(f"{type(error).__name__} in the robot").as_json()}
