from slidenet.visualisation.page import MARGIN, Page, cut_to, wrapped

WIDE, NARROW = "W" * 120, "i" * 120


def test_words_that_are_too_long_stay_on_the_page(no_overlap):
    page = Page(WIDE, width=5)
    page.paragraph(f"{NARROW} {WIDE}", left=1.0, bold=True)
    page.key([("red", WIDE), ("blue", NARROW)])
    page.write(1.0, page.top, WIDE, ha="left", va="top", width=2.0)
    page.top += 0.2
    no_overlap(page.finish("\u4f60" * 60))


def test_long_words_fill_their_lines_and_lose_nothing():
    lines = wrapped(f"The model says: {WIDE}, 0.91.", 5 - 2 * MARGIN, size=9)
    assert lines[0].startswith("The model says: WWW")
    assert "".join(lines) == f"The model says: {WIDE}, 0.91."
    assert len(lines) == 4


def test_prose_is_broken_as_ever():
    text = (
        "A line of prose that is longer than the page is broken between its words.\n\nAnd goes on."
    )
    assert wrapped(text, 3.0, size=9) == [
        "A line of prose that is longer than the page",
        "is broken between its words.",
        "",
        "And goes on.",
    ]


def test_what_fits_is_not_cut():
    assert cut_to("short", 1.0, size=9) == "short"
    assert cut_to(WIDE, 1.0, size=9) == "WWWWWW…"
    assert cut_to(NARROW, 1.0, size=9).count("i") > 20
    assert cut_to(WIDE, 0.0, size=9) == "W…"
