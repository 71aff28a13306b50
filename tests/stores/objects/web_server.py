"""A web server with the faults of real ones, in a thread of the tests."""

import re
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class WebServer(ThreadingHTTPServer):
    """Hands out `files` (name to bytes).

    Attributes:
        ranges: Whether it knows ranges.
        head: Whether it answers HEAD.
        etag: Whether it says one.
        length: Whether it says how long a file is.
        cut_after: Bytes after which the next answers are cut, one number per answer.
        busy: How many of the next answers are "come back later".
        moved: Name to the address it leads to.
        forbidden: Names nobody may read.
        asked: What was asked so far: method, name, range.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.moved, self.forbidden = {}, {}, set()
        self.ranges = self.head = self.etag = self.length = True
        self.cut_after, self.busy, self.asked = [], 0, []

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_):
        """Clients that are gone."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        server, name = self.server, unquote(self.path.partition("?")[0]).lstrip("/")
        asked = self.headers.get("Range")
        server.asked.append((self.command, name, asked))
        if server.busy:
            server.busy -= 1
            return self.end(503)
        if name in server.moved:
            return self.end(302, Location=server.moved[name])
        if name in server.forbidden or (self.command == "HEAD" and not server.head):
            return self.end(403)
        if name not in server.files:
            return self.end(404)
        body = server.files[name]
        about = {"ETag": f'"{hash(body) & 0xFFFFFFFF:x}"'} if server.etag else {}
        start = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        if start and server.ranges:
            first, last = int(start[1]), int(start[2] or len(body) - 1)
            if first >= len(body):
                return self.end(416)
            about["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            return self.send(206, body[first : last + 1], about)
        return self.send(200, body, about)

    def end(self, status, **headers):
        self.send(status, b"", headers)

    def send(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.server.length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        if len(body) > 1 and self.server.cut_after:
            self.wfile.write(body[: self.server.cut_after.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            with suppress(OSError):  # the other side may be faster
                self.connection.shutdown(2)
            return
        with suppress(ConnectionError):
            self.wfile.write(body)


@contextmanager
def web_server():
    server = WebServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
