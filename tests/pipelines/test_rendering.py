import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, JPEG2000Lossless, RLELossless

from pipelines.errors import UndecodablePixels, UnsuitableImage
from pipelines.image import render
from tests.pipelines.images import dx, instance, lut

RAMP = np.arange(64, dtype=np.uint16).reshape(8, 8)


def rendered(pixels: np.ndarray, **attributes) -> np.ndarray:
    return render(instance(dx(pixels, **attributes)))


def test_a_linear_window_is_that_of_the_standard_at_its_edges():
    # PS3.3 C.11.2.1.2.1, its own example: centre 2048, width 4096 maps 0 to the lowest and 4095 to the highest.
    pixels = np.array([[0, 1, 2047, 2048, 4094, 4095, 5000]], dtype=np.uint16)
    grey = rendered(pixels, WindowCenter=2048, WindowWidth=4096)
    assert grey[0] == pytest.approx([0, 1 / 4095, 2047 / 4095, 2048 / 4095, 4094 / 4095, 1, 1])


def test_a_window_of_width_one_is_a_step():
    grey = rendered(np.array([[99, 100, 101]], dtype=np.uint16), WindowCenter=100.5, WindowWidth=1)
    assert grey.tolist() == [[0, 0, 1]]


def test_linear_exact_and_sigmoid_are_computed_as_written():
    pixels = np.array([[0, 50, 100, 150, 200]], dtype=np.uint16)
    exact = rendered(pixels, WindowCenter=100, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")
    assert exact.tolist() == [[0, 0, 0.5, 1, 1]]
    sigmoid = rendered(pixels, WindowCenter=100, WindowWidth=100, VOILUTFunction="SIGMOID")
    assert sigmoid[0] == pytest.approx([1 / (1 + np.exp(-4 * (x - 100) / 100)) for x in pixels[0].tolist()])


@settings(max_examples=60, deadline=None)
@given(
    signed=st.booleans(),
    slope=st.sampled_from([None, 1.0, 0.5, 2.0, -1.0]),
    intercept=st.sampled_from([-1024.0, 0.0, 10.5]),
    centre=st.floats(-500, 2500).map(lambda x: round(x, 1)),
    width=st.integers(2, 5000),
    function=st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_rescale_and_window_agree_with_pydicom(signed, slope, intercept, centre, width, function):
    pixels = np.linspace(-2048 if signed else 0, 2047 if signed else 4095, 64).astype(np.int16 if signed else np.uint16)
    rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept} if slope else {}
    image = dx(
        pixels.reshape(8, 8), BitsStored=12, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function, **rescale
    )
    reference = apply_voi_lut(apply_modality_lut(pixels.reshape(8, 8), image), image)
    ends = sorted(end * (slope or 1) + (intercept if slope else 0) for end in ((-2048, 2047) if signed else (0, 4095)))
    expected = (reference - ends[0]) / (ends[1] - ends[0])
    if slope and slope < 0:
        expected = 1 - expected  # pydicom gives the window's low end the rescaled low stored value, here the highest
    assert render(instance(image)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("first", "bits"), [(0, 12), (10, 16), (-5, 8), (60, 10)])
def test_luts_agree_with_pydicom(first, bits):
    values = np.random.default_rng(bits).integers(0, 1 << bits, 40).tolist()
    pixels = np.arange(-32, 32, dtype=np.int16).reshape(8, 8)
    voi = dx(pixels, VOILUTSequence=lut(first, values, bits))
    assert render(instance(voi)) == pytest.approx(apply_voi_lut(pixels, voi) / ((1 << bits) - 1))
    if bits in (8, 16):  # pydicom's Modality LUT takes these only
        both = dx(pixels, ModalityLUTSequence=lut(first, values, bits), WindowCenter=100, WindowWidth=200)
        expected = apply_voi_lut(apply_modality_lut(pixels, both), both) / ((1 << bits) - 1)
        assert render(instance(both)) == pytest.approx(expected, abs=1e-6)


def test_a_voi_lut_is_preferred_to_a_window_and_the_first_window_to_others():
    values = list(range(63, -1, -1))
    grey = rendered(RAMP, VOILUTSequence=lut(0, values, 8), WindowCenter=32, WindowWidth=64)
    assert grey == pytest.approx((63 - RAMP) / 255)
    assert rendered(RAMP, WindowCenter=[32, 0], WindowWidth=[64, 10]) == pytest.approx(RAMP / 63)


def test_eight_bit_lut_data_packed_into_words_is_read():
    sequence = lut(0, [0] * 64, 8)
    sequence[0]["LUTData"].VR = "OW"
    sequence[0].LUTData = bytes(range(64))
    assert rendered(RAMP, VOILUTSequence=sequence) == pytest.approx(RAMP / 255)


def test_without_a_window_the_range_is_used_and_a_few_extremes_do_not_dim_the_rest():
    pixels = np.tile(np.arange(1000, 2000, dtype=np.uint16), (100, 1))
    pixels[0, :3] = 60000
    grey = rendered(pixels)
    assert grey.min() == 0
    assert grey.max() == 1
    assert grey[50, 500] == pytest.approx(0.5, abs=0.01)


def test_a_window_that_the_standard_forbids_is_not_used():
    assert rendered(RAMP, WindowCenter=10, WindowWidth=0) == pytest.approx(rendered(RAMP))


def test_monochrome1_is_inverted_once_with_or_without_its_presentation_lut_shape():
    window = {"WindowCenter": 32, "WindowWidth": 64}
    plain = rendered(RAMP, **window)
    assert rendered(RAMP, PhotometricInterpretation="MONOCHROME1", **window) == pytest.approx(1 - plain)
    shaped = rendered(RAMP, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **window)
    assert shaped == pytest.approx(1 - plain)


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")])
def test_a_presentation_lut_shape_that_contradicts_is_refused(photometric, shape):
    with pytest.raises(UnsuitableImage, match="contradicts"):
        rendered(RAMP, PhotometricInterpretation=photometric, PresentationLUTShape=shape)


def test_bits_beside_the_stored_ones_are_ignored():
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    pixels = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
    with_overlay = pixels | 0xA000
    assert rendered(with_overlay, BitsStored=12, **window) == pytest.approx(rendered(pixels, BitsStored=12, **window))
    run_length = dx(with_overlay, BitsStored=12, **window)
    run_length.compress(RLELossless)
    assert render(instance(run_length)) == pytest.approx(pixels / 4095)


def test_signed_values_are_signed_whether_or_not_the_cell_extends_the_sign():
    values = np.array([[-2048, -1, 0, 2047]], dtype=np.int16)
    window = {"BitsStored": 12, "WindowCenter": 0, "WindowWidth": 4096}
    assert rendered(values, **window) == pytest.approx(rendered(values & 0x0FFF, **window))
    assert rendered(values, **window)[0] == pytest.approx([0, 2047 / 4095, 2048 / 4095, 1])


def test_padding_is_black_and_takes_no_part_in_the_range():
    pixels = np.tile(np.arange(1000, 1064, dtype=np.uint16), (64, 1))
    pixels[:, :8] = 65535
    grey = rendered(pixels, PixelPaddingValue=65535, PhotometricInterpretation="MONOCHROME1")
    assert (grey[:, :8] == 0).all()
    assert grey[:, 8] == pytest.approx(1)
    assert grey[:, 63] == pytest.approx(0)
    ranged = rendered(pixels, PixelPaddingValue=65000, PixelPaddingRangeLimit=65535)
    assert (ranged[:, :8] == 0).all()


def test_pixels_that_are_not_square_are_made_square():
    pixels = np.arange(100, dtype=np.uint16).reshape(10, 10)
    assert rendered(pixels, ImagerPixelSpacing=[0.3, 0.2]).shape == (15, 10)
    assert rendered(pixels, PixelAspectRatio=[1, 2]).shape == (10, 20)
    assert rendered(pixels, PixelSpacing=[0.2, 0.2], PixelAspectRatio=[1, 2]).shape == (10, 10)
    with pytest.raises(UnsuitableImage, match="twice"):
        rendered(pixels, PixelSpacing=[1, 3])


@pytest.mark.parametrize(
    "attributes",
    [
        {"PhotometricInterpretation": "RGB"},
        {"SamplesPerPixel": 3},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"VOILUTFunction": "CUBIC", "WindowCenter": 1, "WindowWidth": 2},
        {"RescaleSlope": 0, "RescaleIntercept": 0},
        {"HighBit": 3},
        {"Rows": 0},
        {"Rows": 65535, "Columns": 65535},
        {"VOILUTSequence": lut(0, [1, 2, 3], 9)},
    ],
)
def test_what_must_not_be_used_is_refused(attributes):
    with pytest.raises(UnsuitableImage):
        rendered(RAMP, **attributes)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PixelData": b"\0" * 10},
        {"PixelData": None},
        {"Rows": 9},
        {"BitsAllocated": 12},
        {"BitsStored": None},
        {"PixelRepresentation": None},
        {"VOILUTSequence": lut(0, [999], 8)},
        {"RescaleSlope": "1e999", "RescaleIntercept": "0", "WindowCenter": "1", "WindowWidth": "2"},
    ],
)
def test_what_cannot_be_read_is_refused(attributes):
    with pytest.raises((UndecodablePixels, UnsuitableImage)):
        rendered(RAMP, **attributes)


def test_frames_that_are_not_there_are_refused():
    with pytest.raises(UnsuitableImage, match="frame"):
        render(instance(dx(RAMP)), frame=1)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_a_picture_or_a_reason(data):
    whole = instance(dx(RAMP, VOILUTSequence=lut(0, [1, 2, 3], 8), PixelPaddingValue=3))
    damaged = bytearray(whole.file)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    changed = type(whole)(whole.sop_class_uid, "2.25.1", "2.25.2", "2.25.3", whole.transfer_syntax_uid, bytes(damaged))
    try:
        grey = render(changed)
    except (UndecodablePixels, UnsuitableImage):
        return
    assert grey.dtype == np.float32
    assert np.isfinite(grey).all()
    assert grey.min() >= 0
    assert grey.max() <= 1


def test_a_refusal_survives_the_way_back_from_a_worker_process():
    for error in (UndecodablePixels("why"), UnsuitableImage("why")):
        assert pickle.loads(pickle.dumps(error)).reason == "why"


def test_every_way_of_storing_the_same_pixels_renders_the_same():
    window = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    pixels = np.random.default_rng(1).integers(0, 4096, (32, 32), dtype=np.uint16)
    expected = rendered(pixels, **window)
    for syntax in (RLELossless, JPEG2000Lossless):
        image = dx(pixels, **window)
        if syntax == RLELossless:
            image.compress(RLELossless)
        else:
            image.PixelData = encapsulate([_jpeg2000(pixels)])
            image["PixelData"].VR = "OB"
            image.file_meta.TransferSyntaxUID = JPEG2000Lossless
        assert render(instance(image)) == pytest.approx(expected)
    big = dx(pixels, **window)
    big.PixelData = pixels.astype(">u2").tobytes()
    big["PixelData"].VR = "OW"
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert render(instance(big)) == pytest.approx(expected)


def _jpeg2000(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, format="JPEG2000", irreversible=False, no_jp2=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "JPEG2000.dcm",
        "J2K_pixelrep_mismatch.dcm",
        "CT_small.dcm",
    ],
)
def test_files_of_other_makers_render(name):
    path = get_testdata_file(name, download=False)
    assert path is not None, "pydicom carries these files itself"
    whole = Path(path).read_bytes()
    grey = render(type(instance(dx(RAMP)))("1.2", "2.25.1", "2.25.2", "2.25.3", "1.2", (whole,)))
    assert grey.std() > 0.01
