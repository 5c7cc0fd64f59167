{#- 1/10000 USD as dollars: exact, since a Decimal keeps four places. -#}
{% macro usd(e4) -%}
    (toDecimal128({{ e4 }}, 4) / 10000)
{%- endmacro %}

{#- The value of a money metric: the nearest double. -#}
{% macro usd_value(e4) -%}
    (toFloat64({{ e4 }}) / 10000)
{%- endmacro %}
