"""A proxy in front of an HTTP server that cuts connections, loses answers and changes requests.

Each connection is one request, as with the servers of tests, which close it after their answer.
"""

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

_HEAD_END = b"\r\n\r\n"
_STEP = 1 << 16


@dataclass
class Request:
    """A request on its way.

    Attributes:
        number: Counted from 1.
        method: GET, PUT, ...
        path: With its query.
        size: Bytes of its body.
        headers: All bytes up to the body.
    """

    number: int
    method: str
    path: str
    size: int
    headers: bytes

    @property
    def is_upload(self) -> bool:
        """Whether it puts a result (no claim, no probe) into a bucket."""
        return self.method == "PUT" and "/.slidenet/" not in self.path

    def without(self, *names: str) -> bytes:
        """The head without some headers."""
        lines = self.headers.split(b"\r\n")
        lost = tuple(f"{name.lower()}:".encode() for name in names)
        return b"\r\n".join(line for line in lines if not line.lower().startswith(lost))


Rule = Callable[[Request], "Fate | None"]


@dataclass(frozen=True)
class Fate:
    """What becomes of a request.

    Attributes:
        sent: Share of its body that reaches the server before the connection is cut.
        answered: Bytes of the answer that come back before it is cut.
        head: Sent in the place of its own.
        instead: An answer in the place of the server's.
    """

    sent: float | None = None
    answered: int | None = None
    head: bytes | None = None
    instead: bytes | None = None


@dataclass
class CuttingProxy:
    """Listens on a free port and hands requests on, as rules say; the first that answers counts.

    Attributes:
        target: Host and port of the server.
        rules: Asked of each request.
        seen: All requests so far.
        sent_bytes: Bytes of bodies that went up.
        come_bytes: Bytes of answers.
        per_second: Most bytes a second in each direction of a connection; None: all there are.
    """

    target: tuple[str, int]
    rules: list[Rule] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list)
    sent_bytes: int = 0
    come_bytes: int = 0
    per_second: float | None = None

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def close(self) -> None:
        """Takes no more connections."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            data = b""
            while _HEAD_END not in data:
                part = client.recv(_STEP)
                if not part:
                    return
                data += part
            head, _, body = data.partition(_HEAD_END)
            request = self._note(head + _HEAD_END)
            fates = (fate for rule in self.rules if (fate := rule(request)) is not None)
            fate = next(fates, Fate())
            if fate.instead is not None:
                if b"100-continue" not in request.headers.lower():  # else it waits to be asked
                    self._take_rest(client, request.size - len(body))
                client.sendall(fate.instead)
                return
            with socket.create_connection(self.target) as server:
                server.sendall(fate.head or request.headers)
                most = request.size if fate.sent is None else int(request.size * fate.sent)
                self._hand_on(client, server, body, request, most)
                if fate.sent is not None:
                    _cut(client)
                    return
                self._answer(client, server, fate)

    def _note(self, head: bytes) -> Request:
        line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        with self._lock:
            request = Request(
                len(self.seen) + 1, line[0], line[1], int(found[1]) if found else 0, head
            )
            self.seen.append(request)
        return request

    def _hand_on(
        self, client: socket.socket, server: socket.socket, body: bytes, of: Request, most: int
    ) -> None:
        if b"100-continue" in of.headers.lower() and not body:
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        sent = 0
        while sent < most:
            part = body or client.recv(_STEP)
            body = b""
            if not part:
                return
            part = part[: most - sent]
            self._slow(len(part))
            server.sendall(part)
            sent += len(part)
            with self._lock:
                self.sent_bytes += len(part)

    def _answer(self, client: socket.socket, server: socket.socket, fate: Fate) -> None:
        come = 0
        while part := server.recv(_STEP):
            if part.startswith(b"HTTP/1.1 100"):
                part = part.partition(_HEAD_END)[2]
            if fate.answered is not None and come + len(part) > fate.answered:
                client.sendall(part[: fate.answered - come])
                _cut(client)
                return
            self._slow(len(part))
            client.sendall(part)
            come += len(part)
            with self._lock:
                self.come_bytes += len(part)

    def _slow(self, count: int) -> None:
        if self.per_second:
            threading.Event().wait(count / self.per_second)

    def _take_rest(self, client: socket.socket, left: int) -> None:
        while left > 0 and (part := client.recv(_STEP)):
            left -= len(part)


def _cut(client: socket.socket) -> None:
    """Ends a connection as a network does: with a reset."""
    with suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
