"""What is simulated: slides, machines, and what came out."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Cohort:
    """Slides in the order of the list.

    Attributes:
        tiles: Of each slide, float64 (S,).
        released_s: When each slide is there, ascending, float64 (S,); from the start by default.
    """

    tiles: np.ndarray
    released_s: np.ndarray = field(default=None)

    def __post_init__(self) -> None:
        if self.released_s is None:
            object.__setattr__(self, "released_s", np.zeros(len(self.tiles)))


def draw_cohort(
    num_slides: int, mean_tiles: float, sigma: float, alike: float, rng: np.random.Generator
) -> Cohort:
    """Slides whose numbers of tiles are log-normal.

    Args:
        num_slides: How many.
        mean_tiles: Their mean number of tiles.
        sigma: Deviation of the logarithm.
        alike: Correlation of neighbours in the list: cases and organs lie together.
        rng: Where they are drawn from.
    """
    noise = rng.standard_normal(num_slides)
    normal = np.empty(num_slides)
    last = noise[0]
    for place, new in enumerate(noise):
        last = normal[place] = alike * last + np.sqrt(1 - alike**2) * new if place else new
    return Cohort(mean_tiles * np.exp(sigma * normal - sigma**2 / 2))


@dataclass(frozen=True)
class Cluster:
    """Machines that are alike but for a few slow ones, and the disk they share.

    Attributes:
        nodes: How many; one process each.
        tiles_per_s: What a node does when nothing holds it back.
        disk_tiles_per_s: What the disk gives all nodes together.
        slide_s: What a slide takes beside its tiles: opening, tissue, writing.
        start_s: From the start of a process to its first slide.
        slow_nodes: So many run at `slow_speed`.
        slow_speed: Of a slow node, 1 being that of the others.
        node_life_s: Mean time from the start of a node to its failure (exponential).
        repair_s: From a failure to the next start there.
        keeps_rows: Whether a slide is gone on with inside, after its node failed.
    """

    nodes: int = 100
    tiles_per_s: float = 874.0
    disk_tiles_per_s: float = np.inf
    slide_s: float = 0.0
    start_s: float = 0.0
    slow_nodes: int = 0
    slow_speed: float = 1.0
    node_life_s: float = np.inf
    repair_s: float = 600.0
    keeps_rows: bool = True

    def speeds(self) -> np.ndarray:
        """Tiles per second of each node, float64 (N,); the slow ones are spread evenly."""
        speeds = np.full(self.nodes, float(self.tiles_per_s))
        slow = (np.arange(self.slow_nodes) * self.nodes) // max(self.slow_nodes, 1)
        speeds[slow] *= self.slow_speed
        return speeds

    def ideal_s(self, cohort: Cohort) -> float:
        """How long it lasts if all nodes are always at work, or the disk is."""
        tiles = cohort.tiles.sum()
        nodes = tiles / self.speeds().sum() + self.slide_s * len(cohort.tiles) / self.nodes
        return max(nodes, tiles / self.disk_tiles_per_s)


@dataclass
class Outcome:
    """How a simulated run went; times in seconds, summed over nodes where it says so.

    Attributes:
        lasted_s: Until the last slide was done.
        began_s: When work on each slide began for the last time, float64 (S,).
        ended_s: When each slide was done, float64 (S,).
        worked: Tiles and slides, at the node's own speed, of all nodes.
        disk: Waiting for the shared disk, of all nodes.
        lost: Work that was done again or never used, of all nodes.
        overhead: Starts, looks at the list, being handed a slide, of all nodes.
        down: Failed and not yet back, of all nodes.
        idle: Nothing to do, of all nodes.
        failures: How many nodes failed.
        looks: How often a process looked at a slide that was not for it.
    """

    lasted_s: float
    began_s: np.ndarray
    ended_s: np.ndarray
    worked: float = 0.0
    disk: float = 0.0
    lost: float = 0.0
    overhead: float = 0.0
    down: float = 0.0
    idle: float = 0.0
    failures: int = 0
    looks: float = 0.0
