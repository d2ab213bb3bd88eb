"""Definitions that a reader needs, and what the study was made from."""

from tasks.reporting.formats import enumeration, plural
from tasks.reporting.study import Study

TERMS: tuple[tuple[str, str], ...] = (
    ("Trial", "One presentation of one picture to one subject. Nothing is averaged over trials."),
    (
        "Stimulus, concept",
        "A stimulus is one picture; its concept is the object that it shows. Unless it is said above "
        "the scores, a picture is in one split only, for all subjects and presentations, so that no "
        "picture scored here was in training.",
    ),
    (
        "Tier, kind, head",
        "Captions come in ten kinds on three tiers: object, spatial and thematic. The encoder has "
        "one projection head per kind, which points to the caption of that kind in CLIP's space.",
    ),
    (
        "Gallery",
        "The set in which the right answer is looked for. Pictures are drawn from captions of the "
        "training pictures; scores “of N” name the number of candidates, and every trial "
        "is ranked on its own.",
    ),
    ("Chance", "What guessing scores, with nothing known of the EEG."),
    (
        "Ceiling",
        "For retrieval in a simulated study, the Bayes-optimal decoder that knows the simulated brain "
        "and its noise, or, where its verdict says so, a Monte Carlo bound on it; for pictures, what the "
        "generator makes of the true captions. No encoder can do better in expectation.",
    ),
    (
        "Shuffled EEG",
        "The same model with the trials' EEG exchanged among each other: everything is kept but the "
        "link to what was seen. It must fall to chance.",
    ),
    (
        "95 % interval",
        "Bootstrapped over stimuli, not trials: presentations of one picture are no independent "
        "evidence. For scalp maps over subjects, for distances between sets of pictures over random "
        "halves.",
    ),
    (
        "Judge",
        "A classifier trained apart from everything else, which names the object in a rendered "
        "picture. ✓ says that it is the object shown, ✗ that it is another.",
    ),
    (
        "KID, FID, IS",
        "Measures of how pictures look as a set. They reward the generator, hardly the EEG, and "
        "depend on the feature space that stands in their name.",
    ),
)
"""Terms and what they mean here."""


def provenance(study: Study) -> list[tuple[str, str]]:
    """Return what the study was made from, as term and description.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    recordings, captions = study.recordings, study.captions
    rows = [
        (
            "Raw data",
            f"{plural(len(recordings), 'recording')}, SHA-256 "
            + ", ".join(f"{digest[:12]}…" for digest in recordings["sha256"].head(3))
            + (" and so on." if len(recordings) > 3 else "."),
        )
    ]
    if not captions.empty:
        rows.append(("Captions", caption_source(study)))
    if not study.training_log.empty:
        rows.append(("Training", f"{plural(len(study.training_log), 'epoch')} logged."))
    return rows


def caption_source(study: Study) -> str:
    """Say who wrote the captions, and how many are not as they should be.

    Parameters
    ----------
    study : Study
        One run of the pipeline.
    """
    captions = study.captions
    writers = captions[["source", "model"]].drop_duplicates().sort_values(["source", "model"])
    names = [
        row["source"]
        if row["model"] in ("", row["source"])
        else f"{row['source']} ({row['model']})"
        for row in writers.to_dict("records")
    ]
    n_flawed = int((captions["status"] != "ok").sum())
    flawed = f" {n_flawed:,} of them did not pass the checks." if n_flawed else ""
    return f"{plural(len(captions), 'caption')}, written by {enumeration(names)}.{flawed}"
