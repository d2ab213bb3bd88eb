"""The page: a study in, one self-contained HTML document out."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from tasks.reporting.cards import draw_sample
from tasks.reporting.definitions import explained
from tasks.reporting.formats import plural, sentence
from tasks.reporting.images import embed, size, thumbnails
from tasks.reporting.sections import SECTIONS, Selection, Shown
from tasks.reporting.study import Study


def render_page(study: Study, selection: Selection) -> str:
    """Return the report as HTML; every text is escaped, every picture is inside.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    selection : Selection
        How much of it is shown.
    """
    return render(Shown(study, draw_sample(study, selection.max_trials, selection.seed), selection))


def render(shown: Shown) -> str:
    """Return the page of a study with the trials that were drawn.

    Parameters
    ----------
    shown : Shown
        Study, trials, and how much is shown.
    """
    content: dict[str, object] = {"sections": SECTIONS}
    for section in SECTIONS:
        content |= section.content(shown)
    environment = _environment(shown.selection.thumbnail_px)
    return environment.get_template("report.html.j2").render(content)


def _environment(thumbnail_px: int) -> Environment:
    environment = Environment(
        loader=PackageLoader("tasks.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "thumbnail": thumbnails(thumbnail_px),
        "embed": embed,
        "explained": explained,
        "size": size,
        "plural": plural,
        "sentence": sentence,
    }
    return environment
