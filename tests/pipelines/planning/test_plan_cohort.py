"""`slidenet plan --slides`: what it says of a small cohort, beside what a run makes of it."""

import json
import re
from pathlib import Path

import pytest

from slidenet.cli.main import main
from slidenet.core.errors import ConfigError, UnknownNameError
from slidenet.pipelines.embed_slides import embed_slides
from slidenet.pipelines.embed_tiles import embed_tiles
from slidenet.pipelines.fleet.settings import FleetSettings
from slidenet.pipelines.planning import cohort
from slidenet.pipelines.planning.machines import MEASURED, gpus_of
from slidenet.pipelines.planning.plan import plan
from slidenet.pipelines.planning.tissue_sample import bytes_below
from slidenet.pipelines.preprocess import preprocess
from slidenet.testing import write_synthetic_slide

ROOT = Path(__file__).parents[3]
SETTINGS = {"tile_size_px": 64, "batch_size": 16, "num_readers": 2}


@pytest.fixture(autouse=True)
def _quick_python(monkeypatch):
    """Nobody waits for another Python to start."""
    monkeypatch.setattr(cohort, "seconds_of_python", lambda: 3.0)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Four slides, one of them twice; a file that is none, one without resolution, one missing."""
    folder = tmp_path_factory.mktemp("planned")
    for number in range(4):
        side = 768 + 256 * number
        write_synthetic_slide(folder / f"s{number}.tiff", side, side, 0.5, seed=number)
    (folder / "copy.tiff").write_bytes((folder / "s1.tiff").read_bytes())
    (folder / "text.tiff").write_text("no slide")
    write_synthetic_slide(folder / "coarse.tiff", 512, 512, 4.0, seed=1)
    names = ["s0", "s1", "s2", "s3", "copy", "text", "coarse", "gone"]
    rows = "".join(f"{name},{name}.tiff\n" for name in names)
    (folder / "slides.csv").write_text("slide_id,slide_path\n" + rows)
    return folder


@pytest.mark.slow
def test_a_plan_says_what_the_run_then_makes(slides, colour_encoder, tmp_path, capsys):
    out, file = tmp_path / "out", tmp_path / "plan.json"
    planned = plan(
        slides / "slides.csv",
        out,
        tile_encoder=colour_encoder,
        probe_seconds=1.0,
        machines=2,
        price=3.0,
        json=file,
        fleet=FleetSettings(progress="json"),
        **SETTINGS,
    )
    assert not out.exists()
    printed, told = capsys.readouterr()
    assert not printed
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    ends = {e["verb"]: (e["done"], e["total"]) for e in events if e["event"] == "end"}
    assert ends == {
        "plan: loading": (2, 2), "plan: sizes": (8, 8), "plan: headers": (7, 7),
        "plan: tissue": (5, 5), "plan: measuring": (9, 9),
    }  # fmt: skip
    measured = [e["part"] for e in events if e["verb"] == "plan: measuring" and "part" in e]
    assert {"few tiles with the encoder", "the encoder alone", "writing results"} <= set(measured)
    assert planned.exit_code == 1
    assert [(h.slide_id, h.problem) for h in planned.survey.failing] == [
        ("text", "cannot be read"),
        ("coarse", "coarser than the tiles asked for"),
        ("gone", "cannot be read"),
    ]
    assert planned.survey.duplicates == [["s1", "copy"]]

    rows = planned.cohort.rows
    preprocess(rows, out, tile_size_px=64)
    report = embed_tiles(rows, out, batch_size=16, num_readers=2, tile_encoder=colour_encoder)
    embed_slides(rows, out, encoder=colour_encoder.spec.name)
    made = {one.slide_id: one.num_tiles for one in report.outcomes}
    assert dict(zip([r.slide_id for r in rows], planned.tiles.each, strict=True)) == made
    assert planned.tiles.low == planned.tiles.high == sum(made.values())
    assert planned.bytes_out == pytest.approx(bytes_below(out), rel=0.05)
    assert planned.bytes_in == sum((slides / f"{r.slide_id}.tiff").stat().st_size for r in rows)

    text = planned.table()
    assert "8 slides" in text
    assert "will fail: 3" in text
    assert "the same slide several times: s1, copy" in text
    assert "2 machines: " in text
    said = json.loads(file.read_text())
    assert said["tiles"] == sum(made.values())
    assert said["cost_per_slide"] == pytest.approx(planned.cost / 5)
    assert said["bottleneck"] == planned.times.estimate.bottleneck
    assert planned.to_pandas()["counted"].all()


def commands_of_the_page():
    """The command lines of the section on plans."""
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    block = re.search(r"^## Plan\n.*?```bash\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    return block[1].splitlines()


@pytest.mark.slow
def test_the_examples_of_the_page(slides, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{slides}/s{number}.tiff\n" for number in range(3))
    (tmp_path / "slides.csv").write_text("slide_path\n" + rows)
    quick = "--sample 2 --probe-seconds 0.2 --tile-size-px 64 --progress none --json plan.json"
    said = []
    for line in commands_of_the_page():
        of_test = "" if "--gpus" in line else "--tiles-per-second 50"  # no encoder is loaded
        assert main([*line.split()[1:], *quick.split(), *of_test.split()]) == 0
        out, err = capsys.readouterr()
        assert not err
        said.append((out, json.loads((tmp_path / "plan.json").read_text())))
        assert not (tmp_path / "out").exists()
    (text, first), (_, second), (last_text, last) = said
    assert "100 machines: " in text
    assert "cost: " in text
    assert first["tiles_interval"][0] < first["tiles"] < first["tiles_interval"][1]
    assert first["machine_hours"] == pytest.approx(100 * first["seconds"] / 3600)
    assert second["gpus"]["number"] == second["machines"]["processes"] == 4
    assert second["gpus"]["rate"] == second["rates"]["encode"] == 874
    assert last["rates"]["encode"] == 900
    assert last["rates"]["write"] is None  # no --out, so nobody knows
    assert "the rate of h100 is 900 tiles/s (as given)" in last_text


def test_rates_of_gpus_are_measured_or_given():
    found = gpus_of("4xH200", "kaiko_vitb16", "bf16", None)
    assert (found.kind, found.number, found.rate) == ("h200", 4, 1880)
    assert gpus_of("h100", "anything", "bf16", 321.0).rate == 321
    with pytest.raises(ConfigError, match=r"uni in bf16 on it is not known.*kaiko_vitb16"):
        gpus_of("h200", "uni", "bf16", None)
    with pytest.raises(ConfigError, match=r"bench_tile_throughput.py.*--tiles-per-second"):
        gpus_of("h100", "gigapath", "bf16", None)
    for text in ("0xh100", "4 h100", ""):
        with pytest.raises(ConfigError, match="4xh200 for four"):
            gpus_of(text, "gigapath", "bf16", None)


def test_processes_are_those_of_devices_or_gpus():
    gpus = gpus_of("4xh200", "kaiko_vitb16", "bf16", None)
    assert cohort.num_processes(None, FleetSettings()) == 1
    assert cohort.num_processes(None, FleetSettings(devices="cpu:0-3,cpu:4-7")) == 2
    assert cohort.num_processes(gpus, FleetSettings()) == 4
    assert cohort.num_processes(gpus, FleetSettings(devices=4)) == 4
    with pytest.raises(ConfigError, match="give --gpus 2xh200"):
        cohort.num_processes(gpus, FleetSettings(devices=2))


def test_rates_are_those_of_the_docs():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for (_, _, _), rate in MEASURED.items():
        assert f"{rate:,.0f}" in page


def test_one_question_at_a_time(tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"--shape is of what one slide takes.*--largest"):
        plan(tmp_path, shape="longnet-small")
    with pytest.raises(ConfigError, match="--price is of what a cohort takes"):
        plan(num_tiles=100, price=1.0)
    with pytest.raises(UnknownNameError, match="did you mean machines"):
        plan(tmp_path, machnes=3)
    with pytest.raises(ConfigError, match="price is 0"):
        plan(tmp_path, price=0)
    assert main(["plan", "--slides", str(tmp_path / "none"), "--machines", "0"]) == 2
    assert "--machines is 0" in capsys.readouterr().err
