"""The page in a headless Chromium, where there is one: no console error, no request at all."""

import importlib.util
import sys
from pathlib import Path

import pytest

from slidenet.pipelines.report import report

SCRIPT = Path(__file__).resolve().parents[3] / "scripts/check_report.py"


@pytest.fixture(scope="module")
def checks():
    spec = importlib.util.spec_from_file_location("check_report", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser(checks):
    path = checks.find_browser()
    if why := checks.why_not(path):
        pytest.skip(f"{why}; bash scripts/test.sh --browser")
    with checks.browser_of(path) as browser:
        yield browser


@pytest.mark.slow
def test_a_report_asks_for_nothing_and_runs_without_an_error(checks, browser, made, tmp_path):
    page = report(made / "out", made / "run", to=tmp_path / "a.html", num_bootstrap=5).path
    found = checks.open_page(browser, page)
    assert (found.requests, found.errors, found.broken, found.unnamed) == ((), (), (), 0)


@pytest.mark.slow
def test_what_is_forbidden_is_seen(checks, browser, made, tmp_path):
    """The check is no check if it passes everything: a page with what may not be in one."""
    page = report(made / "out", to=tmp_path / "a.html", num_bootstrap=5).path
    text = page.read_text()
    planted = (
        '<img src="https://example.org/a.png" alt="a"><script>console.log(1)</script>'
        '<p style="color:red" onclick="x()">x</p><img src="data:image/png;base64,AAAA" alt="b">'
    )
    page.write_text(text.replace("</main>", f"{planted}</main>"))
    found = checks.open_page(browser, page)
    told = " ".join(found.errors)
    assert "img-src" in told
    assert "script-src" in told
    assert "style-src" in told
    assert "console: 1" not in told
    assert "b" in found.broken
    assert found.problems
