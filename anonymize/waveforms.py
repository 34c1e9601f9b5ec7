"""How many bytes of Waveform Data (5400,1010) are samples: those of all channels (PS3.3 C.10.9). What is behind them is
no waveform and never stays.
"""

from typing import Final

SAMPLES: Final = frozenset({0x54000110, 0x54000112, 0x5400100A})
"""Channel Minimum and Maximum Value and Waveform Padding Value: one sample each."""
LONGEST_SAMPLE: Final = 8  # bytes (PS3.3 C.10.9, Waveform Bits Allocated)
WAVEFORM_DATA: Final = 0x54001010
_CHANNELS: Final = 0x003A0005  # US
_SAMPLES: Final = 0x003A0010  # UL
_BITS_ALLOCATED: Final = 0x54001004  # US
WAVEFORM_TAGS: Final = frozenset({_CHANNELS, _SAMPLES, _BITS_ALLOCATED})
"""What an item of Waveform Sequence says of its shape."""


class WaveformShape:
    """The shape of one multiplex group, as far as it was read."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def note(self, tag: int, value: bytes, order: str) -> None:
        """Note the value of one of `WAVEFORM_TAGS`; `order` is "<" or ">"."""
        self._numbers[tag] = int.from_bytes(value, "little" if order == "<" else "big")

    def samples_of(self, value: bytes) -> bytes | None:
        """The samples in the value of Waveform Data; None where there are fewer than there should be."""
        channels, samples, bits = (self._numbers.get(tag, 0) for tag in (_CHANNELS, _SAMPLES, _BITS_ALLOCATED))
        length = channels * samples * bits // 8
        return value[:length] if 0 < length <= len(value) else None
