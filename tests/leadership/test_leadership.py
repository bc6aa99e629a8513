"""Of several operators one works; another takes over when it ends, is killed or stopped, and nothing is done twice."""

import signal
import time

from conftest import ROUNDS

# What `docs/decisions/026-leadership.md` promises, in seconds.
CLEAN = 5.0
KILLED = 20.0
# The lease's default duration.
LEASE_SECONDS = 15.0
# Azure writes of one cluster that may be on their way at once.
ON_THE_WAY = 8


def test_standbys_are_ready_and_ask_nothing_of_azure_and_tell_nothing_of_clusters(stage):
    stage.have(3)
    stage.apply("anchor")
    stage.until_ready("anchor")
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
    lease = stage.lease()
    assert lease["holderIdentity"].startswith(f"{leader.pod}_")
    assert lease["leaseDurationSeconds"] == LEASE_SECONDS


def test_a_leader_that_is_told_to_end_is_succeeded_at_once_and_nothing_is_done_twice(stage, figures):
    anchor = stage.ready("anchor")
    moments = {
        "its network is under way": lambda: any("made-0" in write for write in stage.azure.writes()),
        "its head is submitted": lambda: any(job.startswith("made-1") for job in stage.azure.jobs("head-1")),
        "it has just been applied": lambda: True,
    }
    stage.azure.forget_exchanges()
    names = []
    for number, (moment, has_come) in enumerate(list(moments.items()) * ROUNDS):
        stage.have(3)
        name = f"made-{number}"
        names.append(name)
        stage.apply(name)
        if number < len(moments):
            stage.until(has_come, moment)
        old = stage.leads()
        began = time.monotonic()
        old.process.send_signal(signal.SIGTERM)
        _, taken, at_work = stage.until_succeeded(old, within=CLEAN)
        assert old.process.wait(25) == 0, old.log.read_text()[-2000:]
        assert time.monotonic() - began < 25
        figures.add("told to end, until another leads", taken)
        figures.add("told to end, until another has looked at every cluster", at_work)
        assert at_work < CLEAN, (taken, at_work)
    stage.until_ready(*names)
    assert not stage.twice()
    assert stage.ready("anchor") == anchor
    assert not [write for write in stage.azure.writes() if "anchor" in write]
    stage.kubernetes.delete(*names)


def test_a_leader_that_is_killed_is_succeeded_when_its_lease_is_over(stage, figures):
    anchor = stage.ready("anchor")
    stage.azure.forget_exchanges()
    for number in range(ROUNDS):
        stage.have(3)
        name = f"orphan-{number}"
        stage.apply(name)
        stage.until(lambda name=name: any(name in write for write in stage.azure.writes()), "it is begun")
        old = stage.leads()
        old.process.kill()
        _, taken, at_work = stage.until_succeeded(old, within=KILLED)
        figures.add("killed, until another leads", taken)
        figures.add("killed, until another has looked at every cluster", at_work)
        assert at_work < KILLED, (taken, at_work)
        stage.until_ready(name)
    assert not stage.twice()
    assert stage.ready("anchor") == anchor
    assert not [write for write in stage.azure.writes() if "anchor" in write]
    stage.kubernetes.delete(*[f"orphan-{number}" for number in range(ROUNDS)])


def test_a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_more_and_ends(stage, figures):
    anchor = stage.ready("anchor")
    for number in range(ROUNDS):
        stage.have(3)
        stage.azure.forget_exchanges()
        name = f"paused-{number}"
        stage.apply(name)
        # It is in the middle of its work: it has written a part, and has a plan for the rest.
        stage.until(lambda name=name: any(name in write for write in stage.azure.writes()), "it is begun")
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
        stage.until_ready(name)
        late = [write for arrived, write in stage.writes(old) if arrived > succeeded]
        figures.late.append(len(late))
        made = {write for _, write in stage.writes(new)}
        # Only what had passed its check when it was stopped, and what is wanted now.
        assert len(late) <= ON_THE_WAY and set(late) <= made, late
        assert not [write for write in stage.twice() if write not in late]
        assert new.leads()
        stage.kubernetes.delete(name)
    assert stage.ready("anchor") == anchor


def test_an_operator_that_shares_the_lease_by_mistake_says_so_and_does_nothing(stage):
    stage.have(2)
    stranger = stage.start("--instance=elsewhere/other")
    words = "give one of them another --lease-name"
    stage.until(lambda: words in stranger.log.read_text(), "it says so")
    assert not stranger.leads() and not stage.requests(stranger)
    stranger.process.terminate()
    assert stranger.process.wait(10) == 0
