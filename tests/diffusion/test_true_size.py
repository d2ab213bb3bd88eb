"""Stable Diffusion 1.5 and XL in their true size, with random weights, from a local directory.

They take minutes, 5 to 8 GB of disk and up to 10 GB of memory each, so that `make nightly` alone runs them.
"""

import gc
import logging
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tasks.diffusion.composition import Conditioning
from tasks.diffusion.folder import find_pipeline
from tasks.diffusion.renderer import Renderer
from tasks.diffusion.settings import Request, Settings
from tests.diffusion.architectures import make_stable_diffusion, make_stable_diffusion_xl, seeded

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]
logger = logging.getLogger(__name__)
MAKERS = {"sd15": make_stable_diffusion, "sdxl": make_stable_diffusion_xl}
N_PARAMETERS = {"sd15": 859_520_964, "sdxl": 2_567_463_684}  # of the published denoisers
SIZE_PX = {"sd15": 512, "sdxl": 256}  # two steps of 1024 px would take a CPU an hour


@pytest.mark.parametrize("model", sorted(MAKERS))
def test_a_pipeline_of_the_published_size_draws_from_a_local_directory(
    model: str, tmp_path: Path
) -> None:
    torch.set_default_dtype(torch.bfloat16)  # half the memory
    try:
        pipeline = seeded(MAKERS[model], full=True)
        assert pipeline.unet.num_parameters() == N_PARAMETERS[model]
        pipeline.save_pretrained(tmp_path)
    finally:
        torch.set_default_dtype(torch.float32)
    del pipeline
    gc.collect()
    start = time.perf_counter()
    settings = Settings(n_steps=2, size_px=SIZE_PX[model], precision="bfloat16")
    renderer = Renderer.load(find_pipeline(f"local-dir:{tmp_path}", tmp_path), settings)
    loaded_s = time.perf_counter() - start
    (drawn,) = renderer.render([Request(Conditioning((("a red dog", 1.0),), 3.0), seed=0)])
    drawn_s = time.perf_counter() - start - loaded_s
    assert drawn.image.size == (SIZE_PX[model],) * 2
    assert np.asarray(drawn.image).std() > 0
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    logger.info(
        "%s: loaded in %.1f s, drawn in %.1f s, %.1f GB at the peak",
        model,
        loaded_s,
        drawn_s,
        peak_gb,
    )
