"""Kinds of faults that damage slides and files between runs."""

import os
import random
import shutil
import time
from pathlib import Path

from cohort import ENCODER, NUM_SLIDES, Job
from kinds import a_change, kind, words
from scene import FaultFound, Scene, last_words, same_content

from slidenet.testing.slide_damage import HEADER_FAULTS, PAYLOAD_FAULTS, damage_slide


def spoil(path: Path, rng: random.Random) -> str:
    """Damages a file as disks do; returns in words how."""
    data = bytearray(path.read_bytes())
    how = rng.choice(("flip", "flip", "flip", "zeros", "cut", "empty", "noise"))
    place = rng.randrange(max(1, len(data)))
    if how == "flip" and data:
        data[place] ^= 1 << rng.randrange(8)
    elif how == "zeros":
        data[place : place + 512] = bytes(len(data[place : place + 512]))
    elif how == "noise":
        data[place : place + 64] = rng.randbytes(len(data[place : place + 64]))
    else:
        del data[0 if how == "empty" else place :]
    path.write_bytes(data)
    return f"{how} at {place} of {path.name}"


def end_of_damage(scene: Scene, damaged: Path, job, code: int, what: str) -> str:
    """A damaged result is healed, refused, or found; and --overwrite heals it."""
    name = str(damaged.relative_to(scene.out))
    reference = scene.world.reference / name
    told = (damaged.stem in job.text and code == 1) or (code == 2 and damaged.name in job.text)
    scene.told = {damaged.stem} if told else set()
    healed = damaged.exists() and damaged.read_bytes() == reference.read_bytes()
    if not healed and not told:
        if damaged.suffix == ".h5" and damaged.exists() and same_content(damaged, reference):
            return f"{what}: nothing that matters"
        check = Job(["validate", "--deep", str(damaged)], scene.folder / "validate.txt").start()
        found = check.wait(scene.world.limit_s)
        if found is None:
            raise FaultFound("hung", f"validate of {what}")
        if found != 1:
            raise FaultFound("wrong", f"{what}: nobody finds it, validate --deep ends with {found}")
        scene.told = {damaged.stem}
    scene.check_results(complete=False)
    scene.told = set()
    scene.healthy(*([] if healed else ["--overwrite"]))
    return f"{what}: {'healed' if healed else 'told' if told else 'found by validate'}"


@kind
def output_damaged(scene: Scene) -> str:
    scene.finished()
    folder = scene.rng.choice(("tiles", "tile_features", "slide_embeddings"))
    files = sorted(scene.out.joinpath(folder).rglob("*.h5"))
    damaged = scene.rng.choice(files)
    what = spoil(damaged, scene.rng)
    what = f"{folder}: {what}"
    # Often the next step is still to come, and would use it.
    if folder != "slide_embeddings" and scene.rng.random() < 0.7:
        later = {"tiles": "tile_features", "tile_features": "slide_embeddings"}[folder]
        for path in scene.out.joinpath(later).rglob(damaged.name):
            path.unlink()
        what += ", before the next step"
    job = scene.job()
    code = scene.wait(job)
    return end_of_damage(scene, damaged, job, code, what)


@kind
def report_damaged(scene: Scene) -> str:
    scene.finished()
    files = [
        p for p in scene.out.rglob("*") if p.is_file() and "run" in str(p.relative_to(scene.out))
    ]
    files += [scene.out / "tissue.csv", scene.out / "overlays" / "index.html"]
    damaged = scene.rng.choice(sorted(files))
    how = scene.rng.choice(("spoil", "gone", "folder", "nonsense"))
    what = f"{how}: {damaged.name}"
    if how == "spoil":
        what = spoil(damaged, scene.rng)
    else:
        damaged.unlink()
        if how == "folder":
            damaged.mkdir()
        elif how == "nonsense":
            damaged.write_text(scene.rng.choice(("[]", "{}", "null", "7", '{"stages": 3}', "\0")))
    job = scene.job()
    code = scene.wait(job)
    if how == "folder":
        if code == 0 and damaged.is_dir() and damaged.name not in job.text:
            raise FaultFound("wrong", f"{damaged.name} is a folder and nobody says so")
        shutil.rmtree(damaged, ignore_errors=True)
    scene.healthy()
    return what


@kind
def leftover_damaged(scene: Scene) -> str:
    rule = a_change(scene, "kill")
    scene.wait(scene.job(rules=[rule]), -9)
    # Not those that are also linked under their final name.
    hidden = [p for p in sorted(scene.out.rglob(".*")) if p.is_file() and p.stat().st_nlink == 1]
    what = [spoil(path, scene.rng) for path in hidden]
    scene.healthy()
    return f"{words(rule)}; {', '.join(what) or 'nothing is left'}"


@kind
def strange_neighbours(scene: Scene) -> str:
    """What slidenet keeps beside its results is something else."""
    scene.finished()
    again = scene.rng.choice(("tiles", f"tile_features/{ENCODER}"))
    (scene.out / again / "s1.h5").unlink()
    shutil.rmtree(scene.out / "runs", ignore_errors=True)
    names = [f"{again}/.s1.h5.{end}" for end in ("claim", "partials", "partial", "tmp")]
    names += ["run.json", "runs", "tiles/.origins.json"]
    strange = scene.out / scene.rng.choice(names)
    if strange.is_file():
        strange.unlink()
    how = scene.rng.choice(("folder", "nonsense", "empty", "loop", "dangling"))
    if how == "folder":
        strange.mkdir(exist_ok=True)
    elif how in ("loop", "dangling"):
        strange.symlink_to(strange.name if how == "loop" else "nowhere")
    else:
        strange.write_bytes(b"" if how == "empty" else scene.rng.randbytes(5000))
    job = scene.job(hurried=True)
    code = scene.wait(job)
    what = f"{how} at {strange.relative_to(scene.out)}"
    scene.check_results(complete=code == 0)
    if code == 0:
        return f"{what}: does not disturb"
    if code == 1 and strange.name not in job.text:
        raise FaultFound("lost", f"{what}, and nobody names it: {last_words(job.text)}")
    shutil.rmtree(strange) if strange.is_dir() else strange.unlink(missing_ok=True)
    scene.healthy()
    return f"{what}: told, ends with {code}"


@kind
def output_gone(scene: Scene) -> str:
    scene.finished()
    files = [p for p in sorted(scene.out.rglob("*")) if p.is_file() and p.suffix == ".h5"]
    gone = scene.rng.sample(files, 3)
    for path in gone:
        path.unlink()
    scene.healthy()
    return f"gone: {', '.join(str(p.relative_to(scene.out)) for p in gone)}"


@kind
def outputs_exchanged(scene: Scene) -> str:
    scene.finished()
    folder = scene.rng.choice(
        ("tiles", f"tile_features/{ENCODER}", f"slide_embeddings/{ENCODER}/mean")
    )
    one, other = (scene.out / folder / f"s{n}.h5" for n in scene.rng.sample(range(NUM_SLIDES), 2))
    shutil.copyfile(one, other)
    job = scene.job()
    code = scene.wait(job)
    what = f"{folder}/{other.name} is a copy of {one.name}"
    return end_of_damage(scene, other, job, code, what)


@kind
def slide_damaged(scene: Scene) -> str:
    path = scene.slide_to_damage()
    name = path.stem
    how = scene.rng.choice([*PAYLOAD_FAULTS, *HEADER_FAULTS])
    good = path.read_bytes()
    damage = damage_slide(path, how, scene.rng.randrange(10**6))
    scene.wait(scene.job())
    scene.told = {name}
    scene.check_results(complete=False)
    path.write_bytes(good)
    return restored(scene, name, f"{name}: {damage.words}")


@kind
def slide_replaced_during_the_run(scene: Scene) -> str:
    path = scene.slide_to_damage()
    name = path.stem
    other, good = scene.folder / "other.tiff", path.read_bytes()
    shutil.copyfile(scene.world.other_slide, other)
    rule = a_change(scene, "swap", swap=[str(other), str(path)])
    job = scene.job(rules=[rule])
    scene.wait(job)
    # What was read of the first file, or of the second, is right; a mixture must be refused.
    scene.told = {name}
    scene.check_results(complete=False)
    scene.told = set()
    path.write_bytes(good)
    return restored(scene, name, f"{name} is replaced, {words(rule)}")


@kind
def slide_replaced_between_runs(scene: Scene) -> str:
    path = scene.slide_to_damage()
    name = path.stem
    good = path.read_bytes()
    rule = a_change(scene, "kill")
    scene.wait(scene.job(rules=[rule]), -9)
    shutil.copyfile(scene.world.other_slide, path)
    os.utime(path, (time.time() - 10**7,) * 2)
    job = scene.job()
    scene.wait(job)
    scene.told = {name}
    scene.check_results(complete=False)
    path.write_bytes(good)
    return restored(scene, name, f"{name} is replaced after {words(rule)}")


def restored(scene: Scene, name: str, what: str) -> str:
    """The slide is whole again: refused files of it are made anew on request, nothing else is."""
    job = scene.job()
    code = scene.wait(job)
    if code == 1 and name not in last_words(job.text):
        raise FaultFound("lost", f"{what}: {last_words(job.text)}")
    scene.told = {name} if code == 1 else set()
    scene.check_results(complete=code == 0)
    scene.told = set()
    if code:
        scene.healthy("--overwrite")
    return f"{what}: {'made anew by --overwrite' if code else 'healed'}"
