"""The report shows names of classes, columns and models as they are, whatever signs they hold."""

import csv
import re

import numpy as np
import pytest

from slidenet.core.escapes import in_markdown
from slidenet.pipelines.evaluate import evaluate

CLASSES = ("-low $x_1$|<b>", "=1+1 *bold* \x1b[31m\u202e`q`\n# $ <script>")
COLUMN = "grade $_1$ | <x>\n# h"


@pytest.mark.slow
def test_names_are_no_markup(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "model <i>|$y$.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["bag_id", "patient_id", COLUMN, *(f"prob_{name}" for name in CLASSES)])
        for number in range(40):
            p = float(np.clip(rng.normal(0.3 + 0.4 * (number % 2), 0.2), 0.01, 0.99))
            rows.writerow([f"b{number}", f"p{number}", CLASSES[number % 2], 1 - p, p])
    evaluate(path, tmp_path / "out", num_bootstrap=50)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for name in (CLASSES[1], COLUMN, path.stem):
        assert in_markdown(name) in text
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)(<|\$|`)", text)
    for line in text.splitlines():
        assert line.startswith(("## ", "# ")) or not line.startswith("#")
