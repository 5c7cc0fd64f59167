"""What the server must know of ClickHouse's output formats: the content type, and which are rows and nothing else."""

_TYPES = {
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "CSVWithNamesAndTypes": "text/csv; charset=UTF-8; header=present",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONLines": "application/x-ndjson; charset=UTF-8",
    "NDJSON": "application/x-ndjson; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "Markdown": "text/markdown; charset=UTF-8",
    "Prometheus": "text/plain; version=0.0.4; charset=UTF-8",
}
_BY_PREFIX = (
    ("JSON", "application/json; charset=UTF-8"),
    ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
    ("TSV", "text/tab-separated-values; charset=UTF-8"),
    ("Pretty", "text/plain; charset=UTF-8"),
    ("Vertical", "text/plain; charset=UTF-8"),
    ("Values", "text/plain; charset=UTF-8"),
    ("SQLInsert", "text/plain; charset=UTF-8"),
)


def content_type(name: str) -> str:
    if name in _TYPES:
        return _TYPES[name]
    return next((kind for prefix, kind in _BY_PREFIX if name.startswith(prefix)), "application/octet-stream")


# Without prefix, suffix or separators between blocks: the blocks of a result one after another are the result.
_ONLY_ROWS = frozenset(
    [
        "native",
        "rowbinary",
        "tabseparated",
        "tsv",
        "tabseparatedraw",
        "tsvraw",
        "raw",
        "csv",
        "jsoneachrow",
        "jsonlines",
        "ndjson",
        "jsoncompacteachrow",
        "jsonstringseachrow",
        "jsoncompactstringseachrow",
        "tskv",
        "msgpack",
    ]
)


def is_only_rows(name: str) -> bool:
    return name.lower() in _ONLY_ROWS
