"""Opens reports in a headless Chromium: no console error, no request at all, open in 3 seconds.

check_report.py REPORT.html [...] [--screenshots FOLDER] [--browser /usr/bin/chromium]

Needs the extra `browser` (Playwright) and a Chromium of the system (Debian: `apt-get install
chromium`); where one of them is missing it says so and ends with 77, as tests that are skipped do.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SKIPPED = 77
OPENS_IN_S = 3.0


@dataclass(frozen=True)
class Opened:
    """What a browser met in a page.

    Attributes:
        seconds: Until all of it was loaded and laid out.
        requests: Addresses that were asked for, besides the file itself.
        errors: Lines of the console, errors of scripts, and what the policy refused.
        broken: Pictures that could not be decoded, by their description.
        unnamed: Pictures without a description.
    """

    seconds: float
    requests: tuple[str, ...]
    errors: tuple[str, ...]
    broken: tuple[str, ...]
    unnamed: int

    @property
    def problems(self) -> list[str]:
        """What must not be, a line each."""
        found = [f"asks for {address}" for address in self.requests]
        found += [f"console: {line}" for line in self.errors]
        found += [f"broken picture: {name}" for name in self.broken]
        if self.unnamed:
            found.append(f"{self.unnamed} pictures without a description")
        if self.seconds > OPENS_IN_S:
            found.append(f"opens in {self.seconds:.1f} s, expected {OPENS_IN_S:.0f} at most")
        return found


def find_browser(named: str | None = None) -> str | None:
    """The Chromium of this machine; None where there is none."""
    return next(
        (path for name in (named, *BROWSERS) if name and (path := shutil.which(name))), None
    )


def why_not(browser: str | None) -> str:
    """Why no page can be opened here; "" where one can."""
    if browser is None:
        return f"no browser: none of {', '.join(BROWSERS)} (Debian: apt-get install chromium)"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError as error:
        return f"no Playwright ({error}): pip install 'slidenet[browser]'"
    return ""


@contextmanager
def browser_of(path: str) -> Iterator[Any]:
    """A headless browser that has no network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # As root, as in containers, Chromium needs to be told to do without its own sandbox.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


def open_page(
    browser: Any, page: Path, *, screenshots: Path | None = None, stem: str = ""
) -> Opened:
    """Opens a page from a file, uses it with a keyboard, and looks at all of it.

    Args:
        browser: Of `browser_of`.
        page: The HTML file.
        screenshots: Gets pictures of the page in light, dark, narrow and printed.
        stem: How these begin.
    """
    address, requests, errors = page.resolve().as_uri(), [], []
    context = browser.new_context(viewport={"width": 1360, "height": 900}, offline=True)
    tab = context.new_page()
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda line: errors.append(f"{line.type}: {line.text}"))
    tab.on("pageerror", lambda error: errors.append(f"error: {error}"))
    tab.add_init_script(
        "document.addEventListener('securitypolicyviolation', e => console.error('refused: ' +"
        " e.violatedDirective + ' ' + e.blockedURI))"
    )
    started = time.perf_counter()
    tab.goto(address, wait_until="load")
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    seconds = time.perf_counter() - started
    if screenshots is not None:
        _take_screenshots(tab, screenshots, stem)
    for button in tab.query_selector_all("th button")[:3]:
        button.press("Enter")
    for field in tab.query_selector_all("input[type=search]")[:2]:
        field.fill("slide")
    tab.evaluate("() => document.querySelectorAll('details').forEach(d => { d.open = true; })")
    found = tab.evaluate(
        """async () => {
            const broken = [], pictures = Array.from(document.images);
            for (const one of pictures) {
                one.loading = "eager";
                try { await one.decode(); } catch { broken.push(one.alt); }
            }
            return { broken, unnamed: pictures.filter(one => !one.alt).length };
        }"""
    )
    context.close()
    asked = tuple(url for url in requests if url.partition("#")[0] != address)
    return Opened(seconds, asked, tuple(errors), tuple(found["broken"]), found["unnamed"])


def _take_screenshots(tab: Any, folder: Path, stem: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(40):
        tab.evaluate(f"() => window.scrollTo({{top: {number * 860}, behavior: 'instant'}})")
        tab.wait_for_timeout(150)
        tab.screenshot(path=folder / f"{stem}light_{number:02d}.png")
        height = tab.evaluate("() => document.documentElement.scrollHeight")
        if (number + 1) * 860 >= height:
            break
    tab.evaluate("() => window.scrollTo({top: 0, behavior: 'instant'})")
    tab.emulate_media(color_scheme="dark")
    tab.screenshot(path=folder / f"{stem}dark.png")
    tab.emulate_media(color_scheme="light")
    tab.set_viewport_size({"width": 420, "height": 900})
    tab.wait_for_timeout(150)
    tab.screenshot(path=folder / f"{stem}narrow.png")
    tab.pdf(path=folder / f"{stem}printed.pdf", format="A4")
    tab.set_viewport_size({"width": 1360, "height": 900})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path)
    parser.add_argument("--screenshots", type=Path)
    parser.add_argument("--browser")
    options = parser.parse_args()
    path = find_browser(options.browser)
    if path is None or why_not(path):
        print(f"SKIPPED: {why_not(path)}")
        return SKIPPED
    failed = False
    with browser_of(path) as browser:
        for report in options.reports:
            found = open_page(
                browser, report, screenshots=options.screenshots, stem=f"{report.stem}_"
            )
            size = report.stat().st_size / 1e6
            met = f"{len(found.requests)} requests, {len(found.errors)} lines on the console"
            print(f"{report}: {size:.1f} MB, opens in {found.seconds:.2f} s, {met}")
            for line in found.problems:
                print(f"  {line}")
            failed |= bool(found.problems)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
