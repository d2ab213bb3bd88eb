"""Plain words for the names of scores. A name that is not known here is shown as it is."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from tasks.reporting.formats import sentence, words
from tasks.scores.held_out import KNOWN


@dataclass(frozen=True)
class Group:
    """Scores that answer one question.

    Attributes
    ----------
    heading, intro
        The question, and how it is asked.
    ceiling
        What the best possible value is called.
    """

    heading: str
    intro: str
    ceiling: str = "Ceiling"


GROUPS: Mapping[str, Group] = {
    "retrieval": Group(
        "Which caption fits?",
        "Retrieval from single trials of pictures that were never in training.",
    ),
    "known": Group(
        "Which of the known pictures was it?",
        "Identification among pictures that were in training too, from other trials than these: parts "
        "of the recordings or subjects were held out, not pictures. It says nothing of new pictures.",
    ),
    "confidence": Group(
        "Does it know what it does not know?",
        "The cosines of the nearest two concepts make a confidence, calibrated on validation trials. "
        'Whoever asks for a confidence of at least so much is told "I do not know" otherwise.',
    ),
    "zero_shot": Group(
        "And for concepts it has never met?",
        "Zero-shot: every picture of these concepts was held out of training.",
    ),
    "pictures": Group(
        "What do the pictures show?",
        "A classifier that had no part in training names what it sees in each rendered picture.",
    ),
    "generator": Group(
        "How do the pictures look?",
        "Quality of the pictures as a set. It rewards a good generator and hardly depends on the EEG: "
        "a score that is as good for shuffled EEG says nothing about decoding.",
        ceiling="Real pictures",
    ),
    "failures": Group(
        "How does it fail?",
        "Signatures of decoders that look better than they are. Examples stand in the section of that name.",
        ceiling="Pictures shown",
    ),
    "captions": Group(
        "Do the captions fit their pictures?",
        "Each beside the same for captions of another picture, here called chance: an absolute CLIPScore "
        "says little.",
    ),
    "people": Group(
        "What do people say?",
        "Captions held against those that people wrote of the same pictures, and against people's "
        "verdicts. The ceiling is one human caption against the others.",
    ),
    "caption_sources": Group(
        "Would captions of people train a better encoder?",
        "The encoder is trained a second time, on people's captions of the same trials. Each encoder "
        "names the held-out stimulus by the captions that it knows. Intervals are over stimuli.",
    ),
    "statuses": Group(
        "What became of the captions?",
        "The share of captions with each status, before any is dropped or replaced.",
    ),
    "maps": Group(
        "Do the maps hold?",
        "Saliency of the heads of each tier, held against the truth where a study has one.",
    ),
    "heads": Group(
        "Do the heads differ?", "How far apart the projection heads keep what they say."
    ),
    "other": Group("Further scores", ""),
}
"""Groups of scores, in the order of the report."""

CONTROLLED = "encoder"
"""The score that controls of the audit are held against."""


@dataclass(frozen=True)
class ControlWords:
    """What a control is called.

    Attributes
    ----------
    label, family
        Its name, and the question of which it is a part.
    on_same_scale
        Whether it answers what the encoder answers, so that both scores stand on one axis.
    """

    label: str
    family: str
    on_same_scale: bool = False


OVERALL = "The verdict"
INPUT = "Does the score need the EEG?"
DRIFT = "Does it need what was seen, or only when?"
LEAK = "Was what is tested in training?"
SCORING = "Is the scoring sound?"
"""Questions of the audit, each with a group of controls."""
_SIMPLE = "Is the encoder better than a simple method?"
_OTHER = "Further controls"

CONTROLS: Mapping[str, ControlWords] = {
    "simple_decoder": ControlWords(
        "With a simple linear method in the encoder's place", _SIMPLE, on_same_scale=True
    ),
    "explained_by_drift": ControlWords("Could the score be drift?", OVERALL),
    "explained_by_leakage": ControlWords("Could the score be leakage?", OVERALL),
    CONTROLLED: ControlWords("The score under audit", OVERALL),
    "shuffled_eeg": ControlWords("With the EEG of another trial", INPUT, on_same_scale=True),
    "noise_eeg": ControlWords("With noise instead of EEG", INPUT, on_same_scale=True),
    "subject_only": ControlWords("With the subject's mean epoch", INPUT, on_same_scale=True),
    "label_permutation": ControlWords("With the pictures permuted", INPUT, on_same_scale=True),
    "class_prior": ControlWords("With the commonest concept", INPUT, on_same_scale=True),
    "subject_prior": ControlWords("With nothing but who the subject is", INPUT, on_same_scale=True),
    "random_codebook": ControlWords("With a random code per concept", INPUT),
    "prestimulus": ControlWords(
        "With EEG from before the picture alone", DRIFT, on_same_scale=True
    ),
    "time_of_recording": ControlWords(
        "With nothing but the time of the trial", DRIFT, on_same_scale=True
    ),
    "block_structure": ControlWords(
        "With nothing but the block of the trial", DRIFT, on_same_scale=True
    ),
    "label_permutation_within_blocks": ControlWords(
        "With the answers for other pictures of the block", DRIFT, on_same_scale=True
    ),
    "block_from_features": ControlWords("Is the block in what the heads say?", DRIFT),
    "time_from_features": ControlWords("Is the time in what the heads say?", DRIFT),
    "pseudo_labels": ControlWords("Can labels without meaning be decoded?", DRIFT),
    "high_pass": ControlWords("Without the slow part of the EEG", DRIFT),
    "time_to_training": ControlWords("Near in time to a training trial", DRIFT),
    "errors_follow_time": ControlWords("Mistakes in order of presentation", DRIFT),
    "frontal_channels": ControlWords(
        "With channels near the eyes alone", INPUT, on_same_scale=True
    ),
    "above_55_hz": ControlWords("With power above 55 Hz alone", INPUT, on_same_scale=True),
    "neighbours": ControlWords("Naming the picture before", DRIFT, on_same_scale=True),
    "stimulus_overlap": ControlWords("Pictures in training and test", LEAK),
    "caption_overlap": ControlWords("Captions in training and test", LEAK),
    "gallery_overlap": ControlWords("Test captions among the decoded", LEAK),
    "picture_similarity": ControlWords("Pictures like training pictures", LEAK),
    "shared_context": ControlWords("Subjects, sessions and blocks in both", LEAK),
    "gallery_permutation": ControlWords("Candidates in another order", SCORING),
    "batch_dependence": ControlWords("Trials beside other trials", SCORING),
    "bottleneck": ControlWords("Few dimensions let through", SCORING),
    "repetitions": ControlWords("Presentations averaged", SCORING),
    "effective_rank": ControlWords("Dimensions that predictions span", SCORING),
    "distinct_answers": ControlWords("Different captions retrieved", SCORING),
    "cluster_overlap": ControlWords("Pictures in the clusters of training", LEAK),
    "any_head_correct": ControlWords("If any head may be right", SCORING, on_same_scale=True),
    "assignment_over_batch": ControlWords("If pictures are assigned over the batch", SCORING),
}
"""Controls of the audit in the order of the report, in words."""


def control_words(name: str) -> ControlWords:
    """Return what a control is called; unknown names read as themselves."""
    return CONTROLS.get(name, ControlWords(sentence(name), _OTHER))


CONDITIONS: Mapping[str, str] = {
    "decoded": "decoded captions",
    "true_captions": "true captions",
    "shuffled_eeg": "captions decoded from shuffled EEG",
    "noise_eeg": "captions decoded from noise",
    "class_name": "the name of the concept",
    "predicted_class": "the name of the decoded concept",
    "random_caption": "captions of random training pictures",
    "mean_embedding": "the mean of training captions, the same for all",
}
"""Rendering conditions in words."""


@dataclass(frozen=True)
class Meaning:
    """What a score is called and what it says, for people.

    Attributes
    ----------
    group
        Key of `GROUPS`.
    label, explanation
        Its name and what it says.
    is_detail
        Whether it speaks of a part, such as a single head, and not of the whole.
    """

    group: str
    label: str
    explanation: str
    is_detail: bool = False


Rule = tuple[str, Callable[[re.Match[str]], Meaning]]


def meaning(name: str) -> Meaning:
    """Return what the score ``name`` means; unknown names read as themselves.

    Parameters
    ----------
    name : str
        Key of a metrics file.
    """
    if name.startswith(KNOWN):
        found = meaning(name.removeprefix(KNOWN))
        group = "known" if found.group == "retrieval" else found.group
        return replace(found, group=group, label=f"{found.label} (known pictures)")
    if name in CONTROLS:
        return Meaning("other", CONTROLS[name].label, _ABOUT_CONTROLS.get(name, ""))
    for pattern, describe in _RULES:
        match = re.fullmatch(pattern, name)
        if match:
            return describe(match)
    group = "zero_shot" if name.startswith("zero_shot") else "other"
    return Meaning(group, sentence(name), "")


def condition_words(condition: str) -> str:
    """Return a rendering condition in words.

    Parameters
    ----------
    condition : str
        As in the table of renders.
    """
    return CONDITIONS.get(condition, words(condition))


def _recall(match: re.Match[str]) -> Meaning:
    zero_shot, what, k, size, part = match.groups()
    thing = _THINGS.get(what, words(what))
    label = f"Right {thing} out of {size}" + ("" if k == "1" else f", in {k} guesses")
    guesses = "first guess is" if k == "1" else f"first {k} guesses hold"
    explanation = f"Share of trials in which the {guesses} the right {thing}."
    found = _whole_or_part(zero_shot, "retrieval", label, explanation, part)
    return replace(found, is_detail=True) if what in _VARIANTS else found


def _rank(match: re.Match[str]) -> Meaning:
    zero_shot, what, size, part = match.groups()
    thing = _THINGS.get(what, words(what))
    label = f"Median rank of the right {thing} out of {size}"
    explanation = f"Half of the trials find the right {thing} at this rank or better."
    found = _whole_or_part(zero_shot, "retrieval", label, explanation, part)
    return replace(found, is_detail=True) if what in _VARIANTS else found


def _reciprocal_rank(match: re.Match[str]) -> Meaning:
    zero_shot, what, size, part = match.groups()
    label = f"Mean reciprocal rank of the right {_THINGS.get(what, words(what))} out of {size}"
    explanation = "The mean of one over the rank: 1 where it is always first."
    found = _whole_or_part(zero_shot, "retrieval", label, explanation, part)
    return replace(found, is_detail=True)


def _retrieved(match: re.Match[str]) -> Meaning:
    explanation = (
        "Share of trials whose nearest caption of a training picture speaks of the concept shown: "
        "what the pictures are drawn from."
    )
    return _whole_or_part(
        match[1], "retrieval", f"Right {words(match[2])} retrieved", explanation, match[3]
    )


def _judged(match: re.Match[str]) -> Meaning:
    zero_shot, factor, condition = match.groups()
    return Meaning(
        "zero_shot" if zero_shot else "pictures",
        f"Judge sees the right {words(factor)}: {_CONDITIONS_IN_SHORT.get(condition, words(condition))}",
        _drawn_from(condition),
        is_detail=factor != "concept",
    )


def _likeness(match: re.Match[str]) -> Meaning:
    name, condition = match.groups()
    label, explanation = _LIKENESSES[name]
    short = _CONDITIONS_IN_SHORT.get(condition, words(condition))
    return Meaning("pictures", f"{label}: {short}", explanation, is_detail=True)


def _distance(match: re.Match[str]) -> Meaning:
    measure, space, condition = match.groups()
    short = _CONDITIONS_IN_SHORT.get(condition, words(condition))
    label = f"{measure.upper()} in the features of {_the(space)}: {short}"
    return Meaning("generator", label, "Distance from the pictures that were shown.")


def _inception(match: re.Match[str]) -> Meaning:
    space, condition = match.groups()
    short = _CONDITIONS_IN_SHORT.get(condition, words(condition))
    explanation = "How clear and varied the pictures are. It never looks at what was shown."
    return Meaning("generator", f"Inception score by {_the(space)}: {short}", explanation)


def _n_way(match: re.Match[str]) -> Meaning:
    n, k, space, condition = match.groups()
    short = _CONDITIONS_IN_SHORT.get(condition, words(condition))
    label = f"Class told among {n}, in {k} {'guess' if k == '1' else 'guesses'}: {short}"
    explanation = (
        f"Share of renders for which the class that {_the(space)} sees in the picture shown is among its {k} "
        f"likeliest of {n}; the other {int(n) - 1} are drawn at random, in expectation."
    )
    return Meaning("pictures", label, explanation, is_detail=True)


def _hallucination(match: re.Match[str]) -> Meaning:
    space, condition = match.groups()
    short = _CONDITIONS_IN_SHORT.get(condition, words(condition))
    explanation = (
        f"Share of pictures in which {_the(space)} is sure to see another concept than was shown."
    )
    return Meaning("failures", f"Semantic hallucination: {short}", explanation)


def _distinct(match: re.Match[str]) -> Meaning:
    short = _CONDITIONS_IN_SHORT.get(match[1], words(match[1]))
    return Meaning(
        "failures", f"Different pictures per picture drawn: {short}", "1: no mode collapse."
    )


def _hub(match: re.Match[str]) -> Meaning:
    explanation = "Share of trials that one caption is nearest to; a hub answers for everything."
    return Meaning("failures", f"Trials of the commonest caption: {match[1]}", explanation, True)


def _collapse(match: re.Match[str]) -> Meaning:
    explanation = (
        "Share of trials in which the head is nearest to a caption of another kind than its own. Beside it, how "
        "often true captions are."
    )
    return Meaning("failures", f"Answers of another kind: {match[1]}", explanation, True)


def _in_space(match: re.Match[str]) -> Meaning:
    measure, space, condition = match.groups()
    short = _CONDITIONS_IN_SHORT.get(condition, words(condition))
    label, explanation = _SPACE_MEASURES[measure]
    return Meaning("pictures", f"{label} ({_SPACES[space]}): {short}", explanation, is_detail=True)


def _calibration(match: re.Match[str]) -> Meaning:
    del match
    explanation = (
        "Expected calibration error: mean gap between confidence and share of right answers, over ten "
        "bins. 0: a confidence of 70 % is right in 70 %."
    )
    return Meaning("confidence", "Confidence against accuracy", explanation)


def _surest(match: re.Match[str]) -> Meaning:
    label = f"Concepts named right, the surest {match[1]} % of the trials"
    return Meaning("confidence", label, "Beside the share of all answers that are right.")


def _answered(match: re.Match[str]) -> Meaning:
    if match[1] == "share":
        label = "Share of trials with a confidence of at least 50 %"
        return Meaning("confidence", label, "The rest is answered: I do not know.")
    label = "Concepts named right, where the confidence is at least 50 %"
    return Meaning("confidence", label, "Beside the share of all answers that are right.")


def _topography(match: re.Match[str]) -> Meaning:
    contrast, tier, part = match.groups()
    own = ", less those of the other tiers" if contrast else ""
    label = f"Map of the {tier} heads{own}, against the planted topography"
    by = None if part is None else _MAP_MAKERS.get(part, words(part))
    return _whole_or_part(None, "maps", label, "", by)


def _map_agreement(match: re.Match[str]) -> Meaning:
    other, tier = match.groups()
    label = f"Map of the {tier} heads: {_AGREEMENTS[other]}"
    return Meaning(
        "maps", label, "", is_detail=other in ("with_random_weights", "with_shuffled_eeg")
    )


def _of_heads(match: re.Match[str]) -> Meaning:
    return Meaning("heads", *_HEADS[match[0]])


def _silhouette(match: re.Match[str]) -> Meaning:
    label = f"Concepts apart in the vectors of {match[1]} (silhouette)"
    return Meaning("heads", label, _SILHOUETTE, is_detail=True)


def _caption_fit(match: re.Match[str]) -> Meaning:
    name, part = match.groups()
    label, explanation = _CAPTION_FITS[name]
    if part == "of_people":
        return Meaning("people", f"{label}: human captions", explanation)
    return _whole_or_part(None, "captions", label, explanation, part)


def _like_people(match: re.Match[str]) -> Meaning:
    name, part = match.groups()
    return _whole_or_part(None, "people", *_LIKE_PEOPLE[name], part)


def _source(match: re.Match[str]) -> Meaning:
    return Meaning("caption_sources", *_SOURCES[match[0]])


def _status(match: re.Match[str]) -> Meaning:
    return Meaning(
        "statuses", sentence(match[1]), "", is_detail=match[1] not in ("ok", "shortened")
    )


def _whole_or_part(
    zero_shot: str | None, group: str, label: str, explanation: str, part: str | None
) -> Meaning:
    label = f"{label}: {words(part)}" if part else label
    return Meaning("zero_shot" if zero_shot else group, label, explanation, bool(part))


def _drawn_from(condition: str) -> str:
    if condition == "stimuli":
        return "In the pictures that were shown: how far the judge itself can be trusted."
    return f"In pictures drawn from {condition_words(condition)}."


def _the(space: str) -> str:
    return "CLIP" if space == "clip" else f"the {words(space)}"


_ABOUT_CONTROLS: Mapping[str, str] = {
    "explained_by_drift": (
        "Share of the margin over chance that is reached with the time, the block or the EEG from before "
        "the picture alone."
    ),
    "explained_by_leakage": "Share of the audited trials whose picture or captions were in training.",
}
_THINGS: Mapping[str, str] = {
    "stimulus": "picture",
    "image": "picture, by the vector of the picture itself,",
    "caption_or_near_duplicate": "caption or one that says the same",
    "rank_fused_stimulus": "picture, heads fused by rank,",
    "learned_fused_stimulus": "picture, heads weighted on validation trials,",
    "transductive_csls_stimulus": "picture, looking at all test trials at once (transductive),",
}
_VARIANTS = (
    "image",
    "caption_or_near_duplicate",
    "rank_fused_stimulus",
    "learned_fused_stimulus",
    "transductive_csls_stimulus",
)
_CONDITIONS_IN_SHORT: Mapping[str, str] = {
    "decoded": "decoded",
    "true_captions": "true captions",
    "shuffled_eeg": "shuffled EEG",
    "stimuli": "shown",
}
_LIKENESSES: Mapping[str, tuple[str, str]] = {
    "pixcorr": ("Correlation of pixels (PixCorr)", "Pearson correlation with the picture shown."),
    "ssim": ("Structural similarity (SSIM)", "With the picture shown; 1: the same."),
    "clipscore_of_100": (
        "CLIPScore, of 100",
        "Cosine of the picture with the true captions, times 100, in the CLIP that embedded them.",
    ),
    "clip_image_similarity": (
        "CLIP similarity to the picture shown",
        "Mean cosine. Any two pictures are somewhat alike.",
    ),
    "lpips_alexnet": ("LPIPS (AlexNet)", "Learned distance from the picture shown; 0: the same."),
    "dists": ("DISTS", "Distance of structure and texture from the picture shown; 0: the same."),
    "two_way_clip": (
        "Nearer to its own picture than to another",
        "Share of other pictures that a render is less like, in CLIP space, than its own.",
    ),
}
_SPACES: Mapping[str, str] = {
    "alexnet_2": "AlexNet, layer 2",
    "alexnet_5": "AlexNet, layer 5",
    "inception_v3": "Inception v3",
    "inception": "Inception",
    "clip_vit_l_14": "OpenAI's CLIP ViT-L/14",
    "efficientnet": "EfficientNet-B1",
    "swav": "SwAV",
}
_SPACE_MEASURES: Mapping[str, tuple[str, str]] = {
    "two_way": (
        "Nearer to its own picture than to another",
        "Share of other pictures whose features a render correlates with less than with its own.",
    ),
    "feature_distance": (
        "Distance of features from the picture shown",
        "One less the correlation of features.",
    ),
}
_CAPTION_FITS: Mapping[str, tuple[str, str]] = {
    "clip_score": ("CLIPScore", "2.5 times the cosine of caption and picture."),
    "caption_two_way": (
        "The picture's caption fits better than another's",
        "Share of captions nearer to their picture than the caption of another picture.",
    ),
    "kind_agreement": (
        "Agreement between kinds",
        "Mean cosine of two kinds of caption of one picture.",
    ),
    "captions_of_one_picture": (
        "Captions that one picture alone has",
        "Words that no other picture has in the same kind.",
    ),
}
_LIKE_PEOPLE: Mapping[str, tuple[str, str]] = {
    "bleu_4": ("BLEU-4", "Runs of one to four words shared with human captions."),
    "rouge_l": ("ROUGE-L", "Longest common run of words with the nearest human caption."),
    "cider": ("CIDEr", "Words shared with human captions, rare ones counting more; 10 for a copy."),
    "suspected_hallucinations": (
        "Named objects that nothing else speaks for",
        "Share of objects in captions that no human caption and no annotation of the picture names.",
    ),
    "captions_with_suspected_hallucination": (
        "Captions that name such an object",
        "Suspected hallucinations: people may have left out what is there.",
    ),
    "reviewed": ("Verdict of people", "On captions drawn at random."),
}
_SOURCES: Mapping[str, tuple[str, str]] = {
    "trained_on_study_captions": ("Trained on the captions of the study", "Recall at 1."),
    "trained_on_human_captions": ("Trained on captions of people", "Recall at 1, same trials."),
    "human_instead_of_study_captions": (
        "People in place of the study's captioner",
        "How much of recall at 1 is gained, trial by trial.",
    ),
}
_MAP_MAKERS: Mapping[str, str] = {
    "gradient": "by the plain gradient",
    "integrated_gradients": "by integrated gradients",
    "random_weights": "of networks with shuffled weights",
    "shuffled_eeg": "of shuffled EEG",
}
_AGREEMENTS: Mapping[str, str] = {
    "of_subjects": "how alike subjects are",
    "with_occlusion": "does taking the strong regions away cost most?",
    "with_random_weights": "likeness to maps of networks with shuffled weights",
    "with_shuffled_eeg": "likeness to maps of shuffled EEG",
}
_SILHOUETTE = "1: groups lie far apart; 0: they touch; below 0: they are mixed."
_HEADS: Mapping[str, tuple[str, str]] = {
    "silhouette_of_kinds": ("Heads apart from each other (silhouette)", _SILHOUETTE),
    "silhouette_of_tiers": ("Tiers apart from each other (silhouette)", _SILHOUETTE),
    "head_cka_within_tiers": ("Overlap of heads of one tier (CKA)", "1: the heads say the same."),
    "head_cka_between_tiers": ("Overlap of heads of two tiers (CKA)", "1: the heads say the same."),
    "dominance_of_the_strongest_head": (
        "Trials in which the strongest head is the best",
        "How often the head that wins most often places the picture best.",
    ),
}
_ZERO = r"(zero_shot_)?"
_WHAT = (
    "(concept|stimulus|image|caption|caption_or_near_duplicate|rank_fused_stimulus|learned_fused_stimulus"
    "|transductive_csls_stimulus)"
)
_PART = r"(?:_(.+))?"
_RULES: tuple[Rule, ...] = (
    (_ZERO + _WHAT + r"_recall_at_(\d+)_of_(\d+)" + _PART, _recall),
    (_ZERO + _WHAT + r"_median_rank_of_(\d+)" + _PART, _rank),
    (_ZERO + _WHAT + r"_mean_reciprocal_rank_of_(\d+)" + _PART, _reciprocal_rank),
    (_ZERO + r"retrieved_([a-z]+)_accuracy" + _PART, _retrieved),
    (_ZERO + r"judged_([a-z]+)_accuracy_(\w+)", _judged),
    (r"(clip_image_similarity|two_way_clip)_(\w+)", _likeness),
    (rf"(two_way|feature_distance)_({'|'.join(_SPACES)})_(\w+)", _in_space),
    (r"(lpips_alexnet|dists)_(\w+)", _likeness),
    (r"(kid|fid)_([a-z0-9]+)_(\w+)", _distance),
    (r"inception_score_([a-z0-9]+)_(\w+)", _inception),
    (r"(pixcorr|ssim|clipscore_of_100)_(\w+)", _likeness),
    (r"n_way_(\d+)_top(\d+)_(vit_h_14|[a-z]+)_(\w+)", _n_way),
    (r"semantic_hallucination_rate_([a-z]+)_(\w+)", _hallucination),
    (r"distinct_pictures_(\w+)", _distinct),
    (r"most_retrieved_caption_share_(\w+)", _hub),
    (r"answers_of_another_kind_(\w+)", _collapse),
    (r"concept_calibration_error", _calibration),
    (r"concept_accuracy_of_surest_(\d+)_percent", _surest),
    (r"concept_(share|accuracy)_answered_at_half", _answered),
    (r"saliency_(contrast_)?topography_correlation_([a-z]+)" + _PART, _topography),
    (rf"saliency_agreement_({'|'.join(_AGREEMENTS)})_([a-z]+)", _map_agreement),
    (
        r"saliency_matched_tiers",
        lambda _: Meaning("maps", "Tiers whose map fits their own planted topography best", ""),
    ),
    (f"({'|'.join(_HEADS)})", _of_heads),
    (r"silhouette_of_concepts_(\w+)", _silhouette),
    (r"(clip_score|caption_two_way|kind_agreement|captions_of_one_picture)" + _PART, _caption_fit),
    (f"({'|'.join(_LIKE_PEOPLE)})" + _PART, _like_people),
    (f"({'|'.join(_SOURCES)})", _source),
    (r"captions?_(\w+)", _status),
)
