-- The scheduler's books: what a run was for, who ran it, and which jobs are paused.
--
-- Rows of the scheduler have an origin ('schedule' or 'hand') and a run_id that follows from job, scheduled time and attempt, so that
-- a repeated write is the same row. Their version is the fence of the lease under which they were written: what a process
-- says that was paused and has lost its lease never beats what its successor says.

ALTER TABLE meta.job_runs
    ADD COLUMN IF NOT EXISTS scheduled_for DateTime64(3, 'UTC') DEFAULT toDateTime64(logical_date, 3, 'UTC') COMMENT 'when the run was due',
    ADD COLUMN IF NOT EXISTS origin LowCardinality(String) DEFAULT '' COMMENT 'schedule, hand, or empty: a command''s own books',
    ADD COLUMN IF NOT EXISTS quota_units UInt64 DEFAULT 0 COMMENT 'units of an outside quota that the run spent',
    ADD COLUMN IF NOT EXISTS who String DEFAULT '' COMMENT 'host and process that ran it';

ALTER TABLE meta.job_runs
    COMMENT COLUMN status 'running, done, failed, skipped (missed beyond its grace), lost (its process died)';

CREATE TABLE IF NOT EXISTS meta.job_pauses
(
    job              LowCardinality(String),
    paused           Bool,
    changed_at       DateTime64(3, 'UTC'),
    changed_by       String
)
ENGINE = ReplacingMergeTree(changed_at)
ORDER BY job
SETTINGS non_replicated_deduplication_window = 10000;
