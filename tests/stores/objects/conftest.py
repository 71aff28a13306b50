import importlib.util
from pathlib import Path

import pytest

from slidenet.stores.objects import store

_spec = importlib.util.spec_from_file_location(
    "web_server", Path(__file__).with_name("web_server.py")
)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


@pytest.fixture
def web(monkeypatch):
    """A web server in this process; `web.uri` is its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with _module.web_server() as server:
        yield server


@pytest.fixture
def no_pauses(monkeypatch):
    """Tries again at once."""
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(store, "LAST_PAUSE_S", 0.0)
