"""Training on two nodes: two groups of processes that torchrun or SLURM started, or would have."""

import atexit
import csv
import importlib.util
import json
import multiprocessing
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from slidenet.cli.main import main
from slidenet.core.errors import ConfigError, LostRankError
from slidenet.pipelines.fitting.trainer import TrainerFactory
from slidenet.testing import write_feature_cohort
from slidenet.training.ranks import lost_rank_ends

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = ROOT / "tests/cluster/programs"


def torchrun(rank, port):
    return {
        "RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1, "GROUP_RANK": rank,
        "TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip


def slurm_would(rank, port):
    return {
        "SLURM_JOB_ID": 7, "SLURM_JOB_NAME": "train", "SLURM_NTASKS": 2, "SLURM_NNODES": 2,
        "SLURM_NTASKS_PER_NODE": 1, "SLURM_PROCID": rank, "SLURM_LOCALID": 0,
        "SLURM_NODEID": rank, "SLURM_NODELIST": "node[1-2]", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }  # fmt: skip


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _node(environment, folder, arguments, log):
    os.environ.update({name: str(value) for name, value in environment.items()})
    os.chdir(folder)
    sys.stdout = sys.stderr = log.open("w", buffering=1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 99
    try:
        code = main(arguments)
    finally:
        sys.stdout.flush()
        os._exit(code)


def start(kind, arguments, folder):
    """Both nodes; forked, as importing torch takes longer than the test."""
    port, context = free_port(), multiprocessing.get_context("fork")
    nodes = [
        context.Process(target=_node, args=(kind(r, port), folder, arguments, folder / f"log{r}"))
        for r in (0, 1)
    ]
    for node in nodes:
        node.start()
    return nodes


def ended(nodes, seconds=120):
    """Exit codes; a node that hangs is killed, and has none of its own."""
    until = time.monotonic() + seconds
    for node in nodes:
        node.join(max(0.1, until - time.monotonic()))
        if node.is_alive():
            node.kill()
            node.join()
    return [node.exitcode for node in nodes]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """32 bags to train on, which batches of 8 and of 2 x 4 divide, named as on the page."""
    folder = tmp_path_factory.mktemp("nodes")
    made = write_feature_cohort(
        folder, num_patients=48, slides_per_patient=(1,), num_tiles=16, feature_dim=6
    )
    with made.labels.open() as file:
        slides = [row["slide_id"] for row in csv.DictReader(file)]
    with (folder / "split.csv").open("w", newline="") as file:
        names = ["train"] * 32 + ["val"] * 8 + ["test"] * 8
        csv.writer(file).writerows([("slide_id", "split"), *zip(slides, names, strict=True)])
    made.labels.rename(folder / "slides.csv")
    (folder / "out/tile_features").mkdir(parents=True)
    made.features.rename(folder / "out/tile_features/efficientnet_lite0")
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


@pytest.fixture
def folders(cohort, tmp_path):
    """Folders to start commands of the page in, with the same cohort."""

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        for there in ("configs", "out", "slides.csv", "split.csv"):
            (folder / there).symlink_to(cohort / there)
        return folder

    return make


QUICK = [
    "--data.splits=split.csv", "--trainer.accelerator=cpu", "--probes=false",
    "--model.network=mean", "--trainer.max_epochs=4",
]  # fmt: skip
"""Added to what the page says."""


@pytest.fixture(scope="module")
def lines():
    """What the page starts: the command of torchrun, and the script of SLURM."""
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    part = page.partition("## Training on several nodes\n")[2].partition("\n### ")[0]
    by_torchrun, by_slurm = re.findall(r"^```(?:bash)?\n(.*?)^```", part, re.DOTALL | re.MULTILINE)
    return by_torchrun, by_slurm


def load(path):
    """A module of tests/cluster."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _answer(forks, server, flags):
    atexit._clear()  # what pytest does at its end is not to be done by these
    forks.serve(server, flags)


@pytest.fixture
def with_slidenet(tmp_path):
    """An environment where `slidenet` is forked from this process, so that it starts at once."""
    forks, place = load(PROGRAMS / "forks.py"), str(tmp_path / "forks")
    more = [*QUICK, "--data.batch_size=4"]
    with forks.listening(place) as server:
        process = multiprocessing.get_context("fork").Process(
            target=_answer, args=(forks, server, more)
        )
        process.start()
    paths = [str(PROGRAMS), str(Path(sys.executable).parent), os.environ["PATH"]]
    yield os.environ | {"PATH": os.pathsep.join(paths), "SLIDENET_FORKS": place}
    process.kill()
    process.join()


def by_torchrun(line, folder, environment):
    """What each node said; they are started as the page says, but for address and port."""
    here = line.replace("node1", "127.0.0.1").replace("29500", str(free_port()))
    other = here.replace("--node-rank 0", "--node-rank 1")
    assert len({line, here, other}) == 3
    nodes = [
        subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in (here, other)
    ]
    said = [node.communicate(timeout=120)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(said)
    return said


def predictions(folder, split):
    with (folder / f"predictions_{split}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {row["bag_id"]: float(row["prob_1"]) for row in rows}, len(rows)


@pytest.mark.slow
def test_two_nodes_give_what_one_process_gives_and_go_on_where_one_was_killed(
    lines, folders, with_slidenet, tmp_path, subtests, monkeypatch
):
    """The examples of docs/scaling.md as they are written, where that program is installed."""
    line, script = lines
    two, again, one = folders("two"), folders("again"), folders("one")
    assert "rank 0 writes the results" in by_torchrun(line, two, with_slidenet)[1]
    _, *command = shlex.split(line.partition("--no-python")[2].replace("\\\n", ""))
    monkeypatch.chdir(one)
    alone = [*command[: command.index("--trainer.num-nodes")], *QUICK, "--data.batch_size=8"]
    assert main(alone) == 0
    two, run, one = (folder / "runs/abmil" for folder in (two, again, one))
    for split in ("val", "test"):
        (found, rows), (wanted, _) = predictions(two, split), predictions(one, split)
        assert rows == len(found) == 8, "every bag once"
        assert found == pytest.approx(wanted, abs=1e-4)
    scores = [json.loads((folder / "metrics.json").read_text()) for folder in (two, one)]
    assert scores[0]["val"] == pytest.approx(scores[1]["val"], abs=1e-4)
    epochs = [list(csv.DictReader((f / "metrics.csv").open())) for f in (two, one)]
    for ours, alone in zip(*epochs, strict=True):
        assert int(ours["step"]) == int(alone["step"])
        assert float(ours["val_loss"]) == pytest.approx(float(alone["val_loss"]), abs=1e-4)

    command += [*QUICK, "--data.batch_size=4"]
    nodes = start(torchrun, command, again)
    while not (run / "last.ckpt").exists() and nodes[1].is_alive():
        time.sleep(0.005)
    nodes[1].kill()
    code, _ = ended(nodes, 60)
    if code != 0:  # else the fit had ended before the kill came
        assert code == 1
        assert "lost another rank" in (again / "log0").read_text()
        assert not (run / "model.slidenet").exists()
    with ExitStack() as stack:
        daemons = load(PROGRAMS.parent / "slurm_daemons.py")
        try:
            slurm = stack.enter_context(daemons.two_nodes())
        except daemons.NoSlurmError as error:
            with subtests.test("the script of SLURM"):
                pytest.skip(f"{error}; its variables are set instead")
            assert ended(start(slurm_would, command, again)) == [0, 0]
        else:
            (again / "train.sh").write_text(script)
            state = slurm.run(again / "train.sh", env=with_slidenet)
            said = "".join(log.read_text() for log in again.glob("slurm-*.out"))
            assert state == "COMPLETED 0:0", said
            assert "rank 0 writes the results" in said
    for name in ("model.slidenet", "predictions_test.csv", "metrics.csv", "metrics.json"):
        assert (run / name).read_bytes() == (two / name).read_bytes(), name


@pytest.fixture
def environment(monkeypatch):
    def put(values):
        for name in list(os.environ):
            if name.startswith(("SLURM_", "MASTER_", "TORCHELASTIC_")):
                monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, str(value))

    return put


def test_nodes_nobody_started_are_refused_at_once(environment, tmp_path):
    environment({})
    factory = TrainerFactory({"num_nodes": 2, "devices": 1, "accelerator": "cpu"})
    with pytest.raises(ConfigError, match=r"num-nodes 2, and nothing says which node.*torchrun"):
        factory.meet_ranks(tmp_path)


def test_processes_the_settings_do_not_ask_for_are_refused(environment, tmp_path):
    environment(torchrun(0, 1))
    with pytest.raises(ConfigError, match=r"torchrun started 2 processes.*ask for one"):
        TrainerFactory({"accelerator": "cpu"}).meet_ranks(tmp_path)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torchrun, {}),
        (torchrun, {"num_nodes": 2, "strategy": "ddp"}),
        (slurm_would, {"num_nodes": 2, "strategy": "ddp"}),
    ],
)
def test_a_cross_validation_takes_no_ranks_from_outside(environment, tmp_path, kind, settings):
    environment(kind(0, 1))
    factory = TrainerFactory({"accelerator": "cpu", "devices": 1, **settings})
    with pytest.raises(ConfigError, match=r"in a cross-validation.*same command on every node"):
        factory.meet_ranks(tmp_path, may_share=False)


def test_tasks_of_slurm_may_be_runs_of_their_own(environment, tmp_path):
    environment({"SLURM_JOB_ID": 7, "SLURM_NTASKS": 4, "SLURM_PROCID": 3, "SLURM_JOB_NAME": "cv"})
    factory = TrainerFactory({"accelerator": "cpu"})
    assert factory.meet_ranks(tmp_path, may_share=False) == 1
    assert factory.make(tmp_path, []).is_global_zero


def test_slurm_ends_a_job_by_sigterm_and_queues_none(environment, tmp_path):
    environment(slurm_would(0, 1))
    made = TrainerFactory({"num_nodes": 2, "devices": 1, "accelerator": "cpu"}).make(tmp_path, [])
    assert made.strategy.cluster_environment.auto_requeue is False


def test_other_errors_of_a_fit_are_told_as_they_are():
    with pytest.raises(RuntimeError, match="shapes") as found, lost_rank_ends():
        raise RuntimeError("shapes do not fit")
    assert not isinstance(found.value, LostRankError)


@pytest.mark.parametrize("settings", [{"devices": 2}, {"devices": "0,1"}, {"devices": [0, 1]}])
def test_a_fit_on_a_cluster_has_one_device(settings):
    with pytest.raises(ConfigError, match=r"--runner ray with --trainer\.devices"):
        TrainerFactory(settings).check_one_device()
    for alone in ({}, {"devices": 1}, {"devices": [0]}, {"devices": -1}):
        TrainerFactory(alone).check_one_device()
