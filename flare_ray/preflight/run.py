"""All that is looked at before a sweep starts.

found = preflight(study, todo, wanted(todo))    # Ray is joined where there is a cluster
refuse(found)
"""

from __future__ import annotations

from collections.abc import Iterable

from flare_ray.errors import InputError
from flare_ray.execution.capacity import Capacity
from flare_ray.execution.cluster import cluster_address
from flare_ray.execution.prefetch import Wanted
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.stages import Stages, Translating
from flare_ray.preflight import sweep as asked
from flare_ray.preflight.findings import Finding, bad, warning
from flare_ray.preflight.here import here
from flare_ray.preflight.hub import hub_findings
from flare_ray.preflight.nodes import TO_COME, look
from flare_ray.redaction import redacted
from flare_ray.study import Study


def preflight(study: Study, todo: Stages, reads: Wanted) -> list[Finding]:
    """All findings about this machine, the cluster, and what the sweep names. reads: what is left to do reads."""
    found = here()
    found.append(Finding("storage", study.store.url))
    found += _tracking(study)
    found += [warning(one.where, one.found, one.wanted) for one in study.doubts] or [
        Finding("inputs", "checkpoints, rows and their pairs look right")
    ]
    licences = {model.checkpoint: model.gated for model in study.sweep.models if model.gated}
    found += hub_findings(reads, licences)
    seen, nodes = look(study.store, folders(todo))
    found += seen
    if cluster_address() is not None:
        found += _room(study, todo)
    resources, more = study.sweep.resources, any(one.what == TO_COME for one in seen)
    found += asked.memory_findings(todo, study.sweep.resources_of, resources, nodes, more)
    found += asked.disk_findings(study.store, todo, resources)
    found += asked.cache_findings(study.store, todo, nodes)
    found += asked.model_findings(study.sweep.models)
    return found


def _tracking(study: Study) -> list[Finding]:
    """What Study.open has found of MLflow."""
    remedy = "nothing, if it comes back: the store keeps what it has not got, and the next start or `sync` writes it"
    away = [warning("tracking", one.found, remedy) for one in study.warnings]
    return away or [Finding("tracking", redacted(study.tracking_uri))]


def folders(todo: Stages) -> list[str]:
    """Local folders that what is left reads."""
    return asked.local_folders(_references(todo))


def _references(todo: Stages) -> Iterable[str]:
    works: list[Run | Base] = [*todo.bases, *todo.todo]
    for work in works:
        base = work.base if isinstance(work, Run) else work
        yield base.model.checkpoint
        yield base.source
    for stage in todo.translations:
        yield from (corpus.translator["checkpoint"] for corpus in stage.corpora)


def _room(study: Study, todo: Stages) -> list[Finding]:
    """What the whole cluster could never hold."""
    from flare_ray.execution.cluster import can_have, nodes

    works: list[Base | Translating] = [*(pack.base for pack in todo.packs), *todo.translations]
    try:
        Capacity(can_have(), study.sweep.resources_of, study.sweep.resources, nodes()).check(works)
    except InputError as error:
        return [bad(one.where, one.found, one.wanted) for one in error.problems]
    return []
