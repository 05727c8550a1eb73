"""Google's list prices, by the Cloud Billing Catalog API. Not tried on Google Cloud yet.

https://cloud.google.com/billing/v1/how-tos/catalog-api
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from edge_tasks.cloud import rest
from edge_tasks.cloud.client import CALL_TIMEOUT, default_credentials, sdk_errors
from edge_tasks.domain.prices import Price, PriceList, of_vertex, read_sku
from edge_tasks.domain.runs import utc_now
from edge_tasks.errors import CloudError

# Vertex AI's id in the catalog: https://cloud.google.com/skus
_SERVICE = "services/C7E2-9256-1C43"

# gcloud's own variable for another address of this API.
URL_VARIABLE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBILLING"
_URL = "https://cloudbilling.googleapis.com/"

# The most that a page may hold, and pages that no catalog has.
_PAGE, _MOST_PAGES = 5000, 200


def fetch(region: str, currency: str = "USD") -> PriceList:
    """Return today's prices of the region.

    Raises CloudError when this machine has no credentials, nothing answers, or the answer is not a catalog.
    """
    address = f"{(os.environ.get(URL_VARIABLE) or _URL).rstrip('/')}/v1/{_SERVICE}/skus"
    prices: list[Price] = []
    for sku in _skus(address, currency):
        try:
            price = read_sku(sku, region)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CloudError(f"an entry of the price catalog cannot be read: {error!r}", "try again later") from None
        if price is not None:
            prices.append(price)
    found = of_vertex(prices)
    if not found:
        raise CloudError(f"the price catalog has nothing for Vertex AI in {region}", "look at edge.yaml's region")
    return PriceList(region=region, currency=currency, fetched=utc_now().date(), source=address, prices=found)


def _skus(address: str, currency: str) -> Iterator[Any]:
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession

    # Another address than Google's gets no token of Google's.
    session = AuthorizedSession(
        AnonymousCredentials() if os.environ.get(URL_VARIABLE) else default_credentials("see hours instead of prices")
    )
    parameters = {"pageSize": str(_PAGE), "currencyCode": currency}

    def ask(parameters: dict[str, Any]) -> dict[str, Any]:
        with sdk_errors("read the price catalog"):
            answer = session.get(address, params=parameters, timeout=CALL_TIMEOUT)
        return _page(answer)

    for page in rest.pages(ask, parameters, _MOST_PAGES, "the price catalog"):
        yield from page.get("skus", ())


def _page(answer: Any) -> dict[str, Any]:
    page, reason = rest.read(answer)
    if not answer.ok:
        problem = f"cannot read the price catalog: {reason or f'status {answer.status_code}'}"
        enable = "gcloud services enable cloudbilling.googleapis.com"
        raise CloudError(problem, enable if answer.status_code == 403 else "try again")
    if page is None:
        raise CloudError("cannot read the price catalog: the answer is not JSON", "look at the network and the proxy")
    return page
