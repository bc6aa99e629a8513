"""Of several operators one works; another takes over when it ends, is killed or stopped, and nothing is done twice.

The tests go on from each other: clusters that one of them begins are looked at in the last.
"""

import signal
import time

import pytest
from conftest import ROUNDS

# What `docs/decisions/026-leadership.md` promises, in seconds.
CLEAN = 5.0
KILLED = 20.0
DRAIN = 20.0
# The lease's default duration.
LEASE_SECONDS = 15.0
# Azure writes of one cluster that may be on their way at once.
ON_THE_WAY = 8
# Seconds that Azure takes for a request which is under way when the leader is told to end.
UNDER_WAY = 2.0


def test_standbys_are_ready_and_ask_nothing_of_azure_and_tell_nothing_of_clusters(stage, figures):
    stage.have(3)
    stage.begin("anchor")
    stage.until_ready("anchor")
    stage.ready_once = stage.ready("anchor")
    leader = stage.leads()
    standbys = [operator for operator in stage.operators if operator is not leader]
    # Long enough for a resync of every cluster, and for the leader to look at Azure by itself.
    asked = len(stage.requests(leader))
    stage.until(lambda: len(stage.requests(leader)) > asked + 2, "the leader looks at Azure")
    for standby in standbys:
        assert not stage.requests(standby)
        page = standby.page()
        assert standby.is_ready() and standby.page("/livez") == "ok"
        assert "\ndask_azureml_leader 0\n" in page
        assert "\ndaskcluster_" not in page
        assert "\ndask_azureml_leader_transitions_total 0\n" in page
    assert "daskcluster_info{" in leader.page()
    resident = [f"{operator.resident_mebibytes():.0f}" for operator in (leader, *standbys)]
    figures.resident = f"resident memory of the leader and of standbys, one cluster: {', '.join(resident)} MiB"
    # Its credentials are warm: each has a token of Entra, which is none of Azure's quota.
    assert stage.tokens() == len(stage.operators)
    lease = stage.lease()
    assert lease["holderIdentity"].startswith(f"{leader.pod}_")
    assert lease["leaseDurationSeconds"] == LEASE_SECONDS


def test_a_leader_that_is_told_to_end_finishes_what_is_under_way_and_is_succeeded_at_once(stage, figures):
    moments = {
        "its network is under way": lambda name: stage.azure.struck(),
        "its head is submitted": lambda name: any(job.startswith(name) for job in stage.azure.jobs("head-1")),
        "it has just been applied": lambda name: True,
    }
    delay = {"method": "PUT", "path": "/virtualNetworks/", "action": {"delay": {"seconds": UNDER_WAY}}}
    stage.azure.fault(delay)
    for number, (moment, has_come) in enumerate(list(moments.items()) * ROUNDS):
        stage.have(3)
        name = f"made-{number}"
        stage.begin(name)
        stage.until(lambda name=name, has_come=has_come: has_come(name), moment)
        old = stage.leads()
        old.process.send_signal(signal.SIGTERM)
        _, taken, at_work = stage.until_succeeded(old, within=CLEAN)
        assert old.process.wait(DRAIN) == 0, old.log.read_text()[-2000:]
        assert "the lease is let go" in old.log.read_text()
        figures.add("told to end, until another leads", taken)
        figures.add("told to end, until another has looked at every cluster", at_work)
        assert at_work < CLEAN, (taken, at_work)
    stage.azure.clear_faults()


@pytest.mark.skipif(ROUNDS == 1, reason="takes the whole time that an end may take: LEADERSHIP_ROUNDS=2")
def test_a_leader_that_is_told_to_end_leaves_what_does_not_end(stage):
    stage.have(3)
    hang = {"method": "PUT", "path": "/virtualNetworks/", "action": {"delay": {"seconds": 60}}}
    stage.azure.fault(hang)
    stage.begin("hung")
    stage.until(stage.azure.struck, "its network is under way")
    old = stage.leads()
    began = time.monotonic()
    old.process.send_signal(signal.SIGTERM)
    stage.until_succeeded(old, within=DRAIN + CLEAN)
    assert old.process.wait(CLEAN) == 0, old.log.read_text()[-2000:]
    # Kubernetes kills it after 30 s.
    assert DRAIN - 1 < time.monotonic() - began < 27
    assert "whoever leads next goes on with it" in old.log.read_text()
    stage.azure.clear_faults()
    stage.until_ready("hung")


def test_a_leader_that_is_killed_is_succeeded_when_its_lease_is_over(stage, figures):
    for number in range(ROUNDS):
        stage.have(3)
        stage.begin_and_see_it_begun(f"orphan-{number}")
        old = stage.leads()
        old.process.kill()
        _, taken, at_work = stage.until_succeeded(old, within=KILLED)
        figures.add("killed, until another leads", taken)
        figures.add("killed, until another has looked at every cluster", at_work)
        assert at_work < KILLED, (taken, at_work)


def test_a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_more_and_ends(stage, figures):
    for number in range(ROUNDS):
        stage.have(3)
        # It is in the middle of its work: it has written a part, and has a plan for the rest.
        stage.begin_and_see_it_begun(f"paused-{number}")
        old = stage.leads()
        old.process.send_signal(signal.SIGSTOP)
        try:
            new, taken, at_work = stage.until_succeeded(old, within=KILLED)
            figures.add("stopped, until another leads", taken)
            assert at_work < KILLED, (taken, at_work)
            succeeded = time.time()
        finally:
            old.process.send_signal(signal.SIGCONT)
        assert old.process.wait(10) == 1, "it ends, as it has lost the lead"
        assert "does not lead any more" in old.log.read_text()
        assert new.leads()
        late = [write for arrived, write in stage.writes(old) if arrived > succeeded]
        figures.late.append(len(late))
        # Only what had passed its check when it was stopped.
        assert len(late) <= ON_THE_WAY
        stage.late += late


def test_an_api_server_that_is_killed_and_comes_back_costs_nobody_the_lead(stage):
    stage.have(3)
    leader = stage.leads()
    stage.line.restart_api_server()
    # Two renewals later it is not the old claim any more.
    renewed = stage.lease()["renewTime"]
    stage.until(lambda: stage.lease()["renewTime"] > renewed, "the lease is renewed")
    assert stage.leads() is leader
    assert all(operator.runs() for operator in stage.operators)


def test_an_operator_that_shares_the_lease_by_mistake_says_so_and_does_nothing(stage):
    stage.have(2)
    stranger = stage.start("--instance=elsewhere/other")
    words = "give one of them another --lease-name"
    stage.until(lambda: words in stranger.log.read_text(), "it says so")
    assert not stranger.leads()
    stranger.process.terminate()
    assert stranger.process.wait(10) == 0


def test_at_the_end_every_cluster_is_ready_and_nothing_was_done_twice(stage):
    stage.until_ready(*stage.begun, seconds=90)
    writes = stage.azure.writes()
    # What landed late was wanted by the new leader too, which made it as well or found it.
    for write in stage.late:
        method, path = write.split(" ", 1)
        assert method == "PUT" and stage.azure.get(path), write
    assert not [write for write in stage.twice() if write not in stage.late]
    for name in stage.begun:
        # Network, subnet, pool, environment, head, worker.
        puts = [write for write in writes if write.startswith("PUT") and name in write]
        assert len(set(puts)) in (5, 6), puts
    # The one that was Ready before all of that has been so ever since.
    assert stage.ready("anchor") == stage.ready_once
