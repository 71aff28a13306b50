"""Machines that compute the same may work together; others are refused, or doubted."""

from dataclasses import replace

from slidenet.pipelines.cluster.facts import LIBRARIES, MachineFacts, source_digest

HERE = MachineFacts(
    "a",
    "01234567",
    (0, 1),
    "3.11.7",
    "2.60.0",
    "0.1.0 (0a1b2c3d)",
    {"torch": "2.11.0+cu130", "h5py": "3.15"},
    "Zen",
)


def test_the_same_environment_is_taken():
    assert HERE.forbids(replace(HERE, host="b", place="x", cores=(5,), python="3.11.9")) == []
    cpu_build = {"torch": "2.11.0+cpu", "h5py": "3.15"}
    assert HERE.doubts(replace(HERE, host="b", libraries=cpu_build)) == []


def test_what_forbids_and_what_is_doubted():
    node = replace(
        HERE,
        python="3.12.1",
        ray="2.59.0",
        slidenet="0.1.0 (ffffffff)",
        libraries={"torch": "2.10.0", "h5py": "not installed"},
        processor="Lake",
    )
    assert HERE.forbids(node) == [
        "Python 3.12 there, 3.11 here",
        "Ray 2.59.0 there, 2.60.0 here",
        "slidenet 0.1.0 (ffffffff) there, 0.1.0 (0a1b2c3d) here",
    ]
    assert HERE.doubts(node) == [
        "torch 2.10.0 instead of 2.11.0+cu130",
        "h5py not installed instead of 3.15",
        "Lake instead of Zen",
    ]


def test_facts_of_this_machine():
    found = MachineFacts.here()
    assert found.slidenet.endswith(f"({source_digest()})")
    assert set(found.libraries) == set(LIBRARIES)
    assert found.libraries["numpy"][0].isdigit()
    assert found.forbids(found) == found.doubts(found) == []
