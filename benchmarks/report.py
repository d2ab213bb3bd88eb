"""Time until a report of thousands of trials can be used in headless Chromium, beside plain HTML.

``python benchmarks/report.py [trials]`` takes the reproduced study in this repository, multiplies its
trials (every rendered picture gets a grain of its own, so that none is stored once for many) and opens the
page: ``ours``. ``theirs`` is the same page with a card of HTML for every trial, images loading lazily. The
time is from navigation to the first card on the screen and an answering page; the memory is that of the
page's JavaScript heap.
"""

import html
import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tasks.artifacts.catalogue import Artifacts
from tasks.reporting.cards import Sample, TrialCard, draw_sample
from tasks.reporting.images import thumbnails
from tasks.reporting.page import render
from tasks.reporting.sections import Selection, Shown
from tasks.reporting.study import Study, read_study

SELECTION = Selection(
    max_trials=100_000,
    page_size=12,
    top_row_pictures=8,
    caption_examples=4,
    thumbnail_px=64,
    seed=7,
)
N_RUNS = 3


def main() -> None:
    n_trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("This benchmark needs Chromium; it is not installed.")
    study = reproduced()
    drawn = draw_sample(study, SELECTION.max_trials, SELECTION.seed)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        cards = multiplied(drawn.cards, n_trials, Path(folder))
        start = time.perf_counter()
        page = render(Shown(study, Sample(cards, n_trials, 1), SELECTION))
        made_s = time.perf_counter() - start
        few = render(Shown(study, Sample(cards[:1], 1, 1), SELECTION))
        pages = {"ours": page, "theirs": plain(few, cards)}
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        found = {}
        for side, text in pages.items():
            path = Path(folder) / f"{side}.html"
            path.write_text(text)
            found[side] = min(opened(browser, path) for _ in range(N_RUNS))
        browser.close()
    line = {
        "name": "report.open",
        "ours": round(found["ours"][0], 3),
        "theirs": round(found["theirs"][0], 3),
        "ratio": round(found["theirs"][0] / found["ours"][0], 2),
        "unit": "s",
        "n": n_trials,
        "page_mb": {side: round(len(text.encode()) / 2**20, 1) for side, text in pages.items()},
        "written_in_s": round(made_s, 1),
        "peak_memory_mb": {side: round(heap) for side, (_, heap) in found.items()},
    }
    print(json.dumps(line))


def reproduced() -> Study:
    return read_study(Artifacts().paths())


def multiplied(cards: tuple[TrialCard, ...], n_trials: int, folder: Path) -> tuple[TrialCard, ...]:
    rng = np.random.default_rng(0)
    return tuple(copy(cards[i % len(cards)], i, folder, rng) for i in range(n_trials))


def copy(card: TrialCard, number: int, folder: Path, rng: np.random.Generator) -> TrialCard:
    pictures = []
    for picture in card.pictures[:3]:
        path = folder / f"{number}_{picture.condition}.png"
        pixels = np.asarray(Image.open(picture.path).convert("RGB"), np.int16)
        grain = rng.integers(-3, 4, pixels.shape)
        Image.fromarray(np.uint8(np.clip(pixels + grain, 0, 255))).save(path, compress_level=1)
        pictures.append(replace(picture, path=path))
    return replace(card, trial_id=f"{card.trial_id}-{number}", pictures=tuple(pictures))


def plain(page: str, cards: tuple[TrialCard, ...]) -> str:
    thumbnail = thumbnails(SELECTION.thumbnail_px)
    items = "".join(plain_card(card, thumbnail) for card in cards)
    return page.replace("</main>", f'<ul class="cards" id="plain">{items}</ul></main>')


def plain_card(card: TrialCard, thumbnail) -> str:
    figures = "".join(
        f'<li><img src="{thumbnail(path)}" alt="" width="128" height="128" loading="lazy"></li>'
        for path in (card.stimulus, *(picture.path for picture in card.pictures))
    )
    rows = "".join(
        f"<tr><th>{pair.kind}</th><td>{html.escape(pair.retrieved)}</td><td>{html.escape(pair.true)}</td></tr>"
        for pair in card.captions
    )
    return (
        f'<li class="card"><h3>{card.concept}</h3><code>{card.trial_id}</code>'
        f'<ul class="pictures">{figures}</ul><details><summary>Captions</summary><table>{rows}</table>'
        "</details></li>"
    )


def opened(browser: Browser, path: Path) -> tuple[float, float]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    start = time.perf_counter()
    page.goto(path.as_uri(), wait_until="load", timeout=300_000)
    page.locator(".card").first.wait_for(state="attached", timeout=300_000)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    taken_s = time.perf_counter() - start
    heap_mb = page.evaluate("performance.memory.usedJSHeapSize") / 2**20
    page.close()
    return taken_s, heap_mb


if __name__ == "__main__":
    main()
