"""One fault: what it works on, and what must be true afterwards."""

import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from cohort import FLAGS, NUM_SLIDES, Job, leftovers, results

# Of all slides: they are complete only when all slides are.
OF_ALL_SLIDES = ("tissue.csv", "overlays/index.html")
ENDED_BY = {-9: "SIGKILL", 130: "Ctrl-C", 143: "SIGTERM"}
GOOD_CODES = (0, 1, 75)


class FaultFound(Exception):
    """Something that must not happen.

    Args:
        verdict: lost, wrong, hung or crash.
        words: What happened.
    """

    def __init__(self, verdict: str, words: str) -> None:
        super().__init__(words)
        self.verdict = verdict


@dataclass
class World:
    """What all faults share.

    Attributes:
        folder: Of everything.
        slides: Of the slides and their manifest.
        reference: Folder of an undisturbed run.
        expected: Digest of its results, by name.
        operations: How often an undisturbed run does each operation.
        limit_s: A process that takes longer hangs.
    """

    folder: Path
    slides: Path
    reference: Path
    expected: dict[str, str]
    operations: Counter[str]
    limit_s: float

    @property
    def other_slide(self) -> Path:
        """A slide of the same size as the others, in none of the runs."""
        return self.folder / "other.tiff"

    def restore_slides(self) -> None:
        """Undoes all damage."""
        whole = self.folder / "whole"
        if not whole.exists():
            shutil.copytree(self.slides, whole)
            return
        for path in whole.iterdir():
            target = self.slides / path.name
            if not target.exists() or target.read_bytes() != path.read_bytes():
                shutil.copyfile(path, target)


@dataclass
class Scene:
    """The stage of one fault.

    Attributes:
        world: What it shares with others.
        rng: All chances.
        folder: Its own.
        told: Names of slides that may differ, as long as a run says so.
        ended: Exit code of each process, in order.
    """

    world: World
    rng: random.Random
    folder: Path
    told: set[str] = field(default_factory=set)
    ended: list[int] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.isolate = self.rng.random() < 0.3

    @property
    def out(self) -> Path:
        """The output folder."""
        return self.folder / "out"

    @property
    def slides(self) -> Path:
        """The folder of the slides."""
        return self.world.slides

    def slide_to_damage(self) -> Path:
        """One of the slides, which are whole again for the next fault."""
        return self.slides / f"s{self.rng.randrange(NUM_SLIDES)}.tiff"

    def finished(self) -> None:
        """Puts the results of an undisturbed run into the output folder."""
        shutil.copytree(self.world.reference, self.out)

    def job(
        self,
        *flags: str,
        verb: str = "run",
        rules: list[dict[str, Any]] | None = None,
        clock: tuple[int, float] | None = None,
        memory_mb: int | None = None,
        manifest: Path | None = None,
        hurried: bool = False,
    ) -> Job:
        """A started process."""
        arguments = [verb, "--slides", str(manifest or self.slides / "slides.csv")]
        arguments += ["--out", str(self.out), *FLAGS[verb], *flags]
        if not self.isolate and verb != "embed-slides":
            arguments.append("--no-isolate")
        plan = None
        if rules is not None or clock is not None:
            folders = {"out": str(self.out), "slides": str(self.slides)}
            plan = {"folders": folders, "rules": rules or [], "clock": clock}
        log = self.folder / f"log{len(self.jobs)}.txt"
        self.jobs.append(Job(arguments, log, plan, memory_mb, hurried).start())
        return self.jobs[-1]

    def wait(self, job: Job, *also: int) -> int:
        """Waits for a process and looks at how it ended.

        Args:
            job: The process.
            *also: Exit codes that this fault may lead to.
        """
        code = job.wait(self.world.limit_s)
        if code is None:
            raise FaultFound("hung", f"no end after {self.world.limit_s:.0f} s ({job.log})")
        self.ended.append(code)
        if code not in (*GOOD_CODES, *also):
            raise FaultFound("crash", f"exit code {code}: {last_words(job.text)}")
        for sign in ("Traceback (most recent", "internal error", "Segmentation fault"):
            if sign in job.text:
                raise FaultFound("crash", f"exit code {code}, {around(job.text, sign)}")
        return code

    def check_results(self, *, complete: bool) -> None:
        """Compares all results with those of an undisturbed run.

        Args:
            complete: Whether all must be there.
        """
        found = results(self.out) if self.out.exists() else {}
        expected = self.world.expected
        for name in found:
            if not complete and name in OF_ALL_SLIDES:
                continue
            if name not in expected:
                raise FaultFound("wrong", f"there is {name}, which no undisturbed run makes")
            if found[name] != expected[name] and not self._may_differ(name):
                raise FaultFound("wrong", f"{name} differs from the undisturbed run")
        missing = [name for name in expected if name not in found and not self._may_differ(name)]
        if complete and missing:
            raise FaultFound("lost", f"{len(missing)} results are missing, first {missing[0]}")

    def healthy(self, *flags: str) -> None:
        """Runs once more, undisturbed, after which everything must be as without the fault."""
        job = self.job(*flags)
        code = self.wait(job)
        if code:
            raise FaultFound("lost", f"healthy run ends with {code}: {last_words(job.text)}")
        self.check_results(complete=True)
        left = [name for name in leftovers(self.out) if "claim" in name]
        if left:
            raise FaultFound("wrong", f"claims are left: {', '.join(left)}")

    def end(self) -> None:
        """Kills what still runs, and makes the slides whole."""
        for job in self.jobs:
            job.signal(9)
            job.process.join()
        self.world.restore_slides()

    def _may_differ(self, name: str) -> bool:
        return bool(self.told) and (name in OF_ALL_SLIDES or Path(name).stem in self.told)


def same_content(one: Path, other: Path) -> bool:
    """Whether two h5 files hold the same arrays and attributes, whatever their bytes."""
    try:
        with h5py.File(one, locking=False) as a, h5py.File(other, locking=False) as b:
            return _content(a) == _content(b)
    except Exception:  # of a damaged file HDF5 may raise anything
        return False


def _content(h5: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def add(name: str, item: Any) -> None:
        found[name] = {k: np.asarray(v).tobytes() for k, v in item.attrs.items()}
        if isinstance(item, h5py.Dataset):
            found[f"{name}/data"] = item[()].tobytes()

    h5.visititems(add)
    return found


def last_words(text: str) -> str:
    """The failed slides and errors of a log, or its end, on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\bfailed\b|[Ee]rror|in progress", line)]
    return " / ".join((telling or lines)[-3:])[-500:]


def around(text: str, sign: str) -> str:
    """The end of a traceback, or the line of a sign."""
    place = text.index(sign)
    after = text[place:].splitlines()
    if sign.startswith("Traceback"):
        ends = [line for line in after if re.match(r"\w[\w.]*(Error|Exception|Interrupt)", line)]
        frames = [line.strip() for line in after if "/slidenet/" in line and "File" in line]
        return f"traceback: {' / '.join([*frames[-2:], *ends[-1:]])}"[:500]
    start = text.rfind("\n", 0, place) + 1
    return " ".join(text[start : place + 300].splitlines()[0].split())[:500]
