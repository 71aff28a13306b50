import pytest

from slidenet.evaluation.probes import search


@pytest.fixture(autouse=True)
def one_deal(monkeypatch):
    """Patients are dealt into inner folds once: the choice is then less sure, and made sooner."""
    monkeypatch.setattr(search, "REPEATS", 1)
