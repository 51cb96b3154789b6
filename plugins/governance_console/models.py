"""What the page and its JSON show; unknown is null and printed as unknown."""

from pydantic import BaseModel


class Verdict(BaseModel):
    recorded_at: str
    decision: str
    reason_code: str
    reason: str
    challenger: str
    champion: str | None
    operator: str | None


class Status(BaseModel):
    dataset: str
    environment: str
    champion: str | None
    generation: int
    verdicts: list[Verdict]
    """Newest first, at most twenty."""
    checkpoint: int | None
    entries: int | None
