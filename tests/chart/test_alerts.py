"""Each alert on the rules as the chart renders them: it fires when it should, and is quiet when it should."""

from typing import NamedTuple

import pytest
import yaml
from line.running import REPOSITORY
from rendering import EVERYTHING, HelmFailed, objects, rules

RUNBOOKS = REPOSITORY / "docs" / "runbooks"
OPERATOR = 'namespace="operators",pod="operator-1"'
CLUSTER = {"namespace": "team", "name": "dask"}
OF_CLUSTER = 'namespace="team",name="dask",pod="operator-1"'


class Fires(NamedTuple):
    description: str
    labels: dict[str, str] = CLUSTER


class Case(NamedTuple):
    title: str
    # Values a minute, in the notation of promtool.
    series: dict[str, str]
    # What fires when.
    at: dict[str, list[Fires]]


def condition(kind: str, status: str, reason: str) -> str:
    return f'daskcluster_status_condition{{{OF_CLUSTER},type="{kind}",status="{status}",reason="{reason}"}}'


def age(kind: str) -> str:
    return f'daskcluster_condition_age_seconds{{{OF_CLUSTER},type="{kind}"}}'


def of_cluster(metric: str, *labels: str) -> str:
    return f"{metric}{{{','.join([OF_CLUSTER, *labels])}}}"


def of_operator(metric: str, *labels: str) -> str:
    return f"{metric}{{{','.join([OPERATOR, *labels])}}}"


def starts(seconds: int, count: int) -> dict[str, str]:
    """Starts that took less than so long each, counted up by one a minute."""
    bucket = "dask_azureml_stage_duration_seconds_bucket"
    counted = f"0+1x{count} {count}x200"
    buckets = {le: counted if le >= seconds else "0x400" for le in (60, 300, 600, 1200, 3600)}
    series = {of_operator(bucket, 'stage="ready"', f'le="{le}"'): values for le, values in buckets.items()}
    series[of_operator(bucket, 'stage="ready"', 'le="+Inf"')] = counted
    series[of_operator("dask_azureml_stage_duration_seconds_count", 'stage="ready"')] = counted
    return series


def _quick_starts(labels: str) -> dict[str, str]:
    """Many starts of a second each, that no start is to be compared with."""
    metric = "dask_azureml_stage_duration_seconds"
    series = {f'{metric}_bucket{{{labels},le="{le}"}}': "0+5x400" for le in ("60", "3600", "+Inf")}
    return series | {f"{metric}_count{{{labels}}}": "0+5x400"}


def _status(name: str, kind: str, status: str, reason: str) -> str:
    return condition(kind, status, reason).replace('"dask"', f'"{name}"')


# What is there in every case and makes nothing fire: another installation, of which everything is wrong that is
# told of an operator, and clusters with all that looks like what other alerts are about.
BESIDE = {
    'dask_azureml_leader{namespace="another"}': "1x400",
    'dask_azureml_oldest_unreconciled_seconds{namespace="another"}': "1e6x400",
    'dask_azureml_inventory_age_seconds{namespace="another"}': "1e6x400",
    'dask_azureml_azure_throttles_total{namespace="another",operation="reads"}': "0+10x400",
    'dask_azureml_drift_total{namespace="another",kind="compute",field="tags",response="set-back"}': "0+10x400",
    **_quick_starts('namespace="another",stage="ready"'),
    **_quick_starts(f'{OPERATOR},stage="network"'),
    age("Ready").replace('"dask"', '"starting"'): "1x400",
    age("WorkersReady").replace('"dask"', '"starting"'): "1e6x400",
    _status("starting", "Ready", "False", "Starting"): "1x400",
    of_cluster("daskcluster_workers", 'state="desired"').replace('"dask"', '"starting"'): "5x400",
    age("Ready").replace('"dask"', '"fewer"'): "1e6x400",
    _status("fewer", "Ready", "True", "Ready"): "1x400",
    _status("fewer", "NetworkReady", "True", "Ready"): "1x400",
    _status("fewer", "WorkersReady", "False", "WorkersStarting"): "1x400",
    _status("lost", "Ready", "False", "SchedulerLost"): "1x400",
}
NOT_READY = "DaskCluster team/dask is not Ready for {}: {}."
CASES: dict[str, list[Case]] = {
    "DaskClusterNotReady": [
        Case(
            "fires after 45 minutes, and stays the same alert while the reason changes",
            {
                age("Ready"): "0+60x80",
                condition("Ready", "False", "Starting"): "1x55 _x25",
                condition("Ready", "False", "WaitingForNodes"): "_x56 1x25",
                condition("NetworkReady", "True", "Ready"): "1x80",
                condition("Stalled", "False", "Progressing"): "1x80",
            },
            {
                "44m": [],
                "50m": [Fires(NOT_READY.format("50m 0s", "Starting"))],
                "60m": [Fires(NOT_READY.format("1h 0m 0s", "WaitingForNodes"))],
            },
        ),
        Case(
            "is quiet for one that is Ready, or rests, however long",
            {age("Ready"): "0+600x80", condition("Ready", "True", "Suspended"): "1x80"},
            {"60m": []},
        ),
        Case(
            "leaves one that is Stalled to the other alert",
            {
                age("Ready"): "0+60x80",
                condition("Ready", "False", "InvalidSpec"): "1x80",
                condition("Stalled", "True", "InvalidSpec"): "1x80",
            },
            {"60m": []},
        ),
        Case(
            "is quiet for one that is observed only",
            {age("Ready"): "0+60x80", condition("Ready", "False", "ObservedOnly"): "1x80"},
            {"60m": []},
        ),
        Case(
            "fires once where the leader has changed and both still have series",
            {
                age("Ready"): "0+60x80",
                age("Ready").replace("operator-1", "operator-2"): "0+60x80",
                condition("Ready", "False", "Starting"): "1x80",
                condition("Ready", "False", "Starting").replace("operator-1", "operator-2"): "1x80",
            },
            {"60m": [Fires(NOT_READY.format("1h 0m 0s", "Starting"))]},
        ),
    ],
    "DaskClusterStalled": [
        Case(
            "fires after 5 minutes with the reason",
            {condition("Stalled", "True", "PolicyDenied"): "1x30"},
            {
                "4m": [],
                "6m": [Fires("DaskCluster team/dask is Stalled, so that no retry mends it: PolicyDenied.")],
            },
        ),
        Case(
            "is quiet for one that is not",
            {condition("Stalled", "False", "Progressing"): "1x30"},
            {"20m": []},
        ),
    ],
    "DaskClusterStartSlow": [
        Case(
            "fires once a start takes 1.5 times the 95th percentile",
            starts(600, 40)
            | {age("Ready"): "_x60 0+60x60", condition("Ready", "False", "Provisioning"): "1x120"},
            {
                "70m": [],
                "80m": [
                    Fires(
                        "DaskCluster team/dask is starting for 20m 0s, longer than 1.5 times the 95th "
                        "percentile of the starts of a week: Provisioning."
                    )
                ],
            },
        ),
        Case(
            "is quiet before there are starts enough to compare with",
            starts(600, 10) | {age("Ready"): "0+60x120", condition("Ready", "False", "Starting"): "1x120"},
            {"80m": []},
        ),
        Case(
            "is quiet for one that does not start but lost something",
            starts(600, 40)
            | {age("Ready"): "0+60x120", condition("Ready", "False", "SchedulerLost"): "1x120"},
            {"80m": []},
        ),
    ],
    "DaskClusterSchedulerUnreachable": [
        Case(
            "fires after 5 minutes",
            {condition("SchedulerReady", "False", "SchedulerUnreachable"): "1x30"},
            {
                "4m": [],
                "6m": [
                    Fires(
                        "The operator cannot use the scheduler of DaskCluster team/dask: "
                        "SchedulerUnreachable."
                    )
                ],
            },
        ),
        Case(
            "is quiet while the scheduler starts, and once it answers",
            {
                condition("SchedulerReady", "False", "Starting"): "1x15 _x15",
                condition("SchedulerReady", "True", "Ready"): "_x16 1x15",
            },
            {"14m": [], "25m": []},
        ),
    ],
    "DaskClusterDeletionStuck": [
        Case(
            "fires an hour after the deletion was asked for",
            {
                of_cluster("daskcluster_deletion_age_seconds"): "0+60x90",
                condition("Ready", "False", "Deleting"): "1x90",
            },
            {
                "60m": [],
                "61m": [
                    Fires(
                        "The deletion of DaskCluster team/dask was asked for 1h 1m 0s ago: Deleting. "
                        "What is left of it in Azure may cost money."
                    )
                ],
            },
        ),
        Case(
            "is quiet once the object is gone",
            {of_cluster("daskcluster_deletion_age_seconds"): "3000+60x20 stale"},
            {"30m": []},
        ),
    ],
    "DaskClusterCredentialsRefused": [
        Case(
            "fires where nothing is Ready",
            {
                condition("Ready", "False", "CredentialsRefused"): "1x30",
                condition("Stalled", "True", "Other"): "_x30",
            },
            {
                "4m": [],
                "6m": [
                    Fires(
                        "Nothing is done for DaskCluster team/dask in Azure, its deletion neither: "
                        "CredentialsRefused."
                    )
                ],
            },
        ),
        Case(
            "fires where the cluster is Ready and could not be deleted",
            {
                condition("Ready", "True", "Ready"): "1x30",
                condition("CredentialsTrouble", "True", "CredentialsMissing"): "1x30",
            },
            {
                "6m": [
                    Fires(
                        "Nothing is done for DaskCluster team/dask in Azure, its deletion neither: "
                        "CredentialsMissing."
                    )
                ],
            },
        ),
        Case(
            "is quiet where a role is missing: that is another matter",
            {condition("ComputeReady", "False", "AuthorizationFailed"): "1x30"},
            {"20m": []},
        ),
    ],
    "DaskClusterWorkersMissing": [
        Case(
            "fires after half an hour, with how many and why",
            {
                of_cluster("daskcluster_workers", 'state="pending"'): "3x60",
                condition("WorkersReady", "False", "WorkersFailing"): "1x60",
            },
            {
                "29m": [],
                "31m": [Fires("3 workers of DaskCluster team/dask are missing: WorkersFailing.")],
            },
        ),
        Case(
            "is quiet where they come and go within half an hour",
            {of_cluster("daskcluster_workers", 'state="pending"'): "3x20 0 3x20 0 3x20"},
            {"60m": []},
        ),
    ],
    "DaskClusterNodesUnusable": [
        Case(
            "fires after a quarter of an hour",
            {
                of_cluster("daskcluster_nodes", 'state="unusable"'): "2x60",
                condition("ComputeReady", "True", "Ready"): "1x60",
            },
            {
                "14m": [],
                "16m": [
                    Fires(
                        "2 nodes in the pools of DaskCluster team/dask are unusable: they cost money and "
                        "work for nobody. The pool's condition says Ready."
                    )
                ],
            },
        ),
        Case(
            "is quiet while all nodes can be used",
            {
                of_cluster("daskcluster_nodes", 'state="unusable"'): "0x60",
                of_cluster("daskcluster_nodes", 'state="running"'): "4x60",
            },
            {"30m": []},
        ),
    ],
    "DaskClusterPreempted": [
        Case(
            "fires where a quarter of the nodes was away over the hour",
            {
                of_cluster("daskcluster_nodes", 'state="preempted"'): "3x90",
                of_cluster("daskcluster_nodes", 'state="running"'): "5x90",
                of_cluster("daskcluster_nodes", 'state="own"'): "5x90",
                condition("WorkersReady", "False", "WorkersStarting"): "1x90",
            },
            {
                "70m": [
                    Fires(
                        "Over the last hour 37.5% of the nodes of DaskCluster team/dask were preempted. Its "
                        "workers are told as WorkersStarting."
                    )
                ],
            },
        ),
        Case(
            "is quiet for a short loss, and for a cluster without nodes",
            {
                of_cluster("daskcluster_nodes", 'state="preempted"'): "0x30 3x5 0x60",
                of_cluster("daskcluster_nodes", 'state="running"'): "5x30 2x5 5x60",
                'daskcluster_nodes{namespace="team",name="none",state="preempted"}': "0x90",
                'daskcluster_nodes{namespace="team",name="none",state="running"}': "0x90",
            },
            {"40m": [], "80m": []},
        ),
    ],
    "DaskClusterQuotaRefused": [
        Case(
            "fires after a quarter of an hour, whichever condition says so",
            {
                condition("PreflightPassed", "False", "QuotaExceeded"): "1x40",
                condition("Ready", "False", "QuotaExceeded"): "1x40",
            },
            {
                "14m": [],
                "16m": [Fires("DaskCluster team/dask does not get the nodes that it wants: QuotaExceeded.")],
            },
        ),
        Case(
            "is quiet where there is a warning alone",
            {condition("PreflightPassed", "True", "PassedWithWarnings"): "1x40"},
            {"30m": []},
        ),
    ],
    "DaskClusterIdleSpend": [
        Case(
            "fires after an idle hour of nodes that cost money",
            {
                of_cluster("daskcluster_idle_seconds"): "0+60x90",
                of_cluster("daskcluster_hourly_cost", 'currency="USD"'): "0.75x90",
                condition("Ready", "True", "Ready"): "1x90",
            },
            {
                "60m": [],
                "61m": [
                    Fires(
                        "DaskCluster team/dask has had nothing to do for longer than 3600 s, at 0.75 USD an "
                        "hour by list prices. Its state: Ready.",
                        CLUSTER | {"currency": "USD"},
                    )
                ],
            },
        ),
        Case(
            "is quiet where nothing is spent, and where there is work",
            {
                of_cluster("daskcluster_idle_seconds"): "0+60x90",
                of_cluster("daskcluster_hourly_cost", 'currency="USD"'): "0.4x90",
                'daskcluster_idle_seconds{namespace="team",name="busy"}': "0x90",
                'daskcluster_hourly_cost{namespace="team",name="busy",currency="USD"}': "9x90",
            },
            {"80m": []},
        ),
    ],
    "DaskClusterBudgetClose": [
        Case(
            "fires at four fifths",
            {
                of_cluster("daskcluster_accrued_cost", 'currency="USD"'): "70+1x60",
                of_cluster("daskcluster_budget_limit"): "100x60",
                condition("Ready", "True", "Ready"): "1x60",
            },
            {
                "10m": [],
                "12m": [
                    Fires(
                        "DaskCluster team/dask has spent 82% of spec.budget.maxTotal by list prices. Its "
                        "state: Ready."
                    )
                ],
            },
        ),
        Case(
            "is quiet without a budget",
            {of_cluster("daskcluster_accrued_cost", 'currency="USD"'): "1e6x60"},
            {"30m": []},
        ),
    ],
    "AzureOrphansCost": [
        Case(
            "fires after an hour",
            {of_operator("dask_azureml_orphans_hourly_cost", 'kind="compute"'): "0.25x90"},
            {
                "59m": [],
                "61m": [
                    Fires(
                        "Resources of the kind compute carry the tags of DaskClusters that are gone, and cost "
                        "0.25 an hour by list prices. Their events have the reason Orphaned.",
                        {"kind": "compute"},
                    )
                ],
            },
        ),
        Case(
            "is quiet for what costs next to nothing, and for another installation's",
            {
                of_operator("dask_azureml_orphans_hourly_cost", 'kind="job"'): "0.05x90",
                'dask_azureml_orphans_hourly_cost{namespace="another",kind="compute"}': "9x90",
            },
            {"80m": []},
        ),
    ],
    "DaskOperatorDown": [
        Case(
            "fires 5 minutes after the last replica was scraped",
            {of_operator("dask_azureml_build_info"): "1x10 stale"},
            {
                "10m": [],
                "14m": [],
                "17m": [
                    Fires(
                        "No replica of the operator has answered for 5m. Clusters go on running and costing; "
                        "nobody starts, scales, stops or deletes them.",
                        {"namespace": "operators"},
                    )
                ],
            },
        ),
        Case(
            "is quiet while one of two answers",
            {
                of_operator("dask_azureml_build_info"): "1x10 stale",
                of_operator("dask_azureml_build_info").replace("operator-1", "operator-2"): "1x60",
            },
            {"30m": []},
        ),
    ],
    "DaskOperatorNoLeader": [
        Case(
            "fires after 2 minutes in which two stand by",
            {
                of_operator("dask_azureml_leader"): "1x10 0x30",
                of_operator("dask_azureml_leader").replace("operator-1", "operator-2"): "0x40",
            },
            {
                "10m": [],
                "12m": [],
                "14m": [
                    Fires(
                        "Replicas of the operator run, and none of them has had the Lease for 2m: nothing is "
                        "done for any DaskCluster.",
                        {},
                    )
                ],
            },
        ),
        Case(
            "is quiet through a takeover",
            {
                of_operator("dask_azureml_leader"): "1x10 0x30",
                of_operator("dask_azureml_leader").replace("operator-1", "operator-2"): "0x11 1x30",
            },
            {"11m": [], "14m": []},
        ),
    ],
    "DaskOperatorBacklog": [
        Case(
            "fires where one waits for longer than 5 minutes",
            {of_operator("dask_azureml_oldest_unreconciled_seconds"): "0+60x30"},
            {
                "5m": [],
                "8m": [
                    Fires("The DaskCluster that has waited longest for its reconcile waits for 8m 0s.", {})
                ],
            },
        ),
        Case(
            "is quiet where they come to their turn",
            {of_operator("dask_azureml_oldest_unreconciled_seconds"): "0 200 0 250 0 290 0 10 0 0"},
            {"7m": []},
        ),
    ],
    "DaskOperatorInventoryStale": [
        Case(
            "fires after a quarter of an hour",
            {of_operator("dask_azureml_inventory_age_seconds"): "0+60x30"},
            {
                "15m": [],
                "18m": [
                    Fires(
                        "What the operator knows of Azure is 18m 0s old for some DaskClusters: what happens "
                        "there is not noticed.",
                        {},
                    )
                ],
            },
        ),
        Case(
            "is quiet at the pace of clusters at rest",
            {of_operator("dask_azureml_inventory_age_seconds"): "0 60 120 180 240 300 0 60 120 180 240"},
            {"10m": []},
        ),
    ],
    "AzureThrottled": [
        Case(
            "fires at more than 5 within 15 minutes",
            {of_operator("dask_azureml_azure_throttles_total", 'operation="reads"'): "0x20 0+1x20"},
            {
                "20m": [],
                "35m": [
                    Fires(
                        "Azure has refused 14 reads within 15 minutes. Clusters that wait for them have the "
                        "reason Throttled or WaitingForBudget.",
                        {"operation": "reads"},
                    )
                ],
            },
        ),
        Case(
            "is quiet for a few",
            {of_operator("dask_azureml_azure_throttles_total", 'operation="writes"'): "0x20 3x20"},
            {"25m": []},
        ),
    ],
    "AzureDriftReturns": [
        Case(
            "fires where one field was changed for the third time",
            {
                of_operator(
                    "dask_azureml_drift_total", 'kind="compute"', 'field="tags"', 'response="set-back"'
                ): "0x60 1x60 2x60 4x60"
            },
            {
                "150m": [],
                "200m": [
                    Fires(
                        "tags of compute was changed in Azure 4 times within 6 hours. The events of the "
                        "cluster name it.",
                        {"kind": "compute", "field": "tags"},
                    )
                ],
            },
        ),
        Case(
            "is quiet where somebody did it once, long ago or not",
            {
                of_operator(
                    "dask_azureml_drift_total", 'kind="compute"', 'field="tags"', 'response="set-back"'
                ): "0x10 1x200",
                of_operator(
                    "dask_azureml_drift_total", 'kind="compute"', 'field="tags"', 'response="reported"'
                ): "40x200",
            },
            {"20m": [], "200m": []},
        ),
    ],
}


@pytest.fixture(scope="session")
def by_name(everything) -> dict[str, dict]:
    return {rule["alert"]: rule for rule in rules(everything)}


def test_every_alert_has_its_cases_and_its_runbook_and_there_are_no_others(by_name):
    assert sorted(CASES) == sorted(by_name)
    assert sorted(page.stem for page in RUNBOOKS.glob("*.md") if page.stem != "README") == sorted(by_name)
    for name, cases in CASES.items():
        told = [bool(fires) for case in cases for fires in case.at.values()]
        assert any(told) and not all(told), f"{name} has to fire in one case and be quiet in another"


def test_every_alert_says_what_people_need(by_name):
    for name, rule in by_name.items():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), name
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], name
        assert rule["annotations"]["runbook_url"] == f"https://runbooks.example/{name}.md"
        if name.startswith("DaskCluster"):
            assert "daskcluster_status_condition" in rule["annotations"]["description"], (
                f"{name} tells no reason"
            )


def test_every_runbook_says_what_it_means_how_to_look_and_what_to_do():
    for page in RUNBOOKS.glob("*.md"):
        if page.stem == "README":
            assert all(f"({each.name})" in page.read_text() for each in RUNBOOKS.glob("[!R]*.md"))
            continue
        lines = page.read_text().splitlines()
        assert lines[0] == f"# {page.stem}"
        headings = [line for line in lines if line.startswith("## ")]
        assert headings == ["## What it means", "## How to look", "## What to do"], page.name


def test_prometheus_takes_the_rules(promtool, rules_file):
    assert not promtool(
        "check", "rules", "--lint=all", "--lint-fatal", rules_file.name, folder=rules_file.parent
    )


@pytest.mark.parametrize("name", CASES)
def test_it_fires_when_it_should_and_is_quiet_when_it_should(name, by_name, promtool, rules_file, tmp_path):
    rule = by_name[name]
    tests = []
    for case in CASES[name]:
        checks = []
        for time, fires in case.at.items():
            alerts = []
            for each in fires:
                summary = rule["annotations"]["summary"]
                for label, value in each.labels.items():
                    summary = summary.replace(f"{{{{ $labels.{label} }}}}", value)
                annotations = {"summary": summary, "description": each.description}
                annotations["runbook_url"] = rule["annotations"]["runbook_url"]
                alerts.append({"exp_labels": rule["labels"] | each.labels, "exp_annotations": annotations})
            checks.append({"eval_time": time, "alertname": name, "exp_alerts": alerts})
        series = [{"series": series, "values": values} for series, values in (BESIDE | case.series).items()]
        title = f"{name} {case.title}"
        tests.append({"name": title, "interval": "1m", "input_series": series, "alert_rule_test": checks})
    whole = {"rule_files": [str(rules_file)], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(whole))
    assert not (told := promtool("test", "rules", "test.yaml", folder=tmp_path)), told


def test_thresholds_and_labels_are_values_and_alerts_can_be_left_out(by_name):
    alerts = EVERYTHING["alerts"] | {
        "thresholds": {"notReadySeconds": 77, "operatorDownFor": "9m"},
        "alertLabels": {"team": "data"},
        "selector": 'job="operator"',
        "disabled": ["DaskClusterStalled", "AzureThrottled"],
        "labels": {"release": "prometheus"},
        "runbookUrl": "https://runbooks.example/with/slash/",
    }
    rendered = {rule["alert"]: rule for rule in rules(objects(EVERYTHING | {"alerts": alerts}))}
    assert set(by_name) - set(rendered) == {"DaskClusterStalled", "AzureThrottled"}
    assert "> 77" in rendered["DaskClusterNotReady"]["expr"]
    assert rendered["DaskOperatorDown"]["expr"] == 'absent(dask_azureml_build_info{job="operator"})'
    assert rendered["DaskOperatorDown"]["for"] == "9m"
    assert all(rule["labels"]["team"] == "data" for rule in rendered.values())
    url = rendered["DaskOperatorDown"]["annotations"]["runbook_url"]
    assert url == "https://runbooks.example/with/slash/DaskOperatorDown.md"


def test_alerts_without_a_place_of_their_runbooks_are_refused():
    with pytest.raises(HelmFailed, match=r"alerts\.runbookUrl"):
        objects(EVERYTHING | {"alerts": {"enabled": True}})
