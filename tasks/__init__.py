"""The pipeline: one stage per module, in the order in which a trial meets them."""

STAGES = (
    "simulate",
    "ingest",
    "preprocess",
    "caption",
    "embed",
    "train",
    "check_captions",
    "retrieve",
    "render",
    "evaluate",
    "explain",
    "audit",
    "report",
)

PARAMS_FILE = "params.yaml"
"""Where a workspace keeps its params."""
PARAMS_HELP = f"file of params (default: {PARAMS_FILE})"
