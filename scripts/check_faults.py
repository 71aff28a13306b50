"""Does slidenet some harm, by seed, and compares what it makes with an undisturbed run.

check_faults.py [--faults 200] [--seed 0] [--only NUMBER] [--kinds NAME ...] [--keep FOLDER]

Every fault runs `slidenet run` on a few generated slides, in one process or up to eight: it is
killed, stopped, terminated; the disk is full, read-only, broken, without locks; slides go away or
are replaced; memory is short; clocks jump; files are damaged between runs. Then all is well again,
it is run once more, and all files must have the bytes of an undisturbed run.

What must not happen, and ends the script with code 1: a result that is *lost* (still missing after
the healthy run), *wrong* (it differs and nobody says so, or half a file has its final name), a
process that *hung*, and a *crash* (a traceback, an exit code nobody wrote down).
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "faults"))

import cohort
from cohort import FLAGS, Job, import_all, in_child, results
from kinds import KINDS
from scene import FaultFound, Scene, World


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the fault of this number")
    parser.add_argument("--kinds", nargs="*", help="names (parts of them will do)")
    # A claim that is damaged says nothing of its owner, and is given up after 120 s.
    parser.add_argument("--limit", type=float, default=240, help="seconds after which a run hangs")
    parser.add_argument("--keep", type=Path, help="folder where failing faults are kept")
    options = parser.parse_args()
    import_all()
    for more in ("many", "damage", "steps"):
        import_module(more)  # their kinds put themselves into KINDS
    kinds = [n for n in KINDS if not options.kinds or any(part in n for part in options.kinds)]
    numbers = range(options.faults) if options.only is None else [options.only]
    # Few faults are of kinds far apart.
    step = max(1, len(kinds) // options.faults) if options.only is None else 1
    found, table = [], {name: Counter() for name in kinds}
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder), options.limit)
        for number in numbers:
            name = kinds[number * step % len(kinds)]
            verdict, words = one_fault(world, name, number, options)
            table[name][verdict] += 1
            if verdict != "ok":
                found.append(f"{verdict.upper()} fault {number} of seed {options.seed}: {words}")
            print(f"{number} {name}: {verdict}: {words}", flush=True)
    print(table_of(table), *found, sep="\n")
    return 1 if found else 0


def make_world(folder: Path, limit_s: float) -> World:
    """Slides, and what an undisturbed run makes of them."""
    slides, out, trace = folder / "slides", folder / "reference", folder / "trace"
    in_child(cohort.write_slides, slides)
    arguments = ["run", "--slides", str(slides / "slides.csv"), "--out", str(out), *FLAGS["run"]]
    plan = {"folders": {"out": str(out)}, "rules": [], "trace": str(trace)}
    clock = time.monotonic()
    job = Job([*arguments, "--no-isolate"], folder / "log.txt", plan).start()
    if job.wait(limit_s) != 0:
        raise SystemExit(f"the undisturbed run fails:\n{job.text}")
    print(f"undisturbed: {time.monotonic() - clock:.1f} s, {len(results(out))} files", flush=True)
    operations = Counter(line.split("\t")[0] for line in trace.read_text().splitlines())
    world = World(folder, slides, out, results(out), operations, limit_s)
    world.restore_slides()
    return world


def one_fault(world: World, name: str, number: int, options: argparse.Namespace) -> tuple[str, str]:
    """Verdict and words of one fault."""
    folder = world.folder / f"fault{number}"
    scene = Scene(world, random.Random(f"{options.seed} {number} {name}"), folder)
    verdict = "ok"
    try:
        words = KINDS[name](scene)
    except FaultFound as fault:
        verdict, words = fault.verdict, str(fault)
    except Exception:  # a fault of this script must not end it
        verdict, words = "script", traceback.format_exc()
    scene.end()
    if verdict != "ok" and options.keep is not None:
        target = options.keep / f"seed{options.seed}-{number}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target, symlinks=True)
    shutil.rmtree(folder)
    return verdict, words


def table_of(table: dict[str, Counter[str]]) -> str:
    """Markdown: verdicts by kind."""
    columns = ("ok", "lost", "wrong", "hung", "crash", "script")
    lines = [f"\n| fault | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    total = sum(table.values(), Counter())
    for name, counts in [*table.items(), ("all", total)]:
        if counts:
            lines.append(f"| {name} | {' | '.join(str(counts[column]) for column in columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
