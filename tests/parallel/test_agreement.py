"""Ranks that fail, fail together; what the others did comes from a fake gather."""

import pytest

from slidenet.core.errors import EncoderError, ParallelError
from slidenet.parallel.agreement import Failure, fail_on_all_ranks


def others(*failures):
    """A gather that puts this rank behind these."""
    return lambda own: [*failures, own]


def raising(error):
    def work():
        raise error

    return work


def test_all_succeed():
    assert fail_on_all_ranks(lambda: 5, others(None, None)) == 5


def test_another_rank_failed():
    with pytest.raises(ParallelError, match="sequence rank 1 failed at it: broken file"):
        fail_on_all_ranks(lambda: 5, others(None, Failure("broken file")))


def test_an_echo_gives_way_to_the_cause():
    lost = ParallelError("rank 1 refused its chunk")
    with pytest.raises(ParallelError, match="sequence rank 0 failed at it: NaN features"):
        fail_on_all_ranks(raising(lost), others(Failure("NaN features")))
    with pytest.raises(ParallelError, match="another sequence rank failed at it"):
        fail_on_all_ranks(lambda: 5, others(Failure("an echo", is_echo=True)))


def test_the_rank_with_the_cause_says_it_itself():
    with pytest.raises(EncoderError, match="NaN features"):
        fail_on_all_ranks(raising(EncoderError("NaN features")), others(Failure("cold")))


def test_an_unforeseen_error_is_told_to_the_others_too():
    heard = []
    with pytest.raises(ZeroDivisionError):
        fail_on_all_ranks(lambda: 1 // 0, lambda own: heard.append(own) or [None, own])
    assert heard == [Failure("an internal error")]
