"""A client's bytes, over TCP or WebSocket: read exactly, send, end."""

import asyncio
from typing import Protocol

from websockets import ConnectionClosed
from websockets.asyncio.server import ServerConnection

CLOSE_S = 2.0


class Wire(Protocol):
    heard: float  # the loop's time of the newest bytes

    async def read(self, n: int) -> bytes:
        """Exactly `n` bytes; raises asyncio.IncompleteReadError or ConnectionError at the end."""

    async def send(self, data: bytes) -> None:
        """Returns once the client's side has room again; raises ConnectionError. Callers take turns."""

    async def close(self) -> None:
        """Send what is left, within `CLOSE_S`, then end."""

    def abort(self) -> None:
        """End at once; waiting reads and sends raise."""


class TcpWire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self.heard = self._loop.time()

    async def read(self, n: int) -> bytes:
        data = await self._reader.readexactly(n)
        self.heard = self._loop.time()
        return data

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()
        except OSError:  # TimeoutError is one
            self.abort()

    def abort(self) -> None:
        self._writer.transport.abort()


class WebSocketWire:
    """Frames need not line up with packets.

    amqtt's own reader, when the socket closes inside a packet, fills the packet up with copies of the last
    frame and passes it on; here such a packet ends with the connection.
    """

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self._rest = bytearray()
        self._loop = asyncio.get_running_loop()
        self.heard = self._loop.time()

    async def read(self, n: int) -> bytes:
        while len(self._rest) < n:
            self._rest += await self._frame(n)
        data = bytes(self._rest[:n])
        del self._rest[:n]
        return data

    async def _frame(self, n: int) -> bytes:
        try:
            frame = await self._socket.recv()
        except ConnectionClosed:
            raise asyncio.IncompleteReadError(bytes(self._rest), n) from None
        if isinstance(frame, str):
            raise ConnectionAbortedError("a text frame; MQTT over WebSocket is binary")
        self.heard = self._loop.time()
        return frame

    async def send(self, data: bytes) -> None:
        try:
            await self._socket.send(data)
        except ConnectionClosed as error:
            raise ConnectionResetError(str(error)) from None

    async def close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        self._socket.transport.abort()
