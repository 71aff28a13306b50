"""Runs a function on several ranks, each a process of its own, and collects what they return."""

import multiprocessing
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT_S = 120


def run_ranks(
    function: Callable[..., Any],
    num_ranks: int,
    *args: Any,
    may_fail: bool = False,
    timeout_s: int = TIMEOUT_S,
    rank_timeout_s: int = 30,
) -> list[Any]:
    """What `function(rank, num_ranks, *args)` returns on each rank.

    With `may_fail`, a rank that raised gives its exception, and one that died gives None; then
    ranks are not waited for once all but one have ended. A rank waits `rank_timeout_s` for others.
    """
    # The server imports torch once; every rank is a fork of it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch.distributed.tensor", "slidenet.parallel"])
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(
                target=_rank,
                args=(folder, function, rank, num_ranks, rank_timeout_s, may_fail, args),
            )
            for rank in range(num_ranks)
        ]
        for process in processes:
            process.start()
        deadline = time.monotonic() + timeout_s
        for process in processes[: num_ranks - may_fail]:
            process.join(max(deadline - time.monotonic(), 0.1))
        late = [
            rank
            for rank, process in enumerate(processes[: num_ranks - may_fail])
            if process.is_alive()
        ]
        for process in processes:
            process.kill()
        assert not late, f"ranks {late} still ran after {timeout_s} s"
        return [_result(Path(folder, f"result{rank}"), may_fail) for rank in range(num_ranks)]


def _rank(
    folder: str,
    function: Callable[..., Any],
    rank: int,
    num_ranks: int,
    wait_s: int,
    may_fail: bool,
    args: Any,
) -> None:
    from datetime import timedelta

    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=num_ranks,
        timeout=timedelta(seconds=wait_s),
    )
    try:
        result = (True, function(rank, num_ranks, *args))
    except Exception as error:
        result = (False, (error, traceback.format_exc()))
    part = Path(folder, f"part{rank}")
    part.write_bytes(pickle.dumps(result))
    part.rename(Path(folder, f"result{rank}"))
    sys.stdout.flush()
    if not result[0]:
        os._exit(1)  # do not wait for the others
    if not may_fail:
        dist.barrier()
    dist.destroy_process_group()


def _result(path: Path, may_fail: bool) -> Any:
    if not path.exists():
        assert may_fail, f"{path.name}: the rank died without a word"
        return None
    good, value = pickle.loads(path.read_bytes())
    if good:
        return value
    assert may_fail, value[1]
    return value[0]
