"""Under Lightning: every epoch another order, every bag once, on one process and under DDP."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from slidenet.data.datamodule import read_bags

RUN = Path(__file__).with_name("recording_run.py")


@pytest.fixture(scope="module")
def recording():
    spec = importlib.util.spec_from_file_location("recording_run", RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank*.json"))]


@pytest.mark.parametrize("settings", [{"batch_size": 4}, {"token_budget": 30}])
def test_one_process_sees_every_bag_once_per_epoch(cohort_kit, recording, tmp_path, settings):
    data = read_bags(**cohort_kit.write_cohort(tmp_path), **settings)
    trainer = recording.fit(tmp_path, data, devices=1)
    (seen,) = shown(tmp_path)
    for epoch in range(2):
        assert sorted(seen["train"][epoch]) == sorted(data.split.train)
        assert seen["val"][epoch] == sorted(data.split.val)
    assert seen["train"][0] != seen["train"][1]
    predicted = trainer.predict(recording.Recorder(tmp_path), datamodule=data)
    assert [bag_id for ids in predicted for bag_id in ids] == list(data.label_table.slide_ids)


@pytest.mark.slow
def test_two_processes_share_every_bag_once_per_epoch(cohort_kit, tmp_path):
    cohort = cohort_kit.write_cohort(tmp_path)
    command = [sys.executable, RUN, cohort["labels"], cohort["features"], tmp_path]
    subprocess.run(command, check=True, timeout=250)
    ranks = shown(tmp_path)
    assert len(ranks) == 2
    split = read_bags(**cohort, batch_size=2).split
    for part, slides in (("train", split.train), ("val", split.val)):
        for epoch in range(2):
            here, there = (rank[part][epoch] for rank in ranks)
            assert sorted(here + there) == sorted(slides)
            assert here
            assert there
