"""One page and its JSON: champion, verdicts, record."""

from html import escape
from pathlib import Path
from string import Template

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from governance_console.deps import read_status
from governance_console.models import Status, Verdict

router = APIRouter()
PAGE = Template((Path(__file__).parent.parent / "ui" / "status.html").read_text(encoding="utf-8"))


@router.get("/status")
def status() -> Status:
    """What serves and what was decided."""
    return read_status()


@router.get("/", response_class=HTMLResponse)
def page() -> str:
    """The same for people."""
    now = read_status()
    return PAGE.substitute(
        dataset=escape(now.dataset),
        environment=escape(now.environment),
        champion=escape(now.champion or "nothing is served yet"),
        generation=now.generation,
        checkpoint="none yet" if now.checkpoint is None else now.checkpoint,
        entries="none" if now.entries is None else f"{now.entries:,}",
        rows="\n".join(map(_row, now.verdicts)) or '<tr><td colspan="5">no verdict yet</td></tr>',
    )


def _row(one: Verdict) -> str:
    cells = (
        one.recorded_at[:16].replace("T", " "),
        one.decision,
        one.challenger,
        one.operator or "the gate",
        one.reason,
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
