"""One stage as a flow; its shards are Prefect tasks."""

from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger

from flows.execution import prefect_map
from tasks._wiring import call, load_stage
from tasks.artifacts.catalogue import Artifacts


@flow(name="stage", flow_run_name="{name}", persist_result=False, validate_parameters=True)
def run_tracked(name: str, params_file: Path = Path("params.yaml")) -> None:
    """Run one stage in this process, watched by the configured Prefect API.

    Parameters
    ----------
    name
        One of ``tasks.STAGES``.
    params_file
        Where its section of params lies.
    """
    get_run_logger().info("Stage %s starts.", name)
    call(load_stage(name), Artifacts(), params_file, map=prefect_map)
