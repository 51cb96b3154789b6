"""Every error this library raises on purpose.

PipelineError
  SettingsError        a setting is missing, unknown or contradicts another: names file and key
  SecretMissing        a secret is not where the place says it is; secrets have no default
  ContractError        data broke a promise: .findings
    SchemaError        a table or file does not look as declared
    LeakageError       a label, or the future, can reach a feature
  TrainingDiverged     loss not finite: .step
  GateCannotJudge      evidence missing, stale or not comparable; no verdict exists
  RequestRefused       a human's request is not valid; nothing changed
  PromotionUnrecorded  a change of champion was asked for without a valid receipt
  ActivationFailed     the target did not take, or did not keep, the released version
  ManifestMismatch     .extra .missing .changed
  NotReproducible      the same inputs gave other bytes
  StoreError           the object store refused
    ObjectMissing      no object under that key
    ObjectExists       create-only write on a key that exists with other bytes
    SwapLost           compare-and-swap lost: somebody wrote in between
    LockBusy           somebody else is judging or releasing; try again
  AuditError           the record cannot be written or does not verify
    ChainBroken        .index of the first bad entry
    SignatureInvalid   a signature or MAC does not verify
    AppendFailed       the entry is not durable: the action it records must not happen
      PlaceTaken       the next place of the chain holds something else: the entry is certainly not there
    DoneUnrecorded     the act was done, and neither the record nor the store keeps that it was
    NotIntact          verification did not end INTACT: .report
      Tampered         somebody changed the record
      NotVerified      something could not be looked at or is missing; never to be read as intact
  ReportIncomplete     filing refused: .unknown_clauses

All take positional arguments only and keep their state in ``args``, because Airflow moves errors between
processes by pickling them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # a function's first answer does not wait for typing
    from collections.abc import Sequence
    from typing import Any

MAX_PRINTED_FINDINGS = 20


class PipelineError(Exception):
    """Root of the tree; never raised itself."""


class SettingsError(PipelineError):
    pass


class SecretMissing(PipelineError):
    pass


class ContractError(PipelineError):
    """Data broke a promise. ``findings`` holds all of them; the text is bounded."""

    def __init__(self, message: str, findings: Sequence[Any] = ()) -> None:
        super().__init__(message, tuple(findings))
        self.message = message
        self.findings = tuple(findings)

    def __str__(self) -> str:
        shown = [f"  - {finding}" for finding in self.findings[:MAX_PRINTED_FINDINGS]]
        hidden = len(self.findings) - len(shown)
        if hidden > 0:
            shown.append(f"  ... and {hidden} more")
        return "\n".join([self.message, *shown])


class SchemaError(ContractError):
    pass


class LeakageError(ContractError):
    pass


class TrainingDiverged(PipelineError):
    def __init__(self, message: str, step: int) -> None:
        super().__init__(message, step)
        self.step = step


class GateCannotJudge(PipelineError):
    """``code`` is one of the error codes of promotion.md (BUNDLE_STALE, REGISTRY_CORRUPT, ...)."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class RequestRefused(PipelineError):
    pass


class PromotionUnrecorded(PipelineError):
    pass


class ActivationFailed(PipelineError):
    pass


class ManifestMismatch(PipelineError):
    """Files on disk are not the files the manifest lists."""

    def __init__(
        self, message: str, extra: Sequence[str] = (), missing: Sequence[str] = (), changed: Sequence[str] = ()
    ) -> None:
        super().__init__(message, tuple(extra), tuple(missing), tuple(changed))
        self.extra, self.missing, self.changed = tuple(extra), tuple(missing), tuple(changed)

    def __str__(self) -> str:
        return f"{self.args[0]} (extra {list(self.extra)}, missing {list(self.missing)}, changed {list(self.changed)})"


class NotReproducible(PipelineError):
    pass


class StoreError(PipelineError):
    pass


class ObjectMissing(StoreError):
    pass


class ObjectExists(StoreError):
    pass


class SwapLost(StoreError):
    pass


class LockBusy(StoreError):
    pass


class AuditError(PipelineError):
    pass


class ChainBroken(AuditError):
    def __init__(self, message: str, index: int) -> None:
        super().__init__(message, index)
        self.index = index


class SignatureInvalid(AuditError):
    pass


class AppendFailed(AuditError):
    pass


class PlaceTaken(AppendFailed):
    """The next place of the chain holds something else: these entries are certainly not in the record."""


class DoneUnrecorded(AuditError):
    """Only turning a switch may act before it is recorded. The message has the row: its last copy."""


class NotIntact(AuditError):
    """``report`` is the whole ``audit.report.Report``."""

    def __init__(self, message: str, report: Any) -> None:
        super().__init__(message, report)
        self.report = report

    def __str__(self) -> str:
        return str(self.args[0])


class Tampered(NotIntact):
    pass


class NotVerified(NotIntact):
    pass


class ReportIncomplete(PipelineError):
    def __init__(self, message: str, unknown_clauses: Sequence[str]) -> None:
        super().__init__(message, tuple(unknown_clauses))
        self.unknown_clauses = tuple(unknown_clauses)
