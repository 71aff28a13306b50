"""The plan of a cohort as it is handed out: a table for people, plain values for machines."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slidenet.core.extras import data_frame
from slidenet.pipelines.planning.machines import Gpus
from slidenet.pipelines.planning.model import Estimate, Load, Machines, Rates, Stage
from slidenet.pipelines.planning.probe import Probed
from slidenet.pipelines.planning.sampling import Expanded
from slidenet.pipelines.planning.settings import PlanningSettings
from slidenet.pipelines.planning.storage import Transfer
from slidenet.pipelines.planning.survey import Survey, Workable
from slidenet.pipelines.planning.tissue_sample import TissueSample, failures

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """What the machines take, and what that rests on.

    Attributes:
        load: What there is to do.
        rates: What one process can do.
        machines: Who works.
        estimate: How long that is.
        low: Seconds if there are as few tiles as the interval says.
        high: Seconds if there are as many.
        helps: Seconds if a stage were twice as fast, where that helps.
        gpus: Of each machine; None: its own device encodes.
        cores: Of each machine.
        reading: How fast slides were read here; None where that was given or not measured.
        writing: How fast results were written here, likewise.
    """

    load: Load
    rates: Rates
    machines: Machines
    estimate: Estimate
    low: float
    high: float
    helps: Mapping[Stage, float]
    gpus: Gpus | None
    cores: int
    reading: Transfer | None
    writing: Transfer | None


@dataclass(frozen=True, slots=True, eq=False)
class CohortPlan:
    """What a cohort holds, gives and takes.

    Attributes:
        asked: What was asked of the plan.
        encoder: Name of the tile encoder, with its feature length and what runs it, in words.
        survey: What the headers say.
        cohort: The slides that will be worked on.
        sample: Those of which tissue was looked for.
        tiles: Of each slide.
        bytes_in: Of all slides that will be worked on.
        bytes_out: Of all results.
        parts_out: The same, of preprocess and of the two other verbs.
        place: Where slides are read from, "disk" or "network".
        probed: What was measured; None: nothing was.
        times: None where nothing was measured.
        out: The output folder, where it was named.
        free: Bytes free there.
        bucket: Where results go if that is no folder.
    """

    asked: PlanningSettings
    encoder: str
    survey: Survey
    cohort: Workable
    sample: TissueSample
    tiles: Expanded
    bytes_in: float
    bytes_out: float
    parts_out: Mapping[str, float]
    place: str
    probed: Probed | None
    times: Times | None
    out: Path | None
    free: int | None = None
    bucket: str = ""

    @property
    def num_slides(self) -> int:
        """Slides that will be worked on."""
        return len(self.cohort.rows)

    @property
    def too_little_room(self) -> bool:
        """Whether results do not fit where they go."""
        return self.free is not None and self.bytes_out > self.free

    @property
    def cost(self) -> float | None:
        """Of the whole cohort; None without a price."""
        if self.times is None or self.asked.price is None:
            return None
        return self.asked.price * self.times.estimate.machine_hours

    @property
    def exit_code(self) -> int:
        """1 when slides will fail or results do not fit, else 0."""
        failing = self.survey.failing or failures(self.sample)
        return int(bool(failing) or self.too_little_room)

    def table(self) -> str:
        """What people read."""
        from slidenet.pipelines.planning.text import text_of

        return text_of(self)

    def record(self) -> dict[str, Any]:
        """Plain values, as `--json` writes them."""
        place = int(np.argmax(self.tiles.each))
        return {
            "slides": len(self.survey.rows),
            "slides_to_work_on": self.num_slides,
            "headers_opened": self.survey.num_opened,
            "headers": [asdict(one) for _, one in sorted(self.survey.headers.items())],
            "duplicates": [list(ids) for ids in self.survey.duplicates],
            "no_tiles": dict(failures(self.sample)),
            "tissue_looked_for": [self.cohort.rows[i].slide_id for i in self.sample.places],
            "tiles": round(self.tiles.total),
            "tiles_interval": [round(self.tiles.low), round(self.tiles.high)],
            "largest_slide": self.cohort.rows[place].slide_id,
            "largest_slide_tiles": round(float(self.tiles.each[place])),
            "bytes_in": round(self.bytes_in),
            "bytes_out": round(self.bytes_out),
            "bytes_out_of": {name: round(value) for name, value in self.parts_out.items()},
            "bytes_free": self.free,
            "encoder": self.encoder,
            "read_from": self.place,
            "seconds_of_headers": self.survey.seconds,
            "seconds_of_tissue": self.sample.seconds,
            "probe": None if self.probed is None else asdict(self.probed),
            **self._record_of_times(),
        }

    def _record_of_times(self) -> dict[str, Any]:
        times = self.times
        if times is None:
            return {"seconds": None}
        found = times.estimate
        return {
            "seconds": found.seconds,
            "seconds_interval": [times.low, times.high],
            "start_up_seconds": times.rates.start_s,
            "seconds_of_one_machine": found.one_machine_s,
            "steps": [asdict(step) for step in found.steps],
            "bottleneck": found.bottleneck,
            "storage_bound": found.storage_bound,
            "twice_as_fast": dict(times.helps),
            "longest_slide_seconds": found.longest_slide_s,
            "waiting_at_the_end_seconds": found.waits_s,
            "machines": asdict(times.machines),
            "cores": times.cores,
            "gpus": None if times.gpus is None else asdict(times.gpus),
            # A rate that nobody knows bounds nothing; JSON has no word for infinity.
            "rates": {
                name: None if value == float("inf") else value
                for name, value in asdict(times.rates).items()
            },
            "machine_hours": found.machine_hours,
            "cost": self.cost,
            "cost_per_slide": None if self.cost is None else self.cost / self.num_slides,
        }

    def to_pandas(self) -> "pandas.DataFrame":
        """One row per slide that will be worked on.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        looked = set(map(int, self.sample.places))
        return data_frame(
            [
                {
                    "slide_id": row.slide_id,
                    "format": self.cohort.formats[i],
                    "num_bytes": int(self.cohort.num_bytes[i]),
                    "tiles": float(self.tiles.each[i]),
                    "counted": i in looked,
                }
                for i, row in enumerate(self.cohort.rows)
            ]
        )
