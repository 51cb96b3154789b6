"""An optional language model rewrites a template's text; a gate decides whether anybody reads it.

    provider.py   who may be asked, and what a question is      bedrock.py, recorded.py   two of them
    prompts.py    what is asked: pseudonymous, versioned        clean.py                  before and after a model
    critique.py   the model's own verdict, strictly read        loop.py                   the order, three calls
    breaker.py    a provider that fails is left alone

Nothing here is imported before somebody asks for a rewritten reason. Whatever fails, the template's text stays, and
the record says why. Source: serving.md 9.4.
"""
