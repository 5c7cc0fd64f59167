{#- Rows that share a key, as a reader with FINAL sees the table. -#}
{% test unique_final(model, key, final=true) -%}
    SELECT {{ key | join(', ') }}, count() AS n FROM {{ model }}
    {%- if final %} FINAL {%- endif %}
    GROUP BY {{ key | join(', ') }} HAVING n > 1
{%- endtest %}

{#- Versions that begin before the one before them ends, or that have no length. -#}
{% test versions_do_not_overlap(model, key) -%}
    SELECT * FROM (
        SELECT {{ key }}, valid_from, valid_to,
               lagInFrame(valid_to) OVER (PARTITION BY {{ key }} ORDER BY valid_from
                                          ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS before,
               row_number() OVER (PARTITION BY {{ key }} ORDER BY valid_from) AS nth
        FROM {{ model }}
    ) WHERE valid_from >= valid_to OR (nth > 1 AND before > valid_from)
{%- endtest %}
