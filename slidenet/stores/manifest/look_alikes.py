"""Names that a reader takes for one another: `A1` with a Latin and with a Cyrillic letter.

What is compared is a name's outline: signs that nobody sees are left out, and signs that are drawn
like a Latin letter, a digit or a plain mark count as that one. The table is a choice of what people
meet: Cyrillic and Greek keyboards, dashes and quotes of word processors, East Asian widths.
"""

import unicodedata
from collections.abc import Iterable

_UNSEEN = ("\u034f\u115f\u1160\u3164\uffa0\u17b4\u17b5"  # fillers
           + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))))  # fmt: skip
_DRAWN_LIKE = str.maketrans({
    **dict(zip("АВЕЅІЈКМНОРСТУХҮԌԚԜ", "ABESIJKMHOPCTYXYGQW", strict=True)),  # Cyrillic
    **dict(zip("аеѕіјкорсухһԁԛԝӏ", "aesijkopcyxhdqwl", strict=True)),
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧϹ", "ABEZHIKMNOPTYXC", strict=True)),  # Greek  # noqa: RUF001
    **dict(zip("αικνορυϲϳ", "aikvopucj", strict=True)),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u02d7\u2043\ufe58", "-"),
    **dict.fromkeys("\u2018\u2019\u201b\u02bc\u02b9\u00b4\u0060\u2032", "'"),
    **dict.fromkeys("\u00b7\u2022\u2024", "."),
    **dict.fromkeys("\u01c0\u2223", "l"),
    "\u0131": "i",
    "\u2800": " ",  # the pattern of Braille without a dot
    **dict.fromkeys(_UNSEEN, None),
})  # fmt: skip
_SAME_STROKE = str.maketrans("OI1", "0ll")


def as_drawn(name: str) -> str:
    """The name in the signs it looks to be written with, those of a plain keyboard where it can."""
    # Before Unicode takes some apart into letters that are drawn otherwise, and after.
    drawn = unicodedata.normalize("NFKD", name.translate(_DRAWN_LIKE)).translate(_DRAWN_LIKE)
    seen = "".join(sign for sign in drawn if unicodedata.category(sign) not in ("Cf", "Cc"))
    return unicodedata.normalize("NFC", " ".join(seen.split()))


def outline(name: str) -> str:
    """The same for names that look the same on a screen, whatever signs they are written with."""
    return as_drawn(name).translate(_SAME_STROKE).casefold()


def look_alikes(names: Iterable[str]) -> list[tuple[str, ...]]:
    """The names that look alike, those that do together, in their order."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        found.setdefault(outline(name), []).append(name)
    return [tuple(alike) for alike in found.values() if len(alike) > 1]


def unlike_signs(one: str, other: str) -> str:
    """The signs of `one` that are not in `other` and not those of a plain keyboard, by name."""
    signs = dict.fromkeys(sign for sign in one if sign not in other and not sign.isascii())
    return ", ".join(f"U+{ord(s):04X} {unicodedata.name(s, '').lower()}".rstrip() for s in signs)
