"""A sweep as a flow: its cells are shards that Prefect watches, wherever ``PERCEPT_RUNNER`` says."""

from pathlib import Path

from prefect import flow

from flows.execution import prefect_map
from tasks.sweeps.run import run_sweep


@flow(name="sweep", flow_run_name="{name}", persist_result=False, validate_parameters=True)
def sweep(name: str, params_file: Path = Path("params.yaml")) -> Path:
    """Do what is not done yet of a sweep, and write its table.

    Parameters
    ----------
    name
        A file of the folder `sweeps`.

    Returns
    -------
    Path
        The table.
    """
    return run_sweep(name, params_file, prefect_map)
