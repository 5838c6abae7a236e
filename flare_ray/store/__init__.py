"""The store: every finished piece of work under its fingerprint, in a folder or an object store.

    bases/<fingerprint>/            model files and record.json
    runs/<fingerprint>/             predictions.parquet, adapter/ and record.json
    corpora/<fingerprint>/          a machine-translated split: rows.parquet and record.json
    hub/<key>/                      what was fetched from the Hugging Face hub (shelf.py)
    failures/<fingerprint>.json     why a run or base failed last time; removed when it succeeds
    checkpoints/<fingerprint>/      where unfinished work continues
    translations/<translator>/<pair>/   shards of texts and their translations
    searches/<fingerprint>/         what searches proposed
    reports/<sweep>/                tables
    leases/<sweep>/                 which driver works on it (lease.py)
    ray/<time>/                     Ray's own files
    quarantine/<kind>/              damaged records, out of the way (integrity.py)
    .unfinished/                    what is being written
    .store                          the store's id (identity.py)

Work that has a record is whole, work that has none does not exist. A record is never overwritten: of two writers of
the same work the first is kept. The store is the truth; MLflow and the reports are views of it.

    store = open_store("s3://bucket/study")
    store.write("runs", fingerprint, {"metrics": …}, Path("out"))
    store.finished("runs")  # {fingerprint}
"""

from flare_ray.store.files import StoreFull
from flare_ray.store.lease import Lease, LeaseHeld
from flare_ray.store.manifest import RECORD, Damaged
from flare_ray.store.reach import StoreAway, StoreRefused, told
from flare_ray.store.records import Store, open_store, read_store

__all__ = [
    "RECORD",
    "Damaged",
    "Lease",
    "LeaseHeld",
    "Store",
    "StoreAway",
    "StoreFull",
    "StoreRefused",
    "open_store",
    "read_store",
    "told",
]
