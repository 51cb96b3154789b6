"""What the answer's own package called things, and which limits it judged by: then, not today."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline_lib.errors import ManifestMismatch, ObjectMissing

Names = Mapping[str, str]
"""Locale -> words: ko, en."""


class Wording(Protocol):
    """Texts and limits of one released package."""

    @property
    def limits(self) -> Mapping[str, Any]:
        """Limits of serving, canonical: no floats."""
        ...

    def product(self, product_id: str) -> Names | None: ...

    def phrase(self, feature: str, task: str, raised: bool) -> Names | None:
        """What a customer is told a feature is; None: the policy has no words that may be said of it."""
        ...


WordsOf = Callable[[str, str], Wording]
"""(version, manifest SHA-256) -> its words. Raises ObjectMissing or ManifestMismatch."""


@dataclass(frozen=True)
class NoWords:
    """Stands in for a package that is not at hand."""

    why: str
    limits: Mapping[str, Any] = field(default_factory=dict)

    def product(self, product_id: str) -> Names | None:
        return None

    def phrase(self, feature: str, task: str, raised: bool) -> Names | None:
        return None


def no_package(version: str, manifest_sha256: str) -> Wording:
    """For callers without a registry."""
    raise ObjectMissing(f"{version}: no registry was asked for it")


def words(words_of: WordsOf, version: str | None, manifest_sha256: str | None) -> Wording:
    """The words of a package, or a stand-in that says why there are none."""
    if not version or not manifest_sha256:
        return NoWords("the prediction names no package")
    try:
        return words_of(version, manifest_sha256)
    except (ObjectMissing, ManifestMismatch) as error:
        return NoWords(str(error))
