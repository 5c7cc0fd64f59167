-- Of a repeated JSON key the last value counts, as in the windows (and nearly every JSON library); JSONExtract takes the
-- first. So a payload with a repeated key is turned round before it is read: its pairs, the last one first. What only
-- few payloads need is done to arrays that are empty for the others, for branches of if() were computed for every row
-- (45 microseconds each). Looking at the keys costs about 0.8 microseconds a row beside the 1.1 of the view.
--
-- An amount's own digits are looked up by the key's name; where the name is written with escapes, among all numbers. Amounts up
-- to the last that 64 bits hold are taken, as the windows take them.
--
-- The JSON parser refuses a whole payload for one number that neither 64 bits nor a double hold, in whatever unknown
-- field: there it is read as 0, which no field that we know can mean.

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
           ingested_at
    FROM bronze.user_events
    WHERE bronze.user_events.error = '' AND reason = '';

ALTER TABLE silver.user_activity_rejected MODIFY QUERY
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
    SELECT topic, partition, log_id, offset, kafka_timestamp, ingested_at, reason, payload
    FROM bronze.user_events
    WHERE bronze.user_events.error = '' AND reason != '';

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
           ingested_at
    FROM bronze.video_status
    WHERE bronze.video_status.error = '' AND reason = '';

ALTER TABLE silver.video_status_rejected MODIFY QUERY
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
    SELECT topic, partition, log_id, offset, kafka_timestamp, ingested_at, reason, payload
    FROM bronze.video_status
    WHERE bronze.video_status.error = '' AND reason != '';

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
           ingested_at
    FROM bronze.cost_events
    WHERE bronze.cost_events.error = '' AND reason = '';

ALTER TABLE silver.cost_events_rejected MODIFY QUERY
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
    SELECT topic, partition, log_id, offset, kafka_timestamp, ingested_at, reason, payload
    FROM bronze.cost_events
    WHERE bronze.cost_events.error = '' AND reason != '';
