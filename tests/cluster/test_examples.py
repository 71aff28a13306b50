"""The examples of docs/scaling.md make what one command makes, on any number of jobs."""

import shutil

import pytest
import yaml


@pytest.mark.slow
def test_run(shell, examples, commands, many_jobs, emulators, tmp_path, subtests):
    """One test, since all examples share the process that imports slidenet."""
    for file in (f for f in examples.rglob("*") if f.is_file()):
        shutil.copy(file, tmp_path)

    def check(run, log=""):
        assert run.returncode == 0, run.stdout + run.stderr + log
        assert many_jobs.digests(tmp_path / "out") == many_jobs.digests(tmp_path / "alone")
        assert not list((tmp_path / "out").rglob(".*"))
        shutil.rmtree(tmp_path / "out")

    run = shell("slidenet run --slides slides.csv --out alone")
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(many_jobs.digests(tmp_path / "alone")) > 20

    with subtests.test("SLURM array"):
        script = tmp_path / "slurm_array.sh"
        smaller = script.read_text().replace("--array=0-7", "--array=0-1")
        assert smaller != script.read_text()
        script.write_text(smaller)
        run = shell(commands["SLURM array"][0])
        logs = "".join(log.read_text() for log in tmp_path.glob("slidenet-*.log"))
        check(run, logs)
        assert (tmp_path / ".codes").read_text() == "1 0 0\n2 0\n"

    with subtests.test("Kubernetes indexed job"):
        text = (tmp_path / "kubernetes_job.yaml").read_text()
        job = yaml.safe_load(
            text.replace("completions: 8", "completions: 2").replace("auto/8", "auto/2")
        )
        check(emulators.run_pods(job, shell, tmp_path))

    with subtests.test("Nextflow"):
        check(
            emulators.run_tasks((tmp_path / "main.nf").read_text(), shell, tmp_path, num_shards=2)
        )

    with subtests.test("GNU parallel"):
        if shutil.which("parallel") is None:
            pytest.skip("GNU parallel is not installed")
        (tmp_path / "nodes.txt").write_text("2/:\n")
        check(shell(commands["GNU parallel"][0]))
