"""`slidenet embed-slides` on two ranks: the embeddings of one process, and failures together."""

import multiprocessing
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from slidenet.core.errors import ConfigError, ParallelError, SlidenetError, StoreError
from slidenet.core.records import SlideRow
from slidenet.parallel import make_mesh
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.pipelines.cohort.ranks import SlideRanks, join_ranks
from slidenet.pipelines.embed_slides import embed_slides
from slidenet.pipelines.settings import EmbedSlidesSettings
from slidenet.slide_encoders import LongNetEncoder, LongNetViT
from slidenet.slide_encoders.recipes import RECIPES
from slidenet.stores import FeatureFile, read_slide_embedding
from slidenet.stores.h5 import schema
from slidenet.testing import write_feature_cohort
from slidenet.testing.cohorts.edited import edited

SETTINGS = EmbedSlidesSettings(recipe="gigapath")
RANKS = 2


def small_encoder():
    torch.manual_seed(0)
    net = LongNetViT(
        feature_dim=6, embed_dim=32, depth=2, num_heads=4, ffn_dim=64,
        segment_lengths=(4, 16, 64), dilation_rates=(1, 2, 3),
    )  # fmt: skip
    return LongNetEncoder("small", net, RECIPES["gigapath"])


@pytest.fixture
def folders(tmp_path):
    """The same features in two output folders; of three slides, one with a broken tile."""
    found = []
    for name in ("alone", "shared"):
        made = write_feature_cohort(
            tmp_path / f"made_{name}", num_patients=4, slides_per_patient=(1,), num_tiles=64,
            feature_dim=6,
        )  # fmt: skip
        layout = OutputLayout(tmp_path / name)
        target = layout.features("any", "tiny").parent
        target.parent.mkdir(parents=True)
        made.features.rename(target)
        paths = sorted(target.glob("*.h5"))
        with edited(paths[0]) as h5:
            h5[schema.STATUS][5:40:3] = 1
        with edited(paths[1]) as h5:
            h5[schema.FEATURES][-1] = np.nan  # in the chunk of the last rank
        paths[2].unlink()
        found.append((layout, [SlideRow(path.stem, f"{path.stem}.svs") for path in paths]))
    return found


def embed(layout, rows, ranks=None):
    settings = {} if ranks is None else {"sequence_ranks": ranks}
    return embed_slides(
        rows, layout.root, SETTINGS, encoder="tiny", slide_encoder=small_encoder(), **settings
    )


def test_two_ranks_write_what_one_process_writes(folders):
    (alone, rows), (shared, _) = folders
    wanted = embed(alone, rows)
    assert [o.status for o in wanted.outcomes] == ["done", "failed", "failed", "done"]
    results = on_ranks(shared, rows)
    for rank, (statuses, details, again) in enumerate(results):
        assert statuses == [o.status for o in wanted.outcomes], details
        assert again == ["already done", "failed", "failed", "already done"]
        assert "NaN" in details[1], "the cause, on every rank"
        assert ("sequence rank 1 failed at it" in details[1]) == (rank == 0)
    assert shared.run_report.is_file()
    for row in (rows[0], rows[3]):
        found, one = (
            read_slide_embedding(layout.slide_embedding(row.slide_id, "tiny", "gigapath"))
            for layout in (shared, alone)
        )
        np.testing.assert_allclose(found.slide_embedding, one.slide_embedding, atol=1e-5)
        assert found.identity == one.identity  # so either goes on where the other stopped


def test_ranks_started_with_other_commands_are_refused(folders):
    (layout, rows), (other, _) = folders
    with edited(other.features(rows[0].slide_id, "tiny")) as h5:
        h5[schema.STATUS][50] = 1
    wanted = {
        "--slides": "has --slides slide 1 'slide_003' where rank 0 has 'slide_000'",
        "--out": f"has --out '{other.root}' where rank 0 has '{layout.root}'",
        "--encoder": "has --encoder 'other' where rank 0 has 'tiny'",
        "--overwrite": "has --overwrite True where rank 0 has False",
        "--recipe": "has --recipe 'trident' where rank 0 has 'gigapath'",
        "unknown recipe": "'gigapth'",
        "weights": "has slide encoder weights",
        "no manifest": "nowhere.csv",
        "files": "sequence rank 1 has other mask than rank 0",
        "afterwards": "32-d",
    }
    for rank, results in enumerate(on_ranks(layout, rows, _attempts, other)):
        assert list(results) == list(wanted)
        for name, (text, seconds) in results.items():
            assert wanted[name] in text, (rank, name, text)
            assert seconds < 5
            if "rank 0 has" in wanted[name]:
                assert text.partition(" has ")[0].endswith("sequence rank 1"), text


def _attempts(rank, ranks, layout, rows, other):
    odd = rank == 1
    found = {}

    def attempt(name, change, out=layout):
        given = {
            "slides": rows,
            "out": out.root,
            "settings": SETTINGS,
            "encoder": "tiny",
            "slide_encoder": small_encoder(),
        }
        start = time.monotonic()
        try:
            report = embed_slides(**given | (change if odd else {}), sequence_ranks=ranks)
            text = report.outcomes[0].detail
        except SlidenetError as error:
            text = str(error)
        found[name] = (text, time.monotonic() - start)

    heavier = small_encoder()
    heavier.net.norm.weight.data += 1
    attempt("--slides", {"slides": rows[::-1]})
    attempt("--out", {"out": other.root})
    attempt("--encoder", {"encoder": "other"})
    attempt("--overwrite", {"overwrite": True})
    attempt("--recipe", {"settings": EmbedSlidesSettings(recipe="trident")})
    attempt("unknown recipe", {"settings": EmbedSlidesSettings(recipe="gigapth")})
    attempt("weights", {"slide_encoder": heavier})
    attempt("no manifest", {"slides": layout.root / "nowhere.csv"})
    # An output folder of this name on each machine: the folder of this rank holds other files.
    here, mine = Path.cwd(), (other if odd else layout).root
    os.chdir(mine)
    attempt("files", {}, OutputLayout(Path()))
    os.chdir(here)
    attempt("afterwards", {})
    return found


def on_ranks(layout, rows, function=None, *args):
    # Forked, not spawned: importing torch again takes longer than the test.
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [
        context.Process(target=_rank, args=(rank, layout, rows, queue, function or _twice, *args))
        for rank in range(RANKS)
    ]
    for process in processes:
        process.start()
    found = dict(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(30)
    return [found[rank] for rank in range(RANKS)]


def _rank(rank, layout, rows, queue, function, *args):
    meet = Path(layout.root, "meet")
    dist.init_process_group("gloo", f"file://{meet}", rank=rank, world_size=RANKS)
    ranks = SlideRanks(torch.device("cpu"), make_mesh(data=1), rank, RANKS)
    queue.put((rank, function(rank, ranks, layout, rows, *args)))
    ranks.leave()


def _twice(rank, ranks, layout, rows):
    first, again = (embed(layout, rows, ranks) for _ in range(2))
    return _statuses(first), [outcome.detail for outcome in first.outcomes], _statuses(again)


def _statuses(report):
    return [outcome.status for outcome in report.outcomes]


def test_after_the_loss_of_a_rank_nothing_is_waited_for(monkeypatch):
    def unanswered(found, value):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "all_gather_object", unanswered)
    ranks = SlideRanks(torch.device("cpu"), mesh=object(), rank=0, size=2)
    with pytest.raises(ParallelError, match="lost another rank"):
        ranks.on_all(lambda: 1)
    with pytest.raises(ParallelError, match=r"lost at an earlier slide.*the same command again"):
        ranks.on_all(lambda: pytest.fail("work is done that nobody shares"))


class NoModule:
    name = "foreign"


def test_a_slide_encoder_that_cannot_be_shared_is_refused():
    SlideRanks().share(NoModule())  # one process shares with nobody
    ranks = SlideRanks(torch.device("cpu"), mesh=object(), rank=0, size=2)
    with pytest.raises(ParallelError, match=r"'foreign' cannot share.*drop --sequence-ranks"):
        ranks.share(NoModule())


def test_refusals(monkeypatch, tmp_path):
    assert join_ranks(1, "auto") == SlideRanks()
    with pytest.raises(ConfigError, match="sequence_ranks is 0"):
        join_ranks(0, "auto")
    with pytest.raises(ConfigError, match="'cuda:1' for 2 ranks"):
        join_ranks(2, "cuda:1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(ConfigError, match="give --sequence-ranks 3"):
        join_ranks(1, "auto")
    monkeypatch.delenv("LOCAL_RANK")  # nobody waits to hear of it
    manifest = tmp_path / "slides.csv"
    manifest.write_text("slide_id,slide_path\na,a.svs\n")
    with pytest.raises(ConfigError, match="2 ranks for the recipe 'mean'"):
        embed_slides(manifest, tmp_path, sequence_ranks=2)


def test_a_file_is_opened_in_step_with_the_other_ranks(folders, monkeypatch):
    (layout, rows), _ = folders
    inside = []

    class Watching(SlideRanks):
        def on_all(self, work):
            inside.append(work)
            try:
                return work()
            finally:
                inside.pop()

    def refusing(file):
        raise StoreError("no handle left" if inside else "opened out of step")

    monkeypatch.setattr(FeatureFile, "__enter__", refusing)
    (outcome,) = embed(layout, rows[:1], Watching()).outcomes
    assert outcome.detail.endswith("no handle left")
