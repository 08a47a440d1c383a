"""The manifests for GKE say what the code relies on, and are of the schema where Kubernetes' client is installed."""

import re
from pathlib import Path

import pytest
import yaml

from t5x_selfprog.plan.slices import SLICES
from verifier.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "scripts" / "tpu"


@pytest.fixture(scope="module")
def jobset() -> dict:
    return yaml.safe_load((FOLDER / "jobset.yaml").read_text())


@pytest.fixture(scope="module")
def fleet() -> dict:
    return yaml.safe_load((FOLDER / "fleet.yaml").read_text())


def job_of(jobset: dict) -> dict:
    (replicated,) = jobset["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


def require_schema(value, kind: str, where: str) -> None:
    """Raises AssertionError at a field that `kind` of Kubernetes' API has not, or whose value it does not take."""
    client = pytest.importorskip("kubernetes.client")
    plain = {"str": str, "int": int, "bool": bool, "object": object, "datetime": str}
    if found := re.fullmatch(r"[lL]ist\[(.*)\]", kind):
        assert isinstance(value, list), f"{where}: {value!r} is no list"
        for i, one in enumerate(value):
            require_schema(one, found[1], f"{where}[{i}]")
    elif kind.lower().startswith("dict"):
        quantity = where.rpartition(".")[2] in ("requests", "limits")  # 4 and "4" alike
        for key, one in value.items():
            assert quantity or isinstance(one, str), f"{where}.{key}: {one!r} is no text"
    elif kind in plain:
        assert isinstance(value, plain[kind]), f"{where}: {value!r} is no {kind}"
    else:
        model = getattr(client, kind)
        named = {model.attribute_map[name]: type_ for name, type_ in model.openapi_types.items()}
        for key, one in value.items():
            assert key in named, f"{where}.{key}: {kind} has no such field"
            require_schema(one, named[key], f"{where}.{key}")


def test_jobs_are_of_kubernetes_schema(jobset, fleet):
    require_schema(job_of(jobset), "V1JobSpec", "jobset")
    require_schema(fleet, "V1Job", "fleet")


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


def test_every_host_of_the_slice_has_a_pod_with_its_chips_and_nobody_else_has_them(jobset):
    job = job_of(jobset)
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    (name,) = (arg.removeprefix("--gin_file=slices/") for arg in container["args"] if "=slices/" in arg)
    wanted = SLICES[name]
    assert job["parallelism"] == job["completions"] == wanted.hosts and job["completionMode"] == "Indexed"
    assert container["resources"]["limits"] == {"google.com/tpu": wanted.chips_per_host}
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == wanted.topology
    annotation = "alpha.jobset.sigs.k8s.io/exclusive-topology"
    assert jobset["metadata"]["annotations"][annotation] == "cloud.google.com/gke-nodepool"


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


def test_the_head_of_the_manifest_makes_the_nodes_that_its_pods_ask_for(jobset):
    text = (FOLDER / "jobset.yaml").read_text()
    job = job_of(jobset)
    selector = job["template"]["spec"]["nodeSelector"]
    assert f"--tpu-topology={selector['cloud.google.com/gke-tpu-topology']} " in text
    assert f"--num-nodes={job['parallelism']} " in text and "--machine-type=ct5lp-hightpu-4t" in text


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
