"""Features of every row of ``split_assignment``: what teacher, students and serving read.

Three steps, each a stage of its own: ``fit_features`` learns from train rows, ``build_part`` makes one range of
customers (Airflow maps over the ranges, and each is retried alone), ``assemble_features`` puts the ranges together.
Source: features.md; files in docs/artefacts.md.
"""

from __future__ import annotations

import logging
from dataclasses import asdict

from pipeline_lib.errors import RequestRefused
from pipeline_lib.features import assemble, part
from pipeline_lib.features.fit import fit
from pipeline_lib.features.fitted import Fitted
from pipeline_lib.features.groups import plan_of, shape_of
from pipeline_lib.features.inputs import FeatureInputs
from pipeline_lib.features.layout import lay_out
from pipeline_lib.features.load import opened
from pipeline_lib.features.part import Recipe
from pipeline_lib.features.ranges import Range, fit_rows, ranges_of
from pipeline_lib.runs import Out, RunContext, StageOutput

log = logging.getLogger(__name__)
FIT, PART, STAGE = "features_fit", "features_part", "features"


def build(ctx: RunContext) -> StageOutput:
    """All three steps in order, in this process.

    Raises:
        ContractError: an input is missing, or a generator did not make what it declared.
    """
    fit_features(ctx)
    for number in range_numbers(ctx):
        build_part(ctx, number)
    return assemble_features(ctx)


def fit_features(ctx: RunContext) -> StageOutput:
    """Learn everything that is learnt, from train rows of at most ``work.fit_customers`` customers.

    Raises:
        ContractError: there is no train row, or an input is missing.
    """
    ingest, labels = ctx.read("ingest"), ctx.read("labels")
    policy = ctx.settings.features

    def make(out: Out) -> None:
        inputs = inputs_of(ctx)
        chosen = inputs.at(fit_rows(inputs.rows, policy.work.fit_customers))
        with opened(chosen, policy, ctx.settings.place.threads) as data:
            fitted = fit(plan_of(shape_of(inputs), policy), data)
        fitted.write(out.path("fitted.json"), out.path("fitted.safetensors"))
        ranges = ranges_of(inputs.rows, policy.work.range_customers)
        out.facts.update(
            fitted_on=fitted.fitted_on,
            refused=fitted.refused,
            ranges=[asdict(one) for one in ranges],
            opened=list(inputs.opened),
        )

    return ctx.produce(FIT, make, inputs=[ingest, labels])


def range_numbers(ctx: RunContext) -> list[int]:
    """The ranges that ``build_part`` has to make."""
    return list(range(len(ctx.read(FIT).facts["ranges"])))


def build_part(ctx: RunContext, number: int | str) -> StageOutput:
    """Make one range of customers.

    Raises:
        ContractError: an input is missing, or a generator did not make what it declared.
    """
    fitted = ctx.read(FIT)
    own = _range(fitted, str(number))

    def make(out: Out) -> None:
        inputs = inputs_of(ctx)
        log.info("range %s of %d: rows %d to %d", number, len(fitted.facts["ranges"]), own.first, own.first + own.rows)
        part.make_part(out, recipe_of(ctx, inputs), inputs.at(own.of(inputs.rows)), ctx.settings.place.threads)

    return ctx.produce(f"{PART}.{number}", make, inputs=[ctx.read("ingest"), ctx.read("labels"), fitted])


def _range(fitted: StageOutput, number: str) -> Range:
    """Raises RequestRefused when there is no such range."""
    ranges = fitted.facts["ranges"]
    if not number.isdecimal() or int(number) >= len(ranges):
        raise RequestRefused(f"{PART}.{number}: found no such range, expected 0 to {len(ranges) - 1}")
    return Range(**ranges[int(number)])


def assemble_features(ctx: RunContext) -> StageOutput:
    """Write the feature tables and their schema from the finished ranges.

    Raises:
        ContractError: ranges, columns or scaler are not what they should be; names group and column.
    """
    parts = [ctx.read(f"{PART}.{number}") for number in range_numbers(ctx)]

    def make(out: Out) -> None:
        inputs = inputs_of(ctx)
        assemble.assemble(out, recipe_of(ctx, inputs), inputs, parts, ctx.settings.place.threads)

    return ctx.produce(STAGE, make, inputs=[ctx.read("ingest"), ctx.read("labels"), ctx.read(FIT), *parts])


def inputs_of(ctx: RunContext) -> FeatureInputs:
    """All rows and the allowed files of a run whose ingest and labels are done."""
    return FeatureInputs.of(ctx.read("ingest"), ctx.read("labels"), ctx.settings.source.purchase_types)


def recipe_of(ctx: RunContext, inputs: FeatureInputs) -> Recipe:
    """How the rows of a run whose fit is done are made."""
    made, policy = ctx.read(FIT), ctx.settings.features
    plan = plan_of(shape_of(inputs), policy)
    fitted = Fitted.read(made.path("fitted.json"), made.path("fitted.safetensors"))
    return Recipe(plan, lay_out(plan, fitted.arrays, fitted.refused, fitted.absent), fitted, policy)
