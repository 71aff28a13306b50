"""Every command of docs/multi-gpu.md runs as it stands there, with gloo, on generated data."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slidenet.core.records import TileSet
from slidenet.pipelines.cohort.layout import OutputLayout
from slidenet.slide_encoders import LONGNET_CONFIGS, LongNetViT, save_checkpoint
from slidenet.stores import read_features, read_slide_embedding, write_tile_set
from slidenet.testing.cohorts.feature_cohort import generate_features, write_generated

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "multi-gpu.md"
QUICK = ["--trainer.max_epochs=1", "--model.warmup_epochs=0"]
"""Added to the training command."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)


COMMANDS = [line for block in blocks("bash") for line in block.strip().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with all that the commands name."""
    folder = tmp_path_factory.mktemp("walk")
    (folder / "configs").symlink_to(ROOT / "configs")
    (script,) = blocks("python")
    (folder / "encode_shared.py").write_text(script)
    layout = OutputLayout(folder / "out")
    cohort = generate_features(num_patients=24, num_tiles=36, feature_dim=1536)
    for encoder, feature_dim in (("gigapath", 1536), ("efficientnet_lite0", 16)):
        for slide in cohort.slides:  # of the same tiles
            slide.features = slide.features[:, :feature_dim]
        made = write_generated(cohort, folder / encoder)
        target = layout.features("any", encoder).parent
        target.parent.mkdir(parents=True, exist_ok=True)
        made.features.rename(target)
    with made.labels.open(newline="") as file:
        rows = [{**row, "slide_path": f"{row['slide_id']}.svs"} for row in csv.DictReader(file)]
    with (folder / "slides.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        write_tiles(layout, row["slide_id"])
    torch.manual_seed(0)
    net = LongNetViT(LONGNET_CONFIGS["gigapath"])
    save_checkpoint(folder / "slide_encoder.pth", net.state_dict())
    return folder


def write_tiles(layout: OutputLayout, slide_id: str) -> None:
    with read_features(layout.features(slide_id, "gigapath")) as file:
        tile_set = TileSet(
            slide_id=slide_id,
            slide_path=f"{slide_id}.svs",
            fingerprint=file.fingerprint,
            geometry=file.geometry,
            coords=file.coords,
            tissue_fraction=file.tissue_fraction,
            identity=file.identity["tiles"],
        )
        write_tile_set(layout.tiles(slide_id), tile_set)


def run(command: str, folder: Path, *more: str) -> str:
    done = subprocess.run(
        [*shlex.split(command), *more],
        cwd=folder,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c.split()[:2]))
def test_the_command(command, folder):
    training = " train " in command
    said = run(command, folder, *(QUICK if training else ()))
    if "encode_shared" in command:
        (difference,) = re.findall(r"largest difference (\S+)", said)
        assert float(difference) < 1e-5
    elif "plan" in command:
        assert "fewest GPUs that fit" in said
    elif training:
        assert "trained longnet on bags" in said
        assert (folder / "runs" / "longnet" / "model.slidenet").is_file()
    else:
        same_as_alone(command, folder)


def same_as_alone(command: str, folder: Path) -> None:
    """What two ranks wrote is what one process writes."""
    layout = OutputLayout(folder / "out")
    path = layout.slide_embedding("slide_000", "gigapath", "gigapath")
    shared = read_slide_embedding(path).slide_embedding
    path.unlink()
    run(command[command.index("slidenet") :].replace("--sequence-ranks 2", ""), folder)
    alone = read_slide_embedding(path).slide_embedding
    assert abs(shared - alone).max() < 1e-5


def test_every_command_is_known():
    assert len(COMMANDS) == 6
    assert {c.split()[0] for c in COMMANDS} == {"slidenet", "torchrun"}


def test_the_figures_are_those_of_the_formula():
    """Their values are tested in test_communication.py; here, that the page states them."""
    for figure in ("240.9", "272.5", "528.5", "704.6", "2,818.6"):
        assert figure in DOCS.read_text()
