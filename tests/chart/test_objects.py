"""What the chart makes."""

import pytest
import yaml
from line.running import REPOSITORY
from rendering import EVERYTHING, NAME, NAMESPACE, RELEASE, REQUIRED, dashboards, objects, of_kind, one

SELECTOR = {"app.kubernetes.io/name": "dask-azureml-operator", "app.kubernetes.io/instance": RELEASE}


def pod(rendered: list[dict]) -> dict:
    return one(rendered, "Deployment")["spec"]["template"]


def container(rendered: list[dict]) -> dict:
    (found,) = pod(rendered)["spec"]["containers"]
    return found


def test_two_replicas_lie_apart_and_are_replaced_one_by_one(everything):
    deployment = one(everything, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["type"] == "RollingUpdate"
    (apart,) = deployment["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert apart["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"] == SELECTOR
    (spread,) = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    budget = one(everything, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1 and budget["selector"]["matchLabels"] == SELECTOR


def test_one_replica_without_election_is_replaced_before_the_next_one_starts():
    rendered = objects(EVERYTHING | {"replicas": 1, "leaderElection": False})
    assert one(rendered, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert "--leader-election=false" in container(rendered)["args"]


def test_the_lease_is_the_releases_own(everything):
    arguments = container(everything)["args"]
    assert {"--leader-election=true", f"--lease-name={NAME}"} <= set(arguments)
    fields = {
        each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in container(everything)["env"]
    }
    assert fields == {"POD_NAMESPACE": "metadata.namespace", "POD_NAME": "metadata.name"}


def test_the_pod_fits_the_level_restricted_of_pod_security(everything):
    spec = pod(everything)["spec"]
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(everything)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(spec)


def test_a_digest_wins_over_a_tag_and_a_tag_over_the_charts_version():
    digest = "sha256:" + "0" * 64

    def image(**values: str) -> str:
        return container(objects({"image": {"repository": "registry.example/operator", **values}}))["image"]

    version = yaml.safe_load((REPOSITORY / "charts/dask-azureml-operator/Chart.yaml").read_text())[
        "appVersion"
    ]
    assert image() == f"registry.example/operator:{version}"
    assert image(tag="edge") == "registry.example/operator:edge"
    assert image(tag="edge", digest=digest) == f"registry.example/operator@{digest}"


def test_everything_has_its_labels_and_those_that_all_are_to_have():
    for rendered in (
        objects(EVERYTHING),
        objects(EVERYTHING | {"commonLabels": {"example.com/team": "data"}}),
    ):
        wanted = SELECTOR | {"app.kubernetes.io/managed-by": "Helm"}
        if "example.com/team" in one(rendered, "Deployment")["metadata"]["labels"]:
            wanted |= {"example.com/team": "data"}
            assert pod(rendered)["metadata"]["labels"].items() >= wanted.items()
        for each in rendered:
            assert each["metadata"]["labels"].items() >= wanted.items(), each["kind"]
    assert "example.com/team" in one(rendered, "Deployment")["metadata"]["labels"]
    # It cannot be changed in a Deployment that is there.
    assert one(rendered, "Deployment")["spec"]["selector"]["matchLabels"] == SELECTOR


def test_every_object_lies_in_the_namespace_of_the_release_or_in_none(everything):
    for each in everything:
        everywhere = each["kind"] in ("ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition")
        assert each["metadata"].get("namespace") == (None if everywhere else NAMESPACE), each["kind"]


def test_workload_identity_gets_the_labels_and_annotations_that_aks_asks_for():
    rendered = objects(
        EVERYTHING
        | {
            "workloadIdentity": {"clientId": "client", "tenantId": "tenant"},
            "serviceAccount": {"annotations": {"example.com/a": "b"}},
        }
    )
    account = one(rendered, "ServiceAccount")["metadata"]
    assert account["annotations"] == {
        "azure.workload.identity/client-id": "client",
        "azure.workload.identity/tenant-id": "tenant",
        "example.com/a": "b",
    }
    assert pod(rendered)["metadata"]["labels"]["azure.workload.identity/use"] == "true"
    without = objects(EVERYTHING)
    assert "azure.workload.identity/use" not in pod(without)["metadata"]["labels"]
    assert "annotations" not in one(without, "ServiceAccount")["metadata"]


def test_the_roles_are_bound_to_the_account_that_the_pods_have():
    for values in (
        {},
        {"serviceAccount": {"create": False, "name": "given"}},
        {"serviceAccount": {"name": "own"}},
    ):
        rendered = objects(EVERYTHING | values)
        account = pod(rendered)["spec"]["serviceAccountName"]
        made = [each["metadata"]["name"] for each in of_kind(rendered, "ServiceAccount")]
        assert made in ([account], []), made
        for binding in of_kind(rendered, "ClusterRoleBinding") + of_kind(rendered, "RoleBinding"):
            assert binding["subjects"] == [
                {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
            ]


def test_the_crd_is_the_repositorys_is_kept_and_can_be_left_out(everything):
    crd = one(everything, "CustomResourceDefinition")
    of_repository = yaml.safe_load((REPOSITORY / "crds/daskclusters.azureml.dask.dev.yaml").read_text())
    assert crd["spec"] == of_repository["spec"]
    assert crd["metadata"]["name"] == of_repository["metadata"]["name"]
    assert crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert set(of_repository["metadata"]) == {"name"}, "the template would take the rest away"
    unkept = one(objects(EVERYTHING | {"crds": {"keep": False}}), "CustomResourceDefinition")
    assert "annotations" not in unkept["metadata"]
    assert not of_kind(objects(EVERYTHING | {"crds": {"install": False}}), "CustomResourceDefinition")


def test_prometheus_scrapes_the_pods_and_leaves_the_labels_of_clusters_alone(everything):
    monitor = one(everything, "PodMonitor")["spec"]
    assert monitor["selector"]["matchLabels"] == SELECTOR
    assert monitor["sampleLimit"] == 50000
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is True
    (port,) = container(everything)["ports"]
    assert endpoint["port"] == port["name"]
    assert f"--metrics-listen=0.0.0.0:{port['containerPort']}" in container(everything)["args"]


def test_nothing_of_prometheus_operator_is_made_unless_it_is_asked_for():
    kinds = {each["apiVersion"] for each in objects(REQUIRED)}
    assert not [kind for kind in kinds if kind.startswith("monitoring.coreos.com")]
    assert not of_kind(objects(REQUIRED), "ConfigMap")


def test_the_dashboards_are_in_the_config_map_as_they_are_in_the_chart(everything):
    data = one(everything, "ConfigMap")["data"]
    assert data == {path.name: path.read_text() for path in dashboards()}


def test_the_pods_may_talk_to_no_more_than_they_need(everything):
    policy = one(everything, "NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == SELECTOR
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"port": "metrics", "protocol": "TCP"}]}]
    dns, https, schedulers = policy["egress"]
    assert [port["port"] for port in dns["ports"]] == [53, 53] and "to" not in dns
    assert [port["port"] for port in https["ports"]] == [443, 6443] and "to" not in https
    assert [port["port"] for port in schedulers["ports"]] == [8787]
    assert [each["ipBlock"]["cidr"] for each in schedulers["to"]] == [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
    ]


@pytest.mark.parametrize(
    ("values", "rules"),
    [
        ({"schedulerCidrs": []}, 2),
        ({"metadataService": True}, 4),
        ({"extraEgress": [{"ports": [{"port": 3128}]}]}, 4),
    ],
)
def test_more_and_less_of_egress_are_values(values, rules):
    rendered = objects(EVERYTHING | {"networkPolicy": values})
    assert len(one(rendered, "NetworkPolicy")["spec"]["egress"]) == rules


def test_the_port_of_schedulers_is_that_of_the_bootstrap(everything):
    bootstrap = (REPOSITORY / "src/bootstrap/dask_azureml.py").read_text()
    assert "\nDASHBOARD_PORT = 8787\n" in bootstrap


def test_only_own_kinds_are_given_to_view_edit_and_admin(everything):
    aggregated = {
        label.split("-to-")[1]: role
        for role in of_kind(everything, "ClusterRole")
        for label in role["metadata"]["labels"]
        if "aggregate-to" in label
    }
    assert set(aggregated) == {"view", "edit", "admin"}
    for role in aggregated.values():
        assert all(rule["apiGroups"] == ["azureml.dask.dev"] for rule in role["rules"])
    writing = {verb for rule in aggregated["view"]["rules"] for verb in rule["verbs"]}
    assert writing == {"get", "list", "watch"}
