"""What Kubernetes and Nextflow do of the examples, as far as the examples need it."""

import re
import shlex
from dataclasses import dataclass


def action_of(job, code):
    """What the policy of a job says of a pod whose container ended so."""
    for rule in job["spec"]["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes and (code in codes["values"]) == (codes["operator"] == "In"):
            return rule["action"]
    return "Count"


def run_pods(job, shell, folder):
    """Runs the pods of an indexed job one after the other; the last one that ended.

    Their volume is the folder.
    """
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    words = [word.replace(mount["mountPath"], str(folder)) for word in container["args"]]
    for index in range(job["spec"]["completions"]):
        failures = 0
        while True:
            run = shell(shlex.join(["slidenet", *words]), JOB_COMPLETION_INDEX=str(index))
            action = action_of(job, run.returncode)
            failures += action == "Count"
            if run.returncode == 0:
                break
            if action == "FailJob" or failures > job["spec"]["backoffLimitPerIndex"]:
                return run
    return run


@dataclass
class NextflowProcess:
    """A process of Nextflow, as far as the example needs it.

    Attributes:
        script: What a task runs in bash, with places for values.
        retried: Exit codes after which a task is tried again.
        retries: So often.
    """

    script: str
    retried: set[int]
    retries: int

    def run(self, shell, values):
        """The last try of a task."""
        script = re.sub(r"\$\{([\w.]+)\}", lambda found: str(values[found[1]]), self.script)
        for _ in range(1 + self.retries):
            run = shell(script)
            if run.returncode not in self.retried:
                return run
        return run


def nextflow_processes(text):
    """The processes of a script of Nextflow, by name."""
    found = re.findall(r'^process (\w+) \{(.*?)"""(.*?)"""\n\}', text, re.DOTALL | re.MULTILINE)
    return {
        name: NextflowProcess(
            script,
            set(map(int, re.search(r"exitStatus in \[([\d, ]+)\]", head)[1].split(","))),
            int(re.search(r"maxRetries (\d+)", head)[1]),
        )
        for name, head, script in found
    }


def run_tasks(text, shell, folder, num_shards):
    """Runs the shards, and then the last task, which it returns."""
    processes = nextflow_processes(text)
    values = {
        f"params.{k}": v for k, v in re.findall(r"^params\.(\w+) = '?(.*?)'?$", text, re.MULTILINE)
    }
    values |= {"params.shards": num_shards, "slides": folder / values["params.slides"]}
    values["out"] = folder / values["params.out"]
    for shard in range(1, num_shards + 1):
        processes["SHARD"].run(shell, values | {"shard": shard})
    return processes["FINISH"].run(shell, values)
