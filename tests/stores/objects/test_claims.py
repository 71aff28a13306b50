import pytest

from slidenet.core.errors import ClaimedElsewhere, LostClaim
from slidenet.stores.atomic import write_json
from slidenet.stores.objects import claims
from slidenet.stores.objects.claims import ObjectClaim, object_claim

CLAIM = "s3://bucket/out/.slidenet/claims/tiles/a.h5.json"


@pytest.fixture
def putter(memory_bucket):
    return memory_bucket.putter()


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [1000.0]
    monkeypatch.setattr(claims, "monotonic", lambda: now[0])
    monkeypatch.setattr(claims, "is_gone", lambda token, started: False)
    monkeypatch.setattr(claims, "_seen", {})
    return now


def take(putter):
    return object_claim(putter, CLAIM, "tiles/a.h5", slide="a")


def test_one_of_two_gets_it_and_gives_it_back(putter, memory_bucket, clock):
    with take(putter):
        with pytest.raises(ClaimedElsewhere, match=r"process \d+ on .* is working on tiles/a.h5"):
            take(putter).__enter__()
        assert CLAIM in memory_bucket.objects, "who was refused takes nothing away"
    assert not memory_bucket.objects
    with take(putter):
        pass


def test_one_that_lives_is_seen_to_live(putter, clock):
    own = ObjectClaim(putter, CLAIM, "it", "a")
    assert own.try_to_take() is None
    seen = ObjectClaim(putter, CLAIM, "it", "a").try_to_take()
    own.touch()
    assert ObjectClaim(putter, CLAIM, "it", "a").try_to_take() != seen


@pytest.mark.parametrize(("age_s", "wait_s"), [(500, 31), (0, 121)])
def test_one_that_is_not_heard_of_is_taken_over(putter, memory_bucket, clock, age_s, wait_s):
    dead = ObjectClaim(putter, CLAIM, "it", "a")
    assert dead.try_to_take() is None
    memory_bucket.ages[CLAIM] = age_s  # by the clock of the store
    assert ObjectClaim(putter, CLAIM, "it", "a").try_to_take() is not None, "first it is watched"
    clock[0] += wait_s
    assert ObjectClaim(putter, CLAIM, "it", "a").try_to_take() is None
    with pytest.raises(LostClaim, match="taken over"):
        dead.check()
    dead.release()
    assert CLAIM in memory_bucket.objects, "it is not his to give back"


def test_a_process_of_this_machine_that_is_gone_is_no_owner(putter, monkeypatch):
    assert ObjectClaim(putter, CLAIM, "it", "a").try_to_take() is None
    monkeypatch.setattr(claims, "is_gone", lambda token, started: True)
    assert ObjectClaim(putter, CLAIM, "it", "a").try_to_take() is None


def test_who_lost_it_names_no_file(putter, memory_bucket, clock, tmp_path):
    with take(putter):
        write_json(tmp_path / "before.json", {})
        memory_bucket.write(CLAIM, b"of somebody else")
        clock[0] += 1000
        with pytest.raises(LostClaim):
            write_json(tmp_path / "after.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["before.json"]
    assert memory_bucket.objects[CLAIM][0] == b"of somebody else"


def test_an_answer_that_was_lost_is_no_other_owner(putter, memory_bucket, clock):
    own = ObjectClaim(putter, CLAIM, "it", "a")
    put = putter._put

    def twice(uri, source, expected):
        put(uri, source, expected)
        return put(uri, source, expected)  # the connection was cut, and it is tried again

    putter._put = twice
    assert own.try_to_take() is None
    own.touch()
    own.check()
    assert not own.is_lost


def test_who_is_interrupted_while_asking_takes_nothing_of_others(putter, memory_bucket, clock):
    other = ObjectClaim(putter, CLAIM, "it", "a")
    assert other.try_to_take() is None

    class Interrupted(type(putter)):
        def read(self, uri):
            self.read = super().read
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(Interrupted(memory_bucket)).__enter__()
    assert CLAIM in memory_bucket.objects
    other.check()


def test_an_interrupted_one_whose_claim_was_written_gives_it_back(putter, memory_bucket, clock):
    class Interrupted(type(putter)):
        def _put(self, uri, source, expected):
            super()._put(uri, source, expected)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(Interrupted(memory_bucket)).__enter__()
    assert not memory_bucket.objects


def test_a_beat_on_its_way_does_not_write_what_was_given_back(putter, memory_bucket, clock):
    putter.conditions = False
    own = ObjectClaim(putter, CLAIM, "it", "a")
    assert own.try_to_take() is None
    own.release()
    own.touch()
    assert not memory_bucket.objects
