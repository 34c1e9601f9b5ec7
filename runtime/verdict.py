"""What a package's gate can say of a sample: one fixed sentence each, without a value, so that anyone may be told."""

from enum import StrEnum, unique


@unique
class Verdict(StrEnum):
    """Whether a sample is like those that the model was made for, and if not, the first reason found."""

    FITS = "fits"
    TOO_DARK = "too-dark"
    TOO_BRIGHT = "too-bright"
    TOO_FLAT = "too-flat"
    TOO_HARSH = "too-harsh"
    TOO_LITTLE_BLACK = "too-little-black"
    TOO_MUCH_BLACK = "too-much-black"
    TOO_LITTLE_WHITE = "too-little-white"
    TOO_MUCH_WHITE = "too-much-white"
    TOO_FINE = "too-fine"
    TOO_COARSE = "too-coarse"
    UNLIKE = "unlike"
    STRANGE = "strange"

    @property
    def fits(self) -> bool:
        """Whether the model's answer about the sample stands."""
        return self is Verdict.FITS

    @property
    def sentence(self) -> str:
        """The verdict in words, for a report."""
        if self.fits:
            return "like what the model was made for"
        return f"unlike what the model was made for: {_SENTENCES[self]}"


_SENTENCES = {
    Verdict.TOO_DARK: "it is darker",
    Verdict.TOO_BRIGHT: "it is brighter",
    Verdict.TOO_FLAT: "it has less contrast",
    Verdict.TOO_HARSH: "it has more contrast",
    Verdict.TOO_LITTLE_BLACK: "less of it is black",
    Verdict.TOO_MUCH_BLACK: "more of it is black",
    Verdict.TOO_LITTLE_WHITE: "less of it is white",
    Verdict.TOO_MUCH_WHITE: "more of it is white",
    Verdict.TOO_FINE: "it consists of fine detail, as noise does",
    Verdict.TOO_COARSE: "it lacks fine detail",
    Verdict.UNLIKE: "light and dark are elsewhere in it",
    Verdict.STRANGE: "the model sees something in it that it has not seen before",
}
