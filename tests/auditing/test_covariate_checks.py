"""Covariates that are the label under another name."""

import pytest

from slidenet.auditing import AuditSettings, audit_cohort
from slidenet.data import make_task, read_label_table


@pytest.fixture
def found(tmp_path):
    """The findings about covariates of a table of 30 patients, 10 of them with the label."""

    def look(**columns):
        lines = [",".join(["slide_id", "patient_id", "label", *columns])]
        for i in range(30):
            cells = [str(values(i, i % 3 == 0)) for values in columns.values()]
            lines.append(",".join([f"s{i}", f"p{i}", ["no", "yes"][i % 3 == 0], *cells]))
        path = tmp_path / "labels.csv"
        path.write_text("\n".join(lines) + "\n")
        table = read_label_table(path)
        settings = AuditSettings(covariates=tuple(columns))
        findings = audit_cohort(table, make_task(table, "binary", ["label"]), settings=settings)
        return {f.text.split("'")[1]: f for f in findings if f.code.startswith("covariate-")}

    return look


def test_a_covariate_that_is_the_label_is_a_warning(found):
    telling = found(
        score=lambda i, yes: 100 * yes + i,
        low=lambda i, yes: -100 * yes - i,
        word=lambda i, yes: "mutated" if yes else "normal",
        known_of_cases=lambda i, yes: 60 + i % 7 if yes else "",
        age=lambda i, yes: 60 + i % 7 + yes,
        sex=lambda i, yes: "FM"[i % 2],
    )
    assert set(telling) == {"score", "low", "word", "known_of_cases"}
    assert all(f.severity == "warning" and "data.covariates" in f.remedy for f in telling.values())
    assert "by whether it is known (20 of 30 patients" in telling["known_of_cases"].text


def test_a_covariate_of_acquisition_is_a_warning(found):
    assert found(scanner=lambda i, yes: "ab"[i % 2])["scanner"].code == "covariate-of-acquisition"
