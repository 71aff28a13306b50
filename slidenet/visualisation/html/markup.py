"""HTML out of parts, in which text stays text: what is not made here is escaped.

A page is put together from `Html`. Whatever else is handed to `element`, a name, a number or a line
of somebody's file, is text and becomes harmless on the way in, so no part can forget it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from slidenet.core.escapes import in_html

VOID = frozenset({"br", "hr", "img", "link", "meta"})
"""Elements without an end tag."""

Attribute = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Html:
    """Markup that may be put into a page as it is.

    Attributes:
        markup: The text of it.
    """

    markup: str


Child = Html | str | int | float | None


def element(tag: str, /, *children: Child, **attributes: Attribute) -> Html:
    """One element.

    Args:
        tag: Its name.
        *children: What it holds, in order; everything but `Html` is text, None is nothing.
        **attributes: By name, `class_` for class and `data_state` for data-state; True for a name
            alone, None and False for none.
    """
    assert "style" not in attributes, "the policy of the page forbids inline styles"
    start = f"<{tag}{_written(attributes)}>"
    if tag in VOID:
        assert not children
        return Html(start)
    return Html(f"{start}{joined(children).markup}</{tag}>")


def joined(children: Iterable[Child], between: str = "") -> Html:
    """Several parts one after another, with a text between them."""
    written = (
        child.markup if isinstance(child, Html) else in_html(str(child))
        for child in children
        if child is not None
    )
    return Html(in_html(between).join(written))


def _written(attributes: Mapping[str, Attribute]) -> str:
    parts = []
    for key, value in attributes.items():
        name = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {name}")
        elif value is not None and value is not False:
            parts.append(f' {name}="{in_html(str(value))}"')
    return "".join(parts)
