"""What `invoke service.run` and the Dockerfile start: the page, with the endpoint behind it."""

from endpoint import ask
from pages import create_app

app = create_app(ask)
