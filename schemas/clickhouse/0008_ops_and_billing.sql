-- Ops and billing events: bronze, silver, and the views between them, as for the first three streams (0002 to 0006).
--
-- Billing is kept 3 years like costs: it is the ledger of revenue.

CREATE TABLE IF NOT EXISTS bronze.ops_events
(
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String) COMMENT 'identity of the log: offsets mean something only within it',
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    key              String CODEC(ZSTD(1)),
    payload          String CODEC(ZSTD(1)) COMMENT 'the original bytes, which need not be UTF-8',
    error            String CODEC(ZSTD(1)) COMMENT 'empty, or why the record is a dead letter'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ingested_at)
ORDER BY (topic, partition, log_id, offset)
TTL toDateTime(ingested_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS bronze.billing_events
(
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String) COMMENT 'identity of the log: offsets mean something only within it',
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    key              String CODEC(ZSTD(1)),
    payload          String CODEC(ZSTD(1)) COMMENT 'the original bytes, which need not be UTF-8',
    error            String CODEC(ZSTD(1)) COMMENT 'empty, or why the record is a dead letter'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(ingested_at)
ORDER BY (topic, partition, log_id, offset)
TTL toDateTime(ingested_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS silver.ops_events
(
    event_id         UUID,
    schema_version   LowCardinality(String),
    occurred_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    service          LowCardinality(String),
    kind             LowCardinality(String),
    ok               Nullable(Bool),
    interval_s       Nullable(Int64),
    queue            LowCardinality(Nullable(String)),
    queued_at        Nullable(DateTime64(3, 'UTC')),
    processing_start Nullable(DateTime64(3, 'UTC')),
    endpoint         LowCardinality(Nullable(String)),
    http_status      Nullable(Int64),
    response_time_ms Nullable(Int64),
    provider         LowCardinality(Nullable(String)),
    model            LowCardinality(Nullable(String)),
    latency_ms       Nullable(Int64),
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String),
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    first_wins       UInt64 MATERIALIZED 18446744073709551615 - offset COMMENT 'the version: the first offset is the highest',
    INDEX by_time occurred_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first_wins)
PARTITION BY if(occurred_at < ingested_at - INTERVAL 35 DAY,
                toYYYYMM(greatest(occurred_at, toDateTime64('2020-01-01 00:00:00', 3, 'UTC'))), toYYYYMMDD(occurred_at))
ORDER BY event_id
TTL toDateTime(ingested_at) + INTERVAL 180 DAY
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS silver.billing
(
    event_id         UUID,
    schema_version   LowCardinality(String),
    occurred_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    user_id          Int64,
    kind             LowCardinality(String),
    subscription_id  String,
    started_at       DateTime64(3, 'UTC'),
    plan             LowCardinality(Nullable(String)),
    mrr_e4           Nullable(Int64) COMMENT '1/10000 USD, rounded half to even',
    amount_e4        Nullable(Int64) COMMENT '1/10000 USD, rounded half to even',
    topic            LowCardinality(String),
    partition        UInt32,
    log_id           LowCardinality(String),
    offset           UInt64 CODEC(Delta, ZSTD(1)),
    kafka_timestamp  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    ingested_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    first_wins       UInt64 MATERIALIZED 18446744073709551615 - offset COMMENT 'the version: the first offset is the highest',
    INDEX by_time occurred_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(first_wins)
PARTITION BY toYYYYMM(greatest(occurred_at, toDateTime64('2020-01-01 00:00:00', 3, 'UTC')))
ORDER BY event_id
TTL toDateTime(ingested_at) + INTERVAL 3 YEAR
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS silver.ops_events_from_bronze TO silver.ops_events AS
    WITH JSONExtractKeys(payload) AS keys,
         arrayMap(text -> concat('{', arrayStringConcat(arrayReverse(arrayMap(
             pair -> concat(toJSONString(pair.1), ':', pair.2), JSONExtractKeysAndValuesRaw(arrayStringConcat(arrayMap(
                 part -> multiIf(NOT match(part, '^-?[0-9]'), part,
                                 match(part, '[.eE]'), if(isInfinite(toFloat64OrZero(part)), '0', part),
                                 isNull(toInt64OrNull(part)) AND isNull(toUInt64OrNull(part)), '0', part),
                 extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|-?[0-9][-+.eE0-9]*|[^"0-9-]+|-')))))), ','), '}'),
             if(bronze.ops_events.error = '' AND (empty(keys) OR arrayUniq(keys) < length(keys)), [payload], []))[1] AS mended,
         if(mended = '', payload, mended) AS json,
         JSONExtract(json,
              'Tuple(event_id Nullable(String), schema_version Nullable(String), occurred_at Nullable(String),
               service Nullable(String), kind Nullable(String), ok Nullable(String), interval_s Nullable(String),
               queue Nullable(String), queued_at Nullable(String), processing_start Nullable(String), endpoint
               Nullable(String), http_status Nullable(String), response_time_ms Nullable(String), provider
               Nullable(String), model Nullable(String), latency_ms Nullable(String))') AS raw,
         toUUIDOrNull(raw.event_id) AS c_event_id,
         parseDateTime64BestEffortOrNull(raw.occurred_at, 3, 'UTC') AS c_occurred_at,
         multiIf(raw.ok IN ('true', '1'), true, raw.ok IN ('false', '0'), false, NULL) AS c_ok,
         toInt64OrNull(raw.interval_s) AS c_interval_s,
         parseDateTime64BestEffortOrNull(raw.queued_at, 3, 'UTC') AS c_queued_at,
         parseDateTime64BestEffortOrNull(raw.processing_start, 3, 'UTC') AS c_processing_start,
         toInt64OrNull(raw.http_status) AS c_http_status,
         toInt64OrNull(raw.response_time_ms) AS c_response_time_ms,
         toInt64OrNull(raw.latency_ms) AS c_latency_ms,
         arrayStringConcat(arrayFilter(problem -> problem != '', [
             if(isNull(c_event_id), 'event_id is missing or no UUID', ''),
             if(isNull(raw.schema_version), 'schema_version is missing', ''),
             if(isNull(c_occurred_at), 'occurred_at is missing or no time', ''),
             if(isNull(raw.service), 'service is missing', ''),
             if(isNull(raw.kind), 'kind is missing', ''),
             if(isNotNull(raw.ok) AND isNull(c_ok), 'ok is no boolean', ''),
             if(isNotNull(raw.interval_s) AND isNull(c_interval_s), 'interval_s is no integer', ''),
             if(isNotNull(raw.queued_at) AND isNull(c_queued_at), 'queued_at is no time', ''),
             if(isNotNull(raw.processing_start) AND isNull(c_processing_start), 'processing_start is no time', ''),
             if(isNotNull(raw.http_status) AND isNull(c_http_status), 'http_status is no integer', ''),
             if(isNotNull(raw.response_time_ms) AND isNull(c_response_time_ms), 'response_time_ms is no integer', ''),
             if(isNotNull(raw.latency_ms) AND isNull(c_latency_ms), 'latency_ms is no integer', '')]), '; ') AS reason
    SELECT assumeNotNull(c_event_id) AS event_id,
           assumeNotNull(raw.schema_version) AS schema_version,
           assumeNotNull(c_occurred_at) AS occurred_at,
           assumeNotNull(raw.service) AS service,
           assumeNotNull(raw.kind) AS kind,
           c_ok AS ok,
           c_interval_s AS interval_s,
           raw.queue AS queue,
           c_queued_at AS queued_at,
           c_processing_start AS processing_start,
           raw.endpoint AS endpoint,
           c_http_status AS http_status,
           c_response_time_ms AS response_time_ms,
           raw.provider AS provider,
           raw.model AS model,
           c_latency_ms AS latency_ms,
           topic,
           partition,
           log_id,
           offset,
           kafka_timestamp,
           ingested_at
    FROM bronze.ops_events
    WHERE bronze.ops_events.error = '' AND reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS silver.ops_events_rejected TO silver.rejected AS
    WITH JSONExtractKeys(payload) AS keys,
         arrayMap(text -> concat('{', arrayStringConcat(arrayReverse(arrayMap(
             pair -> concat(toJSONString(pair.1), ':', pair.2), JSONExtractKeysAndValuesRaw(arrayStringConcat(arrayMap(
                 part -> multiIf(NOT match(part, '^-?[0-9]'), part,
                                 match(part, '[.eE]'), if(isInfinite(toFloat64OrZero(part)), '0', part),
                                 isNull(toInt64OrNull(part)) AND isNull(toUInt64OrNull(part)), '0', part),
                 extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|-?[0-9][-+.eE0-9]*|[^"0-9-]+|-')))))), ','), '}'),
             if(bronze.ops_events.error = '' AND (empty(keys) OR arrayUniq(keys) < length(keys)), [payload], []))[1] AS mended,
         if(mended = '', payload, mended) AS json,
         JSONExtract(json,
              'Tuple(event_id Nullable(String), schema_version Nullable(String), occurred_at Nullable(String),
               service Nullable(String), kind Nullable(String), ok Nullable(String), interval_s Nullable(String),
               queue Nullable(String), queued_at Nullable(String), processing_start Nullable(String), endpoint
               Nullable(String), http_status Nullable(String), response_time_ms Nullable(String), provider
               Nullable(String), model Nullable(String), latency_ms Nullable(String))') AS raw,
         toUUIDOrNull(raw.event_id) AS c_event_id,
         parseDateTime64BestEffortOrNull(raw.occurred_at, 3, 'UTC') AS c_occurred_at,
         multiIf(raw.ok IN ('true', '1'), true, raw.ok IN ('false', '0'), false, NULL) AS c_ok,
         toInt64OrNull(raw.interval_s) AS c_interval_s,
         parseDateTime64BestEffortOrNull(raw.queued_at, 3, 'UTC') AS c_queued_at,
         parseDateTime64BestEffortOrNull(raw.processing_start, 3, 'UTC') AS c_processing_start,
         toInt64OrNull(raw.http_status) AS c_http_status,
         toInt64OrNull(raw.response_time_ms) AS c_response_time_ms,
         toInt64OrNull(raw.latency_ms) AS c_latency_ms,
         arrayStringConcat(arrayFilter(problem -> problem != '', [
             if(isNull(c_event_id), 'event_id is missing or no UUID', ''),
             if(isNull(raw.schema_version), 'schema_version is missing', ''),
             if(isNull(c_occurred_at), 'occurred_at is missing or no time', ''),
             if(isNull(raw.service), 'service is missing', ''),
             if(isNull(raw.kind), 'kind is missing', ''),
             if(isNotNull(raw.ok) AND isNull(c_ok), 'ok is no boolean', ''),
             if(isNotNull(raw.interval_s) AND isNull(c_interval_s), 'interval_s is no integer', ''),
             if(isNotNull(raw.queued_at) AND isNull(c_queued_at), 'queued_at is no time', ''),
             if(isNotNull(raw.processing_start) AND isNull(c_processing_start), 'processing_start is no time', ''),
             if(isNotNull(raw.http_status) AND isNull(c_http_status), 'http_status is no integer', ''),
             if(isNotNull(raw.response_time_ms) AND isNull(c_response_time_ms), 'response_time_ms is no integer', ''),
             if(isNotNull(raw.latency_ms) AND isNull(c_latency_ms), 'latency_ms is no integer', '')]), '; ') AS reason
    SELECT topic, partition, log_id, offset, kafka_timestamp, ingested_at, reason, payload
    FROM bronze.ops_events
    WHERE bronze.ops_events.error = '' AND reason != '';

CREATE MATERIALIZED VIEW IF NOT EXISTS silver.billing_from_bronze TO silver.billing AS
    WITH JSONExtractKeys(payload) AS keys,
         arrayMap(text -> concat('{', arrayStringConcat(arrayReverse(arrayMap(
             pair -> concat(toJSONString(pair.1), ':', pair.2), JSONExtractKeysAndValuesRaw(arrayStringConcat(arrayMap(
                 part -> multiIf(NOT match(part, '^-?[0-9]'), part,
                                 match(part, '[.eE]'), if(isInfinite(toFloat64OrZero(part)), '0', part),
                                 isNull(toInt64OrNull(part)) AND isNull(toUInt64OrNull(part)), '0', part),
                 extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|-?[0-9][-+.eE0-9]*|[^"0-9-]+|-')))))), ','), '}'),
             if(bronze.billing_events.error = '' AND (empty(keys) OR arrayUniq(keys) < length(keys)), [payload], []))[1] AS mended,
         if(mended = '', payload, mended) AS json,
         JSONExtract(json,
              'Tuple(event_id Nullable(String), schema_version Nullable(String), occurred_at Nullable(String),
               user_id Nullable(String), kind Nullable(String), subscription_id Nullable(String), started_at
               Nullable(String), plan Nullable(String), mrr_usd Nullable(String), amount_usd Nullable(String))') AS
               raw,
         toUUIDOrNull(raw.event_id) AS c_event_id,
         parseDateTime64BestEffortOrNull(raw.occurred_at, 3, 'UTC') AS c_occurred_at,
         toInt64OrNull(raw.user_id) AS c_user_id,
         parseDateTime64BestEffortOrNull(raw.started_at, 3, 'UTC') AS c_started_at,
         -- As in silver.cost_events: a JSON number's own digits, bounded before it is multiplied.
         extractAll(payload, '"mrr_usd"\\s*:\\s*(-?[0-9][-+.eE0-9]*)') AS mrr_found,
         if(empty(mrr_found), extractAll(payload, '-?[0-9][-+.eE0-9]*'), mrr_found) AS mrr_numbers,
         if(JSONType(json, 'mrr_usd') = 'String', raw.mrr_usd,
            ifNull(nullIf(arrayLast(digits -> toFloat64OrNull(digits) = toFloat64OrNull(raw.mrr_usd), mrr_numbers), ''),
                   raw.mrr_usd)) AS mrr_text,
         toDecimal256OrNull(mrr_text, 30) AS mrr_decimal,
         if(abs(mrr_decimal) < 100000000000000000000, mrr_decimal, NULL) AS mrr_bounded,
         toInt64OrNull(toString(roundBankers(mrr_bounded, 4) * 10000)) AS c_mrr_usd,
         -- As in silver.cost_events: a JSON number's own digits, bounded before it is multiplied.
         extractAll(payload, '"amount_usd"\\s*:\\s*(-?[0-9][-+.eE0-9]*)') AS amount_found,
         if(empty(amount_found), extractAll(payload, '-?[0-9][-+.eE0-9]*'), amount_found) AS amount_numbers,
         if(JSONType(json, 'amount_usd') = 'String', raw.amount_usd,
            ifNull(nullIf(arrayLast(digits -> toFloat64OrNull(digits) = toFloat64OrNull(raw.amount_usd), amount_numbers), ''),
                   raw.amount_usd)) AS amount_text,
         toDecimal256OrNull(amount_text, 30) AS amount_decimal,
         if(abs(amount_decimal) < 100000000000000000000, amount_decimal, NULL) AS amount_bounded,
         toInt64OrNull(toString(roundBankers(amount_bounded, 4) * 10000)) AS c_amount_usd,
         arrayStringConcat(arrayFilter(problem -> problem != '', [
             if(isNull(c_event_id), 'event_id is missing or no UUID', ''),
             if(isNull(raw.schema_version), 'schema_version is missing', ''),
             if(isNull(c_occurred_at), 'occurred_at is missing or no time', ''),
             if(isNull(c_user_id), 'user_id is missing or no integer', ''),
             if(isNull(raw.kind), 'kind is missing', ''),
             if(isNull(raw.subscription_id), 'subscription_id is missing', ''),
             if(isNull(c_started_at), 'started_at is missing or no time', ''),
             if(isNotNull(raw.mrr_usd) AND isNull(c_mrr_usd), 'mrr_usd is no amount', ''),
             if(isNotNull(raw.amount_usd) AND isNull(c_amount_usd), 'amount_usd is no amount', '')]), '; ') AS reason
    SELECT assumeNotNull(c_event_id) AS event_id,
           assumeNotNull(raw.schema_version) AS schema_version,
           assumeNotNull(c_occurred_at) AS occurred_at,
           assumeNotNull(c_user_id) AS user_id,
           assumeNotNull(raw.kind) AS kind,
           assumeNotNull(raw.subscription_id) AS subscription_id,
           assumeNotNull(c_started_at) AS started_at,
           raw.plan AS plan,
           c_mrr_usd AS mrr_e4,
           c_amount_usd AS amount_e4,
           topic,
           partition,
           log_id,
           offset,
           kafka_timestamp,
           ingested_at
    FROM bronze.billing_events
    WHERE bronze.billing_events.error = '' AND reason = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS silver.billing_rejected TO silver.rejected AS
    WITH JSONExtractKeys(payload) AS keys,
         arrayMap(text -> concat('{', arrayStringConcat(arrayReverse(arrayMap(
             pair -> concat(toJSONString(pair.1), ':', pair.2), JSONExtractKeysAndValuesRaw(arrayStringConcat(arrayMap(
                 part -> multiIf(NOT match(part, '^-?[0-9]'), part,
                                 match(part, '[.eE]'), if(isInfinite(toFloat64OrZero(part)), '0', part),
                                 isNull(toInt64OrNull(part)) AND isNull(toUInt64OrNull(part)), '0', part),
                 extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|-?[0-9][-+.eE0-9]*|[^"0-9-]+|-')))))), ','), '}'),
             if(bronze.billing_events.error = '' AND (empty(keys) OR arrayUniq(keys) < length(keys)), [payload], []))[1] AS mended,
         if(mended = '', payload, mended) AS json,
         JSONExtract(json,
              'Tuple(event_id Nullable(String), schema_version Nullable(String), occurred_at Nullable(String),
               user_id Nullable(String), kind Nullable(String), subscription_id Nullable(String), started_at
               Nullable(String), plan Nullable(String), mrr_usd Nullable(String), amount_usd Nullable(String))') AS
               raw,
         toUUIDOrNull(raw.event_id) AS c_event_id,
         parseDateTime64BestEffortOrNull(raw.occurred_at, 3, 'UTC') AS c_occurred_at,
         toInt64OrNull(raw.user_id) AS c_user_id,
         parseDateTime64BestEffortOrNull(raw.started_at, 3, 'UTC') AS c_started_at,
         -- As in silver.cost_events: a JSON number's own digits, bounded before it is multiplied.
         extractAll(payload, '"mrr_usd"\\s*:\\s*(-?[0-9][-+.eE0-9]*)') AS mrr_found,
         if(empty(mrr_found), extractAll(payload, '-?[0-9][-+.eE0-9]*'), mrr_found) AS mrr_numbers,
         if(JSONType(json, 'mrr_usd') = 'String', raw.mrr_usd,
            ifNull(nullIf(arrayLast(digits -> toFloat64OrNull(digits) = toFloat64OrNull(raw.mrr_usd), mrr_numbers), ''),
                   raw.mrr_usd)) AS mrr_text,
         toDecimal256OrNull(mrr_text, 30) AS mrr_decimal,
         if(abs(mrr_decimal) < 100000000000000000000, mrr_decimal, NULL) AS mrr_bounded,
         toInt64OrNull(toString(roundBankers(mrr_bounded, 4) * 10000)) AS c_mrr_usd,
         -- As in silver.cost_events: a JSON number's own digits, bounded before it is multiplied.
         extractAll(payload, '"amount_usd"\\s*:\\s*(-?[0-9][-+.eE0-9]*)') AS amount_found,
         if(empty(amount_found), extractAll(payload, '-?[0-9][-+.eE0-9]*'), amount_found) AS amount_numbers,
         if(JSONType(json, 'amount_usd') = 'String', raw.amount_usd,
            ifNull(nullIf(arrayLast(digits -> toFloat64OrNull(digits) = toFloat64OrNull(raw.amount_usd), amount_numbers), ''),
                   raw.amount_usd)) AS amount_text,
         toDecimal256OrNull(amount_text, 30) AS amount_decimal,
         if(abs(amount_decimal) < 100000000000000000000, amount_decimal, NULL) AS amount_bounded,
         toInt64OrNull(toString(roundBankers(amount_bounded, 4) * 10000)) AS c_amount_usd,
         arrayStringConcat(arrayFilter(problem -> problem != '', [
             if(isNull(c_event_id), 'event_id is missing or no UUID', ''),
             if(isNull(raw.schema_version), 'schema_version is missing', ''),
             if(isNull(c_occurred_at), 'occurred_at is missing or no time', ''),
             if(isNull(c_user_id), 'user_id is missing or no integer', ''),
             if(isNull(raw.kind), 'kind is missing', ''),
             if(isNull(raw.subscription_id), 'subscription_id is missing', ''),
             if(isNull(c_started_at), 'started_at is missing or no time', ''),
             if(isNotNull(raw.mrr_usd) AND isNull(c_mrr_usd), 'mrr_usd is no amount', ''),
             if(isNotNull(raw.amount_usd) AND isNull(c_amount_usd), 'amount_usd is no amount', '')]), '; ') AS reason
    SELECT topic, partition, log_id, offset, kafka_timestamp, ingested_at, reason, payload
    FROM bronze.billing_events
    WHERE bronze.billing_events.error = '' AND reason != '';
