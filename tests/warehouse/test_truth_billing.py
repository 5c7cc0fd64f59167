"""Billing by hand: movements of MRR and their sum, customers who are lost, lifetime value, revenue against cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.warehouse.hand import Hand
from tests.warehouse.truth import Truth

_MOVES = ("mrr_new_usd", "mrr_expansion_usd", "mrr_contraction_usd", "mrr_churn_usd", "mrr_usd")


def _moves(truth: Truth, day: str) -> list[float | None]:
    return [truth.metric(day, metric) for metric in _MOVES]


def test_every_movement(tmp_path: Path) -> None:
    """One subscription, a movement a day; the records arrive in the opposite order."""
    hand = Hand()
    story = [
        ("started", "10"),
        ("changed", "25.00005"),
        ("changed", "20"),
        ("changed", "20.0000"),
        ("cancelled", "20"),
        ("changed", "7"),
        ("changed", "0"),
        ("started", "0"),
        ("started", "3"),
    ]
    for place, (kind, mrr) in enumerate(story):
        hand.mrr(f"2026-10-0{place + 1} 10:00", kind, mrr, log=f"2026-10-{29 - place} 00:00")
    hand.mrr("2026-10-01 00:00", "started", "100", sub="s2", user_id=2)
    truth = hand.truth(tmp_path)
    assert _moves(truth, "2026-10-01") == [110.0, 0.0, 0.0, 0.0, 110.0]
    assert _moves(truth, "2026-10-02") == [0.0, 15.0, 0.0, 0.0, 125.0]
    assert _moves(truth, "2026-10-03") == [0.0, 0.0, 5.0, 0.0, 120.0]
    assert _moves(truth, "2026-10-04") == [0.0, 0.0, 0.0, 0.0, 120.0]
    assert _moves(truth, "2026-10-05") == [0.0, 0.0, 0.0, 20.0, 100.0]
    assert _moves(truth, "2026-10-06") == [7.0, 0.0, 0.0, 0.0, 107.0]
    assert _moves(truth, "2026-10-07") == [0.0, 0.0, 0.0, 7.0, 100.0]
    assert _moves(truth, "2026-10-08") == [0.0, 0.0, 0.0, 0.0, 100.0]
    assert _moves(truth, "2026-10-09") == [3.0, 0.0, 0.0, 0.0, 103.0]


def test_of_one_millisecond_the_higher_id_is_later(tmp_path: Path) -> None:
    """Compared as lower-case text: `B` comes after `a`."""
    hand, at = Hand(), "2026-10-01 10:00"
    hand.mrr(at, "changed", "30", event_id="B0000000-0000-4000-8000-000000000000")
    hand.mrr(at, "started", "10", event_id="a0000000-0000-4000-8000-000000000000")
    assert _moves(hand.truth(tmp_path), "2026-10-01") == [10.0, 20.0, 0.0, 0.0, 30.0]


def _months(tmp_path: Path) -> Truth:
    """Four customers of July: one leaves, one leaves and returns, one gives up the second of two subscriptions."""
    hand = Hand()
    for user in (1, 2, 3, 4):
        hand.mrr("2026-07-01 10:00", "started", "10", sub=f"s{user}", user_id=user)
    hand.mrr("2026-07-01 11:00", "started", "5", sub="second", user_id=3)
    hand.mrr("2026-07-20 10:00", "cancelled", "10", sub="s1", user_id=1)
    hand.mrr("2026-07-21 10:00", "cancelled", "5", sub="second", user_id=3)
    hand.mrr("2026-07-25 10:00", "cancelled", "10", sub="s2", user_id=2)
    hand.mrr("2026-07-28 10:00", "started", "10", sub="s2", user_id=2)
    # Within one day nobody is lost: only ends of days count.
    hand.mrr("2026-07-29 10:00", "cancelled", "10", sub="s4", user_id=4)
    hand.mrr("2026-07-29 11:00", "started", "10", sub="s4", user_id=4)
    for day, user in (("2026-07-02", 9), ("2026-07-03", 1), ("2026-08-01", 2), ("2026-08-01", 3), ("2026-08-30", 2)):
        hand.user(day, user)
    hand.pay("2026-07-02 10:00", "500")
    hand.pay("2026-08-01 10:00", "30")
    hand.pay("2026-08-01 12:00", "10", "refund")
    return hand.truth(tmp_path)


def test_lifetime_value(tmp_path: Path) -> None:
    """August 1: 20 USD of 3 users, 2 of 4 customers lost. August 30: 20 USD of 2 users, 2 lost of 3 + 4."""
    truth = _months(tmp_path)
    assert truth.metric("2026-08-01", "mau") == 3.0
    assert truth.metric("2026-08-01", "arpu_usd") == pytest.approx(20 / 3)
    assert truth.metric("2026-08-01", "clv_usd") == pytest.approx(40 / 3)
    assert truth.metric("2026-08-30", "arpu_usd") == 10.0
    assert truth.metric("2026-08-30", "clv_usd") == pytest.approx(35.0)


def test_no_lifetime_value_where_there_is_none(tmp_path: Path) -> None:
    """July 10: nobody was lost. July 25: somebody was, of none that could. July 1: no user at all."""
    truth = _months(tmp_path)
    assert [truth.metric(day, "clv_usd") for day in ("2026-07-10", "2026-07-25", "2026-07-01")] == [None, None, None]
    assert truth.metric("2026-07-01", "arpu_usd") is None
    assert truth.metric("2026-07-02", "arpu_usd") == 500.0


def test_months_are_their_last_days(tmp_path: Path) -> None:
    truth = _months(tmp_path)
    for metric in ("mau", "arpu_usd", "clv_usd", "mrr_usd"):
        assert truth.metric("2026-07-01", metric, grain="month") == truth.metric("2026-07-31", metric)
        assert truth.metric("2026-08-01", metric, grain="month") == truth.metric("2026-08-30", metric)
    months = {key[1] for key in truth.gold["daily_metrics"] if key[2] == "month"}
    assert months == {"mau", "arpu_usd", "clv_usd", "mrr_usd"}


def test_revenue_against_cost(tmp_path: Path) -> None:
    """Null where a day costs nothing, or gives back more than it costs."""
    hand = Hand()
    hand.pay("2026-10-01 10:00", "6")
    hand.pay("2026-10-01 10:00", "1.00005", "refund")
    hand.cost("2026-10-01 10:00", "2")
    hand.pay("2026-10-02 10:00", "6")
    hand.cost("2026-10-03 10:00", "-1")
    hand.pay("2026-10-04 10:00", "3", "refund")
    hand.cost("2026-10-04 10:00", "1.5")
    truth = hand.truth(tmp_path)
    told = [truth.metric(f"2026-10-0{day}", "cost_efficiency") for day in (1, 2, 3, 4)]
    assert told == [2.5, None, None, -2.0]
    assert truth.gold["financial_daily"] == {
        ("2026-10-01",): (60_000, 10_000, 0, 20_000),
        ("2026-10-02",): (60_000, 0, 0, 0),
        ("2026-10-03",): (0, 0, 0, -10_000),
        ("2026-10-04",): (0, 30_000, 0, 15_000),
    }
