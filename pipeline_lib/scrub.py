"""What people type reaches the record forever; what could name a customer is taken out first."""

from __future__ import annotations

import re

REMOVED = "[removed]"
_KEPT = r"\bv\d{8}-[0-9a-f]{8}\b"
"""A version's name."""
_PERSONAL = (
    r"[^\s<>,;:]+@[^\s<>,;:]+",  # e-mail
    r"\bs_[0-9a-f]{16,}\b",  # pseudonym
    r"\+?\(?\d{1,4}\)?(?:[ ./-]\(?\d{2,4}\)?){2,}",  # phone, in groups
    r"\+?\d{4,}",  # customer, account, phone
)
_WORDS = re.compile(f"(?P<kept>{_KEPT})|{'|'.join(_PERSONAL)}")
_TICKET = re.compile(r"[A-Z]{2,10}-\d{1,6}")


def scrub(text: str) -> str:
    """Text without customer identifiers: e-mails, pseudonyms, phone-like groups, runs of four or more digits.

    Names of versions stay; a date in digits goes too, since nothing tells it from a number. Stripped at both ends.
    """
    return _WORDS.sub(lambda found: found["kept"] or REMOVED, text.strip())


def scrub_ticket(text: str) -> str:
    """As ``scrub``; a key of the ticket system alone, such as ``INC-48213``, stays."""
    return text.strip() if _TICKET.fullmatch(text.strip()) else scrub(text)
