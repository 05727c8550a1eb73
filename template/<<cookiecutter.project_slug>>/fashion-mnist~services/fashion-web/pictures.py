"""Make any picture one like those of Fashion-MNIST: 28 x 28 grey pixels, bright on black."""

import io
import statistics

from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

SIZE = 28
MOST_PIXELS = 25_000_000  # a phone's photo has 12 million
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
NOISE = 12  # what differs less from the background belongs to it


class PictureError(Exception):
    """A picture that cannot be used: what is wrong, for people, and the status of the answer."""

    def __init__(self, message, status):
        super().__init__(message)
        self.message = message
        self.status = status


def prepare(content):
    """Return the picture in `content`, the bytes of a file, as an image of SIZE x SIZE.

    One that has this size already is not cut out and centred again.
    """
    picture = on_black(read(content))
    box = picture.point(lambda value: 255 * (value > NOISE)).getbbox()
    if box is None:
        raise PictureError("There is nothing in the picture: it has one colour only.", 422)
    if picture.size == (SIZE, SIZE):
        return picture
    picture = ImageOps.contain(picture.crop(box), (SIZE, SIZE), Image.Resampling.LANCZOS)
    image = Image.new("L", (SIZE, SIZE))
    image.paste(picture, ((SIZE - picture.width) // 2, (SIZE - picture.height) // 2))
    return image


def read(content):
    """Return the picture in grey, the right way up, on white where it is transparent."""
    try:
        picture = Image.open(io.BytesIO(content), formats=FORMATS)
        # The size is known before anything is unpacked: a small file can hold a huge picture.
        if picture.width * picture.height > MOST_PIXELS:
            limit = f"{MOST_PIXELS // 1_000_000} million"
            raise PictureError(f"The picture has more than {limit} pixels. Make it smaller.", 413)
        picture.thumbnail((16 * SIZE, 16 * SIZE))
        if picture.mode == "I;16":  # values to 65,535, which Pillow would cut off at 255
            picture = picture.point(lambda value: value / 256).convert("L")
        picture = ImageOps.exif_transpose(picture).convert("RGBA")
    except Image.DecompressionBombError:
        raise PictureError("The picture has far too many pixels. Make it smaller.", 413) from None
    except UnidentifiedImageError:
        message = f"This is not a picture of a kind known here: {', '.join(FORMATS)}."
        raise PictureError(message, 415) from None
    except (OSError, SyntaxError, ValueError):  # whatever Pillow's decoders raise
        raise PictureError("The picture is damaged: it cannot be read to its end.", 415) from None
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("L")


def on_black(picture):
    """Make the background black, inverting the picture if it is light. The border tells which."""
    background = int(statistics.median(border(picture)))
    if background > 127:
        picture, background = ImageOps.invert(picture), 255 - background
    return ImageChops.subtract(picture, Image.new("L", picture.size, background))


def border(picture):
    """Return the values of the outermost pixels."""
    right, bottom = picture.size
    top_and_bottom = ((0, 0, right, 1), (0, bottom - 1, right, bottom))
    left_and_right = ((0, 0, 1, bottom), (right - 1, 0, right, bottom))
    boxes = top_and_bottom + left_and_right
    return [value for box in boxes for value in picture.crop(box).tobytes()]


def moved(image):
    """Return the image, then its eight copies moved by one pixel; what comes in is black."""
    steps = [(0, 0), *((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0))]
    copies = []
    for step in steps:
        copy = Image.new("L", image.size)
        copy.paste(image, step)
        copies.append(copy)
    return copies


def instance(image):
    """Return the image as the endpoint takes it: a list of numbers, row by row."""
    return list(image.tobytes())
