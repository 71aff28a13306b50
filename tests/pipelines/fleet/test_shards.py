from dataclasses import dataclass

import pytest

from slidenet.core.errors import ConfigError
from slidenet.core.records import SlideRow
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.run import run_cohort
from slidenet.pipelines.cohort.runner import SlideResult, SlideWork
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.fleet.shards import Shard, parse_shard

ROWS = [SlideRow(f"slide {number} é", "x") for number in range(1000)]


def slurm(task, first, last, count):
    values = {"TASK_ID": task, "TASK_MIN": first, "TASK_MAX": last, "TASK_COUNT": count}
    return {f"SLURM_ARRAY_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_slide_is_in_one_shard_of_about_equal_size(count):
    shares = [Shard(i, count).share(ROWS) for i in range(1, count + 1)]
    together = [row.slide_id for share in shares for row in share]
    assert sorted(together) == sorted(row.slide_id for row in ROWS)
    assert all(abs(len(share) - 1000 / count) < 60 for share in shares)
    assert all(share == sorted(share, key=ROWS.index) for share in shares)


def test_the_shard_of_a_slide_is_pinned():
    """First 8 bytes of SHA-256, modulo: b"a" is 0xca978112ca1bbdca."""
    assert [i for i in range(1, 11) if Shard(i, 10).holds("a")] == [0xCA978112CA1BBDCA % 10 + 1]


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("2/8", {}, (2, 8)),
        ("auto", slurm(0, 0, 7, 8), (1, 8)),
        ("auto", slurm(7, 0, 7, 8), (8, 8)),
        ("auto", slurm(12, 10, 14, 3), (2, 3)),  # --array=10-14:2
        ("auto", slurm(5, 5, 5, 1), (1, 1)),
        ("auto/4", slurm(2, 1, 4, 4), (2, 4)),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "3"}, (1, 3)),
        ("auto/5", {"JOB_COMPLETION_INDEX": "4"}, (5, 5)),
    ],
)
def test_shards_of_flags_and_schedulers(text, environment, expected):
    shard = parse_shard(text, environment)
    assert (shard.index, shard.count) == expected


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        ("0/8", {}, "shard 0 of 8"),
        ("9/8", {}, "shard 9 of 8"),
        ("1/0", {}, "shard 1 of 0"),
        ("-1/8", {}, "--shard -1/8"),
        ("a/b", {}, "I/N"),
        ("auto", {}, "no scheduler numbers this job"),
        ("auto", {"JOB_COMPLETION_INDEX": "1"}, "give --shard auto/N"),
        ("auto/1", {"JOB_COMPLETION_INDEX": "1"}, "shard 2 of 1"),
        ("auto", slurm(2, 1, 9, 3), "gaps"),
        ("auto/8", slurm(3, 3, 3, 1), "auto/8 in an array of 1 task"),  # a task started again
        ("auto", slurm(1, 1, 4, 2) | {"SLURM_ARRAY_TASK_COUNT": "x"}, "TASK_COUNT is 'x'"),
        ("auto", {"AWS_BATCH_JOB_ARRAY_INDEX": "0"}, "ARRAY_SIZE is ''"),
    ],
)
def test_other_shards_are_refused(text, environment, words):
    with pytest.raises(ConfigError, match=words):
        parse_shard(text, environment)


def test_the_report_says_the_share():
    fleet = FleetSettings(shard="1/2")
    share = fleet.share(ROWS)
    assert fleet.notes(ROWS) == (f"shard 1/2 (--shard): {len(share)} slides of 1000",)
    assert FleetSettings().share(ROWS) is ROWS
    assert FleetSettings().notes(ROWS) == ()


def test_jobs_with_shards_do_every_slide_once(tmp_path):
    @dataclass(frozen=True)
    class Work(SlideWork):
        layout: OutputLayout

        def __call__(self, row, progress):
            return SlideResult(self.layout.root / row.slide_id, "made")

    reports = [
        run_cohort("verb", ROWS[:20], Work(OutputLayout(tmp_path)), fleet=FleetSettings(shard=text))
        for text in ("1/2", "2/2")
    ]
    done = [outcome.slide_id for report in reports for outcome in report.outcomes]
    assert sorted(done) == sorted(row.slide_id for row in ROWS[:20])
    assert (
        reports[1].table().endswith(f"shard 2/2 (--shard): {len(reports[1].outcomes)} slides of 20")
    )
