"""Five reports, five strangers: each module has KIND and ``generate(book, policy, levels)`` and knows one law."""
