"""`make ui`: a local Prefect server, and the deployments that its UI starts and retries."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parents[1]
HOST, PORT = "127.0.0.1", "4200"


def main() -> None:
    """Start the server on loopback, print its URL, and serve until interrupted."""
    environment = {
        "PREFECT_HOME": str(ROOT / ".prefect"),
        "PREFECT_API_URL": f"http://{HOST}:{PORT}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    os.environ.update(environment)  # before Prefect is imported: it reads its settings then
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", PORT],
        stdout=subprocess.DEVNULL,
    )
    try:
        _wait_for_health(server)
        sys.stdout.write(f"Prefect UI: http://{HOST}:{PORT}\n")
        sys.stdout.flush()
        _serve()
    finally:
        server.terminate()
        server.wait()


def _serve() -> None:
    """Serve the pipeline (its parameters choose single stages), one run at a time."""
    from prefect import serve
    from prefect.deployments.runner import RunnerDeployment

    from flows.reproduce import reproduce

    deployment = cast("RunnerDeployment", reproduce.to_deployment("pipeline", concurrency_limit=1))
    serve(deployment, limit=1)


def _wait_for_health(server: subprocess.Popen[bytes], timeout_s: float = 120.0) -> None:
    """Return once the server answers.

    Raises
    ------
    RuntimeError
        If the server ends or does not answer in time.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{PORT}/api/health", timeout=2):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
    raise RuntimeError(
        f"The Prefect server must answer on port {PORT}; it does not. Free the port and try again."
    )


if __name__ == "__main__":
    main()
