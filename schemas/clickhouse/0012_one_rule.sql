-- One rule for which record of a repeated event_id counts, in silver as in the totals by entity: the older one by minute of log
-- time, then by source (topic/partition/log as text), then by offset. Before, the lower offset won, whatever its partition.
--
-- Expand: log_time is Kafka's own time wherever nobody wrote it (rows from before, workers of the release before), and the version
-- is computed again for all rows. `streamproc backfill silver` then puts right what bronze knows better (docs/operations.md).

ALTER TABLE bronze.user_events
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to this record' AFTER kafka_timestamp;

ALTER TABLE bronze.video_status
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to this record' AFTER kafka_timestamp;

ALTER TABLE bronze.cost_events
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to this record' AFTER kafka_timestamp;

ALTER TABLE bronze.ops_events
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to this record' AFTER kafka_timestamp;

ALTER TABLE bronze.billing_events
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to this record' AFTER kafka_timestamp;

ALTER TABLE bronze.cdc
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to this record' AFTER kafka_timestamp;

ALTER TABLE silver.user_activity
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to the record, UTC' AFTER kafka_timestamp;

ALTER TABLE silver.video_status
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to the record, UTC' AFTER kafka_timestamp;

ALTER TABLE silver.cost_events
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to the record, UTC' AFTER kafka_timestamp;

ALTER TABLE silver.ops_events
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to the record, UTC' AFTER kafka_timestamp;

ALTER TABLE silver.billing
    ADD COLUMN IF NOT EXISTS log_time DateTime64(3, 'UTC') DEFAULT kafka_timestamp CODEC(Delta, ZSTD(1))
    COMMENT 'running maximum of Kafka''s times in the log up to the record, UTC' AFTER kafka_timestamp;

-- The views as they were, and log_time.

ALTER TABLE silver.user_activity_from_bronze MODIFY QUERY
    WITH JSONExtractKeys(payload) AS keys,
         arrayMap(text -> concat('{', arrayStringConcat(arrayReverse(arrayMap(
             pair -> concat(toJSONString(pair.1), ':', pair.2), JSONExtractKeysAndValuesRaw(arrayStringConcat(arrayMap(
                 part -> multiIf(NOT match(part, '^-?[0-9]'), part,
                                 match(part, '[.eE]'), if(isInfinite(toFloat64OrZero(part)), '0', part),
                                 isNull(toInt64OrNull(part)) AND isNull(toUInt64OrNull(part)), '0', part),
                 extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|-?[0-9][-+.eE0-9]*|[^"0-9-]+|-')))))), ','), '}'),
             if(bronze.user_events.error = '' AND (empty(keys) OR arrayUniq(keys) < length(keys)), [payload], []))[1] AS mended,
         if(mended = '', payload, mended) AS json,
         JSONExtract(json,
              'Tuple(event_id Nullable(String), schema_version Nullable(String), occurred_at Nullable(String), user_id
               Nullable(String), activity_type Nullable(String), resource_type Nullable(String), resource_id
               Nullable(String), session_id Nullable(String), ip_address Nullable(String), user_agent Nullable(String),
               response_time_ms Nullable(String))') AS raw,
         toUUIDOrNull(raw.event_id) AS c_event_id,
         parseDateTime64BestEffortOrNull(raw.occurred_at, 3, 'UTC') AS c_occurred_at,
         toInt64OrNull(raw.user_id) AS c_user_id,
         toInt64OrNull(raw.resource_id) AS c_resource_id,
         toUUIDOrNull(raw.session_id) AS c_session_id,
         toInt64OrNull(raw.response_time_ms) AS c_response_time_ms,
         arrayStringConcat(arrayFilter(problem -> problem != '', [
             if(isNull(c_event_id), 'event_id is missing or no UUID', ''),
             if(isNull(raw.schema_version), 'schema_version is missing', ''),
             if(isNull(c_occurred_at), 'occurred_at is missing or no time', ''),
             if(isNull(c_user_id), 'user_id is missing or no integer', ''),
             if(isNull(raw.activity_type), 'activity_type is missing', ''),
             if(isNotNull(raw.resource_id) AND isNull(c_resource_id), 'resource_id is no integer', ''),
             if(isNotNull(raw.session_id) AND isNull(c_session_id), 'session_id is no UUID', ''),
             if(isNotNull(raw.response_time_ms) AND isNull(c_response_time_ms), 'response_time_ms is no integer', '')]), '; ') AS reason
    SELECT assumeNotNull(c_event_id) AS event_id,
           assumeNotNull(raw.schema_version) AS schema_version,
           assumeNotNull(c_occurred_at) AS occurred_at,
           assumeNotNull(c_user_id) AS user_id,
           assumeNotNull(raw.activity_type) AS activity_type,
           raw.resource_type AS resource_type,
           c_resource_id AS resource_id,
           c_session_id AS session_id,
           raw.ip_address AS ip_address,
           raw.user_agent AS user_agent,
           c_response_time_ms AS response_time_ms,
           topic,
           partition,
           log_id,
           offset,
           kafka_timestamp,
           log_time,
           ingested_at
    FROM bronze.user_events
    WHERE bronze.user_events.error = '' AND reason = '';

ALTER TABLE silver.video_status_from_bronze MODIFY QUERY
    WITH JSONExtractKeys(payload) AS keys,
         arrayMap(text -> concat('{', arrayStringConcat(arrayReverse(arrayMap(
             pair -> concat(toJSONString(pair.1), ':', pair.2), JSONExtractKeysAndValuesRaw(arrayStringConcat(arrayMap(
                 part -> multiIf(NOT match(part, '^-?[0-9]'), part,
                                 match(part, '[.eE]'), if(isInfinite(toFloat64OrZero(part)), '0', part),
                                 isNull(toInt64OrNull(part)) AND isNull(toUInt64OrNull(part)), '0', part),
                 extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|-?[0-9][-+.eE0-9]*|[^"0-9-]+|-')))))), ','), '}'),
             if(bronze.video_status.error = '' AND (empty(keys) OR arrayUniq(keys) < length(keys)), [payload], []))[1] AS mended,
         if(mended = '', payload, mended) AS json,
         JSONExtract(json,
              'Tuple(event_id Nullable(String), schema_version Nullable(String), occurred_at Nullable(String), video_id
               Nullable(String), channel_id Nullable(String), user_id Nullable(String), status Nullable(String),
               requested_at Nullable(String), started_at Nullable(String), completed_at Nullable(String), published_at
               Nullable(String), youtube_video_id Nullable(String), video_type Nullable(String), niche
               Nullable(String), title Nullable(String), duration_seconds Nullable(String), quality_score
               Nullable(String), error Nullable(String))') AS raw,
         toUUIDOrNull(raw.event_id) AS c_event_id,
         parseDateTime64BestEffortOrNull(raw.occurred_at, 3, 'UTC') AS c_occurred_at,
         toInt64OrNull(raw.video_id) AS c_video_id,
         toInt64OrNull(raw.channel_id) AS c_channel_id,
         toInt64OrNull(raw.user_id) AS c_user_id,
         parseDateTime64BestEffortOrNull(raw.requested_at, 3, 'UTC') AS c_requested_at,
         parseDateTime64BestEffortOrNull(raw.started_at, 3, 'UTC') AS c_started_at,
         parseDateTime64BestEffortOrNull(raw.completed_at, 3, 'UTC') AS c_completed_at,
         parseDateTime64BestEffortOrNull(raw.published_at, 3, 'UTC') AS c_published_at,
         toInt64OrNull(raw.duration_seconds) AS c_duration_seconds,
         toFloat64OrNull(raw.quality_score) AS c_quality_score,
         arrayStringConcat(arrayFilter(problem -> problem != '', [
             if(isNull(c_event_id), 'event_id is missing or no UUID', ''),
             if(isNull(raw.schema_version), 'schema_version is missing', ''),
             if(isNull(c_occurred_at), 'occurred_at is missing or no time', ''),
             if(isNull(c_video_id), 'video_id is missing or no integer', ''),
             if(isNull(c_channel_id), 'channel_id is missing or no integer', ''),
             if(isNull(c_user_id), 'user_id is missing or no integer', ''),
             if(isNull(raw.status), 'status is missing', ''),
             if(isNull(c_requested_at), 'requested_at is missing or no time', ''),
             if(isNotNull(raw.started_at) AND isNull(c_started_at), 'started_at is no time', ''),
             if(isNotNull(raw.completed_at) AND isNull(c_completed_at), 'completed_at is no time', ''),
             if(isNotNull(raw.published_at) AND isNull(c_published_at), 'published_at is no time', ''),
             if(isNotNull(raw.duration_seconds) AND isNull(c_duration_seconds), 'duration_seconds is no integer', ''),
             if(isNotNull(raw.quality_score) AND isNull(c_quality_score), 'quality_score is no number', '')]), '; ') AS reason
    SELECT assumeNotNull(c_event_id) AS event_id,
           assumeNotNull(raw.schema_version) AS schema_version,
           assumeNotNull(c_occurred_at) AS occurred_at,
           assumeNotNull(c_video_id) AS video_id,
           assumeNotNull(c_channel_id) AS channel_id,
           assumeNotNull(c_user_id) AS user_id,
           assumeNotNull(raw.status) AS status,
           assumeNotNull(c_requested_at) AS requested_at,
           c_started_at AS started_at,
           c_completed_at AS completed_at,
           c_published_at AS published_at,
           raw.youtube_video_id AS youtube_video_id,
           raw.video_type AS video_type,
           raw.niche AS niche,
           raw.title AS title,
           c_duration_seconds AS duration_seconds,
           c_quality_score AS quality_score,
           raw.error AS error,
           topic,
           partition,
           log_id,
           offset,
           kafka_timestamp,
           log_time,
           ingested_at
    FROM bronze.video_status
    WHERE bronze.video_status.error = '' AND reason = '';

ALTER TABLE silver.cost_events_from_bronze MODIFY QUERY
    WITH JSONExtractKeys(payload) AS keys,
         arrayMap(text -> concat('{', arrayStringConcat(arrayReverse(arrayMap(
             pair -> concat(toJSONString(pair.1), ':', pair.2), JSONExtractKeysAndValuesRaw(arrayStringConcat(arrayMap(
                 part -> multiIf(NOT match(part, '^-?[0-9]'), part,
                                 match(part, '[.eE]'), if(isInfinite(toFloat64OrZero(part)), '0', part),
                                 isNull(toInt64OrNull(part)) AND isNull(toUInt64OrNull(part)), '0', part),
                 extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|-?[0-9][-+.eE0-9]*|[^"0-9-]+|-')))))), ','), '}'),
             if(bronze.cost_events.error = '' AND (empty(keys) OR arrayUniq(keys) < length(keys)), [payload], []))[1] AS mended,
         if(mended = '', payload, mended) AS json,
         JSONExtract(json,
              'Tuple(event_id Nullable(String), schema_version Nullable(String), occurred_at Nullable(String), video_id
               Nullable(String), channel_id Nullable(String), user_id Nullable(String), component Nullable(String),
               amount_usd Nullable(String), corrects Nullable(String), provider Nullable(String))') AS raw,
         -- A JSON number comes as the shortest text of a double, so its own digits are looked up in the payload.
         extractAll(payload, '"amount_usd"\\s*:\\s*(-?[0-9][-+.eE0-9]*)') AS amounts,
         if(empty(amounts), extractAll(payload, '-?[0-9][-+.eE0-9]*'), amounts) AS numbers,
         if(JSONType(json, 'amount_usd') = 'String', raw.amount_usd,
            ifNull(nullIf(arrayLast(digits -> toFloat64OrNull(digits) = toFloat64OrNull(raw.amount_usd), numbers), ''),
                   raw.amount_usd)) AS amount_text,
         toUUIDOrNull(raw.event_id) AS c_event_id,
         parseDateTime64BestEffortOrNull(raw.occurred_at, 3, 'UTC') AS c_occurred_at,
         toInt64OrNull(raw.video_id) AS c_video_id,
         toInt64OrNull(raw.channel_id) AS c_channel_id,
         toInt64OrNull(raw.user_id) AS c_user_id,
         toDecimal256OrNull(amount_text, 30) AS amount,
         -- Bounded before it is multiplied: an overflow of a Decimal throws, and would block the insert into bronze.
         if(abs(amount) < 100000000000000000000, amount, NULL) AS amount_bounded,
         toInt64OrNull(toString(roundBankers(amount_bounded, 4) * 10000)) AS amount_cast,
         toUUIDOrNull(raw.corrects) AS c_corrects,
         arrayStringConcat(arrayFilter(problem -> problem != '', [
             if(isNull(c_event_id), 'event_id is missing or no UUID', ''),
             if(isNull(raw.schema_version), 'schema_version is missing', ''),
             if(isNull(c_occurred_at), 'occurred_at is missing or no time', ''),
             if(isNotNull(raw.video_id) AND isNull(c_video_id), 'video_id is no integer', ''),
             if(isNotNull(raw.channel_id) AND isNull(c_channel_id), 'channel_id is no integer', ''),
             if(isNotNull(raw.user_id) AND isNull(c_user_id), 'user_id is no integer', ''),
             if(isNull(raw.component), 'component is missing', ''),
             if(isNull(amount_cast), 'amount_usd is missing or no amount', ''),
             if(isNotNull(raw.corrects) AND isNull(c_corrects), 'corrects is no UUID', '')]), '; ') AS reason
    SELECT assumeNotNull(c_event_id) AS event_id,
           assumeNotNull(raw.schema_version) AS schema_version,
           assumeNotNull(c_occurred_at) AS occurred_at,
           c_video_id AS video_id,
           c_channel_id AS channel_id,
           c_user_id AS user_id,
           assumeNotNull(raw.component) AS component,
           assumeNotNull(amount_cast) AS amount_e4,
           c_corrects AS corrects,
           raw.provider AS provider,
           topic,
           partition,
           log_id,
           offset,
           kafka_timestamp,
           log_time,
           ingested_at
    FROM bronze.cost_events
    WHERE bronze.cost_events.error = '' AND reason = '';

ALTER TABLE silver.ops_events_from_bronze MODIFY QUERY
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
           log_time,
           ingested_at
    FROM bronze.ops_events
    WHERE bronze.ops_events.error = '' AND reason = '';

ALTER TABLE silver.billing_from_bronze MODIFY QUERY
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
           log_time,
           ingested_at
    FROM bronze.billing_events
    WHERE bronze.billing_events.error = '' AND reason = '';

-- The version, from its highest bits down: minute of log time, partition in the order of its text (as wide as the widest, then its
-- length), log_id (20 hex digits), offset. All inverted, so that the first is the highest. Its lowest 64 bits are what it was before.
-- Both in one statement: parts of before and after it are merged only when the old ones are computed again.

ALTER TABLE silver.user_activity
    MODIFY COLUMN first_wins UInt256 MATERIALIZED bitNot(
        toUInt256(toUInt128(intDiv(toUnixTimestamp64Milli(log_time), 60000)) * 274877906944
                  + partition * intExp10(10 - length(toString(partition))) * 16 + length(toString(partition)))
            * bitShiftLeft(toUInt256(1), 144)
        + bitShiftLeft(toUInt256(reinterpretAsUInt128(reverse(unhex(
              substring(concat(log_id, '00000000000000000000'), 1, 20))))), 64)
        + offset) CODEC(ZSTD(1))
    COMMENT 'the version: the record first by (minute of log time, source, offset) is the highest',
    MATERIALIZE COLUMN first_wins SETTINGS mutations_sync = 1;

ALTER TABLE silver.video_status
    MODIFY COLUMN first_wins UInt256 MATERIALIZED bitNot(
        toUInt256(toUInt128(intDiv(toUnixTimestamp64Milli(log_time), 60000)) * 274877906944
                  + partition * intExp10(10 - length(toString(partition))) * 16 + length(toString(partition)))
            * bitShiftLeft(toUInt256(1), 144)
        + bitShiftLeft(toUInt256(reinterpretAsUInt128(reverse(unhex(
              substring(concat(log_id, '00000000000000000000'), 1, 20))))), 64)
        + offset) CODEC(ZSTD(1))
    COMMENT 'the version: the record first by (minute of log time, source, offset) is the highest',
    MATERIALIZE COLUMN first_wins SETTINGS mutations_sync = 1;

ALTER TABLE silver.cost_events
    MODIFY COLUMN first_wins UInt256 MATERIALIZED bitNot(
        toUInt256(toUInt128(intDiv(toUnixTimestamp64Milli(log_time), 60000)) * 274877906944
                  + partition * intExp10(10 - length(toString(partition))) * 16 + length(toString(partition)))
            * bitShiftLeft(toUInt256(1), 144)
        + bitShiftLeft(toUInt256(reinterpretAsUInt128(reverse(unhex(
              substring(concat(log_id, '00000000000000000000'), 1, 20))))), 64)
        + offset) CODEC(ZSTD(1))
    COMMENT 'the version: the record first by (minute of log time, source, offset) is the highest',
    MATERIALIZE COLUMN first_wins SETTINGS mutations_sync = 1;

ALTER TABLE silver.ops_events
    MODIFY COLUMN first_wins UInt256 MATERIALIZED bitNot(
        toUInt256(toUInt128(intDiv(toUnixTimestamp64Milli(log_time), 60000)) * 274877906944
                  + partition * intExp10(10 - length(toString(partition))) * 16 + length(toString(partition)))
            * bitShiftLeft(toUInt256(1), 144)
        + bitShiftLeft(toUInt256(reinterpretAsUInt128(reverse(unhex(
              substring(concat(log_id, '00000000000000000000'), 1, 20))))), 64)
        + offset) CODEC(ZSTD(1))
    COMMENT 'the version: the record first by (minute of log time, source, offset) is the highest',
    MATERIALIZE COLUMN first_wins SETTINGS mutations_sync = 1;

ALTER TABLE silver.billing
    MODIFY COLUMN first_wins UInt256 MATERIALIZED bitNot(
        toUInt256(toUInt128(intDiv(toUnixTimestamp64Milli(log_time), 60000)) * 274877906944
                  + partition * intExp10(10 - length(toString(partition))) * 16 + length(toString(partition)))
            * bitShiftLeft(toUInt256(1), 144)
        + bitShiftLeft(toUInt256(reinterpretAsUInt128(reverse(unhex(
              substring(concat(log_id, '00000000000000000000'), 1, 20))))), 64)
        + offset) CODEC(ZSTD(1))
    COMMENT 'the version: the record first by (minute of log time, source, offset) is the highest',
    MATERIALIZE COLUMN first_wins SETTINGS mutations_sync = 1;

ALTER TABLE silver.user_activity
    COMMENT COLUMN event_id 'the event''s identity; one row each: of a repeated id the first record by minute of log time, source, offset';

ALTER TABLE silver.video_status
    COMMENT COLUMN event_id 'the event''s identity; one row each: of a repeated id the first record by minute of log time, source, offset';

ALTER TABLE silver.cost_events
    COMMENT COLUMN event_id 'the event''s identity; one row each: of a repeated id the first record by minute of log time, source, offset';

ALTER TABLE silver.ops_events
    COMMENT COLUMN event_id 'the event''s identity; one row each: of a repeated id the first record by minute of log time, source, offset';

ALTER TABLE silver.billing
    COMMENT COLUMN event_id 'the event''s identity; one row each: of a repeated id the first record by minute of log time, source, offset';
