import importlib.util
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from slidenet.pipelines.preprocess import preprocess
from slidenet.stores.objects import mirror, store

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def proxies(s3, monkeypatch):
    """The proxy of `scripts/check_objects.py`, in front of the server of the tests."""
    file = SCRIPTS / "faults" / "cutting_proxy.py"
    spec = importlib.util.spec_from_file_location("cutting_proxy", file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "cutting_proxy", module)
    spec.loader.exec_module(module)
    target = urlsplit(s3)
    proxy = module.CuttingProxy((target.hostname, target.port))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    mirror._putter.cache_clear()
    yield proxy, module.Fate
    proxy.close()
    mirror._putter.cache_clear()


def test_uploads_that_are_cut_and_answers_that_are_lost_cost_nothing(
    bucket, proxies, row, small_tiles, tmp_path, monkeypatch
):
    proxy, fate = proxies
    left = {"sent": 2, "answered": 2}

    def cut(request):
        if request.is_upload and "/tiles/" in request.path:
            for name, value in (("sent", 0.5), ("answered", 0)):
                if left[name]:
                    left[name] -= 1
                    return fate(**{name: value})
        return None

    proxy.rules[:] = [cut]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    report = preprocess([row], f"{bucket.uri}/out", small_tiles, isolate=False)
    assert [outcome.status for outcome in report.outcomes] == ["done"]
    assert not any(left.values())
    preprocess([row], tmp_path / "local", small_tiles, isolate=False)
    made = [path for path in (tmp_path / "local").rglob("*") if path.is_file()]
    names = {path.relative_to(tmp_path / "local").as_posix(): path for path in made}
    results = {name: path for name, path in names.items() if not name.startswith("run")}
    keys = bucket.keys()
    found = {key.removeprefix("out/") for key in keys}
    assert {name for name in found if not name.startswith("run")} == results.keys()
    for name, path in results.items():
        assert bucket.get(f"out/{name}") == path.read_bytes(), name
