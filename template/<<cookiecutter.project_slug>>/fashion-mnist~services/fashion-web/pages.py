"""The page: takes a picture, asks the model about it, and shows the answer."""

import asyncio
import base64
import dataclasses
import io
import logging
from pathlib import Path

import pictures
import probabilities
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

HERE = Path(__file__).parent

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

LARGEST_UPLOAD = 10_000_000  # bytes
LARGEST_DRAINED = 100_000_000  # bytes; more of a refused upload is not read
UPLOAD_TIMEOUT = 60.0  # seconds

TOO_LARGE = f"The file is larger than {LARGEST_UPLOAD // 1_000_000} MB. Choose a smaller one."
NO_UPLOAD = "What arrived is not an uploaded picture."

# Everything comes from here, and nothing from elsewhere.
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

log = logging.getLogger("uvicorn.error")
templates = Jinja2Templates(HERE)


class EndpointError(Exception):
    """The endpoint did not answer as it should; the reason is for the log."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """The most probable class of a picture, and how probable it and others are."""

    name: str
    probable: list  # of (class name, probability) for the classes that were answered
    others: float  # the probability of all other classes together
    picture: str  # what the model was shown, as a data: address


def create_app(ask):
    """Make the application. `ask` takes a list of instances and returns a class number for each."""

    async def show(request):
        return page(request)

    async def answer(request):
        content = await uploaded(request)
        try:
            return page(request, answer=await run_in_threadpool(classify, content, ask))
        except pictures.PictureError as error:
            raise HTTPException(error.status, error.message) from None
        except EndpointError as error:
            log.error("no answer from the endpoint: %s", error)
            raise HTTPException(502, "The model does not answer. Try again in a minute.") from None

    return Starlette(
        routes=[
            Route("/", show),
            Route("/", answer, methods=["POST"]),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ],
        exception_handlers={HTTPException: show_error},
    )


def classify(content, ask):
    image = pictures.prepare(content)
    copies = [pictures.instance(copy) for copy in pictures.moved(image)]
    numbers = ask(copies)
    if len(numbers) != len(copies) or not set(numbers) <= set(range(len(CLASSES))):
        raise EndpointError(f"{numbers} are not {len(copies)} class numbers")
    found = probabilities.probabilities(numbers, len(CLASSES), probabilities.read_weights())
    answered = sorted(set(numbers), key=lambda number: found[number], reverse=True)
    probable = [(CLASSES[number], found[number]) for number in answered]
    others = 1 - sum(probability for _, probability in probable)
    return Answer(probable[0][0], probable, others, data_address(image))


def data_address(image):
    file = io.BytesIO()
    image.resize((5 * image.width, 5 * image.height), Image.Resampling.NEAREST).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


async def uploaded(request):
    """Return the bytes of the uploaded picture. Of one that is too large, little is kept."""
    received = 0

    async def receive():
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > LARGEST_UPLOAD:
            # Read and forget the rest: a browser looks at the answer when it has sent all.
            while message.get("more_body") and received < LARGEST_DRAINED:
                message = await request.receive()
                received += len(message.get("body", b""))
            raise HTTPException(413)
        return message

    async def read():
        async with Request(request.scope, receive).form(max_files=1, max_fields=1) as form:
            file = form.get("picture")
            return await file.read() if isinstance(file, UploadFile) else None

    try:
        content = await asyncio.wait_for(read(), UPLOAD_TIMEOUT)
    except asyncio.TimeoutError:
        raise HTTPException(408, "The picture took too long to arrive.") from None
    except HTTPException as error:
        message = TOO_LARGE if error.status_code == 413 else NO_UPLOAD
        raise HTTPException(error.status_code, message) from None
    except ClientDisconnect:
        raise HTTPException(400, NO_UPLOAD) from None
    if content is None:
        raise HTTPException(400, NO_UPLOAD)
    if not content:
        raise HTTPException(400, "There is no picture yet, or the file is empty. Choose one first.")
    return content


def show_error(request, error):
    message = "There is no such page." if error.status_code == 404 else error.detail
    return page(request, status=error.status_code, error=message, headers=error.headers)


def page(request, *, status=200, answer=None, error=None, headers=None):
    context = {"answer": answer, "error": error, "classes": CLASSES}
    return templates.TemplateResponse(
        request, "page.html", context, status_code=status, headers={**HEADERS, **(headers or {})}
    )
