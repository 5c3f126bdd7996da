"""A TCP proxy in front of an object store that fails on purpose."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

__all__ = ["FaultProxy", "refused_endpoint"]

_REQUEST = re.compile(rb"^(GET|PUT|POST|HEAD|DELETE) (\S+) HTTP/1\.[01]\r\n", re.MULTILINE)
_ERROR = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/xml\r\nContent-Length: 54\r\nConnection: close\r\n\r\n"
    b"<Error><Code>InternalError</Code><Message/></Error>   "
)

Fault = Callable[[str, str], str | None]
Answered = Callable[[str, str], object]


class FaultProxy:
    """Forwards connections to ``target`` unless ``fault(method, path)`` says otherwise for a request.

    It answers ``"500"``, ``"drop"`` (close without an answer), ``"cut"`` (forward half of the request, then close), ``"lose answer"``
    (forward all, close instead of answering), ``"cut answer"`` (half of the answer's body), ``"whole"`` (forward it without its range),
    ``"hang"`` (never answer) or None.
    ``answered(method, path)`` is called when the target has answered and the client does not know yet.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self.fault: Fault = lambda method, path: None
        self.answered: Answered = lambda method, path: None
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._closed = threading.Event()
        self._serving: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        self._closed.set()
        self._listener.close()
        for connection in list(self._open):
            connection.close()

    def drain(self, seconds: float = 60) -> None:
        """Return when the target has answered all that was sent to it, after the client has ended."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(seconds)
        for thread in self._serving:
            thread.join(seconds)
            assert not thread.is_alive(), "a request never ended"

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._serving.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        try:
            with closing(client), closing(socket.create_connection(self._target)) as server:
                self._open.add(server)
                while self._exchange(client, server):
                    pass
        except OSError:
            pass

    def _exchange(self, client: socket.socket, server: socket.socket) -> bool:
        """One request and its answer; False when the connection is over."""
        head, rest = _head(client)
        if not head:
            return False
        found = _REQUEST.match(head)
        method, path = (found.group(1).decode(), found.group(2).decode()) if found else ("", "")
        self.requests.append(f"{method} {path}")
        fault = self.fault(method, path)
        if fault == "drop":
            return False
        if fault == "hang":
            self._closed.wait(60)
            return False
        if b"100-continue" in head.lower():
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?i)expect: 100-continue\r\n", b"", head)
        length = _length(head)
        if fault == "500":
            _forward(client, None, rest, length)
            client.sendall(_ERROR)
            return False
        if fault == "whole":
            head = re.sub(rb"(?i)\r\nrange: [^\r]*", b"", head)
        server.sendall(head)
        if fault == "cut":
            server.sendall(rest[: length // 2])
            return False
        _forward(client, server, rest, length)
        return self._answer(client, server, method, path, fault)

    def _answer(self, client: socket.socket, server: socket.socket, method: str, path: str, fault: str | None) -> bool:
        head, rest = _head(server)
        while head.startswith(b"HTTP/1.1 100"):
            head, rest = _head(server, rest)
        self.answered(method, path)
        if not head or fault == "lose answer":
            return False
        client.sendall(head)
        length = 0 if method == "HEAD" or b" 204 " in head[:20] else _length(head)
        if fault == "cut answer":
            _forward(server, client, rest, length // 2)
            return False
        if b"chunked" in head.lower() and method != "HEAD":
            client.sendall(rest)
            while data := server.recv(65536):
                client.sendall(data)
                if data.endswith(b"0\r\n\r\n"):
                    break
            return True
        _forward(server, client, rest, length)
        return b"connection: close" not in head.lower()


def _head(source: socket.socket, received: bytes = b"") -> tuple[bytes, bytes]:
    while b"\r\n\r\n" not in received:
        data = source.recv(65536)
        if not data:
            return b"", b""
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return int(found.group(1)) if found else 0


def _forward(source: socket.socket, target: socket.socket | None, first: bytes, length: int) -> None:
    data = first[:length]
    while True:
        if target is not None and data:
            target.sendall(data)
        length -= len(data)
        if length <= 0:
            return
        data = source.recv(min(262_144, length))
        if not data:
            raise OSError("the sender closed")


@contextmanager
def refused_endpoint() -> Iterator[str]:
    """An address that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"http://127.0.0.1:{port}"
