"""One module per source, ``settings.source.adapter`` is its name; the interface is ``ingest/source_tables.py``.

files(source, folder) -> list[Path]
read(source, folder, logical_date, out: SourceTables) -> None
"""
