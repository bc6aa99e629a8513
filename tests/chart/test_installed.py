"""A life of the release, one test after the other: installed, scraped, upgraded, held to its roles, gone."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import queries
import yaml
from installed import DEVICES, IN_ROOT, Call, Installed, Stage, kubectl, samples
from line.running import REPOSITORY
from rendering import EVERYTHING, NAME, NAMESPACE, RELEASE, helm, objects, of_kind, one, rules
from support.clusters import condition, eventually
from test_values import EVERY

# Seconds: short, but long enough that something can be seen in between.
TIMINGS = {
    "request_seconds": 0.01,
    "network_write_seconds": 0.2,
    "compute_write_seconds": 0.2,
    "pool_settle_seconds": 0.1,
    "node_boot_seconds": 0.2,
    "node_leave_seconds": 0.1,
    "compute_delete_seconds": 0.2,
    "compute_delete_with_nodes_seconds": 0.3,
    "subnet_release_seconds": 0.0,
    "network_delete_seconds": 0.1,
    "job_start_seconds": 0.1,
    "image_build_seconds": 0.0,
    "job_launch_seconds": 0.1,
    "job_finalize_seconds": 0.0,
    "cancel_seconds": 0.2,
}
# What is seen of the stage, for the tests after it.
SEEN: dict[str, object] = {}


pytestmark = pytest.mark.skipif(
    subprocess.run([*IN_ROOT, "/", "true"], capture_output=True).returncode != 0,
    reason="this machine allows no user namespace (unshare --user --mount)",
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    (folder / "world.json").write_text(json.dumps({"timings": TIMINGS}))
    with Installed(folder / "line", world=folder / "world.json", audit=True) as line:
        yield Stage(line)


@pytest.fixture(scope="module")
def scrapes(stage) -> list[str]:
    """Pages of metrics of a fleet in all its states: a cluster that starts and is Ready, one that is Stalled,
    one that goes."""
    pages = [stage.scrape()]
    budget = {"budget": {"maxTotal": "500", "maxPerHour": "50"}}
    stage.apply("steady", budget)
    stage.apply("leaving", {})
    stage.apply("stalled", {"compute": {"vmSize": "STANDARD_NONE_SUCH"}})
    stage.until("stalled", "Stalled", "True")
    pages.append(stage.scrape())
    for name in ("steady", "leaving"):
        stage.until(name, "WorkersReady", "True")
    pages.append(stage.scrape())
    SEEN["resident"] = stage.resident_mebibytes()
    stage.kubernetes.delete("leaving")
    pages.append(stage.scrape())
    stage.until_left("leaving")
    pages.append(stage.scrape())
    return pages


def test_helm_has_installed_everything_that_it_renders(stage):
    for each in objects(EVERYTHING):
        found = stage.kubernetes.run(
            "get", each["kind"], each["metadata"]["name"], "--namespace", NAMESPACE, "-o", "json"
        )
        assert json.loads(found)["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_the_crd_that_was_there_by_hand_is_the_releases_now(stage):
    crd = json.loads(stage.kubernetes.run("get", "crd", "daskclusters.azureml.dask.dev", "-o", "json"))
    assert crd["metadata"]["annotations"]["meta.helm.sh/release-name"] == RELEASE
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


SWITCHED_ON = {"networkPolicy": EVERY["networkPolicy"] | {"enabled": True}, "aggregatedRoles": True}
ALL_OF_EVERY = EVERY | {"crds": {"install": True, "keep": False}} | SWITCHED_ON


@pytest.mark.parametrize("values", [EVERYTHING, ALL_OF_EVERY], ids=["defaults", "every"])
def test_the_api_server_takes_every_object_with_no_word_of_warning(stage, values):
    given = yaml.safe_dump_all(objects(values))
    told = subprocess.run(
        ["kubectl", "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"],
        input=given,
        env=stage.line.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0 and not told.stderr, told.stderr
    assert told.stdout.count("(server dry run)") == len(objects(values))


def test_pod_security_lets_the_pods_in_at_its_level_restricted(stage):
    template = one(objects(EVERYTHING), "Deployment")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = pod["metadata"] | {"name": "one", "namespace": NAMESPACE}

    def create() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", "create", "--dry-run=server", "-f", "-"],
            input=json.dumps(pod),
            env=stage.line.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    told = create()
    assert told.returncode == 0 and not told.stderr, told.stderr
    pod["spec"]["containers"][0]["securityContext"]["capabilities"] = {}
    assert "restricted" in create().stderr, "nobody looks"


def test_the_manifest_for_those_without_helm_is_taken_by_kustomize_and_the_api_server(stage, tmp_path):
    script = [str(REPOSITORY / "tests/chart/manifest.sh"), "registry.example/operator:edge"]
    made = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True)
    (tmp_path / "install.yaml").write_text(made.stdout)
    (tmp_path / "kustomization.yaml").write_text(
        "resources: [install.yaml]\nreplicas: [{name: dask-azureml-operator, count: 3}]\n"
        "images: [{name: registry.example/operator, newTag: mine}]\n"
    )
    built = kubectl(stage.line, "kustomize", str(tmp_path))
    assert built.returncode == 0, built.stderr
    rendered = [each for each in yaml.safe_load_all(built.stdout) if each]
    deployment = one(rendered, "Deployment")["spec"]
    assert deployment["replicas"] == 3
    assert deployment["template"]["spec"]["containers"][0]["image"] == "registry.example/operator:mine"
    kinds = {each["kind"] for each in rendered}
    assert {"Namespace", "CustomResourceDefinition", "Deployment", "ClusterRole"} <= kinds
    # A dry run makes no namespace for the rest.
    stage.kubernetes.run("create", "namespace", "dask-azureml-operator")
    (tmp_path / "built.yaml").write_text(built.stdout)
    apply = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f")
    told = kubectl(stage.line, *apply, str(tmp_path / "built.yaml"))
    assert told.returncode == 0 and not told.stderr, told.stderr


def test_promtool_finds_nothing_to_say_of_the_metrics(scrapes, promtool, tmp_path):
    for page in scrapes:
        assert not promtool("check", "metrics", given=page, folder=tmp_path)


def test_no_panel_is_empty_by_a_typo(scrapes, promtool, tmp_path):
    series: dict[str, list[str]] = {}
    for number, page in enumerate(scrapes):
        found = samples(page)
        for name in series.keys() - found.keys():
            series[name][number] = "stale"
        for name, value in found.items():
            # Nobody waits ten minutes for a cluster to be idle so long.
            if name.startswith("daskcluster_idle_seconds"):
                value = str(float(value) * 1000 + 1)
            series.setdefault(name, ["_"] * len(scrapes))[number] = value
    # What nothing in this fleet has, as the page of metrics says that it looks.
    scraped = {queries.metric(name) for name in series}
    for name, labels in queries.documented().items():
        if name not in scraped:
            own = "".join(f',{label}="some"' for label in labels)
            series[f'{name}{{namespace="{NAMESPACE}"{own}}}'] = [str(each) for each in range(len(scrapes))]
    checks = []
    for query in queries.of_dashboards():
        # A nought that stands in for nothing would hide it.
        expression = query.expression.removesuffix(" or vector(0)")
        held = f"count(count_over_time(({expression})[{len(scrapes)}m:1m])) > bool 0"
        one_sample = [{"labels": "{}", "value": 1}]
        checks.append({"expr": held, "eval_time": f"{len(scrapes)}m", "exp_samples": one_sample})
    written = [{"series": name, "values": " ".join(values)} for name, values in series.items()]
    tests = [{"interval": "1m", "input_series": written, "promql_expr_test": checks}]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": tests}))
    told = promtool("test", "rules", "test.yaml", folder=tmp_path)
    assert not told, told


def test_a_scrape_is_as_small_as_the_sample_limit_counts_on(scrapes):
    for page in scrapes:
        series = list(samples(page))
        of_clusters = [each for each in series if each.startswith("daskcluster_")]
        for name in ("steady", "stalled", "leaving"):
            assert sum(f'name="{name}"' in each for each in of_clusters) <= 40
        assert len(series) - len(of_clusters) < 2000
    print(f"samples of the operator itself: {len(series) - len(of_clusters)}")


def test_a_fault_of_the_real_thing_raises_its_alert(scrapes, promtool, rules_file, everything, tmp_path):
    (rule,) = (rule for rule in rules(everything) if rule["alert"] == "DaskClusterStalled")
    labels = rule["labels"] | {"namespace": "default", "name": "stalled"}
    annotations = {
        "summary": "DaskCluster default/stalled waits for somebody to change something",
        "description": "DaskCluster default/stalled is Stalled, so that no retry mends it: VmSizeUnknown.",
        "runbook_url": rule["annotations"]["runbook_url"],
    }
    alert = {"exp_labels": labels, "exp_annotations": annotations}
    series = [{"series": name, "values": f"{value}x20"} for name, value in samples(scrapes[-1]).items()]
    checks = [
        {"eval_time": "4m", "alertname": "DaskClusterStalled", "exp_alerts": []},
        {"eval_time": "6m", "alertname": "DaskClusterStalled", "exp_alerts": [alert]},
    ]
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": checks}]
    whole = {"rule_files": [str(rules_file)], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(whole))
    told = promtool("test", "rules", "test.yaml", folder=tmp_path)
    assert not told, told


def test_the_operator_has_done_it_with_the_files_of_its_image_and_with_no_privilege(stage, scrapes):
    pid = stage.line.processes["operator"].pid
    root = stage.line.root
    assert os.readlink(f"/proc/{pid}/root") == str(root)
    status = Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"CapEff:\s+0+\n", status), status
    assert Path(f"/proc/{pid}/uid_map").read_text().split()[0] == "65532"
    files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    account = "var/run/secrets/kubernetes.io/serviceaccount"
    of_kubelet = {f"{account}/{name}" for name in ("ca.crt", "token", "namespace")}
    of_kubelet |= {f"dev/{device}" for device in DEVICES}
    libraries = {name for name in files if ".so" in name}
    assert files - libraries - of_kubelet == {"dask-azureml-operator", "etc/ssl/certs/ca-certificates.crt"}
    assert not any(path.stat().st_mode & 0o222 for path in (root, *root.rglob("*")))


def test_the_memory_that_the_chart_asks_for_is_enough(scrapes):
    request = yaml.safe_load(yaml.safe_dump(one(objects(EVERYTHING), "Deployment")))
    (container,) = request["spec"]["template"]["spec"]["containers"]
    asked = int(container["resources"]["requests"]["memory"].removesuffix("Mi"))
    print(f"resident: {SEEN['resident']:.0f} MiB of {asked} MiB")
    assert SEEN["resident"] < asked


def test_an_upgrade_leaves_azure_and_the_objects_untouched(stage, scrapes):
    before = stage.kubernetes.cluster("steady")["metadata"]
    crd = json.loads(stage.kubernetes.run("get", "crd", "daskclusters.azureml.dask.dev", "-o", "json"))[
        "metadata"
    ]
    written = stage.azure.writes()
    stage.line.kill_operator()
    stage.line.helm("upgrade", values={"replicas": 3, "podAnnotations": {"example.com/new": "yes"}})
    stage.line.start_operator()
    deployment = json.loads(
        stage.kubernetes.run("get", "deployment", NAME, "--namespace", NAMESPACE, "-o", "json")
    )
    assert deployment["spec"]["replicas"] == 3
    stage.until("stalled", "Stalled", "True")
    # A change that the new one has worked in says that it has looked at everything.
    stage.apply("steady", {"budget": {"maxTotal": "600", "maxPerHour": "50"}})
    eventually(
        lambda: (
            stage.kubernetes.cluster("steady")["status"]["observedGeneration"] == before["generation"] + 1
        ),
        seconds=60,
        otherwise=lambda: stage.kubernetes.cluster("steady")["status"],
    )
    stage.until("steady", "Ready", "True")
    assert stage.kubernetes.cluster("steady")["metadata"]["uid"] == before["uid"]
    now = json.loads(stage.kubernetes.run("get", "crd", "daskclusters.azureml.dask.dev", "-o", "json"))[
        "metadata"
    ]
    assert (now["uid"], now["generation"]) == (crd["uid"], crd["generation"])
    assert stage.azure.writes() == written


def test_what_others_do_to_a_service_is_dealt_with(stage, scrapes):
    service = {"metadata": {"name": "foreign-scheduler", "namespace": "default"}}
    service |= {"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"port": 1}]}}
    stage.kubernetes.apply(service)
    stage.apply("foreign", {})
    eventually(
        lambda: condition(stage.kubernetes.cluster("foreign"), "Stalled")["reason"] == "ServiceNotOurs",
        seconds=60,
        otherwise=lambda: stage.kubernetes.cluster("foreign").get("status"),
    )
    changed = {"spec": {"ports": [{"name": "tcp-comm", "port": 8786, "targetPort": 9}]}}
    stage.kubernetes.run("patch", "service", "steady-scheduler", "--patch", json.dumps(changed))
    ports = ("get", "service", "steady-scheduler", "-o", "jsonpath={.spec.ports[*].targetPort}")
    eventually(
        lambda: stage.kubernetes.run(*ports) == "8786 8787",
        seconds=60,
        otherwise=lambda: stage.kubernetes.run(*ports),
    )


# Rules that this life does not need, and who does.
NO_ADDRESS = "heads are on loopback here, which no EndpointSlice takes: tests/scenarios/endpoint_slice.rs"
UNUSED = {
    Call(
        "", "serviceaccounts/token", "create"
    ): "workload identity of a namespace: tests/scenarios/credentials.rs",
    Call("discovery.k8s.io", "endpointslices", "get"): "one of another's by that name",
    Call("discovery.k8s.io", "endpointslices", "create"): NO_ADDRESS,
    Call("discovery.k8s.io", "endpointslices", "patch"): NO_ADDRESS,
    Call("discovery.k8s.io", "endpointslices", "delete"): NO_ADDRESS,
}
# An event that is told again within minutes, which nobody brings about here.
SOMETIMES = {Call("events.k8s.io", "events", "patch")}


def test_the_operator_asks_for_no_more_than_it_may_and_for_all_that_it_may(stage, scrapes):
    clusters = ("steady", "stalled", "foreign")
    stage.kubernetes.delete(*clusters)
    for name in clusters:
        stage.until_left(name)
    stage.line.kill_operator()
    made, refused = stage.line.calls()
    assert not refused, refused[:3]
    allowed = set()
    for role in of_kind(objects(EVERYTHING), "ClusterRole") + of_kind(objects(EVERYTHING), "Role"):
        if any("aggregate-to" in label for label in role["metadata"]["labels"]):
            continue
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    allowed |= {Call(group, resource, verb) for verb in rule["verbs"]}
    assert sorted(allowed - made - SOMETIMES) == sorted(UNUSED)


def test_an_uninstall_keeps_the_crd(stage):
    helm("uninstall", RELEASE, "--namespace", NAMESPACE, environment=stage.line.environment)
    assert kubectl(stage.line, "get", "deployment", NAME, "--namespace", NAMESPACE).returncode != 0
    assert kubectl(stage.line, "get", "crd", "daskclusters.azureml.dask.dev").returncode == 0
