"""All controls of the audit by name, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tasks.controls import (
    collapse,
    drift,
    drift_probes,
    inflators,
    leakage,
    other_sources,
    scoring,
)
from tasks.controls import input as heard
from tasks.controls.baseline import simple_decoder
from tasks.controls.evidence import Evidence, Finding
from tasks.statistics.corrections import with_holm

Control = Callable[[Evidence], Finding | None]
"""Evidence to what was found; None where the study has no such thing."""

ENCODER = "encoder"
DRIFT_CONTROLS = ("time_of_recording", "block_structure", "prestimulus")
"""Controls that know when a picture was shown, and nothing of it."""
NEED_TIME = (
    "time_of_recording",
    "time_from_features",
    "pseudo_labels",
    "time_to_training",
    "errors_follow_time",
    "neighbours",
)
"""Controls that rest on the order of presentation: left out where it was not published."""


def run_controls(evidence: Evidence, names: Sequence[str]) -> dict[str, Finding]:
    """Run controls on the encoder's score.

    Parameters
    ----------
    names : Sequence[str]
        Which of `CONTROLS`.

    Returns
    -------
    dict[str, Finding]
        By name, the encoder's own score first. Where a drift control is among them, `explained_by_drift`
        sums them up; where a control of overlap is, `explained_by_leakage`. The p-values of those that are
        expected at chance are corrected over all of them.
    """
    encoder = evidence.encoder
    found = {ENCODER: Finding(encoder)}
    for name in names:
        if name in NEED_TIME and not evidence.timed:
            continue
        finding = CONTROLS[name](evidence)
        if finding is not None:
            found[name] = finding
    at_chance = {name: finding.score for name, finding in found.items() if finding.above}
    for name, score in with_holm(at_chance).items():
        found[name] = found[name].corrected(score)
    known = {name: found[name].score for name in DRIFT_CONTROLS if name in found}
    if known:
        found["explained_by_drift"] = Finding(
            drift.explained_by_drift(encoder, known, evidence.timed)
        )
    if "stimulus_overlap" in found or "caption_overlap" in found:
        found["explained_by_leakage"] = leakage.explained_by_leakage(evidence)
    return found


CONTROLS: Mapping[str, Control] = MappingProxyType(
    {
        "simple_decoder": simple_decoder,
        "shuffled_eeg": heard.shuffled_eeg,
        "noise_eeg": heard.noise_eeg,
        "subject_only": heard.subject_only,
        "label_permutation": heard.label_permutation,
        "label_permutation_within_blocks": heard.label_permutation_within_blocks,
        "class_prior": drift.class_prior,
        "subject_prior": drift.subject_prior,
        "random_codebook": scoring.random_codebook,
        "prestimulus": heard.prestimulus,
        "time_of_recording": drift.time_of_recording,
        "block_structure": drift.block_structure,
        "block_from_features": drift_probes.block_from_features,
        "time_from_features": drift_probes.time_from_features,
        "pseudo_labels": drift_probes.pseudo_labels,
        "high_pass": drift_probes.high_pass,
        "time_to_training": drift_probes.time_to_training,
        "errors_follow_time": drift_probes.errors_follow_time,
        "frontal_channels": other_sources.frontal_channels,
        "above_55_hz": other_sources.above_55_hz,
        "neighbours": other_sources.neighbours,
        "stimulus_overlap": leakage.stimulus_overlap,
        "caption_overlap": leakage.caption_overlap,
        "gallery_overlap": leakage.gallery_overlap,
        "picture_similarity": leakage.picture_similarity,
        "shared_context": leakage.shared_context,
        "gallery_permutation": scoring.gallery_permutation,
        "batch_dependence": scoring.batch_dependence,
        "bottleneck": scoring.bottleneck,
        "repetitions": scoring.repetitions,
        "effective_rank": collapse.effective_rank,
        "distinct_answers": collapse.distinct_answers,
        "cluster_overlap": collapse.cluster_overlap,
        "any_head_correct": inflators.any_head_correct,
        "assignment_over_batch": inflators.assignment_over_batch,
    }
)
"""Name to control: what a simple method reaches, what goes in (C), drift (B), leakage (A and D), scoring (E), collapse, inflators."""
