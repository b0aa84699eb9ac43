"""Refuse answers that would give a broken project. The rules are the validators in copier.yml."""

import json
import sys

# tojson escapes ' < > &, so any answer is safe inside a literal in single quotes: keep them.
ERRORS = json.loads(r'{{ cookiecutter.__errors | tojson }}')  # fmt: skip

wrong = [f"  {question} {message.strip()}" for question, message in ERRORS.items() if message.strip()]
if wrong:
    sys.exit("\n".join(["Cannot generate the project:", *wrong]))
