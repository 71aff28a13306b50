"""A process at each GPU, or each group of cores, which together drain one list of slides."""

import pickle
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from slidenet.core.errors import ConfigError, WorkerError
from slidenet.pipelines.cohort.runner import SlideWork
from slidenet.pipelines.fleet.places import Place
from slidenet.pipelines.fleet.process import WorkerProcess
from slidenet.pipelines.fleet.workers import Worker, WorkersRunner


class DevicesRunner(WorkersRunner):
    """Hands slides to processes, each at its place; one that ends early is replaced.

    Args:
        places: Where they work.
        work: What they do.

    Raises:
        ConfigError: The work cannot be sent to another process.
    """

    flag = "--devices"

    def __init__(self, places: Sequence[Place], work: SlideWork) -> None:
        super().__init__(work)
        self._places = places
        self._folder = tempfile.TemporaryDirectory(prefix="slidenet-")
        self._path = Path(self._folder.name) / "work.pickle"
        try:
            self._path.write_bytes(pickled(work, self.flag))
        except ConfigError:
            self._folder.cleanup()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._folder.cleanup()

    def start_workers(self, count: int) -> None:
        """See `WorkersRunner`; a process at each place that has none."""
        taken = {worker.name for worker in self.workers}
        for place in [place for place in self._places if place.name not in taken][:count]:
            self.workers.append(WorkerProcess(place, self._path, self.heard))

    def ended_before_it_began(self, worker: Worker) -> None:
        """See `WorkersRunner`."""
        raise WorkerError(
            f"the process at {worker.name} ended before it began ({worker.ending()})",
            expected="memory for one more copy of the model at each place",
            remedy="give fewer --devices",
        )


def pickled(work: SlideWork, flag: str) -> bytes:
    """The work as it is sent to other processes.

    Args:
        work: The work.
        flag: What asked for other processes, as it is typed.

    Raises:
        ConfigError: It cannot be sent.
    """
    try:
        return pickle.dumps(work, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"the work cannot be sent to other processes ({error})",
            expected="encoders and readers that another process can import",
            remedy=f"put them into a module, or leave out {flag}",
        ) from error
