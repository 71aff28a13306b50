"""A page is one file that asks for nothing and runs nothing but its own script."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from slidenet.visualisation.html import (
    Column,
    Html,
    Section,
    details,
    element,
    facts,
    figure,
    gallery,
    listing,
    missing,
    note,
    page,
    paragraph,
    picture_of_array,
    picture_of_figure,
    picture_of_file,
    pictures,
    table,
)
from slidenet.visualisation.html.markup import VOID
from slidenet.visualisation.style import blank_figure

NASTY = '<script>alert(1)</script>" onload="x" \' & \x1b[31m\u202e\n`<b>`'


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open, self.texts = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


@pytest.fixture(scope="module")
def nasty_page():
    picture = picture_of_array(np.zeros((4, 6, 3), np.uint8), longest=6)
    parts = [
        paragraph(NASTY, 3, None, element("b", NASTY)),
        note("bad", NASTY),
        missing(NASTY),
        facts({NASTY: NASTY}),
        table([Column(NASTY), Column("n", True)], [(NASTY, 1.5), ("b", None)], caption=NASTY),
        gallery([figure(picture, NASTY, NASTY), figure(None, NASTY, NASTY)]),
        details(NASTY, listing([NASTY])),
    ]
    return page(NASTY, NASTY, [Section("a", NASTY, parts, NASTY), Section("b", "B", [])])


def test_names_of_others_are_text_wherever_they_stand(nasty_page):
    found = read(nasty_page)
    assert found.tags.count("script") == 1
    assert not [one for one in found.attributes if one[1].startswith("on") or one[1] == "style"]
    shown = "".join(text for tag, text in found.texts if tag not in ("script", "style"))
    assert shown.count("<script>alert(1)</script>") == 18
    assert "\x1b" not in nasty_page
    assert "\u202e" not in nasty_page


def test_nothing_is_asked_from_anywhere(nasty_page):
    found = read(nasty_page)
    addresses = [v for _, name, v in found.attributes if name in ("href", "src")]
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    (style,) = [text for tag, text in found.texts if tag == "style"]
    assert "url(" not in style
    assert "@import" not in style
    assert "http" not in re.sub("http-equiv", "", nasty_page)


def test_the_policy_names_the_style_and_the_script_and_forbids_the_rest(nasty_page):
    found = read(nasty_page)
    (policy,) = [v for _, name, v in found.attributes if name == "content" and "default-src" in v]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("img-src") == "data:"
    for tag in ("style", "script"):
        (text,) = [data for of, data in found.texts if of == tag]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert rules == dict.fromkeys(("default-src", "base-uri", "form-action"), "'none'")
    head = nasty_page.index("Content-Security-Policy")
    assert head < nasty_page.index("<style") < nasty_page.index("<script")


def test_sections_pictures_and_tables_have_names_for_those_who_cannot_see(nasty_page):
    found = read(nasty_page)
    identifiers = {v for _, name, v in found.attributes if name == "id"}
    links = [v for tag, name, v in found.attributes if tag == "a" and name == "href"]
    assert {link[1:] for link in links} <= identifiers
    assert found.tags.count("caption") == found.tags.count("table")
    assert sum(tag == "img" and name == "alt" for tag, name, _ in found.attributes) == 1
    assert ("html", "lang", "en") in found.attributes


def test_parts_and_numbers_are_kept_as_they_are():
    assert element("p", Html("<b>x</b>"), 1, None, 0.5).markup == "<p><b>x</b>10.5</p>"
    assert element("img", alt="", data_x=True, hidden=False, class_=None).markup == (
        '<img alt="" data-x>'
    )
    assert paragraph("say `a <b>` now").markup == "<p>say <code>a &lt;b&gt;</code> now</p>"


def test_pictures_of_files_lose_what_is_not_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    words = PngImagePlugin.PngInfo()
    words.add_text("Comment", "patient-name")
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=words)
    exif = Image.Exif()
    exif[0x010E] = "patient-name"
    Image.fromarray(pixels).save(tmp_path / "b.jpg", exif=exif, comment=b"patient-name")
    for name in ("a.png", "b.jpg"):
        picture = picture_of_file(tmp_path / name, longest=30)
        assert (picture.width, picture.height) == (30, 20)
        content = base64.b64decode(picture.uri.partition(",")[2])
        assert b"patient-name" not in content
        assert picture.num_bytes == len(picture.uri)


def test_what_is_no_picture_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 5000)
    whole = tmp_path / "whole.png"
    Image.new("RGB", (40, 40)).save(whole)
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("<svg onload='x'>")
    Image.new("L", (72, 72)).save(tmp_path / "huge.png")
    for name in ("cut.png", "text.jpg", "huge.png", "gone.png"):
        assert picture_of_file(tmp_path / name, longest=30) is None


def test_a_figure_is_the_same_every_time():
    first, second = (picture_of_figure(blank_figure(2, 1)) for _ in range(2))
    assert first == second
    assert (first.width, first.height) == (192, 96)
