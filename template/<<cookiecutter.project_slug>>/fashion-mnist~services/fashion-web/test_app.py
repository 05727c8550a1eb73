"""The page with a made-up model behind it: no endpoint and no network."""

import importlib
import io
import re
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from starlette.testclient import TestClient

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def path():
    """Let the service's modules find each other, as uvicorn does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        yield
        for name in ("pages", "pictures", "probabilities", "calibrate"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def pictures(path):
    return importlib.import_module("pictures")


@pytest.fixture(scope="module")
def pages(path):
    return importlib.import_module("pages")


class Model:
    """A model that remembers what it was asked, and answers with fixed class numbers."""

    def __init__(self, answers=(9, 9, 9, 7, 9, 9, 9, 9, 9)):
        self.answers = list(answers)
        self.asked = None

    def __call__(self, instances):
        self.asked = instances
        return self.answers


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def client(pages, model):
    return TestClient(pages.create_app(model))


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def drawing(mode="L", background=255, ink=0):
    """A wide bar away from the middle, as if drawn by hand."""
    image = Image.new(mode, (280, 280), background)
    ImageDraw.Draw(image).rectangle((20, 150, 219, 249), fill=ink)
    return image


def upload(client, content, **options):
    return client.post("/", files={"picture": ("picture", content)}, **options)


def test_the_page_asks_for_a_picture_and_takes_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.status_code == 200
    assert '<label for="picture">' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    for name in ("style.css", "draw.js"):
        assert f"/static/{name}" in page.text
        assert client.get(f"/static/{name}").status_code == 200


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "WEBP"])
def test_a_picture_of_each_kind_is_answered(client, kind):
    page = upload(client, file_of(drawing(), kind))
    assert page.status_code == 200
    assert "<title>Ankle boot - " in page.text
    assert percentages(page.text) == {"Ankle boot": 94, "Sneaker": 1, "All others": 5}
    assert "data:image/png;base64," in page.text


def percentages(text):
    """What the page says of each class."""
    found = re.findall(r'<th scope="row">([^<]+)</th>\s*<td>(\d+) %</td>', text)
    return {name: int(percent) for name, percent in found}


def test_the_most_probable_class_is_the_one_that_is_named(pages):
    client = TestClient(pages.create_app(Model([6, 0, 0, 0, 0, 0, 0, 0, 0])))
    page = upload(client, file_of(drawing()))
    assert "<title>T-shirt/top - " in page.text
    assert percentages(page.text) == {"T-shirt/top": 76, "Shirt": 10, "All others": 14}


@pytest.mark.parametrize("answers", [[9] * 9, [9, 9, 9, 9, 9, 7, 7, 5, 5], list(range(9))])
def test_probabilities_are_as_many_as_classes_and_one_in_all(path, answers):
    module = importlib.import_module("probabilities")
    found = module.probabilities(answers, 10, module.read_weights())
    assert len(found) == 10
    assert sum(found) == pytest.approx(1)
    assert max(found) == found[answers[0]]
    assert min(found) > 0


def test_weights_are_found_again_from_answers_that_were_drawn_by_them(path):
    np = pytest.importorskip("numpy")
    pytest.importorskip("scipy")
    calibrate = importlib.import_module("calibrate")
    noise = np.random.default_rng(0)
    found = noise.integers(0, 3, (20_000, 9))
    chances = calibrate.probabilities(found, 10, (1.2, 0.4))
    labels = np.array([noise.choice(10, p=row) for row in chances])
    assert calibrate.fit(found, labels, 10) == pytest.approx([1.2, 0.4], abs=0.05)
    rows = list(calibrate.table(found, labels, 10, (1.2, 0.4)))
    assert sum(part for _, _, part, _ in rows) == pytest.approx(1)
    for low, high, part, right in rows:
        assert part < 0.05 or low / 100 - 0.05 < right < high / 100 + 0.05


def test_the_model_is_asked_for_the_picture_and_eight_moved_copies(client, model):
    upload(client, file_of(drawing()))
    assert len(model.asked) == 9
    assert {len(instance) for instance in model.asked} == {784}
    assert len({tuple(instance) for instance in model.asked}) > 1
    assert all(0 <= value <= 255 for value in model.asked[0])


@pytest.mark.parametrize(
    "image",
    [
        drawing(),
        drawing(background=0, ink=255),
        drawing("RGB", "white", "black"),
        drawing("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)),
        drawing("1"),
    ],
    ids=["dark on light", "light on dark", "coloured", "transparent", "black and white"],
)
def test_any_picture_becomes_bright_on_black_cut_out_and_centred(pictures, image):
    prepared = pictures.prepare(file_of(image))
    assert prepared.size == (28, 28)
    assert prepared.getbbox() == (0, 7, 28, 21)
    assert min(prepared.crop((0, 7, 28, 21)).tobytes()) > 240


def test_16_bits_of_grey_become_8(pictures):
    image = Image.frombytes("I;16", (2, 1), b"\x00\x80\xff\xff")
    assert list(pictures.read(file_of(image)).tobytes()) == [128, 255]


def test_a_photo_that_lies_on_its_side_is_turned(pictures):
    turned = Image.Exif()
    turned[0x0112] = 6
    box = pictures.prepare(file_of(drawing(), "JPEG", quality=95, exif=turned.tobytes())).getbbox()
    assert box[2] - box[0] < box[3] - box[1]


def test_an_image_of_the_data_set_stays_as_it_is(pictures):
    image = Image.new("L", (28, 28))
    for x in range(28):
        for y in range(6, 22):
            image.putpixel((x, y), 40 + 5 * x + 2 * y)
    assert pictures.prepare(file_of(image)).tobytes() == image.tobytes()


def test_copies_are_moved_by_one_pixel(pictures):
    image = Image.new("L", (28, 28))
    image.putpixel((5, 5), 255)
    boxes = [copy.getbbox()[:2] for copy in pictures.moved(image)]
    assert boxes[0] == (5, 5)
    assert sorted(boxes) == [(x, y) for x in (4, 5, 6) for y in (4, 5, 6)]


def refused(answer, status, words):
    """The answer is the page, with the reason in a place that screen readers announce."""
    assert answer.status_code == status
    assert words in answer.text
    assert 'role="alert"' in answer.text
    assert '<label for="picture">' in answer.text


@pytest.mark.parametrize("content", [b"hello", b"%PDF-1.7 ...", b"<svg/>", b"\0" * 1000])
def test_what_is_no_picture_is_refused(client, content):
    refused(upload(client, content), 415, "not a picture of a kind known here")


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "WEBP"])
def test_a_damaged_picture_is_refused(client, kind):
    noise = Image.effect_noise((100, 100), 90)
    content = file_of(noise, kind)
    refused(upload(client, content[: len(content) // 2]), 415, "picture")


def test_an_empty_file_is_refused(client):
    refused(upload(client, b""), 400, "the file is empty")


def test_a_form_without_a_picture_is_refused(client):
    refused(client.post("/", data={"picture": "text"}), 400, "not an uploaded picture")
    refused(client.post("/", files={"other": b"x"}), 400, "not an uploaded picture")
    refused(client.post("/", content=b"x"), 400, "not an uploaded picture")
    broken = {"content-type": "multipart/form-data; boundary=a"}
    refused(client.post("/", content=b"nonsense", headers=broken), 400, "not an uploaded picture")


def test_several_files_are_refused(client):
    files = [("picture", file_of(drawing())), ("picture", file_of(drawing()))]
    refused(client.post("/", files=files), 400, "not an uploaded picture")


def test_50_mb_are_refused(client, model):
    refused(upload(client, bytes(50_000_000)), 413, "larger than 10 MB")
    assert model.asked is None


def test_an_upload_without_a_length_is_counted_while_it_is_read(client, pages, monkeypatch):
    monkeypatch.setattr(pages, "LARGEST_UPLOAD", 100_000)
    head = b'--a\r\nContent-Disposition: form-data; name="picture"; filename="x"\r\n\r\n'
    chunks = iter([head, *[bytes(50_000)] * 5, b"\r\n--a--\r\n"])
    answer = client.post(
        "/", content=chunks, headers={"content-type": "multipart/form-data; boundary=a"}
    )
    refused(answer, 413, "larger than")


def test_a_small_file_with_a_huge_picture_is_refused_before_it_is_unpacked(client):
    content = bytearray(file_of(Image.new("L", (1, 1))))
    content[16:24] = (30_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    refused(upload(client, bytes(content)), 413, "too many pixels")
    refused(upload(client, file_of(Image.new("1", (6000, 5000)))), 413, "more than 25 million")


def test_a_picture_of_one_colour_is_refused(client):
    refused(upload(client, file_of(Image.new("L", (99, 99), 200))), 422, "one colour only")


@pytest.mark.parametrize("answers", [[], [9], [10] * 9, [-1] * 9])
def test_what_are_not_class_numbers_is_no_answer(pages, answers):
    client = TestClient(pages.create_app(Model(answers)))
    refused(upload(client, file_of(drawing())), 502, "does not answer")


def test_an_endpoint_that_fails_is_reported_without_its_details(pages):
    def ask(instances):
        raise pages.EndpointError("projects/secret/endpoints/1: permission denied")

    answer = upload(TestClient(pages.create_app(ask)), file_of(drawing()))
    refused(answer, 502, "does not answer")
    assert "secret" not in answer.text


def test_other_addresses_and_methods_are_answered_with_the_page(client):
    refused(client.get("/nowhere"), 404, "no such page")
    assert client.put("/").status_code == 405
    assert client.get("/static/../pages.py").status_code == 404
    assert client.get("/static/%2e%2e/pages.py").status_code == 404
