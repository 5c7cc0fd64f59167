"""Every Prometheus metric once: name, kind and meaning. Labels never hold personal data."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

EVENTS = Counter("streamproc_events", "Records taken from a topic, valid or not", ["topic"])
BYTES = Counter("streamproc_bytes", "Bytes of record values taken from a topic", ["topic"])
INVALID = Counter("streamproc_invalid", "Records that became dead letters, by reason", ["topic", "reason"])
DUPLICATES = Counter("streamproc_duplicates", "Events whose id was accepted within the horizon before", ["topic"])
REPEATED = Counter("streamproc_repeated_statuses", "Statuses that a video already had (7 days)", ["topic"])
LATE = Counter("streamproc_late", "Events too late for a window of that size", ["topic", "size"])
POISON = Counter(
    "streamproc_poison_records", "Records set aside because they end the process that reads them", ["topic"]
)
LOST_OFFSETS = Counter("streamproc_lost_offsets", "Offsets that the broker no longer had when we came", ["topic"])
SEEK_BACKS = Counter(
    "streamproc_seek_backs", "Batches from a wrong position: dropped, and read again from the right one", ["topic"]
)
STALE_BATCHES = Counter(
    "streamproc_stale_batches", "Partitions' records of a fetch that were passed over: fetched before a seek", ["topic"]
)
NEW_LOGS = Counter("streamproc_new_logs", "Times a partition's log turned out to be a new one", ["topic"])
LAG = Gauge(
    "streamproc_lag_records",
    "Records in the log after the last one applied (archive: stored in ClickHouse)",
    ["topic", "partition"],
)
WATERMARK_AGE = Gauge(
    "streamproc_watermark_age_seconds", "Wall clock minus the highest accepted event time", ["topic", "partition"]
)
BATCH_RECORDS = Histogram(
    "streamproc_batch_records", "Records per batch", ["topic"], buckets=(1, 4, 16, 64, 256, 1024, 4096, 16384)
)
DECODE_SECONDS = Counter("streamproc_decode_seconds", "CPU-side seconds spent decoding", ["topic"])
AGGREGATE_SECONDS = Counter("streamproc_aggregate_seconds", "CPU-side seconds spent folding into windows", ["topic"])
FLUSH_SECONDS = Histogram(
    "streamproc_flush_seconds", "From cutting changed cells to their acknowledgement", buckets=_FAST
)
FLUSHED_CELLS = Counter("streamproc_flushed_cells", "Cells sent to window-partials")
SNAPSHOT_SECONDS = Histogram("streamproc_snapshot_seconds", "Saving one source's state", buckets=_FAST)
RESTORE_SECONDS = Histogram("streamproc_restore_seconds", "Restoring state at an assignment", ["role"], buckets=_FAST)
OPEN_CELLS = Gauge("streamproc_open_cells", "Cells held by stage 1", ["topic"])
OPEN_WINDOWS = Gauge("streamproc_open_windows", "Windows held by stage 2")
MERGED_CELLS = Counter("streamproc_merged_cells", "Cells joined by stage 2")
UNREADABLE = Counter("streamproc_unreadable_cells", "Cells that could not be read, and count nothing")
PUBLISHED = Counter("streamproc_published_values", "Metric values handed to the sinks")
WAITING = Gauge("streamproc_sink_waiting", "Items held back for a sink", ["sink"])
SINK_UP = Gauge("streamproc_sink_up", "1 while the sink takes writes", ["sink"])
SINK_ERRORS = Counter("streamproc_sink_errors", "Failed writes by class and reason", ["sink", "kind", "reason"])
SINK_RETRIES = Counter("streamproc_sink_retries", "Writes tried again", ["sink"])
SINK_WRITES = Counter("streamproc_sink_writes", "Items written", ["sink"])
SINK_SECONDS = Histogram("streamproc_sink_seconds", "One write to a sink", ["sink"], buckets=_FAST)
SEND_RETRIES = Counter("streamproc_send_retries", "Messages to internal topics sent again", ["topic"])
ARCHIVED = Counter("streamproc_archived_records", "Records in bronze", ["topic"])
PAUSED = Gauge("streamproc_paused", "1 while a topic is paused because nearly everything is bad", ["topic"])
ALERTS = Gauge("streamproc_alerts", "Alert instances by state", ["state"])
TRANSITIONS = Counter("streamproc_alert_transitions", "Alert transitions recorded", ["rule", "state"])
DELIVERIES = Counter("streamproc_alert_deliveries", "Alert deliveries by how they ended", ["outcome"])
INTAKE_ENTRIES = Counter("streamproc_intake_entries", "Entries taken from a Redis Stream, repeats included", ["stream"])
INTAKE_SENT = Counter("streamproc_intake_sent", "Entries that Kafka acknowledged", ["stream", "topic"])
INTAKE_CLAIMED = Counter("streamproc_intake_claimed", "Entries taken over from another consumer", ["stream"])
INTAKE_TRIMMED = Counter(
    "streamproc_intake_trimmed", "Entries handed out and gone from their stream before Kafka had them", ["stream"]
)
INTAKE_PENDING = Gauge(
    "streamproc_intake_pending", "Entries handed out to any consumer and not acknowledged to Redis", ["stream"]
)
INTAKE_LAG = Gauge("streamproc_intake_lag_entries", "Entries of a Redis Stream not handed out yet", ["stream"])
JOB_RUNS = Counter("streamproc_job_runs", "Attempts of jobs that ended, by how", ["job", "status"])
JOB_SECONDS = Gauge("streamproc_job_seconds", "How long the last attempt of a job took", ["job"])
JOB_RUNNING = Gauge("streamproc_job_running", "1 while this scheduler runs the job", ["job"])
JOB_LAST_DONE = Gauge("streamproc_job_last_done_seconds", "When a run of the job was last done (epoch)", ["job"])
JOB_OVERDUE = Gauge("streamproc_job_overdue_seconds", "How long the oldest due run of a job is not settled", ["job"])
JOB_LEASE_GAP = Gauge("streamproc_job_lease_gap_seconds", "Time between the last two renewals of a lease")
INTAKE_ERRORS = Counter(
    "streamproc_intake_errors", "Failed requests of the intake, to Redis or Kafka, by reason", ["stream", "reason"]
)
READY = Gauge("streamproc_ready", "1 while the worker is ready")


def show_partitions(gauge: Gauge, shown: set[tuple[str, int]], values: Mapping[tuple[str, int], float]) -> None:
    """Set a gauge with the labels topic and partition; `shown` remembers what it showed before.

    A partition that went to another worker is shown no more: it would stay as it was, and be added up twice.
    """
    for topic, partition in shown - values.keys():
        gauge.remove(topic, str(partition))
    for (topic, partition), value in values.items():
        gauge.labels(topic, str(partition)).set(value)
    shown.clear()
    shown.update(values)
