"""Twelve queries as Grafana's panels ask them, over the newest month of gold."""

from __future__ import annotations

from typing import Final

_LAST = "(SELECT max(day) FROM gold.daily_metrics)"

QUERIES: Final[dict[str, str]] = {
    "daily metrics of a month": f"""
        SELECT day, metric, value FROM gold.daily_metrics FINAL
        WHERE grain = 'day' AND dimension = '' AND day > {_LAST} - 30 ORDER BY metric, day""",
    "newest of each daily metric": """
        SELECT metric, argMax(value, day) FROM gold.daily_metrics FINAL WHERE grain = 'day' AND dimension = '' GROUP BY metric""",
    "burn rate by component": f"""
        SELECT day, dimension_value, value FROM gold.daily_metrics FINAL
        WHERE metric = 'daily_burn_rate_usd' AND dimension = 'component' AND day > {_LAST} - 30 ORDER BY day""",
    "funnel of videos": f"""
        SELECT status, count() FROM gold.fact_video_generation FINAL WHERE created_date > {_LAST} - 30 GROUP BY status""",
    "cost and time by niche": f"""
        SELECT niche, count(), avg(total_cost), avg(generation_time_seconds) FROM gold.fact_video_generation FINAL
        WHERE created_date > {_LAST} - 30 GROUP BY niche ORDER BY 2 DESC""",
    "dearest videos": """
        SELECT video_id, title, total_cost FROM gold.fact_video_generation FINAL ORDER BY total_cost DESC LIMIT 20""",
    "videos of a user": """
        SELECT video_id, status, created_date, total_cost FROM gold.fact_video_generation FINAL WHERE user_id = 42
        ORDER BY created_date DESC LIMIT 50""",
    "activity of a user": """
        SELECT activity_timestamp, activity_type, response_time_ms FROM gold.fact_user_activity FINAL WHERE user_id = 42
        ORDER BY activity_timestamp DESC LIMIT 100""",
    "activity by hour of a day": f"""
        SELECT toStartOfHour(activity_timestamp) AS hour, activity_type, count() FROM gold.fact_user_activity FINAL
        WHERE activity_date = {_LAST} - 5 GROUP BY hour, activity_type ORDER BY hour""",
    "cohorts": "SELECT cohort_week, weeks_since, rate FROM gold.retention_weekly ORDER BY cohort_week, weeks_since",
    "revenue and costs": f"SELECT * FROM gold.financial_daily FINAL WHERE day > {_LAST} - 30 ORDER BY day",
    "videos by tier at the time": """
        SELECT d.subscription_tier, count(), sum(f.total_cost) FROM gold.fact_video_generation AS f FINAL
        ASOF JOIN gold.dim_user AS d ON d.user_id = f.user_id AND f.requested_at >= d.valid_from
        WHERE f.requested_at < d.valid_to GROUP BY d.subscription_tier""",
}
