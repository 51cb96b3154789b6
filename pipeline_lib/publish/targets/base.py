"""What a release needs of a target: publish without serving, then switch, then look."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime

from pipeline_lib.errors import ActivationFailed
from pipeline_lib.registry.versions import LocalVersion


class Target(ABC):
    """All methods are idempotent. Versions are named by their registry name."""

    name: str
    """Kind and name, without paths: part of a stage's facts."""

    @abstractmethod
    def publish(self, copy: LocalVersion) -> str:
        """Make a verified version available, immutable and not yet serving.

        Returns:
            how the target calls it (folder name, function version).

        Raises:
            ActivationFailed: the target has this version with other bytes, or did not take it.
        """

    @abstractmethod
    def shift(self, version: str | None) -> None:
        """Serve a published version, in one step; None: serve nothing.

        Raises:
            ActivationFailed: it was never published here, or the target refused.
        """

    def stage(self, version: str, share: float) -> bool:
        """Give a published version a share of the traffic [0..1] beside what serves; ``shift`` ends it.

        Returns:
            whether it gets one: a target that serves all or nothing does nothing.

        Raises:
            ActivationFailed: it was never published here, or the target refused.
        """
        return False

    def look(self, version: str) -> None:
        """Health of a staged version, asked of itself.

        Raises:
            ActivationFailed: it does not answer, or is not staged.
        """
        raise ActivationFailed(f"{self.name}: {version} is not staged")

    @abstractmethod
    def serving(self) -> str | None:
        """The version that serves, None when nothing does; what is not ours is named in the target's own words."""

    @abstractmethod
    def check(self, version: str) -> None:
        """Health after a shift; returns nothing, raises ActivationFailed when ``version`` does not answer."""

    @abstractmethod
    def published(self) -> Mapping[str, datetime]:
        """Every version there is, and since when (UTC); what a crash left half published has a name of its own."""

    @abstractmethod
    def withdraw(self, version: str) -> None:
        """Make a version that does not serve unavailable, in one step; one that is not there is no error.

        Raises:
            ActivationFailed: it serves, or the target refused.
        """
