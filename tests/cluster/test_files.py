"""The examples are what the page shows, and what their own schemas and linters allow."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from slidenet.cli.flags import build_parser, parse_arguments
from slidenet.pipelines.fleet.shards import parse_shard
from slidenet.pipelines.run import run

ROOT = Path(__file__).resolve().parents[2]


def bin_of(name):
    """A program that a package of the extra `dev` brings; skips visibly where it is absent."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin"]))
    if found is None:
        pytest.skip(f"needs {name} (the extra dev, on Linux)")
    return found


@pytest.fixture(scope="module")
def job(examples):
    return yaml.safe_load((examples / "kubernetes_job.yaml").read_text())


def test_the_page_shows_every_file_as_it_is(examples, scaling):
    files = [path for path in examples.rglob("*") if path.is_file()]
    assert len(files) == 4
    blocks = dict(
        re.findall(
            r"\]\(\.\./(scripts/cluster/[\w./]+)\):\n\n```\w+\n(.*?)```\n", scaling, re.DOTALL
        )
    )
    assert blocks == {str(path.relative_to(ROOT)): path.read_text() for path in files}


def test_the_job_of_kubernetes_meets_the_schema(job):
    validate = pytest.importorskip("kubernetes_validate", reason="needs the extra dev, on Linux")
    validate.validate(job, "1.37", strict=True)
    job["spec"]["paralelism"] = job["spec"].pop("parallelism")
    with pytest.raises(validate.ValidationError, match="paralelism"):
        validate.validate(job, "1.37", strict=True)


def test_what_the_schema_of_kubernetes_does_not_say(job, emulators):
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"  # a failure policy needs it
    assert spec["completionMode"] == "Indexed"
    assert pod["terminationGracePeriodSeconds"] > 30
    assert pod["securityContext"]["runAsNonRoot"]
    rules = [r["onExitCodes"] for r in spec["podFailurePolicy"]["rules"] if "onExitCodes" in r]
    assert {rule["containerName"] for rule in rules} == {container["name"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    actions = {code: emulators.action_of(job, code) for code in (1, 2, 75, 137, 143)}
    assert actions == {1: "Count", 2: "FailJob", 75: "Ignore", 137: "Count", 143: "Ignore"}

    verb, *flags = container["args"]
    call = parse_arguments(build_parser(verb, run), run, flags)
    last = {"JOB_COMPLETION_INDEX": str(spec["completions"] - 1)}
    shard = parse_shard(call["fleet"].shard, last)
    assert shard.index == shard.count == spec["completions"]


@pytest.mark.slow
def test_the_script_of_nextflow_is_read_by_a_parser_of_its_language(examples, emulators, tmp_path):
    reftrace = pytest.importorskip("reftrace", reason="needs the extra dev, on Linux")
    path = examples / "nextflow/main.nf"
    module = reftrace.Module.from_file(str(path))
    assert not isinstance(module, reftrace.ParseError), module
    assert [process.name for process in module.processes] == ["SHARD", "FINISH"]
    params = {param.name for param in module.params}
    assert params == {"slides", "out", "shards", "flags"}
    assert set(re.findall(r"params\.(\w+)", path.read_text())) == params

    broken = tmp_path / "broken.nf"
    broken.write_text(path.read_text().replace("input:", "input: {", 1))
    assert isinstance(reftrace.Module.from_file(str(broken)), reftrace.ParseError)


def test_nextflow_tries_again_what_another_run_mends(examples, emulators):
    processes = emulators.nextflow_processes((examples / "nextflow/main.nf").read_text())
    assert {75, 137, 143} <= processes["SHARD"].retried == processes["FINISH"].retried
    assert not {0, 1, 2} & processes["SHARD"].retried


def test_both_images_run_as_a_user_that_is_not_root():
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    by_name = {re.search(r" AS (\S+)", stage)[1]: stage for stage in stages}
    for target in ("cpu", "cuda"):
        assert by_name[target].split()[0] == "runtime"
        assert re.findall(r"^USER (\S+)", by_name[target], re.MULTILINE) == ["1000:1000"]
        assert f"COPY --from=build-{target} /opt/venv /opt/venv" in by_name[target]
    assert 'ENTRYPOINT ["slidenet"]' in by_name["runtime"]
    assert stages[-1] is by_name["cuda"]  # what is built without --target


@pytest.mark.slow
def test_linters_find_nothing(examples):
    lines = [
        [bin_of("hadolint"), str(ROOT / "Dockerfile")],
        [bin_of("shellcheck"), *map(str, examples.glob("*.sh"))],
    ]
    for line in lines:
        found = subprocess.run(line, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout + found.stderr


STUB = """#!/bin/bash
echo "$@" > called
[ -z "{signal}" ] && exit {code}
trap 'kill $!; exit 143' TERM
sleep 60 &
kill -{signal} $PPID
wait
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal", "code", "tasks", "expected", "requeued"),
    [
        ("", 0, 2, 0, False),
        ("", 1, 2, 1, False),
        ("", 75, 2, 0, False),  # others of the array are at it
        ("", 75, 1, 75, False),  # the last one: run again
        ("USR1", 0, 2, 0, True),  # the time is nearly up
        ("TERM", 0, 2, 143, False),  # cancelled or preempted
    ],
)
def test_how_a_job_of_slurm_ends(signal, code, tasks, expected, requeued, examples, tmp_path):
    for name, text in (
        ("slidenet", STUB.format(signal=signal, code=code)),
        ("scontrol", '#!/bin/bash\necho "$@" > requeued\n'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "17",
        "SLURM_ARRAY_TASK_COUNT": str(tasks),
    }
    job = subprocess.run(
        ["bash", examples / "slurm_array.sh", "a b.csv", "out", "--shard", "auto"],
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert job.returncode == expected
    assert (tmp_path / "called").read_text() == "run --slides a b.csv --out out --shard auto\n"
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 17\n"


@pytest.mark.slow
def test_four_arrays_are_parts_of_the_list_with_four_jobs_each(commands, tmp_path):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/bash\necho "$@" >> called\n')
    sbatch.chmod(0o755)
    line, path = commands["SLURM array"][1], {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", line], cwd=tmp_path, env=path, check=True)
    calls = (tmp_path / "called").read_text().splitlines()
    assert len(calls) == 4
    (call,) = set(calls)
    found = re.fullmatch(r"--array=(\d+)-(\d+) slurm_array.sh slides.csv out --shard (\S+)", call)
    array = dict(zip(("MIN", "MAX"), found.groups(), strict=False))
    array |= {"TASK_ID": array["MAX"], "COUNT": str(int(array["MAX"]) - int(array["MIN"]) + 1)}
    names = {f"SLURM_ARRAY_TASK_{name.removeprefix('TASK_')}": array[name] for name in array}
    shard = parse_shard(found[3], names)
    assert (shard.index, shard.count) == (25, 25)
