{#- Up to when a model has taken everything in: the start of its last build that ended, less the overlap. A build that was
    killed has left no mark, so that the next one does its work again. -#}
{% macro watermark() -%}
    (SELECT max(built_at) - INTERVAL {{ var('overlap_minutes') }} MINUTE
     FROM meta.build_marks WHERE model = '{{ this.schema }}.{{ this.identifier }}')
{%- endmacro %}

{#- To be a post-hook of every incremental model. -#}
{% macro mark_built() -%}
    INSERT INTO meta.build_marks (model, built_at)
    VALUES ('{{ this.schema }}.{{ this.identifier }}', toDateTime64('{{ run_started_at.strftime("%Y-%m-%d %H:%M:%S.%f") }}', 6, 'UTC'))
{%- endmacro %}

{#- Whether only what came since the last build is to be computed. -#}
{% macro only_new() -%}
    {{ return(is_incremental() and not var('everything', false)) }}
{%- endmacro %}
