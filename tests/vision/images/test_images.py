"""Images as bytes and pixels, and what an edge does to them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from midhaul.errors import ConfigError, DataError
from midhaul.vision.images.image import (
    Preprocessing,
    decode,
    encode,
    prepare,
    size,
    transform,
    upright,
)
from midhaul.vision.images.limits import DecodingLimits


def picture(width: int = 64, height: int = 48) -> np.ndarray:
    """A smooth colour gradient with some texture."""
    y, x = np.mgrid[:height, :width]
    planes = [x * 255 // width, y * 255 // height, (x * y) % 256]
    return np.stack(planes, axis=2).astype(np.uint8)


def smooth() -> np.ndarray:
    """A picture that survives lossy codecs, and none of whose turns is alike."""
    return np.dstack([picture()[:, :, :2], np.full((48, 64), 90, np.uint8)])


def saved(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    """The pixels as a file."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, **options)
    return target.getvalue()


def opened(data: bytes) -> Image.Image:
    """The file as Pillow sees it."""
    return Image.open(io.BytesIO(data))


def turn(orientation: int) -> bytes:
    """EXIF with an orientation and nothing else."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


class Ticks:
    """A clock that goes on by one at each look."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        """The next tick."""
        self.now += 1
        return self.now


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_formats_decode_to_the_pixels_saved(kind: str) -> None:
    """What was saved without loss comes back."""
    assert np.array_equal(decode(saved(picture(), kind)), picture())


def test_other_modes_become_rgb() -> None:
    """Gray, palette, alpha, CMYK and 16 bit images have three channels of one byte."""
    gray = picture()[:, :, 0]
    assert np.array_equal(decode(saved(gray, "PNG")), np.stack([gray] * 3, axis=2))
    deep = saved(gray.astype(np.uint16) * 256, "PNG")
    assert np.array_equal(decode(deep), np.stack([gray] * 3, axis=2))
    for mode in ("P", "RGBA", "CMYK", "LA", "1"):
        target = io.BytesIO()
        Image.fromarray(picture()).convert(mode).save(target, "TIFF")
        assert decode(target.getvalue()).shape == (48, 64, 3)
    target = io.BytesIO()
    palette = Image.fromarray(picture()).convert("P")
    palette.save(target, "PNG", transparency=b"\x00\x80\xff")
    assert decode(target.getvalue()).shape == (48, 64, 3)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_decode_to_the_pixels_of_pillow(
    subsampling: str, *, progressive: bool
) -> None:
    """The shorter way to the same library gives the same pixels, bit for bit."""
    for pixels in (picture(), picture(63, 47), picture()[:, :, 0]):
        options = {} if pixels.ndim == 2 else {"subsampling": subsampling}
        data = saved(pixels, progressive=progressive, **options)
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(decode(data), np.asarray(image.convert("RGB")))


def test_a_jpeg_with_something_behind_it_is_an_image() -> None:
    """Cameras append their own; what Pillow reads is read."""
    data = saved(picture())
    assert np.array_equal(decode(data + b"some maker's notes"), decode(data))
    stray = data[:-2] + b"stray" + data[-2:]
    with Image.open(io.BytesIO(stray)) as image:
        assert np.array_equal(decode(stray), np.asarray(image))


def test_a_turned_image_that_passes_keeps_its_turn() -> None:
    """The forwarded bytes are the received ones, and their size is what is seen."""
    data = saved(picture(), exif=turn(6))
    prepared = prepare(data, Preprocessing())
    assert prepared.data is data
    assert (prepared.width, prepared.height) == (48, 64)
    assert prepared.see()[0].shape == (64, 48, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "steps",
    [
        Preprocessing(encode="jpeg:90"),
        Preprocessing(encode="webp:90"),
        Preprocessing(resize=0.5),
        Preprocessing(gray=True),
    ],
)
def test_a_turned_image_that_is_written_anew_is_turned_once(
    kind: str, steps: Preprocessing
) -> None:
    """What leaves an edge shows what came to it; the tag is gone with the turn."""
    for orientation in (3, 6, 8):
        tag = {0x0112: orientation}
        options = {"tiffinfo": tag} if kind == "TIFF" else {"exif": turn(orientation)}
        data = saved(smooth(), kind, **options)
        prepared = prepare(data, steps)
        assert (prepared.width, prepared.height) == size(data)
        assert opened(prepared.data).getexif().get(0x0112, 1) == 1
        wanted = transform(decode(data), steps).astype(int)
        assert np.abs(prepared.see()[0] - wanted).mean() < 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_upright_file_shows_the_same(kind: str) -> None:
    """Whoever ignores EXIF sees it like somebody who does not."""
    data = saved(smooth(), kind, exif=turn(8))
    found = upright(data)
    assert opened(found).format == kind
    assert opened(found).getexif().get(0x0112, 1) == 1
    seen = np.asarray(opened(found).convert("RGB")).astype(int)
    assert np.abs(seen - decode(data)).mean() < 12
    plain = saved(picture(), kind)
    assert upright(plain) is plain


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"hello, world", "12 bytes"),
        (saved(picture())[:-200], "cut off"),
        (saved(picture(), "PNG")[:-200], "cut off"),
        (saved(picture(), "WEBP")[:-200], "street.jpg"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "should be an image"),
    ],
)
def test_what_is_no_whole_image_is_named(data: bytes, words: str) -> None:
    """Empty, foreign and cut files end in one error that names the image."""
    with pytest.raises(DataError, match=r"street\.jpg") as error:
        decode(data, where="street.jpg")
    assert words in error.value.message


def test_every_cut_of_a_jpeg_is_refused() -> None:
    """No truncated JPEG passes, wherever it was cut."""
    data = saved(picture())
    for length in np.linspace(1, len(data) - 3, 12).astype(int):
        with pytest.raises(DataError):
            decode(data[:length])


def test_bombs_are_refused_before_they_are_decoded() -> None:
    """The header alone decides, whether the limit is ours or Pillow's."""
    data = saved(np.zeros((300, 400), np.uint8), "PNG")
    with pytest.raises(DataError, match="more than 1,000 px"):
        decode(data, limits=DecodingLimits(max_pixels=1000))
    header = bytearray(data)
    header[16:24] = (60_000).to_bytes(4, "big") * 2
    crc = __import__("zlib").crc32(bytes(header[12:29]))
    header[29:33] = crc.to_bytes(4, "big")
    with pytest.raises(DataError, match=r"(larger|more) than"):
        decode(bytes(header))


@pytest.mark.parametrize(
    "wrong",
    [
        {"resize": 0},
        {"resize": -1},
        {"resize": float("nan")},
        {"resize": 9},
        {"encode": "jpeg"},
        {"encode": "jpeg:0"},
        {"encode": "jpeg:101"},
        {"encode": "png:5"},
        {"encode": ""},
    ],
)
def test_wrong_preprocessing_is_refused(wrong: dict[str, float]) -> None:
    """A value out of its range is a mistake in the experiment file."""
    with pytest.raises(ConfigError):
        Preprocessing(**wrong)


def test_labels_say_the_steps_in_their_order() -> None:
    """Tables and charts show the preprocessing in words."""
    assert Preprocessing().label == "as received"
    assert Preprocessing(resize=0.5, encode="jpeg:75").label == "resize 50 %, JPEG 75"
    assert Preprocessing(gray=True, encode="webp:5").label == "gray, WebP 5"
    assert Preprocessing(resize=0.125).label == "resize 12.5 %"


def test_the_identity_forwards_the_received_bytes() -> None:
    """Nothing is decoded or written again when nothing is asked."""
    data = saved(picture())
    prepared = prepare(data, Preprocessing(), clock=Ticks())
    assert prepared.data is data
    assert (prepared.decode_ns, prepared.preprocess_ns, prepared.encode_ns) == (0, 0, 0)
    assert (prepared.width, prepared.height) == (64, 48)
    pixels, decode_ns = prepared.see(Ticks())
    assert np.array_equal(pixels, decode(data))
    assert decode_ns == 1


def test_each_step_is_timed_by_the_clock_given() -> None:
    """One tick for decoding, one for the change, one for writing."""
    prepared = prepare(saved(picture()), Preprocessing(resize=0.5), clock=Ticks())
    assert (prepared.decode_ns, prepared.preprocess_ns, prepared.encode_ns) == (1, 1, 1)


def test_a_detector_sees_the_image_after_the_codec() -> None:
    """What is seen is decoded from the bytes that are forwarded."""
    prepared = prepare(saved(picture(), "PNG"), Preprocessing(encode="jpeg:10"))
    pixels, _ = prepared.see()
    assert np.array_equal(pixels, decode(prepared.data))
    assert not np.array_equal(pixels, picture())


def test_gray_is_real() -> None:
    """A gray JPEG has one channel, three equal ones as pixels, and fewer bytes."""
    data = saved(picture(), quality=90)
    prepared = prepare(data, Preprocessing(gray=True))
    assert opened(prepared.data).mode == "L"
    pixels, _ = prepared.see()
    assert (pixels == pixels[:, :, :1]).all()
    assert len(prepared.data) < len(data)
    luma = picture() @ np.array([0.299, 0.587, 0.114])
    found = transform(picture(), Preprocessing(gray=True))[:, :, 0]
    assert np.abs(found - luma).max() <= 1


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
def test_keep_writes_with_the_received_tables(
    subsampling: str,
    progressive: bool,  # noqa: FBT001
) -> None:
    """A resized JPEG keeps quantisation, subsampling and scan order of the received."""
    data = saved(
        picture(), quality=37, subsampling=subsampling, progressive=progressive
    )
    prepared = prepare(data, Preprocessing(resize=0.5))
    before, after = opened(data), opened(prepared.data)
    assert after.quantization == before.quantization
    assert [one[1:3] for one in after.layer] == [one[1:3] for one in before.layer]
    assert bool(after.info.get("progressive")) == progressive
    assert after.size == (32, 24)


def test_keep_keeps_other_formats() -> None:
    """PNG stays PNG, gray stays gray, lossless WebP stays lossless."""
    half = Preprocessing(resize=0.5)
    assert opened(prepare(saved(picture(), "PNG"), half).data).format == "PNG"
    assert opened(prepare(saved(picture(), "BMP"), half).data).format == "PNG"
    gray = saved(picture()[:, :, 0])
    assert opened(prepare(gray, half).data).mode == "L"
    webp = saved(picture(), "WEBP", lossless=True)
    gray_webp = prepare(webp, Preprocessing(gray=True))
    wanted = transform(picture(), Preprocessing(gray=True))
    assert np.array_equal(decode(gray_webp.data), wanted)
    assert opened(prepare(saved(picture(), "WEBP"), half).data).format == "WEBP"


def test_cmyk_is_kept_as_rgb() -> None:
    """A four-channel JPEG can be resized as well."""
    target = io.BytesIO()
    Image.fromarray(picture()).convert("CMYK").save(target, "JPEG")
    prepared = prepare(target.getvalue(), Preprocessing(resize=0.5))
    assert opened(prepared.data).mode == "RGB"


def test_codecs_are_written_at_their_quality() -> None:
    """Less quality, fewer bytes; the tables are those of the quality asked."""
    data = saved(picture(320, 240), "PNG")
    for codec in ("jpeg", "webp"):
        bytes_by_quality = [
            len(prepare(data, Preprocessing(encode=f"{codec}:{quality}")).data)
            for quality in (10, 50, 90)
        ]
        assert bytes_by_quality == sorted(bytes_by_quality)
    prepared = prepare(data, Preprocessing(encode="jpeg:75"))
    wanted = opened(saved(picture(), quality=75)).quantization
    assert opened(prepared.data).quantization == wanted


def test_an_image_too_large_for_its_codec_is_named() -> None:
    """WebP ends at 16,383 px."""
    pixels = np.zeros((1, 17_000, 3), np.uint8)
    with pytest.raises(DataError, match="17000x1 px"):
        encode(pixels, Preprocessing(encode="webp:50"), source=b"")


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    resize=st.sampled_from([0.01, 0.25, 0.5, 0.75, 1.0, 1.5]),
    gray=st.booleans(),
    encoding=st.sampled_from(["keep", "jpeg:50", "webp:50"]),
)
def test_scales_say_where_the_pixels_went(
    width: int,
    height: int,
    resize: float,
    gray: bool,  # noqa: FBT001
    encoding: str,
) -> None:
    """Prepared size = received size times scale, at least one pixel, for every size."""
    steps = Preprocessing(gray=gray, resize=resize, encode=encoding)
    data = saved(picture(width, height))
    prepared = prepare(data, steps)
    pixels, _ = prepared.see()
    assert pixels.shape[1] == round(width * prepared.scale_x) >= 1
    assert pixels.shape[0] == round(height * prepared.scale_y) >= 1
    assert pixels.shape[1] == max(1, round(width * resize))
    assert (prepared.width, prepared.height) == (width, height)
