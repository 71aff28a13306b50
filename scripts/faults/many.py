"""Kinds of faults with several processes on one output folder."""

import signal
import time

from cohort import Job, results
from kinds import a_change, kind, shift_times, words
from scene import OF_ALL_SLIDES, FaultFound, Scene, last_words


def wait_for_all(scene: Scene, jobs: list[Job], *also: int) -> list[int]:
    """Waits for processes that nothing ails; one of them at least must have done its part."""
    codes = [scene.wait(job, *also) for job in jobs]
    if 1 in codes:
        failed = next(job for job, code in zip(jobs, codes, strict=True) if code == 1)
        raise FaultFound("lost", f"codes {codes}: {last_words(failed.text)}")
    return codes


@kind
def many_processes(scene: Scene) -> str:
    jobs = []
    for _ in range(scene.rng.randint(2, 8)):
        jobs.append(scene.job())
        time.sleep(scene.rng.choice((0, 0, 0.1, 0.5)))
    codes = wait_for_all(scene, jobs)
    if 0 not in codes:
        raise FaultFound("lost", f"no process did its slides: {codes}")
    scene.check_results(complete=True)
    scene.healthy()
    return f"{len(jobs)} processes: {codes}"


@kind
def array_jobs(scene: Scene) -> str:
    lines = (scene.slides / "slides.csv").read_text().split()
    jobs = []
    for number, line in enumerate(lines[1:]):
        # A manifest lies beside the slides that it names.
        manifest = scene.folder / f"part{number}.csv"
        slide_id, name = line.split(",")
        manifest.write_text(f"{lines[0]}\n{slide_id},{scene.slides / name}\n")
        jobs.append(scene.job(manifest=manifest))
    codes = wait_for_all(scene, jobs)
    if any(codes):
        raise FaultFound("lost", f"jobs with slides of their own end with {codes}")
    scene.healthy()
    return f"{len(jobs)} processes with slides of their own"


@kind
def shards_of_one_list(scene: Scene) -> str:
    number = scene.rng.randint(2, 4)
    jobs = [scene.job("--shard", f"{n + 1}/{number}") for n in range(number)]
    codes = wait_for_all(scene, jobs)
    if any(codes):
        raise FaultFound("lost", f"jobs with slides of their own end with {codes}")
    found = set(results(scene.out)) - set(OF_ALL_SLIDES)
    missing = set(scene.world.expected) - set(OF_ALL_SLIDES) - found
    if missing:
        raise FaultFound("lost", f"no shard has made {sorted(missing)[0]}")
    scene.healthy()
    return f"{number} shards"


@kind
def many_processes_some_killed(scene: Scene) -> str:
    rules = [a_change(scene, "kill", 0.3) for _ in range(2)]
    jobs = [scene.job(rules=[rule]) for rule in rules]
    jobs += [scene.job() for _ in range(scene.rng.randint(1, 4))]
    wait_for_all(scene, jobs, -9)
    scene.check_results(complete=False)
    scene.healthy()
    return f"{len(jobs)} processes: {scene.ended[:-1]}; {' and '.join(map(words, rules))}"


@kind
def many_processes_one_terminated(scene: Scene) -> str:
    rule = a_change(scene, scene.rng.choice(("term", "kill")), 0.3)
    jobs = [scene.job(rules=[rule]), *(scene.job() for _ in range(3))]
    wait_for_all(scene, jobs, 143, -9)
    scene.check_results(complete=False)
    scene.healthy()
    return f"{words(rule)}: {scene.ended[:-1]}"


@kind
def disk_full_for_one_of_many(scene: Scene) -> str:
    rule = a_change(scene, "errno", 0.3, errno="ENOSPC", times=5)
    jobs = [scene.job(rules=[rule]), *(scene.job() for _ in range(2))]
    codes = [scene.wait(job) for job in jobs]
    if any(code not in (0, 75) for code in codes[1:]):
        raise FaultFound("lost", f"the others end with {codes[1:]}")
    scene.check_results(complete=False)
    scene.healthy()
    return f"{words(rule)}: {codes}"


@kind
def sleeper_wakes_up(scene: Scene) -> str:
    rule = a_change(scene, "stop", 0.8)
    hurried = scene.rng.random() < 0.7
    sleeper = scene.job(rules=[rule], hurried=hurried)
    slept = sleeper.wait_stopped(scene.world.limit_s)
    code = scene.wait(scene.job(hurried=hurried))
    if slept and hurried and code != 0:
        raise FaultFound("lost", f"{words(rule)}: a process that waited for it ends with {code}")
    scene.check_results(complete=code == 0)
    sleeper.signal(signal.SIGCONT)
    scene.wait(sleeper)
    scene.check_results(complete=code == 0)
    scene.healthy()
    return f"{words(rule)}, {'long' if hurried else 'short'}: {scene.ended[:-1]}"


@kind
def several_sleep_in_turn(scene: Scene) -> str:
    jobs = []
    for share in (0.4, 0.4, 0.5):
        jobs.append(scene.job(rules=[a_change(scene, "stop", share)], hurried=True))
        jobs[-1].wait_stopped(10)
    time.sleep(scene.rng.choice((0, 3, 6)))
    for job in scene.rng.sample(jobs, 3):
        job.signal(signal.SIGCONT)
        time.sleep(scene.rng.choice((0, 0.5)))
    wait_for_all(scene, jobs)
    scene.check_results(complete=False)
    scene.healthy()
    return f"three processes sleep and wake up: {scene.ended[:-1]}"


@kind
def stopped_now_and_then(scene: Scene) -> str:
    jobs = [scene.job(hurried=True) for _ in range(3)]
    for _ in range(12):
        time.sleep(scene.rng.uniform(0, 0.2))
        job = scene.rng.choice(jobs)
        job.signal(signal.SIGSTOP)
        time.sleep(scene.rng.choice((0.1, 0.2, 3)))
        if scene.rng.random() < 0.3:
            shift_times(scene, scene.rng.choice((-2, 2)))
        job.signal(signal.SIGCONT)
    wait_for_all(scene, jobs)
    scene.check_results(complete=False)
    scene.healthy()
    return f"three processes stop now and then: {scene.ended[:-1]}"
