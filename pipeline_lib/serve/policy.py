"""The package's policy as the steps use it: items, caps, weights and words, checked once at start.

Everything here comes from ``policy/*.json`` and the manifest of a verified bundle; there is no default in code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import log as ln
from typing import Any

from pipeline_lib import hard_bounds
from pipeline_lib.errors import SettingsError
from pipeline_lib.serve import ood, transform
from pipeline_lib.serve.bundle import Bundle
from pipeline_lib.serve.guardrail import Evidence, Gate
from pipeline_lib.serve.layers import Models, TaskAnswer
from pipeline_lib.serve.predictor import Predictor
from pipeline_lib.serve.reasons import Reason, ReasonBook
from pipeline_lib.serve.rules import RuleBook, Task
from pipeline_lib.serve.rules.check import checked
from pipeline_lib.serve.score import Scorer, Situation
from pipeline_lib.serve.slate import Scored
from pipeline_lib.serve.suitability import Caps, Item, Profile, Suitability, known_income, krw_rate
from pipeline_lib.serve.tables import Assessment, Contact, Customer

log = logging.getLogger(__name__)
CLOCK_SLACK_D = 1
"""Rows dated so far ahead are a night's work in another time zone; beyond it a clock is wrong [days]."""


@dataclass(frozen=True)
class Policy:
    """One package, ready to answer."""

    models: Models
    serving: Mapping[str, Any]
    items: tuple[Item, ...]
    suitability: Suitability
    scorer: Scorer
    reasons: ReasonBook
    gate: Gate
    normalisers: Mapping[str, Any]
    popular: tuple[str, ...]
    currency: str

    @classmethod
    def open(cls, bundle: Bundle, predictor: Predictor | None, refused: str | None) -> Policy:
        """Raises SettingsError when the policy loosens a hard cap or lacks a part."""
        try:
            return cls._opened(bundle, predictor, refused)
        except KeyError as error:
            raise SettingsError(f"{bundle.folder}: the package's policy lacks {error}") from error

    @classmethod
    def _opened(cls, bundle: Bundle, predictor: Predictor | None, refused: str | None) -> Policy:
        baked = bundle.policy
        serving, products = baked["serving"], baked["products"]
        scope = serving["scope"]
        hard_bounds.require(serving, products, f"{bundle.folder}/policy")
        caps = Caps.from_policy(serving["suitability"])
        return cls(
            models=_checked(open_models(bundle, predictor, refused)),
            serving=serving,
            items=tuple(_item(product, products["nba_classes"], scope) for product in products["products"]),
            suitability=Suitability(caps, frozenset(scope["blocked_nba_classes"]), frozenset(scope["blocked_groups"])),
            scorer=Scorer(baked["scoring"]),
            reasons=ReasonBook(
                baked["templates"], baked["features"]["groups"], products["popular"], _coarse(bundle.manifest["tasks"])
            ),
            gate=Gate(baked["templates"]),
            normalisers={str(task["name"]): task["normaliser"] for task in bundle.manifest["tasks"]},
            popular=tuple(products["popular"]),
            currency=str(products["currency"]),
        )

    @property
    def layer4(self) -> bool:
        """Whether people are there to be asked when no layer knows enough."""
        return bool(self.serving.get("layer4", {}).get("enabled"))

    def ood(self, customer: Customer | None, today: date) -> str:
        """How far out the customer lies: a level of ``ood.py``."""
        return ood.level(customer.ood if customer else None, today, int(self.serving["review"]["teacher_max_age_h"]))

    def given(self, customer: Customer | None, profile: Profile, today: date) -> dict[str, float]:
        """What rules read beside the feature row: the exported measures, the month and the tolerance for risk."""
        tolerance = self.suitability.tolerance(profile, today)
        said = {} if tolerance is None else {"tolerance": float(tolerance)}
        return {**(customer.rule_inputs if customer else {}), "month": float(today.month), **said}

    def profile(self, assessment: Assessment, customer: Customer | None, today: date) -> Profile:
        """What suitability reads. Neither age nor income is known from a row that may not be used, nor an income in a
        currency without a rate of today; then the caps apply.
        """
        usable = customer if customer and self.row_trouble(customer, today) is None else None
        if usable is None:
            return Profile(assessment.tolerance, assessment.assessed_at, None, None)
        rate, income = krw_rate(self.serving["suitability"], usable.currency, today), known_income(usable.income)
        in_krw = None if income is None or rate is None else income * rate
        return Profile(assessment.tolerance, assessment.assessed_at, usable.age, in_krw)

    def row_trouble(self, customer: Customer, today: date) -> str | None:
        """Why the date of a customer's row keeps it from being used, or None."""
        age_d = (today - customer.refreshed).days
        if age_d > int(self.serving["feature"]["hard_max_age_d"]):
            return "FEATURES_TOO_OLD"
        return "FEATURES_FROM_FUTURE" if age_d < -CLOCK_SLACK_D else None

    def candidates(self, profile: Profile, customer: Customer | None, today: date) -> tuple[list[Item], dict[str, int]]:
        """Items that may be offered, and how many were dropped for which reason."""
        kept, dropped = [], dict[str, int]()
        for item in self.items:
            owned = customer is not None and item.item_id in customer.held
            why = "owned" if owned else self.suitability.refusal(item, profile, today)
            if why:
                dropped[why] = dropped.get(why, 0) + 1
            else:
                kept.append(item)
        return kept, dropped

    def features(self, customer: Customer | None) -> Mapping[str, float]:
        return transform.named(customer.row.values, customer.row.columns) if customer else {}

    def situation(
        self, channel: str, contact: Contact | None, features: Mapping[str, float], answers: Mapping[str, TaskAnswer]
    ) -> Situation:
        """Factor inputs by the columns the policy names; a column that is not there is not known."""
        inputs = self.scorer.policy["inputs"]
        flare = features.get(inputs.get("flare", ""))
        return Situation(
            channel=channel,
            messages_7d=contact.messages_7d if contact else None,
            income_cv=features.get(inputs.get("income_cv", "")),
            limit_utilisation=features.get(inputs.get("limit_utilisation", "")),
            flare=None if flare is None else flare > 0,
            engagement=features.get(inputs.get("engagement", "")),
            segment=self._segment(answers),
        )

    def evidence(self, item: Item, reason: Reason) -> Evidence:
        """What a text about this item may mention."""
        notice = str(self.reasons.policy["ai_notice"][reason.locale])
        return Evidence(reason.product, reason.known, notice, reason.locale, True, item.risk_grade)

    def teacher_unsure(self, customer: Customer | None, items: Sequence[Scored], today: date) -> bool:
        """Whether fresh teacher gates of the best item's task are spread over all experts. Stale ones are ignored."""
        teacher = customer.teacher if customer else None
        review = self.serving["review"]
        if teacher is None or not items:
            return False
        age_d = (today - teacher.as_of).days
        if age_d < -1 or age_d * 24 > int(review["teacher_max_age_h"]):  # stale, or of a clock that is wrong
            return False
        task = items[0][1].deciding_task
        experts = len(teacher.gates.get(task, {}))
        return experts > 1 and teacher.entropy[task] / ln(experts) > float(review["max_entropy"])

    def _segment(self, answers: Mapping[str, TaskAnswer]) -> str | None:
        found, task = answers.get("segment_prediction"), self.models.tasks.get("segment_prediction")
        if found is None or task is None or not task.classes or not found.values:
            return None
        return task.classes[max(range(len(found.values)), key=lambda k: found.values[k])]


def open_models(bundle: Bundle, predictor: Predictor | None, refused: str | None) -> Models:
    """Everything that answers tasks, for the handler and for batch scoring alike."""
    rules, products = bundle.policy["rules"], bundle.policy["products"]
    book = RuleBook(rules, products["products"], products.get("category_groups", {}), "shortcuts" not in rules)
    tasks = {str(task["name"]): _task(task) for task in bundle.manifest["tasks"]}
    share = float(bundle.policy["serving"]["anomaly_gain_share"])
    return Models(bundle, book, tasks, predictor, refused, share)


def _checked(models: Models) -> Models:
    """Rules that cannot answer five made-up customers serve nobody: everybody sees the static list."""
    try:
        checked(models.rule_book, models.tasks.values())
    except SettingsError as error:
        log.critical("rules are broken, answering with static content: %s", error)
        return replace(models, rule_book=replace(models.rule_book, broken=str(error)))
    return models


def _coarse(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tasks of which a text names a group of features only; older packages did not measure it."""
    return [str(task["name"]) for task in tasks if (task.get("explanation") or {}).get("names") == "group"]


def _task(facts: Mapping[str, Any]) -> Task:
    base = facts["base_rate"]
    shares = [] if base is None else base if isinstance(base, list) else [base]
    values = tuple(float(share) for share in shares)
    low, high = ((facts["normaliser"] or {}).get(end) for end in ("low", "high"))
    return Task(
        str(facts["name"]), str(facts["type"]), tuple(str(c) for c in facts["class_names"]), values,
        None if low is None else float(low), None if high is None else float(high),
    )  # fmt: skip


def _item(product: Mapping[str, Any], nba_classes: Sequence[str], scope: Mapping[str, Any]) -> Item:
    class_name, short = nba_classes[int(product["nba_class"])], str(product["short"])
    return Item(
        item_id=short,
        name=str(product["meaning"]),
        nba_class=int(product["nba_class"]),
        class_name=class_name,
        group=product["acquire_group"],
        risk_grade=product["risk_grade"],
        capital_market=class_name in scope["capital_market"] or product["acquire_group"] in scope["capital_market"],
        retention=short in scope["retention_items"],
        long_horizon=short in scope["long_horizon"],
    )
