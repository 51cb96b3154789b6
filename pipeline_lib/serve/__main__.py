"""Ask the released version on this machine: ``python -m pipeline_lib.serve request.json`` prints the response.

    python -m pipeline_lib.serve request.json            replay a request
    python -m pipeline_lib.serve --customer 1234         a teller's request for this customer
    python -m pipeline_lib.serve --customer 1234 --tolerance 3    after recording a suitability interview
    python -m pipeline_lib.serve --health

Rows of a bank of the past are asked in their own time: ``context.as_of`` is the date of the rows unless given.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pipeline_lib import settings
from pipeline_lib.serve import local
from pipeline_lib.settings import Place


def main(arguments: list[str] | None = None) -> int:
    """Print one response; returns 0 for an answer and 1 for an error."""
    asked = _parser().parse_args(arguments)
    place = Place.from_environment(dataset=asked.dataset)
    bank = settings.load(place.dataset, place)
    service = local.open_local(bank)
    if asked.health:
        response = service.health()
    else:
        today = local.refreshed_on(bank)
        if asked.tolerance is not None:
            local.assess(bank, asked.customer, asked.tolerance, today)
        body = (
            json.loads(Path(asked.request).read_text())
            if asked.request
            else local.sample_request(asked.customer, today)
        )
        response = local.ask(service, body)
    sys.stdout.write(json.dumps(response, ensure_ascii=False, indent=1) + "\n")
    return int("error" in response)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline_lib.serve", description="ask the released version")
    parser.add_argument("request", nargs="?", help="file with a request body")
    parser.add_argument("--dataset", help="which bank")
    parser.add_argument("--customer", help="customer id of a sample request")
    parser.add_argument("--tolerance", type=int, choices=range(1, 6), help="record this risk tolerance first")
    parser.add_argument("--health", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
