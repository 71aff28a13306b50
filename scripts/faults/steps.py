"""Kinds of faults in the single steps, and in the export of tiles."""

import signal
import time

from cohort import results
from kinds import a_change, kind, undisturbed_s, words
from scene import FaultFound, Scene

STEPS = ("preprocess", "embed-tiles", "embed-slides")


@kind
def steps_one_by_one_each_killed(scene: Scene) -> str:
    said = []
    for step in STEPS:
        rule = a_change(scene, "kill", 0.3)
        scene.wait(scene.job(verb=step, rules=[rule]), -9)
        scene.check_results(complete=False)
        code = scene.wait(scene.job(verb=step))
        if code:
            raise FaultFound("lost", f"{step} ends with {code} after {words(rule)}")
        said.append(words(rule))
    scene.check_results(complete=True)
    scene.healthy()
    return ", ".join(said)


@kind
def all_steps_at_once(scene: Scene) -> str:
    # Those that come too early fail their slides, and say so; nothing else happens.
    jobs = [scene.job(verb=step) for step in (*STEPS, *STEPS)]
    for job in jobs:
        scene.wait(job)
    scene.check_results(complete=False)
    scene.healthy()
    return f"six processes: {scene.ended[:-1]}"


def exported(scene: Scene, shards: bool) -> dict[str, str]:
    """What an undisturbed export makes."""
    folder = scene.world.folder / f"exported{shards}"
    if not folder.exists():
        scene.wait(scene.job(*export_flags(folder, shards), verb="export-tiles"))
    return results(folder)


def export_flags(folder, shards: bool) -> list[str]:
    return ["--to", str(folder), *(["--shards"] if shards else [])]


def check_export(scene: Scene, shards: bool, what: str) -> None:
    """Exports once more, undisturbed, and compares."""
    target = scene.out / "tile_images"
    expected = exported(scene, shards)
    code = scene.wait(scene.job(*export_flags(target, shards), verb="export-tiles"))
    if code:
        raise FaultFound("lost", f"{what}: the healthy export ends with {code}")
    found = results(target)
    missing = [name for name in expected if name not in found]
    if missing:
        raise FaultFound("lost", f"{what}: {missing[0]} is missing")
    wrong = [name for name in found if found[name] != expected.get(name)]
    if wrong:
        raise FaultFound("wrong", f"{what}: {wrong[0]} differs")


@kind
def export_killed(scene: Scene) -> str:
    scene.finished()
    shards = scene.rng.random() < 0.5
    exported(scene, shards)
    rule = a_change(scene, "kill")
    flags = export_flags(scene.out / "tile_images", shards)
    scene.wait(scene.job(*flags, verb="export-tiles", rules=[rule]), -9)
    what = f"{'shards' if shards else 'images'}, {words(rule)}"
    check_export(scene, shards, what)
    return what


@kind
def several_exports_one_killed(scene: Scene) -> str:
    scene.finished()
    shards = scene.rng.random() < 0.5
    exported(scene, shards)
    flags = export_flags(scene.out / "tile_images", shards)
    jobs = [scene.job(*flags, verb="export-tiles") for _ in range(3)]
    wait = undisturbed_s(scene) / 3
    time.sleep(wait)
    jobs[0].signal(signal.SIGKILL)
    for job in jobs:
        scene.wait(job, -9)
    what = f"{'shards' if shards else 'images'}, one of three is killed after {wait:.2f} s"
    check_export(scene, shards, what)
    return what
