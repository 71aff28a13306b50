"""What n machines take, by arithmetic one can do by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from slidenet.core.records import SlideRow
from slidenet.pipelines.planning import cohort
from slidenet.pipelines.planning.headers import Header
from slidenet.pipelines.planning.model import Load, Machines, Rates, estimate, steps_of, what_helps
from slidenet.pipelines.planning.settings import PlanningSettings
from slidenet.pipelines.planning.survey import Survey, with_companions
from slidenet.weights.device import available_cores


def load_of(tiles, tissue_s=0.0, fetched=0.0, read=0.0, written=0.0, shards=None):
    tiles = np.array(tiles, np.float64)
    full = [np.full(len(tiles), float(value)) for value in (tissue_s, fetched, read, written)]
    return Load(tiles, *full, shards)


GPU = Rates(decode=100.0, encode=50.0, shares_cores=False)
CPU = Rates(decode=100.0, encode=50.0, shares_cores=True)


def test_a_gpu_encodes_beside_the_decoder_and_cores_are_shared():
    load = load_of([300, 700])
    assert estimate(load, GPU).seconds == pytest.approx(1000 / 50)
    assert estimate(load, CPU).seconds == pytest.approx(1000 / 50 + 1000 / 100)
    assert estimate(load, GPU).bottleneck == estimate(load, CPU).bottleneck == "encode"
    light = Rates(decode=100.0, encode=5000.0, shares_cores=False)
    assert estimate(load, light).bottleneck == "decode"
    assert estimate(load, light).seconds == pytest.approx(10)


def test_what_was_measured_at_once_wins_and_its_overlap_is_kept():
    rates = Rates(decode=100.0, encode=50.0, shares_cores=True, together=25.0)
    assert rates.overlap == pytest.approx((1 / 25) / (1 / 100 + 1 / 50))
    assert estimate(load_of([1000]), rates).seconds == pytest.approx(40)
    faster = rates.faster("encode", 2.0)
    assert faster.overlap == pytest.approx(rates.overlap)
    assert 1 / faster.tile_s == pytest.approx(25 * (0.01 + 0.02) / (0.01 + 0.01))


def test_every_part_of_a_slide_counts():
    rates = Rates(
        decode=100.0,
        encode=50.0,
        shares_cores=False,
        slide_s=2.0,
        embedding_slide_s=1.0,
        embedding_tile_s=0.1,
        start_s=7.0,
    )
    found = estimate(load_of([100, 100], tissue_s=3.0), rates)
    tissue, embedding, vectors = found.steps
    assert (tissue.seconds, embedding.seconds) == (6.0, 4.0 + 4.0)
    assert vectors.seconds == pytest.approx(2 + 20)
    assert found.seconds == pytest.approx(7 + 6 + 8 + 22)
    assert found.bottleneck == "slide encoder"
    for step in found.steps:
        assert sum(step.bound.values()) == pytest.approx(step.seconds)


def test_slides_that_are_fetched_bound_preprocess_and_those_read_in_place_the_encoder():
    rates = Rates(decode=100.0, encode=50.0, shares_cores=False, read=10.0)
    far = load_of([50] * 4, tissue_s=1.0, fetched=100.0)
    tissue, embedding, _ = steps_of(far, rates)
    assert tissue.bound == {"network": 40.0}
    assert embedding.seconds == pytest.approx(4)
    assert estimate(far, rates).bottleneck == "network"
    # While one is worked on the next one comes, so that only the first is waited for.
    near = load_of([50] * 4, tissue_s=30.0, fetched=100.0)
    assert steps_of(near, rates)[0].bound == {"tissue": 120.0, "network": 10.0}
    in_place = load_of([50] * 4, read=100.0)
    assert steps_of(in_place, rates)[1].bound == {"network": 40.0}
    slow_disk = Rates(decode=100.0, encode=50.0, shares_cores=False, write=1.0)
    assert estimate(load_of([50], written=9.0), slow_disk).bottleneck == "write"


def test_machines_take_the_next_slide_and_wait_for_the_last():
    load = load_of([100, 100, 100, 500])
    found = estimate(load, GPU, Machines(2))
    assert found.seconds == pytest.approx(12)  # 2, 2 + 2, then 10 beside it
    assert found.waits_s == pytest.approx(8)
    assert found.longest_slide_s == pytest.approx(10)
    assert found.one_machine_s == pytest.approx(16)
    assert found.machine_hours == pytest.approx(2 * 12 / 3600)
    two_processes = estimate(load, GPU, Machines(1, processes=2))
    assert two_processes.seconds == pytest.approx(12)


def test_shards_are_as_they_were_dealt():
    load = load_of([100, 100, 100, 500], shards=np.array([0, 0, 0, 1]))
    found = estimate(load, GPU, Machines(3))
    assert found.seconds == pytest.approx(10)
    assert found.waits_s == pytest.approx(10)  # the third machine has none
    # Two processes do not share a slide.
    shared = estimate(load, GPU, Machines(2, processes=2))
    assert shared.seconds == pytest.approx(10)
    assert shared.one_machine_s == pytest.approx(10)


def test_far_more_machines_than_slides():
    found = estimate(load_of([100, 500]), GPU, Machines(10**9))
    assert found.seconds == found.waits_s == pytest.approx(10)
    assert estimate(load_of([100]), GPU, Machines(1)).waits_s == 0


def test_a_place_that_cannot_feed_so_many_machines():
    load = load_of([100] * 100, fetched=1000.0)
    rates = Rates(decode=100.0, encode=50.0, shares_cores=False, read=1e6)
    few, many = (estimate(load, rates, Machines(n, read=2000.0)) for n in (1, 50))
    assert not few.storage_bound
    assert many.storage_bound
    assert many.seconds == pytest.approx(100 * 1000 / 2000)
    assert many.bottleneck == "network"
    assert next(iter(what_helps(load, rates, Machines(50, read=2000.0)))) == "network"


def test_what_helps_comes_first_and_what_does_not_is_left_out():
    helps = what_helps(load_of([1000], tissue_s=1.0), GPU)
    assert list(helps) == ["encode", "tissue"]
    assert helps["encode"] == pytest.approx(1 + 10)
    assert helps["tissue"] == pytest.approx(0.5 + 20)
    assert list(what_helps(load_of([1000]), CPU)) == ["encode", "decode"]


def test_nothing_to_do_is_no_plan():
    with pytest.raises(ValueError, match="no slide"):
        estimate(load_of([]), GPU)


def test_processes_of_gpus_share_the_cores_that_decoding_was_measured_on():
    probed = SimpleNamespace(
        decode=100.0, encode=150.0, together=90.0, slide_s=0.0, embedding_slide_s=0.0,
        embedding_tile_s=0.0,
    )  # fmt: skip
    found = SimpleNamespace(probed=probed, start_s=0.0, reading=None, writing=None)
    on = {"cuda": None, "cpu": None}
    for device in on:
        encoder = SimpleNamespace(device=SimpleNamespace(type=device))
        encoding = SimpleNamespace(encoder=encoder, gpus=None, start_s=0.0)
        asked = PlanningSettings(cores=2 * available_cores())
        on[device] = cohort._rates(found, encoding, asked, 8)
    # Twice the cores for eight: a quarter to each; each GPU encodes as before.
    assert (on["cuda"].decode, on["cuda"].encode) == pytest.approx((25.0, 150.0))
    assert 1 / on["cuda"].tile_s == pytest.approx(90 / 4)
    assert (on["cpu"].decode, on["cpu"].encode) == pytest.approx((25.0, 37.5))
    assert 1 / on["cpu"].tile_s == pytest.approx(90 / 4)


def test_what_a_drawn_part_says_of_all_slides():
    rows = [SlideRow(f"s{n}", f"s{n}.mrxs") for n in range(10)]
    headers = {0: Header("s0", num_bytes=1010), 1: Header("s1", problem="cannot be read")}
    headers[2] = Header("s2", problem="cannot be read")  # it is not there at all
    plain = np.full(10, 10.0)
    plain[2] = 0.0
    sizes = plain.copy()
    sizes[0] = 1010.0
    found = with_companions(rows, plain, sizes, [0, 1], headers)
    assert list(found[:4]) == [1010, 10, 0, 510]
    folders = with_companions(rows, np.zeros(10), np.where(sizes > 10, sizes, 0), [0, 1], headers)
    assert list(folders[:4]) == [1010, 0, 0, 505]
    survey = Survey(rows, headers, 2, 0, [], 0.0, found)
    assert survey.expected_failing() == pytest.approx(1 + 9 / 2)
