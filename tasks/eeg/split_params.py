"""What each split strategy is told."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.runtime.errors import PerceptError
from tasks.runtime.params import Params

Fraction = Annotated[float, Field(ge=0, lt=1)]


class SplitError(PerceptError):
    """A study cannot be split as the params say."""


class ImageSplit(Params):
    """Params of `split_by_image`."""

    strategy: Literal["image"]
    seed: int
    zero_shot_fraction: Fraction  # of the concepts
    test_fraction: Fraction  # of the stimuli of each other concept
    validation_fraction: Fraction  # of the stimuli of each other concept

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Self:
        if self.test_fraction + self.validation_fraction >= 1:
            raise ValueError("test_fraction and validation_fraction must add up to less than 1")
        return self


class ConceptSplit(Params):
    """Params of `split_by_concept`."""

    strategy: Literal["concept"]
    seed: int
    zero_shot_fraction: Fraction = Field(description="of the concepts")
    validation_fraction: Fraction = Field(description="of the concepts")

    @model_validator(mode="after")
    def _leave_something_to_train_on(self) -> Self:
        if self.zero_shot_fraction + self.validation_fraction >= 1:
            raise ValueError(
                "zero_shot_fraction and validation_fraction must add up to less than 1"
            )
        return self


class OfficialSplit(Params):
    """Params of `split_as_published`."""

    strategy: Literal["official"]
    seed: int
    validation_fraction: Fraction  # of the training stimuli, where no validation part is published
    test_subject: str | None = Field(
        default=None,
        description="who is left out as well, for instance sub-08; null or absent: nobody",
    )


class SubjectSplit(Params):
    """Params of `split_by_subject`."""

    strategy: Literal["subject"]
    seed: int
    test_subject: str = Field(description="who is left out, for instance sub-01")
    validation_fraction: Fraction = Field(description="of the stimuli, for the other subjects")


class TimeChunkSplit(Params):
    """Params of `split_by_time`."""

    strategy: Literal["time_chunk"]
    n_chunks: Annotated[int, Field(ge=3)]
    test_chunk: Annotated[int, Field(ge=0)]  # 0 is the first of each recording
    validation_chunk: Annotated[int, Field(ge=0)]
    guard_s: Annotated[float, Field(ge=0)]  # left out on both sides of a border between parts

    @model_validator(mode="after")
    def _name_two_chunks(self) -> Self:
        if max(self.test_chunk, self.validation_chunk) >= self.n_chunks:
            raise ValueError("test_chunk and validation_chunk must be less than n_chunks")
        if self.test_chunk == self.validation_chunk:
            raise ValueError("test_chunk and validation_chunk must differ")
        return self


SplitParams = Annotated[
    ImageSplit | ConceptSplit | OfficialSplit | SubjectSplit | TimeChunkSplit,
    Field(discriminator="strategy"),
]
