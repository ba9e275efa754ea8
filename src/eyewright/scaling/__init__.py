"""Work in shards that is never lost or doubled: a frozen plan, worker processes, commits, resume. No torch."""

from typing import TYPE_CHECKING

from eyewright.core.late import late_names

if TYPE_CHECKING:
    from eyewright.scaling.cost import Cost, Measured, estimate_cost, measure_rate
    from eyewright.scaling.encode_plans import EncodedSums, plan_encode, sum_encoded
    from eyewright.scaling.engine import Crew, Outcome, Settings, Task, Totals, run_shards
    from eyewright.scaling.exports import JobTarget, export_job, export_service
    from eyewright.scaling.fleet import Fleet, read_fleet
    from eyewright.scaling.fleet_page import render_fleet
    from eyewright.scaling.jobs import Job, plan_predict, run_job, verify_folder, work_on_job
    from eyewright.scaling.leases import Leases
    from eyewright.scaling.ledger import Ledger, Record, open_job
    from eyewright.scaling.local import LocalCrew
    from eyewright.scaling.lost import count_lost
    from eyewright.scaling.plan import Plan, Shard, open_plan, write_plan
    from eyewright.scaling.process_plans import plan_process
    from eyewright.scaling.ray_crew import RayCrew
    from eyewright.scaling.verifying import verify_job

_HOMES = {
    "cost": ("Cost", "Measured", "estimate_cost", "measure_rate"),
    "encode_plans": ("EncodedSums", "plan_encode", "sum_encoded"),
    "engine": ("Crew", "Outcome", "Settings", "Task", "Totals", "run_shards"),
    "exports": ("JobTarget", "export_job", "export_service"),
    "fleet": ("Fleet", "read_fleet"),
    "fleet_page": ("render_fleet",),
    "jobs": ("Job", "plan_predict", "run_job", "verify_folder", "work_on_job"),
    "leases": ("Leases",),
    "ledger": ("Ledger", "Record", "open_job"),
    "local": ("LocalCrew",),
    "lost": ("count_lost",),
    "plan": ("Plan", "Shard", "open_plan", "write_plan"),
    "process_plans": ("plan_process",),
    "ray_crew": ("RayCrew",),
    "verifying": ("verify_job",),
}

__all__ = [
    "Cost",
    "Measured",
    "count_lost",
    "estimate_cost",
    "export_job",
    "export_service",
    "measure_rate",
    "Crew",
    "EncodedSums",
    "Fleet",
    "Job",
    "JobTarget",
    "Leases",
    "Ledger",
    "LocalCrew",
    "Outcome",
    "Plan",
    "RayCrew",
    "Record",
    "Settings",
    "Shard",
    "Task",
    "Totals",
    "open_job",
    "open_plan",
    "plan_encode",
    "plan_predict",
    "plan_process",
    "read_fleet",
    "render_fleet",
    "run_job",
    "run_shards",
    "sum_encoded",
    "verify_folder",
    "verify_job",
    "work_on_job",
    "write_plan",
]

__getattr__ = late_names(__name__, _HOMES)
