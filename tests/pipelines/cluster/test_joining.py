"""What is no cluster is refused in one line, before Ray is imported."""

import socket
import sys
from dataclasses import replace

import pytest

from slidenet.core.errors import ConfigError
from slidenet.pipelines.cluster.joining import check_address, join, refused
from slidenet.pipelines.cohort.runner import LocalRunner
from slidenet.pipelines.fleet.settings import FleetSettings

RAY_WAS_THERE = "ray" in sys.modules


@pytest.mark.parametrize("address", ["auto", None, "head:6379", "10.0.0.1:6379", "[::1]:6379"])
def test_addresses(address):
    check_address(address)


@pytest.mark.parametrize("address", ["", "head", "ray://head:10001", "head:0", "head:99999", ":1"])
def test_what_is_no_address(address):
    with pytest.raises(ConfigError, match="HOST:PORT as `ray start --head` says it"):
        check_address(address)


def test_nobody_answers():
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"nobody answers at --address {address}"):
            join(address)
    assert RAY_WAS_THERE or "ray" not in sys.modules


def test_a_cluster_that_does_not_take_this_process():
    mismatch = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
        "This process on node 10.0.0.9 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
    )
    assert refused("head:6379", mismatch).found == (
        "the cluster at --address head:6379 runs Ray 2.59.0 and Python 3.12.1, and this process "
        "Ray 2.60.0 and Python 3.11.7"
    )
    assert "no Ray cluster runs on this machine" in str(refused("auto", ConnectionError("none")))
    elsewhere = refused("head:6379", RuntimeError("This node has an IP address of 10.0.0.9\nmore"))
    assert "cannot be joined (This node has an IP address of 10.0.0.9)" in str(elsewhere)
    assert "run `ray start --address head:6379` on this machine" in str(elsewhere)


def test_settings_that_do_not_go_together():
    ray = FleetSettings(runner="ray", address="head:6379", worker_cores=4, shard="1/2")
    ray.check()
    assert ray.in_this_process() == FleetSettings(shard="1/2")
    with pytest.raises(ConfigError, match="--address head:6379 without --runner ray"):
        replace(ray, runner="local").check()
    with pytest.raises(ConfigError, match="--worker-cores 2 without --runner ray"):
        FleetSettings(worker_cores=2).check()
    with pytest.raises(ConfigError, match="runner is 'dask'"):
        FleetSettings(runner="dask").check()
    both = FleetSettings(devices=2, runner="ray")
    with (
        pytest.raises(ConfigError, match="devices=2 and runner=ray"),
        both.workers(None, LocalRunner()),
    ):
        pass
