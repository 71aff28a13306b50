"""The kinds of faults. Each is a function that does its mischief, and heals it, with a `Scene`."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from cohort import SLIDES, leftovers
from injection import CHANGES
from scene import FaultFound, Scene

Rule = dict[str, Any]
KINDS: dict[str, Callable[[Scene], str]] = {}
"""Name -> what does it and returns in words what it did."""

DAY_S = 86_400


def kind(function: Callable[[Scene], str]) -> Callable[[Scene], str]:
    KINDS[function.__name__.replace("_", " ")] = function
    return function


def a_change(scene: Scene, action: str, share: float = 1.0, **more: Any) -> Rule:
    """A rule for one moment: rare operations are as likely as frequent ones."""
    counts = scene.world.operations
    op = scene.rng.choice([op for op in CHANGES if counts[op]])
    nth = scene.rng.randint(1, max(1, round(counts[op] * share)))
    when = scene.rng.choice(("before", "after"))
    return {"ops": [op], "folder": "out", "nth": nth, "when": when, "action": action, **more}


def words(rule: Rule) -> str:
    times = {1: "", -1: " and ever after"}.get(rule.get("times", 1), f", {rule.get('times')} times")
    what = rule.get("errno", rule["action"])
    place = f"{' or '.join(rule['ops'])} number {rule['nth']} in {rule['folder']}"
    return f"{what} {rule.get('when', 'before')} {place}{times}"


def an_error(scene: Scene, errno: str, ops: tuple[str, ...], times: int, most: int) -> Rule:
    nth = scene.rng.randint(1, most)
    return {
        **{"ops": list(ops), "folder": "out", "nth": nth, "times": times},
        **{"action": "errno", "errno": errno},
    }


def undisturbed_s(scene: Scene) -> float:
    """A moment within a run."""
    return scene.rng.uniform(0.05, 3.0)


# One process that is ended.


@kind
def killed_at_a_change(scene: Scene) -> str:
    rules = [a_change(scene, "kill")]
    scene.wait(scene.job(rules=rules), -9)
    scene.check_results(complete=False)
    scene.healthy()
    return f"{words(rules[0])}: {scene.ended[:-1]}"


@kind
def killed_twice(scene: Scene) -> str:
    rules = [a_change(scene, "kill"), a_change(scene, "kill", 0.3)]
    for rule in rules:
        scene.wait(scene.job(rules=[rule]), -9)
        scene.check_results(complete=False)
    scene.healthy()
    return ", then ".join(map(words, rules))


@kind
def killed_at_some_time(scene: Scene) -> str:
    job, wait = scene.job(), undisturbed_s(scene)
    time.sleep(wait)
    job.signal(signal.SIGKILL)
    scene.wait(job, -9)
    scene.check_results(complete=False)
    scene.healthy()
    return f"SIGKILL after {wait:.2f} s"


@kind
def terminated_at_a_change(scene: Scene) -> str:
    rules = [a_change(scene, "term")]
    code = scene.wait(scene.job(rules=rules), 143)
    scene.check_results(complete=code == 0)
    check_nothing_left(scene)
    scene.healthy()
    return f"{words(rules[0])}: {scene.ended[:-1]}"


@kind
def interrupted_at_some_time(scene: Scene) -> str:
    job, wait = scene.job(), undisturbed_s(scene)
    time.sleep(wait)
    number = scene.rng.choice((signal.SIGINT, signal.SIGTERM))
    job.signal(number)
    # Before slidenet has started, a signal does what it does to every program.
    scene.wait(job, 130, 143, *([-number] if wait < 0.3 else []))
    scene.check_results(complete=False)
    check_nothing_left(scene)
    scene.healthy()
    return f"signal {number} after {wait:.2f} s"


def check_nothing_left(scene: Scene) -> None:
    """What ends cleanly keeps partial rows only."""
    left = [name for name in leftovers(scene.out) if "partial" not in name]
    if left:
        raise FaultFound("wrong", f"left after a clean end: {', '.join(left)}")


@kind
def reader_killed(scene: Scene) -> str:
    scene.isolate = True
    nth = scene.rng.randint(1, 300)
    rule = {"ops": ["read"], "folder": "slides", "nth": nth, "action": "kill", "role": "reader"}
    scene.wait(scene.job(rules=[rule]))
    scene.check_results(complete=False)
    scene.healthy()
    return f"the reading process: {words(rule)}"


@kind
def reader_hangs(scene: Scene) -> str:
    scene.isolate = True
    nth = scene.rng.randint(1, 200)
    rule = {"ops": ["read"], "folder": "slides", "nth": nth, "action": "stop", "role": "reader"}
    scene.wait(scene.job("--slide-timeout", "10", rules=[rule]))
    scene.check_results(complete=False)
    scene.healthy()
    return f"the reading process: {words(rule)}"


# Disks.


@kind
def disk_full(scene: Scene) -> str:
    errno = scene.rng.choice(("ENOSPC", "EDQUOT"))
    rule = an_error(scene, errno, ("create", "write", "mkdir", "fsync"), -1, 500)
    scene.wait(scene.job(rules=[rule]))
    scene.check_results(complete=False)
    scene.healthy()
    return f"{words(rule)}: {scene.ended[:-1]}"


@kind
def disk_full_once(scene: Scene) -> str:
    rule = a_change(scene, "errno", errno="ENOSPC")
    scene.wait(scene.job(rules=[rule]))
    scene.check_results(complete=False)
    scene.healthy()
    return f"{words(rule)}: {scene.ended[:-1]}"


@kind
def disk_error_when_writing(scene: Scene) -> str:
    errno = scene.rng.choice(("EIO", "ESTALE", "ETIMEDOUT"))
    rule = a_change(scene, "errno", errno=errno, times=scene.rng.choice((1, 3, -1)))
    scene.wait(scene.job(rules=[rule]))
    scene.check_results(complete=False)
    scene.healthy()
    return f"{words(rule)}: {scene.ended[:-1]}"


@kind
def disk_error_when_reading_outputs(scene: Scene) -> str:
    errno = scene.rng.choice(("EIO", "ESTALE", "ENOENT", "EACCES"))
    op = scene.rng.choice(("open", "read", "stat", "list"))
    rule = an_error(scene, errno, (op,), scene.rng.choice((1, 3)), 60)
    if scene.rng.random() < 0.5:
        scene.finished()
    scene.wait(scene.job(rules=[rule]))
    scene.check_results(complete=False)
    scene.healthy()
    return f"{words(rule)}: {scene.ended[:-1]}"


@kind
def disk_read_only(scene: Scene) -> str:
    rule = an_error(scene, "EROFS", CHANGES, -1, 600)
    scene.wait(scene.job(rules=[rule]))
    scene.check_results(complete=False)
    scene.healthy()
    return f"{words(rule)}: {scene.ended[:-1]}"


@kind
def disk_without_locks(scene: Scene) -> str:
    errno = scene.rng.choice(("ENOLCK", "EOPNOTSUPP", "ENOSYS"))
    lock = {"ops": ["lock"], "folder": "out", "nth": 1, "times": -1, "action": "errno"}
    rules: list[Rule] = [{**lock, "errno": errno}]
    if scene.rng.random() < 0.5:
        rules.append({**lock, "ops": ["link"], "errno": scene.rng.choice(("EPERM", "EOPNOTSUPP"))})
    jobs = [scene.job(rules=rules) for _ in range(scene.rng.randint(1, 3))]
    codes = [scene.wait(job) for job in jobs]
    if any(code not in (0, 75) for code in codes):
        raise FaultFound("lost", f"without locks the processes end with {codes}")
    scene.healthy()
    return f"{len(jobs)} processes, {' and '.join(map(words, rules))}"


# Slides that go away.


@kind
def slide_outage(scene: Scene) -> str:
    errno = scene.rng.choice(("EIO", "ESTALE", "ETIMEDOUT", "ENOENT"))
    rule = an_error(scene, errno, ("read", "open"), scene.rng.choice((1, 10, 100, -1)), 400)
    rule |= {"folder": "slides", "role": "reader" if scene.isolate else "main"}
    job = scene.job(rules=[rule])
    code = scene.wait(job)
    if "unreadable" in job.text:
        scene.told = set(SLIDES)
    scene.check_results(complete=code == 0)
    scene.told = set()
    scene.healthy()
    return f"{words(rule)}: {scene.ended[:-1]}"


@kind
def slide_not_there_for_a_while(scene: Scene) -> str:
    slides = scene.slides
    away = slides.with_name("away")
    job, wait = scene.job(), undisturbed_s(scene)
    time.sleep(wait)
    os.rename(slides, away)
    time.sleep(scene.rng.choice((0.3, 1.0, 3.0)))
    os.rename(away, slides)
    scene.wait(job, 2)  # the manifest lies there, too
    if "unreadable" in job.text:
        scene.told = set(SLIDES)
    scene.check_results(complete=False)
    scene.told = set()
    scene.healthy()
    return f"the folder of slides goes away after {wait:.2f} s"


# Memory and clocks.


@kind
def memory_short(scene: Scene) -> str:
    limit = scene.rng.choice((10, 30, 60, 100, 150, 200, 300))
    scene.wait(scene.job(memory_mb=limit))
    scene.check_results(complete=False)
    scene.healthy()
    return f"{limit} MB more than at the start"


@kind
def memory_error_somewhere(scene: Scene) -> str:
    folder = scene.rng.choice(("out", "slides"))
    ops = ["read", "open", "create", "write", "stat"]
    nth = scene.rng.randint(1, 500)
    rule = {"ops": ops, "folder": folder, "nth": nth, "action": "memory"}
    scene.isolate = scene.isolate and folder == "out"
    scene.wait(scene.job(rules=[rule]))
    scene.check_results(complete=False)
    scene.healthy()
    return f"{words(rule)}: {scene.ended[:-1]}"


@kind
def clock_jumps(scene: Scene) -> str:
    seconds = scene.rng.choice((-1, 1)) * scene.rng.choice((3600, DAY_S, 400 * DAY_S))
    clock = (scene.rng.randint(0, 40), float(seconds))
    jobs = [scene.job(clock=clock if n else None) for n in range(scene.rng.randint(1, 3))]
    if all(scene.wait(job) == 1 for job in jobs):
        raise FaultFound("lost", "every process has failed slides")
    scene.check_results(complete=False)
    scene.healthy()
    return f"{len(jobs)} processes, the clock of all but the first jumps by {seconds} s"


@kind
def file_times_jump(scene: Scene) -> str:
    rules = [a_change(scene, "kill")]
    scene.wait(scene.job(rules=rules), -9)
    days = scene.rng.choice((-400, -2, 2, 400))
    shift_times(scene, days)
    scene.healthy()
    return f"{words(rules[0])}, then all files are {days} days off"


def shift_times(scene: Scene, days: float, name: str = "*") -> None:
    """As if the clock of the file server had jumped, or a long time had passed."""
    for path in [*scene.out.rglob(name), *scene.out.rglob(f".{name}")]:
        try:
            moment = path.stat().st_mtime + days * DAY_S
            os.utime(path, (moment, moment))
        except FileNotFoundError:
            continue
