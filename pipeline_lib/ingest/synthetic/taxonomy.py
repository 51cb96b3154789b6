"""Merchant categories: 109 codes in 30 groups in 10 groups, each code exactly once. Source: data.md 4.1."""

from __future__ import annotations

TAXONOMY: dict[str, dict[str, str]] = {
    "travel": {
        "air_sea": "3000 3001 3005 3006 3007 3008 3009 3058 3066 3075 3132 3144 3174 3256 3260 4411 4511 4722",
        "lodging": "3504 3509 3596 3640 3684 3722 3730 3771 3775 3780 7011",
        "car_rental": "3359 3387 3389 3390 3393 3395 3405",
    },
    "food_beverage": {"grocery": "5411 5499", "restaurants": "5812 5814", "drinking": "5813 5921"},
    "retail": {
        "general_merchandise": "5300 5310 5311",
        "clothing": "5621 5651 5655 5661",
        "electronics": "5045 5722 5732",
        "hardware_garden": "5211 5251 5261",
        "specialty": "5094 5192 5193 5941 5947 5977",
    },
    "transportation": {
        "ground": "4111 4112 4121 4131",
        "fuel": "5541",
        "toll_freight": "4784 4214",
        "auto_parts": "5533",
    },
    "services": {
        "utilities": "4814 4899 4900",
        "personal_professional": "7210 7230 7276 7349 7393",
        "medical": "5912 8011 8021 8041 8043 8049 8062 8099",
        "auto_repair": "7531 7538 7542 7549",
    },
    "financial": {"insurance": "6300", "money_transfer": "4829"},
    "entertainment": {
        "screen_events": "7832 7922",
        "gaming_recreation": "7801 7802 7995 7996",
        "digital": "5815 5816",
    },
    "home": {"contractors": "1711", "furniture": "5712 5719"},
    "public_legal": {"postal": "9402", "legal_accounting": "8111 8931"},
    "education_culture": {"books": "5942", "arts_hobby": "5733 5932 5970"},
}


def rows() -> list[tuple[str, str, str]]:
    """(code, level-2 name, level-1 name) in the order written above."""
    return [(code, l2, l1) for l1, groups in TAXONOMY.items() for l2, codes in groups.items() for code in codes.split()]


def codes() -> list[str]:
    """Codes ascending: the position is ``mcc_idx``; the next index means unknown."""
    return sorted(code for code, _, _ in rows())
