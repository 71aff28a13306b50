"""Words people write in tables, and what they mean; the same in training, evaluation and audits.

What a cell says is decided here alone: which words say that nothing is known (`is_missing`), which
may say so (`is_doubtful`), which numbers a cell holds (`as_number`), which words stand for 0 and 1
(`as_truth`) or for what happened to a patient (`as_event`), which names of columns mean patients
(`names_patients`) or slides, and which spellings are one word (`spelling`, `id_spelling`).
"""

import itertools
import math
import re
import unicodedata
from collections.abc import Collection, Sequence

_PANDAS = ("", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan",
           "<na>", "n/a", "na", "null", "nan", "nat")  # fmt: skip
_SPREADSHEETS = ("#value!", "#ref!", "#div/0!", "#name?", "#num!", "#null!", "#spill!", "#calc!",
                 "#getting_data", "#nv", "#wert!", "#bezug!")  # fmt: skip
MISSING = frozenset((*_PANDAS, *_SPREADSHEETS))
"""Cells that mean "not known", whatever the case of their letters: what `pandas.read_csv` takes for
missing, and the errors of spreadsheets. `None` is one as Python writes it; a class may well be
called none."""

DOUBTFUL = frozenset((
    *("?", "??", "???", "-", "--", "---", "\u2013", "\u2014", ".", "..", "/", "*"),
    *("unknown", "unk", "not known", "not available", "not reported", "not recorded",
      "not applicable", "not evaluated", "not evaluable", "not assessed", "not assessable",
      "not done", "not tested", "not determined", "not specified", "not provided", "not given",
      "cannot be assessed", "undetermined", "unspecified", "unclear", "uncertain",
      "indeterminate", "inconclusive", "equivocal", "missing", "no data", "no label",
      "no result", "nil", "n/d", "n/k", "unlabelled", "unlabeled", "pending", "tbd", "nd", "n.d.",
      "n.a.", "k.a.",
      "insufficient", "gx", "tx", "nx", "mx", "unbekannt", "unklar", "inconnu", "desconocido"),
))  # fmt: skip
"""Words that mostly mean "not known", but could be a class: whoever means one has to say so."""

TRUTH = {
    **dict.fromkeys(("0", "false", "no", "f", "n", "negative", "neg", "absent", "wildtype",
                     "wild type", "wt", "not mutated", "unmutated"), 0.0),
    **dict.fromkeys(("1", "true", "yes", "t", "y", "positive", "pos", "present", "mutated", "mut",
                     "mutant"), 1.0),
}  # fmt: skip
"""Words for 0 and 1, as `_plain` writes them."""

EVENTS = {
    **dict.fromkeys(("0", "false", "no", "f", "n", "censored", "alive", "living", "survived",
                     "no event", "event free", "disease free", "progression free",
                     "recurrence free", "relapse free", "no recurrence", "no relapse",
                     "no progression", "diseasefree"), 0.0),
    **dict.fromkeys(("1", "true", "yes", "t", "y", "event", "uncensored", "observed", "happened",
                     "dead", "deceased", "died", "death", "recurred", "recurrence", "relapsed",
                     "relapse", "progressed", "progression", "recurred/progressed"), 1.0),
}  # fmt: skip
"""Words for an event that happened (1) or a patient who was censored (0), as `_plain` writes."""

_USUALLY_POSITIVE = frozenset(
    ("1", "yes", "true", "positive", "pos", "present", "mutated", "mut", "mutant", "high",
     "tumour", "tumor", "cancer", "malignant", "metastasis", "metastatic", "msi", "msi-h", "msih",
     "dmmr", "abnormal", "case", "disease", "diseased", "responder", "recurrence", "relapse",
     "dead", "deceased", "event", "+")
)  # fmt: skip
PATIENT_COLUMN = "patient_id"
_PATIENTS = frozenset(
    ("patientid", "patient", "patid", "pat", "patno", "patnr", "case", "caseid", "caseno", "casenr",
     "casenumber", "subjectno", "subjectnumber", "participantno", "pid", "casesubmitterid",
     "submitterid", "patientbarcode",
     "bcrpatientbarcode", "patientcode", "patientnumber", "patientno", "patientnr",
     "patientidentifier", "patientkey", "subjectid", "subject", "participantid", "participant",
     "donorid", "icgcdonorid", "usubjid", "mrn")
)  # fmt: skip
_LIKE_PATIENTS = re.compile(
    r"patient|pat(_|\b)|\bcase\b|subject|donor|person|individual|participant|accession|specimen"
    r"|block|biopsy|fall\b|record", re.IGNORECASE
)  # fmt: skip
_SLIDES = frozenset(
    ("slideid", "slide", "slidename", "slidefile", "slidefilename", "filename", "file", "filepath",
     "fileid", "image", "imageid", "imagename", "imagefile", "wsi", "wsiid", "wsiname", "scan",
     "scanid", "scanname", "slidepath", "path")
)  # fmt: skip

TCGA = "tcga"
"""What `patient_column` is called where patients are read from TCGA barcodes in slide_ids."""
_TCGA_CASE = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})(?![A-Z0-9])", re.IGNORECASE)

_DASH = re.compile("[\u2010\u2013\u2014\u2212]")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_CODED_EVENT = re.compile(r"([01])\s*[:=]\s*(.*\S)")
_SUFFIX = re.compile(r"\.[a-z][a-z0-9]{1,4}$")


def is_missing(cell: str, class_names: Collection[str] = ()) -> bool:
    """Whether a cell holds no class. A class may be called NA where `class_names` says so."""
    return (cell.casefold() in MISSING or cell == "None") and cell not in class_names


def is_missing_number(cell: str) -> bool:
    """Whether a cell that should hold a number, or 0 or 1, holds none."""
    return cell.casefold() in MISSING or cell.casefold() == "none"


def is_doubtful(cell: str) -> bool:
    """Whether a cell mostly means "not known", as `unknown`, `?` and `[Not Available]` do."""
    return _plain(cell) in DOUBTFUL and not is_missing(cell)


def is_no_id(cell: str) -> bool:
    """Whether a cell that should name a patient or a site names none."""
    return is_missing_number(cell) or is_doubtful(cell)


def as_number(cell: str) -> float:
    """The finite number a cell holds, NaN where it holds none."""
    try:
        value = math.nan if "_" in cell else float(cell)  # Python reads 1_2 as twelve
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def as_truth(cell: str) -> float:
    """0.0 or 1.0 as a cell says it, by a word of `TRUTH` or a number such as 1.0; else NaN."""
    return _zero_or_one(cell, TRUTH)


def as_event(cell: str) -> float:
    """1.0 for an event, 0.0 for none, by a word of `EVENTS`, a number, or `1:DECEASED`; else NaN.

    A code and a word that contradict each other are NaN, too.
    """
    coded = _CODED_EVENT.fullmatch(cell.strip())
    if coded is None:
        return _zero_or_one(cell, EVENTS)
    code, word = float(coded[1]), EVENTS.get(_plain(coded[2]))
    return code if word in (None, code) else math.nan


def number_remedy(cells: Collection[str]) -> str:
    """What to do about cells that should be numbers, by what they look like; "" for no idea."""
    if any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells):
        return "write numbers with a decimal point, not a comma"
    return ""


def usually_positive(class_name: str) -> bool:
    """Whether most people would call a class the positive one of two."""
    return _plain(class_name) in _USUALLY_POSITIVE


def spelling(word: str) -> str:
    """The same for words that differ in case, spaces, hyphens or how a letter is encoded only.

    A hyphen counts where it says something: in front or at the end (-1, ER-), and between two
    numerals (the stages I-II are not III).
    """
    text = _DASH.sub("-", _visible(word).casefold()).strip(" \t\r\n_")
    words = re.split(r"[\s_-]+", text.strip("-_ \t"))
    if not words[0]:  # nothing but marks
        return text or _visible(word).strip()
    found = "-" * text.startswith("-") + words[0]
    for before, after in itertools.pairwise(words):
        digits = before[-1].isdecimal() and after[0].isdecimal()
        found += "-" * (digits or (before in _ROMAN and after in _ROMAN)) + after
    return found + "-" * text.endswith("-")


def id_spelling(name: str, *, file_name: bool = False) -> str:
    """The same for ids that differ in case, spaces, leading zeros or the encoding of letters only.

    Args:
        name: The id.
        file_name: Whether an ending such as `.svs` says nothing either.
    """
    name = _visible(name).casefold().strip()
    if file_name:
        name = _SUFFIX.sub("", name)
    name = re.sub(r"\.0$", "", name) if name.replace(".", "").isdecimal() else name
    name = re.sub(r"(?<=\d)\s+(?=\d)", "-", name)  # "1 11" and "11 1" are two names
    name = re.sub(r"[_\-\u2013\u2014]+", "-", re.sub(r"\s+", "", name))
    return re.sub(r"(?<!\d)0+(?=\d)", "", name)


def look_alike(one: str, other: str) -> bool:
    """Whether two words look like one, mistyped: a mark, an accent or a letter apart.

    `pos` and `pos.`, `Lodz` with and without its accents, `tumor` and `tumour`; not `typical` and
    `atypical`, `stageI` and `stageII`, nor `3` and `3+`.
    """
    short, long = sorted(map(_without_marks, (one, other)), key=len)
    if not (short.isalpha() and long.isalpha()):
        return False
    if short == long:
        return True
    if len(short) < 4:
        return False
    if len(short) == len(long):
        apart = [i for i, (a, b) in enumerate(zip(short, long, strict=True)) if a != b]
        return (
            len(apart) == 2
            and apart[1] == apart[0] + 1
            and (short[apart[0]], short[apart[1]]) == (long[apart[1]], long[apart[0]])
        )
    return len(long) == len(short) + 1 and any(
        long[:i] + long[i + 1 :] == short and long[i] not in "ivx" for i in range(1, len(long))
    )


def tcga_case(slide_id: str) -> str | None:
    """The patient a TCGA barcode names, `TCGA-XX-XXXX`; None for other ids."""
    found = _TCGA_CASE.match(slide_id)
    return None if found is None else found[1].upper()


def names_patients(column: str) -> bool:
    """Whether a column of that name holds patients, whatever its case, spaces and underscores."""
    return spelling(column).replace(".", "") in _PATIENTS


def may_name_patients(column: str) -> bool:
    """Whether a column of that name may well hold patients, or what belongs to one."""
    return names_patients(column) or _LIKE_PATIENTS.search(column) is not None


def names_slides(column: str) -> bool:
    """Whether a column of that name most likely names slides, or their files."""
    return spelling(column).replace(".", "") in _SLIDES


def usual_order(names: Sequence[str]) -> tuple[str, ...]:
    """Classes from the lowest to the highest, where everybody would put them so; else empty."""
    plain = [_plain(name) for name in names]
    for scale in _SCALES:
        places = [next((i for i, words in enumerate(scale) if p in words), None) for p in plain]
        known = [place for place in places if place is not None]
        if len(known) == len(names) == len(set(known)):
            return tuple(name for _, name in sorted(zip(known, names, strict=True)))
    counted = [re.fullmatch(r"(\D*?)[\s_-]*(\d+(?:\.\d+)?|[ivx]+)(\+?)", p) for p in plain]
    if not all(counted) or len({(m[1], m[3]) for m in counted if m}) != 1:
        return ()
    values = [_count(m[2]) for m in counted if m]
    if len(set(values)) < len(names) or any(math.isnan(value) for value in values):
        return ()
    return tuple(name for _, name in sorted(zip(values, names, strict=True)))


_SCALES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("none", "absent", "negative", "no", "normal"), ("minimal", "trace", "very low"),
     ("mild", "low", "weak", "slight", "small"),
     ("moderate", "medium", "mid", "middle", "intermediate"),
     ("severe", "high", "strong", "marked", "large"), ("very high", "very severe", "extreme")),
    (("well", "well differentiated"), ("moderate", "moderately differentiated", "moderately"),
     ("poor", "poorly differentiated", "poorly"), ("undifferentiated",)),
)  # fmt: skip
_ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")


def _count(text: str) -> float:
    if text in _ROMAN:
        return float(_ROMAN.index(text) + 1)
    return as_number(text)


def _plain(cell: str) -> str:
    """A word without its case, brackets, quotes, underscores and further spaces."""
    word = _visible(cell).casefold().strip("[](){}<>'\"` \t")
    return " ".join(word.replace("_", " ").split())


def _visible(text: str) -> str:
    """A text in one encoding of its letters, without characters that nobody sees."""
    kept = (letter for letter in text if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", "".join(kept))


def _without_marks(word: str) -> str:
    """A word in small letters without accents and marks that are no words such as `+`."""
    letters = unicodedata.normalize("NFKD", _visible(word).casefold().translate(_STROKES))
    return "".join(c for c in letters if not unicodedata.combining(c) and c not in ".,;:'\"()")


_STROKES = str.maketrans({"\u0142": "l", "\u00f8": "o", "\u0111": "d"})  # no accents to Unicode


def _zero_or_one(cell: str, words: dict[str, float]) -> float:
    plain = _plain(cell)
    value = words.get(plain, words.get(plain.replace("-", " "), as_number(cell)))
    return value if value in (0.0, 1.0) else math.nan
