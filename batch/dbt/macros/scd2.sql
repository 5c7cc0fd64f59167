{#- Versions of an entity from its changes (slowly changing dimension, type 2).

    `changes` has: id, position, source_ts, deleted, created_at, and the columns of `attributes`. Order is by source position, never
    by arrival, so a change that comes late finds its place by itself at the next build. Where source times go backwards along
    the positions, the running maximum counts. A version begins where an attribute differs from that of the change before, or after
    a delete; it ends where the next one begins or with the delete. One of no length is left out.
    Gives: id, the attributes, valid_from, valid_to, is_current. -#}
{% macro scd2(changes, attributes) -%}
    {%- set open_end = "toDateTime64('2299-12-31 00:00:00', 3, 'UTC')" -%}
    SELECT id, {{ attributes | join(', ') }},
           if(nth = 1, least(ifNull(created_at, ts), ts), ts) AS valid_from,
           if(isNull(next_ts), {{ open_end }}, assumeNotNull(next_ts)) AS valid_to,
           valid_to = {{ open_end }} AS is_current
    FROM (
        SELECT *,
               leadInFrame(toNullable(ts)) OVER (PARTITION BY id ORDER BY position
                                                 ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS next_ts,
               sum(toUInt32(NOT deleted)) OVER (PARTITION BY id ORDER BY position
                                                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS nth
        FROM (
            SELECT *,
                   max(source_ts) OVER (PARTITION BY id ORDER BY position
                                        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS ts,
                   row_number() OVER (PARTITION BY id ORDER BY position) AS place,
                   lagInFrame(attributes_hash) OVER (PARTITION BY id ORDER BY position
                                                     ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS hash_before,
                   lagInFrame(deleted) OVER (PARTITION BY id ORDER BY position
                                             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS deleted_before
            FROM (SELECT *, cityHash64(tuple({{ attributes | join(', ') }})) AS attributes_hash FROM {{ changes }})
        )
        WHERE if(deleted, place > 1 AND NOT deleted_before, place = 1 OR deleted_before OR attributes_hash != hash_before)
    )
    WHERE NOT deleted AND valid_from < valid_to
{%- endmacro %}
