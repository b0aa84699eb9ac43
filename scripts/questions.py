"""Write cookiecutter.json from copier.yml (`--check`: only compare)."""

import json
import sys
from pathlib import Path
from typing import Any

import jinja2
import yaml

ROOT = Path(__file__).resolve().parents[1]
COPIER = ROOT / "copier.yml"
COOKIECUTTER = ROOT / "cookiecutter.json"


def translate(template: str, names: dict[str, str]) -> str:
    """Turn copier's names in a Jinja string into cookiecutter's.

    >>> translate("{{ slug | upper }} {{ x.slug }}", {"slug": "slug"})
    '{{ cookiecutter.slug | upper }} {{ x.slug }}'
    """
    words, before = [], ""
    for _, kind, word in jinja2.Environment(keep_trailing_newline=True).lex(template):
        if kind == "name" and word in names and before not in (".", "|"):
            word = f"cookiecutter.{names[word]}"
        words.append(word)
        if kind != "whitespace":
            before = word
    return "".join(words)


def build(copier: dict[str, Any]) -> dict[str, Any]:
    """Return the content of cookiecutter.json for the content of copier.yml."""
    questions = {key: q for key, q in copier.items() if key[0] != "_" and key != "cookiecutter"}
    # Cookiecutter renders `__x` like any other variable, but never asks for it.
    names = {key: f"__{key}" if q.get("when") is False else key for key, q in questions.items()}
    variables: dict[str, Any] = {}
    prompts: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for key, question in questions.items():
        if choices := question.get("choices"):
            # Cookiecutter's default is the first choice.
            variables[key] = sorted(choices.values(), key=lambda value: value != question["default"])
            prompts[key] = {"__prompt__": question["help"]} | {value: label for label, value in choices.items()}
        else:
            default = question["default"]
            variables[names[key]] = default if isinstance(default, bool) else translate(default, names)
            if names[key] == key:
                prompts[key] = question["help"]
        if "validator" in question:
            errors[key] = translate(question["validator"], names)
    return variables | {
        "__answers_file": "",
        "__errors": errors,
        "__exclude": copier["_exclude"],
        "_jinja2_env_vars": {key: value for key, value in copier["_envops"].items() if key != "undefined"},
        "__prompts__": prompts,
    }


def main() -> None:
    """Write the file, or exit with a sentence if it is stale."""
    copier = yaml.safe_load(COPIER.read_text("utf-8"))
    text = json.dumps(build(copier), indent=2, ensure_ascii=False) + "\n"
    if "--check" not in sys.argv:
        COOKIECUTTER.write_text(text, "utf-8", newline="\n")
    elif COOKIECUTTER.read_text("utf-8") != text:
        sys.exit("cookiecutter.json is stale: run `nox -s questions`")


if __name__ == "__main__":
    main()
