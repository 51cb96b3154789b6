"""Spanish provinces by code, with the names under which the raw files know them.

The code is the truth; the name only has to belong to it, in any of its written forms: inverted (``CORUNA, A``),
bilingual (``ALICANTE/ALACANT``), with lost accents or a broken n-tilde. Source: INE province codes; data.md 2.
"""

from __future__ import annotations

import re
import unicodedata

NAMES: dict[int, tuple[str, ...]] = {
    1: ("ALAVA", "ARABA"),
    2: ("ALBACETE",),
    3: ("ALICANTE", "ALACANT"),
    4: ("ALMERIA",),
    5: ("AVILA",),
    6: ("BADAJOZ",),
    7: ("BALEARS ILLES", "BALEARES", "BALEARS"),
    8: ("BARCELONA",),
    9: ("BURGOS",),
    10: ("CACERES",),
    11: ("CADIZ",),
    12: ("CASTELLON", "CASTELLO"),
    13: ("CIUDAD REAL",),
    14: ("CORDOBA",),
    15: ("A CORUNA", "LA CORUNA"),
    16: ("CUENCA",),
    17: ("GIRONA", "GERONA"),
    18: ("GRANADA",),
    19: ("GUADALAJARA",),
    20: ("GIPUZKOA", "GUIPUZCOA"),
    21: ("HUELVA",),
    22: ("HUESCA",),
    23: ("JAEN",),
    24: ("LEON",),
    25: ("LERIDA", "LLEIDA"),
    26: ("LA RIOJA",),
    27: ("LUGO",),
    28: ("MADRID",),
    29: ("MALAGA",),
    30: ("MURCIA",),
    31: ("NAVARRA", "NAFARROA"),
    32: ("OURENSE", "ORENSE"),
    33: ("ASTURIAS",),
    34: ("PALENCIA",),
    35: ("LAS PALMAS", "PALMAS"),
    36: ("PONTEVEDRA",),
    37: ("SALAMANCA",),
    38: ("SANTA CRUZ DE TENERIFE",),
    39: ("CANTABRIA",),
    40: ("SEGOVIA",),
    41: ("SEVILLA",),
    42: ("SORIA",),
    43: ("TARRAGONA",),
    44: ("TERUEL",),
    45: ("TOLEDO",),
    46: ("VALENCIA",),
    47: ("VALLADOLID",),
    48: ("BIZKAIA", "VIZCAYA"),
    49: ("ZAMORA",),
    50: ("ZARAGOZA",),
    51: ("CEUTA",),
    52: ("MELILLA",),
}
_BROKEN_N = re.compile("Ã‘|Ã\x91|Ã±|\ufffd")


def belongs(code: int, name: str) -> bool:
    """Whether a raw name is one of the province's, whatever its spelling."""
    known = {_words(n) for n in NAMES.get(code, ())}
    return any(_words(part) in known for part in name.split("/"))


def _words(name: str) -> frozenset[str]:
    repaired = _BROKEN_N.sub("N", name)
    plain = unicodedata.normalize("NFD", repaired).encode("ascii", "ignore").decode("ascii").upper()
    return frozenset(re.findall("[A-Z]+", plain))
