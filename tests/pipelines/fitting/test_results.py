import re

from slidenet.pipelines.fitting.results import Section, metrics_section, write_results


def test_a_section_is_printed_and_written_alike(tmp_path):
    section = Section("Left out", ("2 slides.",), ("slide", "n"), (("a|b", "1"), ("c_d*<e>", "10")))
    assert section.text() == "Left out\n2 slides.\nslide     n\na|b       1\nc_d*<e>  10"
    text = write_results(tmp_path, "trained x\nwith y", [section]).read_text()
    assert text.startswith("# Results\n\ntrained x\n\nwith y\n\n## Left out\n\n2 slides.\n\n")
    for line in text.splitlines()[-4:]:  # every line of the table has two cells
        assert len(re.findall(r"(?<!\\)\|", line)) == 3
    assert "<e>" not in text.replace(r"\<e\>", "")


def test_what_a_split_has_no_value_of_is_said_so():
    section = metrics_section("Metrics", {"val": {"auroc": 0.5}, "test": {"auroc": 1, "r2": 0.25}})
    assert section.rows == (("auroc", "0.500", "1.000"), ("r2", "nan", "0.250"))
