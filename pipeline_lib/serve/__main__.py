"""Ask the released version on this machine: ``python -m pipeline_lib.serve request.json`` prints the response.

    python -m pipeline_lib.serve request.json            replay a request
    python -m pipeline_lib.serve --customer 1234         a teller's request for this customer
    python -m pipeline_lib.serve --customer 1234 --tolerance 3    after recording a suitability interview
    python -m pipeline_lib.serve --health

A sample request is asked in the time of the bank's rows; a file is sent as it is. Exit codes: 0 answered, 1 an
error answer, 2 not asked.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any

from pipeline_lib import settings
from pipeline_lib.cli_person import person
from pipeline_lib.errors import PipelineError
from pipeline_lib.serve import local
from pipeline_lib.serve.handler import respond
from pipeline_lib.settings import Place


def main(arguments: list[str] | None = None) -> int:
    """Print one response."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if sum(map(bool, (asked.request, asked.customer, asked.health))) != 1:
        parser.error("name one: a request file, --customer or --health")
    if asked.tolerance is not None and not asked.customer:
        parser.error("--tolerance needs --customer")
    try:
        response = _response(asked)
    except (PipelineError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 2
    sys.stdout.write(json.dumps(response, ensure_ascii=False, indent=1) + "\n")
    return int("error" in response)


def _response(asked: argparse.Namespace) -> dict[str, Any]:
    place = Place.from_environment(dataset=asked.dataset)
    bank = settings.load(place.dataset, place)
    sent = Path(asked.request).read_bytes() if asked.request else b""
    service = local.open_local(bank)
    if asked.health:
        return service.health()
    if asked.request:
        event = {**local.event({}), "body": base64.b64encode(sent).decode(), "isBase64Encoded": True}
        answered: dict[str, Any] = json.loads(respond(event, lambda: service)["body"])
        return answered
    today = local.refreshed_on(bank)
    if asked.tolerance is not None:
        local.assess(bank, asked.customer, asked.tolerance, today, person())
    return local.ask(service, local.sample_request(asked.customer, today))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline_lib.serve", description="ask the released version")
    parser.add_argument("request", nargs="?", help="file with a request body")
    parser.add_argument("--dataset", help="which bank")
    parser.add_argument("--customer", help="customer id of a sample request")
    parser.add_argument(
        "--tolerance",
        type=int,
        choices=range(1, 6),
        help="hold a suitability interview first: recorded as yours, and stored",
    )
    parser.add_argument("--health", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
