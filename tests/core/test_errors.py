import pickle

from slidenet.core.errors import MissingMppError, SlidenetError


def test_message_says_slide_found_expected_and_remedy():
    error = MissingMppError("no mpp", expected="a number", remedy="fill it in", slide="a")
    assert str(error) == "slide 'a': no mpp; expected a number. To fix: fill it in"
    assert str(SlidenetError("only\n this")) == "only this"


def test_errors_survive_pickling_between_processes():
    error = MissingMppError("no mpp", expected="a number", remedy="fill it in", slide="a")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is MissingMppError
    assert str(copy) == str(error)


def test_a_cohort_names_the_slide_by_its_id():
    assert str(SlidenetError("broken", slide="file.svs").with_slide("id")) == "slide 'id': broken"
