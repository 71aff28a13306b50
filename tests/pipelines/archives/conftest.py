"""A server on this machine that answers as the documentation of an archive says."""

import json
import re
import shlex
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer  # HTTPServer asks for the name of this machine

import pytest

from slidenet.pipelines.archives import asking


class Answers:
    """What a server says, path by path, and what it was asked.

    Attributes:
        url: Its address.
        says: Of each path the answers in order, each a JSON value, an HTTP code, or bytes; the last
            one is given again. A function is given what was asked.
        asked: Path and question of each request.
    """

    def __init__(self):
        self.says, self.asked = {}, []

    @property
    def questions(self):
        """What was asked by POST, in order."""
        return [question for _, question in self.asked if question is not None]


@pytest.fixture(scope="session")
def _server():
    class Handler(BaseHTTPRequestHandler):
        def _answer(self, question=None):
            answers = self.server.answers
            answers.asked.append((self.path, question))
            left = answers.says.get(self.path, [404])
            said = left.pop(0) if len(left) > 1 else left[0]
            said = said(question) if callable(said) else said
            code = said if isinstance(said, int) else 200
            body = said if isinstance(said, bytes) else json.dumps(said).encode()
            if code != 200:
                body = b'{"error": {"code": "x", "message": "not\\ntoday"}}'
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self._answer()

        def do_POST(self):
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *_):
            pass

    server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def archive(_server, monkeypatch):
    monkeypatch.setattr(asking, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    _server.answers = Answers()
    _server.answers.url = f"http://127.0.0.1:{_server.server_address[1]}"
    return _server.answers


@pytest.fixture(scope="session")
def commands():
    """The commands of docs/scaling.md, "Public archives", word by word."""
    page = (Path(__file__).resolve().parents[3] / "docs/scaling.md").read_text()
    section = re.search(r"## Public archives\n.*?```bash\n(.*?)```", page, re.DOTALL)
    return [shlex.split(line, comments=True) for line in section[1].splitlines()]
