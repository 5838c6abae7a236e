"""Tables of texts, read alike by tasks and by `flare-ray translate`: CSV, TSV, JSON lines, JSON arrays, Parquet."""
