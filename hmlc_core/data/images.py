"""Image files to arrays, upright and in 8 bits."""

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 10**8  # of one image file


def read_image(path, size=None):
    """An image file, upright, as uint8 [H, W, 3].

    With `size` [size, size, 3]: the short side is brought to it, then the centre is cut out.
    Of several pages the first is read; 16-bit grey values are divided by 257; what is transparent
    becomes white.

    Raises:
        ValueError: unreadable, truncated, more than MAX_PIXELS pixels, or values of no known range
            (32 bits, floating point).
    """
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise ValueError(
                    f"{opened.width} x {opened.height} pixels, more than the limit of {MAX_PIXELS}"
                )
            if size:
                opened.draft("RGB", (size, size))  # a JPEG decodes faster near the size wanted
            image = _to_rgb(ImageOps.exif_transpose(opened))
    except Exception as error:  # Pillow's decoders each have their own
        raise ValueError(f"cannot read image {path} ({error}): repair or remove it") from error
    return np.asarray(image if size is None else ImageOps.fit(image, (size, size)))


def _to_rgb(image):
    """Pillow alone makes 16-bit pictures white and shows what lies under transparent pixels."""
    if image.mode[0] in "IF":
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _to_8_bits(image):
    values = np.asarray(image)
    small, large = values.min(), values.max()
    in_doubt = 0 < large < 4096  # 8, 10 or 12 bits stored as 16 or 32? They would be black
    if image.mode == "F" or small < 0 or large > 65535 or in_doubt:
        raise ValueError(
            f"values {small:g} to {large:g} in mode {image.mode}: save it with 8 or 16 bits, over "
            "their whole range"
        )
    return Image.fromarray((values // 257).astype(np.uint8))
