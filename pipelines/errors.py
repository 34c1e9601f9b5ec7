"""The errors of `pipelines`; the package's docstring draws the tree. A reason is a fixed sentence without data."""


class PipelineError(Exception):
    """Base of all errors of this package."""


class UnsuitableImage(PipelineError):
    """The image is sound but must not be analysed: another kind of image, or attributes that contradict each other."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UndecodablePixels(PipelineError):
    """The file or its pixel data cannot be read as what its attributes say."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class InvalidOutput(PipelineError):
    """The model's output is missing for an instance, or is not what its package says. Nothing is concluded."""
