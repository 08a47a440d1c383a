"""The manifests for GKE say what the code relies on, and are of their schemas where these are installed."""

import copy
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from t5x_selfprog.plan.slices import SLICES
from verifier.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "tpu"
spec = importlib.util.spec_from_file_location("manifest", FOLDER / "manifest.py")
assert spec is not None and spec.loader is not None
manifest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(manifest)


@pytest.fixture(scope="module")
def jobset() -> dict:
    return yaml.safe_load((FOLDER / "jobset.yaml").read_text())


@pytest.fixture(scope="module")
def fleet() -> dict:
    return yaml.safe_load((FOLDER / "fleet.yaml").read_text())


def job_of(jobset: dict) -> dict:
    (replicated,) = jobset["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def require_schema(job: dict) -> None:
    """Raises an exception at a field that Kubernetes' own schema has not, or whose value it does not take."""
    pytest.importorskip("kubernetes_validate").validate(job, "1.35", strict=True)


def require_definition(jobset: dict) -> None:
    """Refuses what the JobSet's own definition has not, by the models that Kubeflow's trainer generates from it.

    They pass over a field that they do not know, so what they read is compared with what was there. Values that they
    fill in do not count.
    """
    models = pytest.importorskip("kubeflow_trainer_api.models")
    lost = "\n".join(missing(jobset, models.JobsetV1alpha2JobSet.from_dict(jobset).to_dict()))
    assert not lost, f"not in the definition of a JobSet, or of another value:\n{lost}"


def missing(there: Any, read: Any, place: str = "") -> Iterator[str]:
    """Places of the first of two nested values where the second has nothing, or something else."""
    if isinstance(there, dict) and isinstance(read, dict):
        for name, value in there.items():
            yield from missing(value, read.get(name), f"{place}.{name}")
    elif isinstance(there, list) and isinstance(read, list) and len(there) == len(read):
        for number, value in enumerate(there):
            yield from missing(value, read[number], f"{place}[{number}]")
    elif there != read:
        yield f"{place}: {there!r}, read as {read!r}"


def as_job(jobset: dict) -> dict:
    """What the JobSet's controller makes of it."""
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "made"}, "spec": job_of(jobset)}


def test_jobs_are_of_kubernetes_schema(jobset, fleet):
    require_schema(as_job(jobset))
    require_schema(fleet)


def test_the_jobset_is_of_its_definition(jobset):
    require_definition(jobset)


def test_the_jobset_says_what_its_own_definition_takes(jobset):
    """By the definition that the JobSet project publishes for v1alpha2; a field that it has not is refused."""
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    spec, policy = jobset["spec"], jobset["spec"]["failurePolicy"]
    assert set(spec) <= set(
        "coordinator failurePolicy managedBy network replicatedJobs startupPolicy successPolicy suspend "
        "ttlSecondsAfterFinished".split()
    )
    assert set(policy) <= {"maxRestarts", "restartStrategy", "rules"} and isinstance(
        policy["maxRestarts"], int
    )
    for rule in policy["rules"]:
        assert (
            {"action", "name"}
            <= set(rule)
            <= {
                "action",
                "name",
                "onJobFailureMessagePatterns",
                "onJobFailureReasons",
                "targetReplicatedJobs",
            }
        )
        assert rule["action"] in ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")
        assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])
    for replicated in spec["replicatedJobs"]:
        assert (
            {"name", "template"}
            <= set(replicated)
            <= {"dependsOn", "groupName", "name", "replicas", "template"}
        )
        assert set(replicated["template"]) <= {"metadata", "spec"} and isinstance(replicated["replicas"], int)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("spec", "failurePolicy", "maxRestart"), 3, r"\.spec\.failurePolicy\.maxRestart: 3"),
        (("spec", "failurePolicy", "rules", 0, "onJobFailureReason"), ["x"], "onJobFailureReason: "),
        (("spec", "replicatedJobs", 0, "replicas"), "many", "valid integer"),
    ],
)
def test_a_misspelt_field_of_a_jobset_is_found(jobset, place, value, says):
    changed = copy.deepcopy(jobset)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises((AssertionError, ValueError), match=says):
        require_definition(changed)


# Each slice: its pods, each with so many chips, on so many nodes of this machine, asked for with this topology.
POOLS = {
    ("v4_8", 0): (1, 4, "ct4p-hightpu-4t", ""),
    ("v4_32", 0): (4, 4, "ct4p-hightpu-4t", "2x2x4"),
    ("v5e_4", 0): (1, 4, "ct5lp-hightpu-4t", ""),
    ("v5e_8", 0): (1, 8, "ct5lp-hightpu-8t", ""),
    ("v5e_8", 2): (2, 4, "ct5lp-hightpu-4t", "2x4"),
    ("v5e_64_x2", 0): (16, 4, "ct5lp-hightpu-4t", "8x8"),
    ("v5p_64", 0): (8, 4, "ct5p-hightpu-4t", "2x4x4"),
    ("v6e_8", 0): (1, 8, "ct6e-standard-8t", ""),
    ("v6e_8", 2): (2, 4, "ct6e-standard-4t", "2x4"),
    ("v6e_256", 0): (64, 4, "ct6e-standard-4t", "16x16"),
    ("tpu7x_8", 0): (1, 4, "tpu7x-standard-4t", ""),
    ("tpu7x_128", 0): (16, 4, "tpu7x-standard-4t", "placement"),
}


@pytest.mark.parametrize(("name", "hosts"), POOLS, ids=str)
def test_a_slices_pods_find_the_nodes_that_the_head_of_its_manifest_makes(name, hosts):
    """By Google's tables of machine types; a pool of one node takes no topology, TPU7x's is in a policy."""
    pods, chips, machine, topology = POOLS[name, hosts]
    text = manifest.manifest(name, hosts)
    made = yaml.safe_load(text)
    head = text[: text.index("apiVersion")]
    assert head.count("node-pools create") == head.count("node-pools delete") == SLICES[name].count
    assert (
        head.count(f"--machine-type={machine} ") == head.count(f"--num-nodes={pods} ") == SLICES[name].count
    )
    asked = "accelerator-topology=4x4x4" if topology == "placement" else f"--tpu-topology={topology} "
    assert (asked in head) if topology else ("topology" not in head)
    assert ("--placement-policy=tpu7x-4x4x4 " in head) == (topology == "placement")
    (container,) = job_of(made)["template"]["spec"]["containers"]
    assert job_of(made)["parallelism"] == job_of(made)["completions"] == pods
    assert container["resources"]["limits"] == container["resources"]["requests"] == {"google.com/tpu": chips}


@pytest.mark.parametrize("name", SLICES)
def test_every_slice_has_a_manifest_with_all_its_chips(name):
    wanted = SLICES[name]
    made = yaml.safe_load(manifest.manifest(name))
    (replicated,) = made["spec"]["replicatedJobs"]
    job = job_of(made)
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert f"--gin_file=slices/{name}" in container["args"]
    assert replicated["replicas"] == wanted.count
    assert replicated["replicas"] * job["parallelism"] == wanted.hosts and job["completionMode"] == "Indexed"
    chips = wanted.hosts * container["resources"]["limits"]["google.com/tpu"]
    assert chips * wanted.chip.halves == wanted.chips
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == wanted.topology
    require_schema(as_job(made))
    require_definition(made)


def test_a_slices_nodes_are_its_generations():
    for name, label in (("v4_8", "tpu-v4-podslice"), ("v5p_8", "tpu-v5p-slice"), ("v6e_8", "tpu-v6e-slice")):
        selector = job_of(yaml.safe_load(manifest.manifest(name)))["template"]["spec"]["nodeSelector"]
        assert selector["cloud.google.com/gke-tpu-accelerator"] == label


def test_the_manifest_that_is_here_is_v5e_64s_and_nobody_else_has_its_chips(jobset):
    assert manifest.manifest("v5e_64") == (FOLDER / "jobset.yaml").read_text()
    annotation = "alpha.jobset.sigs.k8s.io/exclusive-topology"
    assert jobset["metadata"]["annotations"][annotation] == "cloud.google.com/gke-nodepool"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--slice=v5e_64", "--hosts=8"], "--hosts=8: v5e_64 has 16."),
        (["--slice=v6e_8", "--hosts=4"], "--hosts=4: v6e_8 has 1, or 2."),
        (["--slice=v9_1"], "--slice=v9_1: no such slice; choose v"),
        (["--slice=all"], "tpu7x_128.\n"),
    ],
)
def test_hosts_that_a_slice_cannot_have_are_refused(flags, says):
    done = subprocess.run([sys.executable, FOLDER / "manifest.py", *flags], capture_output=True, text=True)
    assert done.returncode == 2 and says in done.stderr and not done.stdout


def test_a_mistake_is_not_tried_again_by_the_job_nor_by_the_jobset_nor_by_a_fleet(jobset, fleet):
    for job, name in ((job_of(jobset), "selfprog"), (fleet["spec"], "verifier")):
        mistake = {"containerName": name, "operator": "In", "values": [UserError.EXIT_CODE]}
        assert {"action": "FailJob", "onExitCodes": mistake} in job["podFailurePolicy"]["rules"]
        assert job["template"]["spec"]["restartPolicy"] == "Never"  # or there may be no such policy
        assert name in [container["name"] for container in job["template"]["spec"]["containers"]]
    assert answer(jobset, f"failed with exit code {UserError.EXIT_CODE}", "exit") == "FailJobSet"
    # One host's end is all hosts', whom the jobset starts again together.
    assert job_of(jobset)["backoffLimit"] == 0


def test_nodes_that_are_taken_away_do_not_use_up_the_restarts(jobset):
    assert answer(jobset, "has condition DisruptionTarget", "DisruptionTarget") == (
        "RestartJobSetAndIgnoreMaxRestarts"
    )


def answer(jobset: dict, message: str, kind: str) -> str:
    """What the jobset does after a pod's failure: by the first of the job's rules that is of this kind, the message
    that Kubernetes makes of it, and the first rule of the jobset that this message fits."""
    rules = job_of(jobset)["podFailurePolicy"]["rules"]
    index = next(
        i
        for i, rule in enumerate(rules)
        if ("onExitCodes" in rule if kind == "exit" else kind in str(rule.get("onPodConditions")))
    )
    assert rules[index]["action"] == "FailJob"  # Ignore would start one pod alone, which waits for the others
    said = f"Pod default/selfprog-hosts-0-3 {message} matching FailJob rule at index {index}"
    for rule in jobset["spec"]["failurePolicy"]["rules"]:
        if "PodFailurePolicy" in rule["onJobFailureReasons"] and any(
            re.search(pattern, said) for pattern in rule.get("onJobFailureMessagePatterns", [""])
        ):
            return rule["action"]
    return "RestartJobSet"


def test_run_and_fleet_meet_in_one_bucket_and_what_is_staged_lies_beside(jobset, fleet):
    pod = job_of(jobset)["template"]["spec"]
    (container,) = pod["containers"]
    (run_dir,) = (arg.removeprefix("--run_dir=") for arg in container["args"] if arg.startswith("--run_dir="))
    assert fleet["spec"]["template"]["spec"]["containers"][0]["args"][0] == run_dir
    (volume,) = pod["volumes"]
    attributes = volume["csi"]["volumeAttributes"]
    bucket, _, path = run_dir.removeprefix("gs://").partition("/")
    assert attributes["bucketName"] == bucket
    assert f"only-dir={path}.staged" in attributes["mountOptions"].split(",")
    assert job_of(jobset)["template"]["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
    (path,) = {mount["mountPath"].rpartition("/")[0] for mount in container["volumeMounts"]}
    assert f"WORKDIR {path}\n" in (FOLDER / "Dockerfile").read_text()


def test_the_image_has_what_it_copies_and_no_tensorflow(repository):
    dockerfile, ignored = (FOLDER / "Dockerfile").read_text(), (repository / ".dockerignore").read_text()
    copied = [w for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for w in line.split()]
    assert copied and all((repository / name).exists() and f"!{name}\n" in ignored for name in copied)
    assert "SELFPROG_LEAN=1" in dockerfile and 'ENTRYPOINT ["tini", "--", "selfprog"]' in dockerfile
    assert "install -y --no-install-recommends bubblewrap tini" in dockerfile
