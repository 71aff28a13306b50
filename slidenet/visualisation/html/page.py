"""A whole page in one file, which asks for nothing from anywhere and runs nothing but its own.

The policy at its head is strict: pictures come out of the file itself (`data:`), the one style
sheet and the one script are named by their SHA-256, and all else is forbidden, inline handlers and
inline styles too. So even a name that slipped through unescaped could run nothing.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from slidenet.visualisation.html.markup import Html, element, joined


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    Attributes:
        anchor: Its name in links; lower-case letters and hyphens.
        title: Its heading.
        parts: What it holds.
        lacks: What is not there, in a few words for the list at the start; "" where all is.
    """

    anchor: str
    title: str
    parts: Sequence[Html]
    lacks: str = ""


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The text of an HTML file.

    Args:
        title: In the tab and the first heading.
        subtitle: Below it.
        sections: In order; each is linked from the bar at the side.
    """
    style, script = _own_file("report.css"), _own_file("report.js")
    policy = (
        "default-src 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="robots", content="noindex"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(style)),
    )
    links = [
        element(
            "li",
            element("a", section.title, href=f"#{section.anchor}"),
            element("span", " (incomplete)", class_="incomplete") if section.lacks else None,
        )
        for section in sections
    ]
    body = element(
        "body",
        element("a", "Skip to the content", class_="skip", href="#content"),
        element("header", element("h1", title), element("p", subtitle, class_="subtitle")),
        element("nav", element("ol", *links), aria_label="Sections"),
        element("main", *map(_section, sections), id="content", tabindex=-1),
        element("script", Html(script)),
    )
    document = element("html", head, body, lang="en")
    return f"<!DOCTYPE html>\n{document.markup}\n"


def _section(section: Section) -> Html:
    name = f"{section.anchor}-title"
    heading = element("h2", section.title, id=name)
    inner = joined([heading, *section.parts])
    return element("section", inner, id=section.anchor, aria_labelledby=name)


@cache
def _own_file(name: str) -> str:
    """The style sheet or the script that lies beside this file."""
    text = files("slidenet.visualisation.html").joinpath(name).read_text(encoding="utf-8")
    assert "</" not in text, "would end the element that holds it"
    return text


def _digest(text: str) -> str:
    """How a policy names a style sheet or script."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
