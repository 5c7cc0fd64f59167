{#- What is compared of an event: columns of silver.user_activity, and those of gold.fact_user_activity. -#}
{% macro activity_hash(time) -%}
    cityHash64(tuple(user_id, {{ time }}, activity_type, resource_type, resource_id, session_id, ip_address, user_agent, response_time_ms))
{%- endmacro %}

{#- Of each event that came since the last build the record that counts. Of an id that silver holds several records of, all are
    looked at, also those that came before; one that came alone needs no other. -#}
{% macro activity_that_counts() -%}
    SELECT *, first_wins AS version FROM {{ source('silver', 'user_activity') }}
    {% if only_new() -%}
    WHERE ingested_at >= {{ watermark() }}
       OR event_id IN (SELECT event_id FROM {{ source('silver', 'user_activity') }}
                       WHERE event_id IN (SELECT event_id FROM {{ source('silver', 'user_activity') }}
                                          WHERE ingested_at >= {{ watermark() }})
                       GROUP BY event_id HAVING count() > 1)
    {%- endif %}
    ORDER BY version DESC LIMIT 1 BY event_id
{%- endmacro %}

{#- To be a pre-hook: removes rows that say otherwise than the record that counts now. Their sorting key may be another, so that
    no merge would replace them. A build that dies after it is done again by the next, which writes what is lacking. -#}
{% macro remove_replaced_activity() -%}
    {% if execute and is_incremental() -%}
    {% set replaced -%}
        SELECT f.event_id FROM (SELECT event_id, {{ activity_hash('activity_timestamp') }} AS hash FROM {{ this }}) AS f
        INNER JOIN (SELECT event_id, {{ activity_hash('occurred_at') }} AS hash FROM ({{ activity_that_counts() }})) AS s
        ON s.event_id = f.event_id WHERE f.hash != s.hash
    {%- endset %}
    {% if run_query('SELECT count() FROM (' ~ replaced ~ ')').columns[0].values()[0] | int > 0 -%}
    DELETE FROM {{ this }} WHERE event_id IN ({{ replaced }})
    {%- else -%} SELECT 1 {%- endif %}
    {%- else -%} SELECT 1 {%- endif %}
{%- endmacro %}
