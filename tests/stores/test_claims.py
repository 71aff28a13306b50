"""Claims: one process at a time makes a file, and one that slept finds out before it writes."""

import errno
import json
import logging
import os
import pickle
import subprocess
import sys
import threading

import pytest

from slidenet.core.errors import ClaimedElsewhere, LostClaim, OutputError
from slidenet.stores import claims
from slidenet.stores.atomic import atomic_path
from slidenet.stores.claims import claim, claim_file, held_claim, take_claim
from slidenet.stores.owners import is_gone, new_token, owner_of, place_digest, started_at
from slidenet.stores.temporary import temporary_path

FAR = "00000000-7-0123abcd"
"""A token of a process on another machine."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "a.h5"


@pytest.fixture
def clock(monkeypatch):
    """The clock of this process, to be set forward."""
    now = [1000.0]
    monkeypatch.setattr(claims, "monotonic", lambda: now[0])
    monkeypatch.setattr(claims, "_seen", {})
    return now


def write_claim(path, token, *, age_s=0.0, started=None):
    """A claim of another process, last touched so long ago by the clock of the disk."""
    path.parent.mkdir(exist_ok=True)
    file = claim_file(path)
    file.write_text(json.dumps({"token": token, "host": "node7", "started": started}))
    now_ns = file.stat().st_mtime_ns
    os.utime(file, ns=(now_ns, now_ns - int(age_s * 1e9)))


def names(path):
    return sorted(p.name for p in path.parent.iterdir())


def test_a_claim_is_there_for_the_block_and_then_gone(path):
    with claim(path) as own:
        assert names(path) == [".a.h5.claim"]
        assert held_claim(path) is own
        with claim(path) as again:
            assert again is own
        own.check()
    assert names(path) == []
    assert held_claim(path) is None


def test_one_of_many_threads_gets_it(path):
    """Threads stand for processes: what decides is the file."""
    start, held = threading.Barrier(8), []

    def attempt():
        start.wait()
        try:
            held.append(take_claim(path))
        except ClaimedElsewhere:
            held.append(None)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = filter(None, held)
    assert names(path) == [".a.h5.claim"]
    winner.release()
    assert names(path) == []


def test_who_holds_it_is_said_with_the_remedy(path):
    write_claim(path, FAR)
    with pytest.raises(
        ClaimedElsewhere, match=r"'a': process 7 on node7 is working on .*a\.h5"
    ) as it:
        take_claim(path, slide="a")
    assert it.value.seen.token == FAR
    assert "run the same command again" in str(it.value)
    assert pickle.loads(pickle.dumps(it.value)).found == it.value.found
    assert names(path) == [".a.h5.claim"]


def test_the_claim_of_a_dead_process_is_taken_at_once(path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    token = f"{place_digest()}-{child.pid}-0123abcd"
    write_claim(path, token, started=started_at(child.pid))
    with pytest.raises(ClaimedElsewhere):
        take_claim(path)
    assert not is_gone(token)
    child.kill()
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(token), "a process that nobody has asked for is dead all the same"
    with claim(path):
        assert names(path) == [".a.h5.claim"]
    child.wait()


def test_a_process_that_got_the_id_of_a_dead_one_holds_nothing(path):
    token = f"{place_digest()}-{os.getpid()}-0123abcd"
    write_claim(path, token, started=started_at(os.getpid()))
    with pytest.raises(ClaimedElsewhere):
        take_claim(path)
    write_claim(path, token, started="1")
    take_claim(path).release()


@pytest.mark.parametrize("spoilt", [b"", b"\0" * 100, b"[]", b"[" * 4000, b'{"token": 3}', b"\xff"])
def test_a_spoilt_claim_is_given_up_for_its_age(path, clock, spoilt):
    write_claim(path, FAR)
    claim_file(path).write_bytes(spoilt)
    for wait in (0, claims.STALE_S - 1):
        clock[0] += wait
        with pytest.raises(ClaimedElsewhere, match="another process is working"):
            take_claim(path)
    clock[0] += 2
    take_claim(path).release()


@pytest.mark.parametrize("target", ["itself", "nowhere", "a claim"])
def test_a_link_in_the_place_of_a_claim_is_a_spoilt_one(path, clock, target):
    write_claim(path, FAR)
    elsewhere = path.parent / "other.claim"
    claim_file(path).rename(elsewhere)
    pointed = {"itself": claim_file(path).name, "nowhere": "none", "a claim": elsewhere.name}
    claim_file(path).symlink_to(pointed[target])
    with pytest.raises(ClaimedElsewhere, match="another process is working"):
        take_claim(path)
    clock[0] += claims.STALE_S + 1
    take_claim(path).release()
    assert names(path) == ["other.claim"]


def test_a_folder_in_the_place_of_a_claim_is_named(path):
    claim_file(path).mkdir(parents=True)
    with pytest.raises(OutputError, match=r"\.a\.h5\.claim"):
        take_claim(path)


def test_an_old_claim_is_looked_at_twice(path, clock):
    """The clock of the disk may have jumped: an owner that lives touches its claim meanwhile."""
    write_claim(path, FAR, age_s=claims.STALE_S + 1)
    with pytest.raises(ClaimedElsewhere):
        take_claim(path)
    clock[0] += 2 * claims.HEARTBEAT_S - 1
    with pytest.raises(ClaimedElsewhere):
        take_claim(path)
    write_claim(path, FAR, age_s=claims.STALE_S + 0.5)  # touched
    clock[0] += 2
    with pytest.raises(ClaimedElsewhere):
        take_claim(path)
    clock[0] += 2 * claims.HEARTBEAT_S
    take_claim(path).release()


def test_a_claim_from_the_future_is_given_up_as_nobody_touches_it(path, clock):
    write_claim(path, FAR, age_s=-1e6)
    for wait in (0, claims.STALE_S - 1):
        clock[0] += wait
        with pytest.raises(ClaimedElsewhere):
            take_claim(path)
    clock[0] += 2
    take_claim(path).release()


def take_over(path, clock):
    """Takes a claim from its owner as if nothing had been heard of it."""
    now_ns = claim_file(path).stat().st_mtime_ns
    os.utime(claim_file(path), ns=(now_ns, now_ns - int(1e12)))
    with pytest.raises(ClaimedElsewhere):
        take_claim(path)
    clock[0] += claims.STALE_S
    return take_claim(path)


def test_who_slept_cannot_write_and_does_not_take_the_claim_away(path, clock):
    with claim(path, slide="a") as own:
        other = take_over(path, clock)
        own.touch()
        assert own.is_lost
        with (
            pytest.raises(LostClaim, match=r"'a': .* taken over by process"),
            atomic_path(path) as temporary,
        ):
            temporary.write_text("late")
    assert names(path) == [".a.h5.claim"]
    other.check()
    other.release()


def test_who_slept_between_proof_and_rename_finds_its_file_gone(path, clock, monkeypatch):
    real, taken = os.replace, []

    def late(source, target):
        taken.append(take_over(path, clock))
        real(source, target)

    monkeypatch.setattr("slidenet.stores.atomic.os.replace", late)
    with pytest.raises(LostClaim), claim(path), atomic_path(path) as temporary:
        temporary.write_text("late")
    assert names(path) == [".a.h5.claim"]
    taken[0].release()


def test_who_slept_before_its_file_was_whole_finds_it_gone_and_its_claim_lost(path):
    other = json.dumps({"token": "00000000-7-0123abcd", "host": "node7", "started": None})

    def sleep(temporary):
        claim_file(path).write_text(other)  # who takes over removes what was begun
        assert not temporary.exists()

    with pytest.raises(LostClaim), claim(path), atomic_path(path) as temporary:
        sleep(temporary)
    assert not path.exists()


def test_a_claim_that_changed_hands_before_the_rename_is_put_back(path, clock, monkeypatch):
    """Of two that try to take a stale claim over, the slower one renames that of the faster."""
    write_claim(path, FAR)
    with pytest.raises(ClaimedElsewhere):
        take_claim(path)
    clock[0] += claims.STALE_S
    real, faster = os.rename, "00000001-8-0123abcd"

    def late(source, target):
        monkeypatch.setattr(os, "rename", real)
        write_claim(path, faster)
        real(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(ClaimedElsewhere, match="process 8"):
        take_claim(path)
    assert names(path) == [".a.h5.claim"]
    assert faster in claim_file(path).read_text()


def test_without_links_claims_are_created_exclusively_and_that_is_said_once(
    path, monkeypatch, caplog
):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with claim(path) as own:
                own.check()
                with pytest.raises(ClaimedElsewhere):
                    take_claim(path)
            assert names(path) == []
    assert [r.message.count("no hard links") for r in caplog.records] == [1]


def test_locks_are_not_asked_for(path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with claim(path), atomic_path(path) as temporary:
        temporary.write_text("x")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="in each other's place"):
        take_claim(tmp_path / "out" / "a.h5")


def test_what_dead_processes_left_is_swept_and_nothing_else(path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path.parent.mkdir()
    left = path.with_name(f".a.h5.{place_digest()}-{dead.pid}-0123abcd.tmp")
    far, old = (path.with_name(f".a.h5.00000000-7-0123abc{n}.tmp") for n in (1, 2))
    strange, alive = path.with_name(".notes.tmp"), temporary_path(path)
    for file in (left, far, old, strange, alive):
        file.write_text("x")
        os.utime(file, (0, 0) if file in (old, strange, alive) else None)
    with atomic_path(path.with_name("b.h5")) as temporary:
        temporary.write_text("x")
    assert names(path) == sorted([far.name, strange.name, alive.name, "b.h5"])


def test_who_claims_sweeps_though_it_writes_nothing(path):
    path.parent.mkdir()
    left = path.with_name(f"..a.h5.claim.{place_digest()}-{10**30}-0123abcd.tmp")
    left.write_text("x")
    with claim(path):
        assert names(path) == [".a.h5.claim"]


def test_tokens_are_new_and_say_who_made_them():
    assert new_token() != new_token()
    assert owner_of(new_token()) == f"{place_digest()}-{os.getpid()}"
    assert not is_gone(new_token())
    assert not is_gone(FAR)
    assert is_gone(f"{place_digest()}-{10**30}-0123abcd")


def test_a_signal_between_the_name_and_the_block_leaves_no_claim(path, monkeypatch):
    look = claims._look

    def interrupted(file):
        assert file.exists()
        monkeypatch.setattr(claims, "_look", look)
        raise KeyboardInterrupt

    monkeypatch.setattr(claims, "_look", interrupted)
    with pytest.raises(KeyboardInterrupt):
        take_claim(path)
    assert names(path) == []
    take_claim(path)  # and a signal before its block
    claims.give_back_claims()  # when Python ends
    assert names(path) == []


def test_a_signal_while_a_claim_is_given_back_leaves_none(path, monkeypatch):
    remove = claims._remove

    def interrupted(file, token):
        monkeypatch.setattr(claims, "_remove", remove)
        raise KeyboardInterrupt

    own = take_claim(path)
    monkeypatch.setattr(claims, "_remove", interrupted)
    with pytest.raises(KeyboardInterrupt):
        own.release()
    assert names(path) == []
