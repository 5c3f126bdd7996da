"""A proxy that loses one answer: the server has carried the statement out, and the client never hears of it."""

from __future__ import annotations

import contextlib
import re
import socket
import threading

import sqlalchemy as sa

__all__ = ["LosingProxy"]

_READY_FOR_QUERY = b"Z\x00\x00\x00\x05"


class LosingProxy:
    """Forwards to one PostgreSQL or MariaDB server until :meth:`lose` arms it; then cuts the connection instead of the answer."""

    def __init__(self, url: str) -> None:
        self._target = sa.make_url(url)
        self._postgres = self._target.get_backend_name() == "postgresql"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._armed: re.Pattern[bytes] | None = None
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The database behind the proxy."""
        return self._target.set(host="127.0.0.1", port=self._listener.getsockname()[1]).render_as_string(hide_password=False)

    def lose(self, statement: str) -> None:
        """Lose the answer to the next message that contains ``statement`` as a word."""
        self._armed = re.compile(rb"\b" + statement.encode() + rb"\b")

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection((self._target.host or "127.0.0.1", self._target.port or 0))
            _Pair(self, client, server).start()

    def take(self, data: bytes) -> bool:
        """Whether this message's answer is the one to lose; at most once."""
        if self._armed is None or not self._armed.search(data):
            return False
        self._armed = None
        return True

    def carried_out(self, answer: bytes) -> bool:
        """Whether the answer so far says that the server is done."""
        return _READY_FOR_QUERY in answer if self._postgres else bool(answer)


class _Pair:
    """One client and its connection to the server."""

    def __init__(self, proxy: LosingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._losing = False

    def start(self) -> None:
        threading.Thread(target=self._to_server, daemon=True).start()
        threading.Thread(target=self._to_client, daemon=True).start()

    def _to_server(self) -> None:
        try:
            while data := self._client.recv(65536):
                self._losing = self._losing or self._proxy.take(data)
                self._server.sendall(data)
        except OSError:
            pass
        finally:
            self._end()

    def _to_client(self) -> None:
        swallowed = b""
        try:
            while data := self._server.recv(65536):
                if not self._losing:
                    self._client.sendall(data)
                    continue
                swallowed += data
                if self._proxy.carried_out(swallowed):
                    self._proxy.lost += 1
                    return
        except OSError:
            pass
        finally:
            self._end()

    def _end(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
