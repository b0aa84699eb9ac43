"""Results of checks as JUnit XML, which CI systems show."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as xml

from msgspec import Struct

from ..table import replacing


class Check(Struct):
    """One thing tried; `failure` says what was wrong, or is empty."""

    name: str
    seconds: float
    failure: str = ""


def junit(checks: Sequence[Check], path: Path, suite: str, skipped: str = "") -> None:
    """Write the results; `skipped` says why nothing could be tried."""
    failed = sum(bool(c.failure) for c in checks)
    told = xml.Element("testsuite", name=suite, tests=str(len(checks) or 1), failures=str(failed), errors="0")
    told.set("skipped", "1" if skipped else "0")
    for c in checks:
        case = xml.SubElement(told, "testcase", classname=suite, name=c.name, time=str(c.seconds))
        if c.failure:
            xml.SubElement(case, "failure", message=c.failure)
    if skipped:
        xml.SubElement(xml.SubElement(told, "testcase", classname=suite, name=suite), "skipped", message=skipped)
    with replacing(path) as part:
        xml.ElementTree(told).write(part, encoding="utf-8", xml_declaration=True)
