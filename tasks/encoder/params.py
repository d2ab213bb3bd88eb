"""Parameters of training: the section `train` of params.yaml.

What belongs to one choice lies under it: an architecture, an objective, an optimiser, a schedule and a way to
select the epoch are each a choice with its own params.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from tasks.runtime.params import Params


class StartParams(Params):
    """Closed-form filters and latents.

    Attributes
    ----------
    share_of_group : float
        Weight of what all subjects have in common in each subject's responses and noise.
    n_scores : int
        Numbers that the encoding model predicts from, at most: concepts, and components of caption vectors
        (`tasks.encoder.caption_scores`).
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

    share_of_group: float = Field(ge=0, le=1)
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
    head_width : int
        Hidden units of each projection head.
    max_slots : int
        Slots of a head's memory: every concept has one, and as many variations of its captions as there is room
        for (`tasks.encoder.caption_memory`).
    dropout : float
        In attention stacks and heads.
    """

    patch_samples: PositiveInt
    width: PositiveInt
    n_layers: NonNegativeInt
    n_attention_heads: PositiveInt
    head_width: PositiveInt
    max_slots: PositiveInt
    dropout: float = Field(ge=0, lt=1)


class STTransformerParams(Params):
    """The encoder of this project.

    Attributes
    ----------
    start, network : Params
        See there.
    """

    name: Literal["st_transformer"]
    start: StartParams
    network: NetworkParams


class NetworkBaselineParams(Params):
    """A published network on standardised channels.

    Attributes
    ----------
    name : str
        Which; see docs/encoders.md.
    dropout : float
        In its projection heads.
    """

    name: Literal[
        "paper_transformer",
        "nice",
        "atm",
        "eeg_project",
        "channelnet",
        "eegnet",
        "eegconformer",
        "atcnet",
        "shallow",
        "deep4",
    ]
    dropout: float = Field(ge=0, lt=1, description="in the projection heads of a network")


class SpatialBinsParams(Params):
    """Spatial principal components in bins of time, as closed-form baselines take them.

    Attributes
    ----------
    n_components, bin_samples : int
        Spatial principal components and length of the bins of time.
    """

    n_components: PositiveInt = Field(description="spatial principal components")
    bin_samples: PositiveInt = Field(description="samples in a bin of time")


class LinearParams(SpatialBinsParams):
    """The inverted linear encoding model.

    Attributes
    ----------
    n_scores : int
        Principal components of the caption vectors.
    prior_trials : float
        Penalty of the encoding model, in trials.
    """

    name: Literal["linear"]
    n_scores: PositiveInt = Field(
        description="principal components of the caption vectors, at most"
    )
    prior_trials: PositiveFloat = Field(description="penalty of the encoding model, in trials")


class RidgeParams(Params):
    """Ridge regression from bins of time to the vectors.

    Attributes
    ----------
    bin_samples : int
        Length of the bins of time.
    alphas : tuple of float
        Penalties to choose from, as shares of the number of inputs.
    """

    name: Literal["ridge"]
    bin_samples: PositiveInt = Field(description="samples in a bin of time")
    alphas: tuple[PositiveFloat, ...] = Field(
        min_length=1, description="penalties to choose from, per input"
    )


class XdawnLDAParams(SpatialBinsParams):
    """Discriminant analysis of concepts."""

    name: Literal["xdawn_lda"]


Chosen = TypeVar("Chosen", bound=Params)
Architecture = Annotated[
    STTransformerParams | NetworkBaselineParams | LinearParams | RidgeParams | XdawnLDAParams,
    Field(discriminator="name"),
]


def _vectors(objective: ObjectiveParams) -> ObjectiveParams:
    if not objective.infonce + objective.mse + objective.mmd:
        raise ValueError("infonce, mse or mmd must have a weight above 0: heads learn vectors")
    return objective


def _something(target: TargetParams) -> TargetParams:
    if not target.text + target.image:
        raise ValueError("text or image must have a weight above 0")
    return target


class TargetParams(Params):
    """What the heads learn. Each has loss terms of its own.

    Attributes
    ----------
    text : float
        Weight of the caption heads' loss. At 0 they still learn to read captions from what the encoder learns of
        the pictures, without a gradient into it.
    image : float
        Weight of the image head's loss; 0 for no image head. Its target is `embed.image`.
    shared_text : bool
        Whether all caption heads learn one and the same thing, the mean of a stimulus's captions of all kinds:
        what a single head could do.
    image_levels : {"first", "learned_mix"}
        Which of several levels (layers or degrees of blur) of the image target are learned: the first, or
        a mix with learned weights.
    image_projection : int or None
        Length of the vectors to which the image target and the EEG are both projected, linearly and
        learned; None for no projection.
    """

    text: NonNegativeFloat
    image: NonNegativeFloat
    shared_text: bool
    image_levels: Literal["first", "learned_mix"]
    image_projection: PositiveInt | None


class ScaleParams(Params):
    """The scale of the logits of InfoNCE.

    Attributes
    ----------
    temperature : float
        The scale's parameter begins at the logarithm of its inverse, 2.66 at 0.07.
    learned : bool
        Whether the parameter is learned.
    one_for_all : bool
        Whether all heads share one.
    map : {"exp", "softplus", "raw"}
        From the parameter to the factor of the logits: CLIP's exponential, which ends at 100; UBP's softplus;
        or the parameter itself, as in ATM's code.
    """

    temperature: PositiveFloat
    learned: bool
    one_for_all: bool
    map: Literal["exp", "softplus", "raw"]


class ObjectiveParams(Params):
    """The loss: a weighted sum.

    Attributes
    ----------
    infonce, mse, mmd : float
        Of each head's vectors: symmetric InfoNCE over the batch (CLIP), mean squared error, and maximum mean
        discrepancy between the batch's predictions and targets.
    cross_entropy : float
        Of a linear classification of concepts.
    normalise_eeg : bool
        Whether the EEG's vectors have unit norm in the loss; in prediction they always have.
    duplicate_cosine : float
        Captions at least this similar are not each other's negatives.
    soft_targets : float
        Share of the wanted probability that goes to captions by their likeness to the own one.
    scale : ScaleParams
        See there.
    """

    infonce: NonNegativeFloat
    mse: NonNegativeFloat
    mmd: NonNegativeFloat
    cross_entropy: NonNegativeFloat
    normalise_eeg: bool
    duplicate_cosine: float = Field(gt=0, le=1)
    soft_targets: float = Field(ge=0, lt=1)
    scale: ScaleParams


class OptimiserParams(Params):
    """AdamW; Adam where the weight decay is 0.

    Attributes
    ----------
    learning_rate, weight_decay : float
        Peak of the schedule; penalty of matrices.
    betas : tuple of float
        Of the running means of the gradient and of its square.
    gradient_norm : float or None
        Largest norm of a gradient; None for any.
    initial_sd : float or None
        Convolutions and linear layers of a network begin at normal weights of this standard deviation; None
        for torch's own.
    """

    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
    gradient_norm: PositiveFloat | None
    initial_sd: PositiveFloat | None


class CosineParams(Params):
    """The rate rises in a line, then falls in a half cosine.

    Attributes
    ----------
    max_epochs, warmup_epochs : int
        Epochs of training, at most; epochs in which the rate rises.
    """

    name: Literal["cosine"]
    max_epochs: PositiveInt
    warmup_epochs: NonNegativeInt


class ConstantParams(Params):
    """The rate stays as it is.

    Attributes
    ----------
    max_epochs : int
        Epochs of training, at most.
    """

    name: Literal["constant"]
    max_epochs: PositiveInt


class BestParams(Params):
    """The epoch with the best score on validation trials.

    Attributes
    ----------
    by : {"recall_at_1", "loss"}
        The score.
    patience : int
        Epochs without a better one before stopping.
    ema_decay : float
        Of the averaged weights, which are validated and kept; 0 for the weights themselves.
    """

    name: Literal["best"]
    by: Literal["recall_at_1", "loss"]
    patience: PositiveInt
    ema_decay: float = Field(ge=0, lt=1)


class LastParams(Params):
    """The last epoch.

    Attributes
    ----------
    ema_decay : float
        Of the averaged weights, which are kept; 0 for the weights themselves.
    """

    name: Literal["last"]
    ema_decay: float = Field(ge=0, lt=1)


class EpochParams(Params):
    """One epoch, chosen beforehand.

    Attributes
    ----------
    epoch : int
        From 1.
    ema_decay : float
        Of the averaged weights, which are kept; 0 for the weights themselves.
    """

    name: Literal["epoch"]
    epoch: PositiveInt = Field(description="which, from 1")
    ema_decay: float = Field(ge=0, lt=1)


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("must be odd")
    return number


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
    smoothing : float
        Probability that a trial is averaged over `smoothing_samples` samples of time, as NeuroBridge does.
    smoothing_samples : int
        Odd.
    """

    synthetic_share: NonNegativeFloat
    repetition_mix: float = Field(ge=0, le=1)
    channel_dropout: float = Field(ge=0, lt=1)
    time_shift_samples: NonNegativeInt
    noise: NonNegativeFloat
    smoothing: float = Field(ge=0, le=1)
    smoothing_samples: Annotated[PositiveInt, AfterValidator(_odd)]


class TrainParams(Params):
    """How the encoder is trained.

    Attributes
    ----------
    seed : int
        Of weights, order and augmentation.
    caption_kinds : list of str or "all"
        Caption kinds that get a projection head.
    channels : list of str, "all", "posterior" or "posterior17"
        Channels that are decoded; posterior are those whose 10-20 name begins with P, O or TP; posterior17 are
        the 17 that the field's leaders decode (`tasks.encoder.dataset.POSTERIOR17`).
    per_subject : bool
        Whether each subject has filters, means and scales of its own; if not, unknown subjects can be
        decoded too.
    precision : {"float32", "tf32", "bfloat16"}
        Of matrix products in training; validation and prediction are always in float32.
    compile : bool
        Whether the network goes through `torch.compile`, which takes a C++ compiler and a minute.
    batch_size : int
        Trials per step.
    keep_epochs : bool
        Whether the weights of every epoch are kept, for `percept benchmark` to show what selection on the test
        set would have been worth.
    architecture, target, objective, optimiser, schedule, selection, augmentation : Params
        See there.
    """

    seed: NonNegativeInt
    caption_kinds: list[str] | Literal["all"]
    channels: list[str] | Literal["all", "posterior", "posterior17"]
    per_subject: bool
    precision: Literal["float32", "tf32", "bfloat16"]
    compile: bool
    batch_size: int = Field(ge=2)
    keep_epochs: bool
    architecture: Architecture
    target: Annotated[TargetParams, AfterValidator(_something)]
    objective: Annotated[ObjectiveParams, AfterValidator(_vectors)]
    optimiser: OptimiserParams
    schedule: Annotated[CosineParams | ConstantParams, Field(discriminator="name")]
    selection: Annotated[BestParams | LastParams | EpochParams, Field(discriminator="name")]
    augmentation: AugmentationParams

    def architecture_as(self, kind: type[Chosen]) -> Chosen:
        """Return the params of the architecture, of the kind that this one must have.

        Raises
        ------
        TypeError
            If another architecture is named.
        """
        if not isinstance(self.architecture, kind):
            raise TypeError(f"{self.architecture.name} has no {kind.__name__}.")
        return self.architecture
