"""One stage as a flow; its shards are Prefect tasks."""

import logging
import os
from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.logging import get_run_logger
from prefect.states import Pending

from flows.execution import prefect_map
from flows.reproduce import PARENT, keep_logs_short_and_clean
from tasks.artifacts.catalogue import Artifacts
from tasks.runtime.secrets import redacted_errors
from tasks.wiring.contract import call, load_stage


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
    with redacted_errors():
        call(load_stage(name), Artifacts(), params_file, map=prefect_map)


def run_stage(name: str, params_file: Path) -> None:
    """Run one stage as a flow, below the task run that started it if there is one.

    Parameters
    ----------
    name
        One of ``tasks.STAGES``.
    params_file
        Where its section of params lies.
    """
    keep_logs_short_and_clean()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
    parent = os.environ.get(PARENT)
    if parent is None:
        run_tracked(name, params_file)
        return
    parameters = {"name": name, "params_file": params_file}
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(
            run_tracked,
            parameters={"name": name, "params_file": str(params_file)},
            parent_task_run_id=UUID(parent),
            state=Pending(),
        )
    run_flow(run_tracked, flow_run, parameters)
