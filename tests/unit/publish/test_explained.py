"""What a package says of the contributions its reasons rest on."""

from __future__ import annotations

import pytest

from pipeline_lib.publish.package import explained
from pipeline_lib.settings.serving.words import Agreement

LIMITS = Agreement(top5=0.8, sign=0.95)


@pytest.mark.parametrize(
    ("top5", "sign", "flagged", "names"),
    [(0.8, 0.95, False, "feature"), (0.79, 1.0, True, "feature"), (0.9, 0.94, False, "group")],
)
def test_little_overlap_is_flagged_and_other_signs_name_groups(
    top5: float, sign: float, flagged: bool, names: str
) -> None:
    found = {"rows": 1000, "top5_overlap": top5, "sign_agreement": sign}
    assert explained(found, LIMITS) == {**found, "flagged": flagged, "names": names}


def test_what_was_not_measured_is_not_known() -> None:
    assert explained(None, LIMITS) is None
