"""Image files are read upright, in 8 bits, whatever their mode."""

import numpy as np
import pytest
from PIL import Image

from hmlc_core.data.images import read_image


@pytest.mark.parametrize("mode", ["L", "I;16", "I", "RGB", "CMYK", "P", "RGBA", "LA", "1"])
def test_a_picture_is_the_same_in_every_mode(mode, tmp_path):
    grey = np.where(np.arange(64).reshape(8, 8) % 8 < 4, 0, 255).astype(np.uint8)
    whole = (
        Image.fromarray(grey.astype(np.int32) * 257).convert("I")
        if mode[0] == "I"
        else Image.fromarray(grey).convert("RGB").convert(mode)
    )
    if mode == "I;16":
        whole = Image.fromarray(grey.astype(np.uint16) * 257)
    path = tmp_path / ("x.tiff" if mode in ("I", "CMYK") else "x.png")
    whole.save(path)
    assert np.abs(read_image(path).astype(int) - grey[..., None]).max() <= 2


def test_8_bits_in_a_file_of_16_are_named_and_black_is_black(tmp_path):
    for values in (np.arange(16), np.zeros(16)):
        Image.fromarray(values.astype(np.uint16).reshape(4, 4)).save(
            tmp_path / f"{values[1]:g}.png"
        )
    with pytest.raises(ValueError, match="values 0 to 15 in mode I;16: save it with 8 or 16 bits"):
        read_image(tmp_path / "1.png")
    assert not read_image(tmp_path / "0.png").any()


@pytest.mark.parametrize("bits", [10, 12])
def test_fewer_bits_in_a_file_of_16_are_named(bits, tmp_path):
    values = np.linspace(0, 2**bits - 1, 16).astype(np.uint16).reshape(4, 4)
    Image.fromarray(values).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=f"values 0 to {2**bits - 1} .*over their whole range"):
        read_image(tmp_path / "x.png")


def test_grey_steps_of_16_bits_stay_apart(tmp_path):
    Image.fromarray(np.array([[0, 257, 30000, 65535]], np.uint16)).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[0, :, 0].tolist() == [0, 1, 116, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_becomes_white(mode, tmp_path):
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 0))  # a black drawing on nothing
    picture.paste((0, 0, 0, 255), (0, 0, 2, 4))
    picture.convert(mode).save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png")[0, :, 0].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize(
    "values",
    [
        np.full((3, 3), 0.5, np.float32),
        np.full((3, 3), 70_000, np.int32),
        np.full((3, 3), -1, np.int32),
        np.full((3, 3), 200, np.int32),
        np.full((3, 3), 4000, np.int32),
    ],
)
def test_values_of_no_known_range_are_refused(values, tmp_path):
    Image.fromarray(values).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match="save it with 8 or 16 bits"):
        read_image(tmp_path / "x.tiff")
