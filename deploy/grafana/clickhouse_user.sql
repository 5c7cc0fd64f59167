-- A ClickHouse user for Grafana that can read gold and nothing of bronze or silver. Run once by an administrator:
--
--   clickhouse-client --param_password="$GRAFANA_CLICKHOUSE_PASSWORD" --queries-file deploy/grafana/clickhouse_user.sql
--
-- Without a password the first statement fails and nothing is made. Every statement can be run again; to change the
-- password afterwards: ALTER USER streamproc_grafana IDENTIFIED WITH sha256_password BY '...'.

SELECT throwIf(length({password:String}) < 12, 'give a password of 12 characters or more: --param_password=...');

-- readonly = 1: no writes, and no settings but one. Grafana's plugin sends max_execution_time with each query (its own
-- timeout and 5 s); with readonly = 2 it could set all of them, these limits included.
CREATE SETTINGS PROFILE IF NOT EXISTS streamproc_reader SETTINGS
    readonly = 1,
    max_execution_time = 35 MIN 1 MAX 90 CHANGEABLE_IN_READONLY,
    max_memory_usage = 2000000000;

CREATE ROLE IF NOT EXISTS streamproc_reader SETTINGS PROFILE 'streamproc_reader';

-- By name, not gold.*: while dbt builds there are copies of tables beside them, with all their columns.
GRANT SELECT ON gold.windows TO streamproc_reader;
GRANT SELECT ON gold.windows_latest TO streamproc_reader;
GRANT SELECT ON gold.entities TO streamproc_reader;
GRANT SELECT ON gold.alerts TO streamproc_reader;
GRANT SELECT ON gold.daily_metrics TO streamproc_reader;
GRANT SELECT ON gold.financial_daily TO streamproc_reader;
GRANT SELECT ON gold.retention_weekly TO streamproc_reader;
GRANT SELECT ON gold.fact_video_generation TO streamproc_reader;
GRANT SELECT ON gold.dim_channel TO streamproc_reader;
GRANT SELECT ON gold.dim_date TO streamproc_reader;

-- Without personal data, which is not for dashboards: e-mail and user names, addresses and browsers.
GRANT SELECT(
    user_id, subscription_tier, channels_limit, daily_video_limit, monthly_budget, total_spent, videos_generated,
    created_at, last_active_at, valid_from, valid_to, is_current
) ON gold.dim_user TO streamproc_reader;
GRANT SELECT(
    event_id, user_id, activity_timestamp, activity_type, resource_type, resource_id, session_id, response_time_ms,
    activity_date, first_wins
) ON gold.fact_user_activity TO streamproc_reader;

-- Of our own books what the row "Health" shows; of dead letters neither payload, key nor error, which quote the record.
GRANT SELECT(topic, partition, log_id, offset, reason, kafka_timestamp, recorded_at) ON meta.dead_letters TO streamproc_reader;
GRANT SELECT ON meta.lost_offsets TO streamproc_reader;
GRANT SELECT ON meta.build_marks TO streamproc_reader;
GRANT SELECT ON meta.datasets TO streamproc_reader;

CREATE USER IF NOT EXISTS streamproc_grafana IDENTIFIED WITH sha256_password BY {password:String}
    SETTINGS PROFILE 'streamproc_reader';

GRANT streamproc_reader TO streamproc_grafana;
