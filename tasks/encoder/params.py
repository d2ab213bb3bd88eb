"""Parameters of training: the section `train` of params.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from tasks.runtime.params import Params

Architecture = Literal[
    "st_transformer",
    "factor_map",
    "linear",
    "ridge",
    "xdawn_lda",
    "nice",
    "atm",
    "eegnet",
    "eegconformer",
    "atcnet",
    "shallow",
    "deep4",
]


class StartParams(Params):
    """Closed-form filters and latents.

    Attributes
    ----------
    per_subject : bool
        Whether each subject has filters of its own; if not, unknown subjects can be decoded too.
    share_of_group : float
        Weight of what all subjects have in common in each subject's responses and noise.
    min_word_count, n_scores : int
        Caption words that the encoding model predicts from: in at least so many training stimuli, and
        reduced to at most so many principal components.
    prior_trials : float
        Penalty of the encoding model, in trials.
    noise_floor : float
        Share of the mean noise variance added to every channel's and sample's.
    n_virtual : int
        Virtual channels.
    low_pass_hz : float
        Highest frequency at which the latents look at them.
    n_latents : int
        Sources that the responses are put down to, and latents that the heads read.
    n_starts : int
        Random starts of the search for sources, whose mean is taken.
    """

    per_subject: bool
    share_of_group: float = Field(ge=0, le=1)
    min_word_count: PositiveInt
    n_scores: PositiveInt
    prior_trials: PositiveFloat
    noise_floor: PositiveFloat
    n_virtual: PositiveInt
    low_pass_hz: PositiveFloat
    n_latents: PositiveInt
    n_starts: PositiveInt


class NetworkParams(Params):
    """Sizes that are learned by gradient descent; see `tasks.encoder.st_transformer.Sizes`.

    Attributes
    ----------
    patch_samples : int
        Length of a patch of time.
    width, n_layers, n_attention_heads : int
        Of each attention stack.
    head_width, max_remembered_captions : int
        Hidden units and remembered captions, at most, of each projection head.
    min_exchange_pairs : int
        Captions in which only one word differs, before the one is put for the other in further captions
        that a head can then say; 0 for never (`tasks.encoder.synthetic_captions`).
    dropout : float
        In attention stacks and heads.
    """

    patch_samples: PositiveInt
    width: PositiveInt
    n_layers: NonNegativeInt
    n_attention_heads: PositiveInt
    head_width: PositiveInt
    max_remembered_captions: PositiveInt
    min_exchange_pairs: NonNegativeInt
    dropout: float = Field(ge=0, lt=1)


class AugmentationParams(Params):
    """What training trials are varied by.

    Attributes
    ----------
    synthetic_share : float
        Latents drawn from the encoding model per trial of the batch.
    repetition_mix : float
        Probability that a trial is averaged with another presentation of its stimulus.
    channel_dropout : float
        Probability that a virtual channel is silenced.
    time_shift_samples : int
        Largest shift of a trial in time, either way.
    noise : float
        Standard deviation of white noise added to virtual channels, whose own noise has 1.
    """

    synthetic_share: NonNegativeFloat
    repetition_mix: float = Field(ge=0, le=1)
    channel_dropout: float = Field(ge=0, lt=1)
    time_shift_samples: NonNegativeInt
    noise: NonNegativeFloat


class LinearParams(Params):
    """The linear baseline; it shares `start.n_scores`, `start.prior_trials` and `start.per_subject`.

    Attributes
    ----------
    n_components, bin_samples : int
        Spatial principal components and length of the bins of time.
    """

    n_components: PositiveInt
    bin_samples: PositiveInt


class BaselineParams(Params):
    """The other baselines; those in closed form share `linear` and `start.per_subject`.

    Attributes
    ----------
    dropout : float
        In the projection heads of a network.
    ridge_alphas : tuple of float
        Penalties of ridge regression to choose from, as shares of the number of its inputs.
    """

    dropout: float = Field(ge=0, lt=1)
    ridge_alphas: tuple[PositiveFloat, ...] = Field(min_length=1)


class TrainParams(Params):
    """How the encoder is trained.

    Attributes
    ----------
    seed : int
        Of weights, order and augmentation.
    architecture : str
        What is trained: the encoder, or a baseline of `tasks.encoder.baselines`.
    caption_kinds : list of str or "all"
        Caption kinds that get a projection head.
    image_weight : float
        Weight of the image vector in the targets, beside 1 for the text vector.
    image_layer : int or None
        Block of the image tower whose vectors these are, mapped linearly onto training captions: the last
        layer is not the one that EEG resembles most. None: the final image vector.
    shared_head : bool
        Whether all heads learn one and the same thing, the mean of a stimulus's captions of all kinds:
        what a single head could do.
    channels : list of str, "all" or "posterior"
        Channels that are decoded; posterior are those whose 10-20 name begins with P, O or TP.
    precision : {"float32", "tf32", "bfloat16"}
        Of matrix products in training; validation and prediction are always in float32.
    compile : bool
        Whether the network goes through `torch.compile`, which takes a C++ compiler and a minute.
    learning_rate, weight_decay, gradient_norm : float
        AdamW: peak of the cosine schedule; penalty; largest norm of a gradient.
    batch_size, max_epochs, warmup_epochs, patience : int
        Trials per step; epochs at most, to rise to the peak, and without a better one before stopping.
    ema_decay : float
        Of the averaged weights, which are validated and kept.
    temperature : float
        Initial temperature of the loss, learned per head.
    duplicate_cosine : float
        Captions at least this similar are not each other's negatives.
    soft_targets : float
        Share of the wanted probability that goes to captions by their likeness to the own one.
    shared_temperature : bool
        Whether all heads share one.
    best_by : {"recall_at_1", "loss"}
        The validation score that chooses the epoch.
    start, network, augmentation, linear, baselines : Params
        See there.
    """

    seed: NonNegativeInt
    architecture: Architecture
    caption_kinds: list[str] | Literal["all"]
    image_weight: NonNegativeFloat
    image_layer: PositiveInt | None
    shared_head: bool
    channels: list[str] | Literal["all", "posterior"]
    precision: Literal["float32", "tf32", "bfloat16"]
    compile: bool
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    gradient_norm: PositiveFloat
    batch_size: int = Field(ge=2)
    max_epochs: PositiveInt
    warmup_epochs: NonNegativeInt
    patience: PositiveInt
    ema_decay: float = Field(ge=0, lt=1)
    temperature: PositiveFloat
    duplicate_cosine: float = Field(gt=0, le=1)
    soft_targets: float = Field(ge=0, lt=1)
    shared_temperature: bool
    best_by: Literal["recall_at_1", "loss"]
    start: StartParams
    network: NetworkParams
    augmentation: AugmentationParams
    linear: LinearParams
    baselines: BaselineParams
