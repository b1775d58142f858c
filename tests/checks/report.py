#!/usr/bin/env python3
"""Checks a report of the lab (`lab demo --once --report FILE`) against the requirements of a rollout.

    tests/checks/report.py target/demo.json

Every terminal is confirmed on the new version, in the other slot, with the expected digest; every branch took at most
1.06 artifacts over its WAN link. Exit 1 names each shortfall.
"""

import json
import sys

WAN_RATIO = 1.06


def shortfalls(report):
    """Yields each requirement that a report, or the virtual machines' report inside it, does not meet."""
    if report.get("vm"):
        yield from shortfalls(report["vm"])
    if not report["terminals"] or not report["branches"]:
        yield "the report has no terminals or no branches"
    for t in report["terminals"]:
        name = f"{t['branch']}/{t['name']}"
        if t["state"] != "confirmed":
            yield f"{name} is {t['state']}: {t['reason']}"
        if t["slot"] == t["slot_before"]:
            yield f"{name} still runs slot {t['slot']}"
        if t["version"] == t["version_before"]:
            yield f"{name} still runs version {t['version']}"
        if t["slot_sha256"] != report["expected_sha256"]:
            yield f"{name} has {t['slot_sha256']} in its slot, expected {report['expected_sha256']}"
        moves = [m["to"] for m in report["transitions"] if m["terminal"] == name]
        if moves.count("confirmed") != 1 or "trying" not in moves:
            yield f"{name} went {' → '.join(moves)}"
    for b in report["branches"]:
        if not 0.9 < b["wan_ratio"] <= WAN_RATIO:
            yield f"{b['name']} took {b['wan_ratio']} artifacts over the WAN, at most {WAN_RATIO} are allowed"


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    found = list(shortfalls(report))
    reports = [r for r in (report, report.get("vm")) if r]
    ratios = ", ".join(f"{b['name']} {b['wan_ratio']}" for r in reports for b in r["branches"])
    print(f"report: {sum(len(r['terminals']) for r in reports)} terminals, artifacts over the WAN: {ratios}; {len(found)} shortfalls")
    for shortfall in found:
        print(f"  {shortfall}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
