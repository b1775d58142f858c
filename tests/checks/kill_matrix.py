#!/usr/bin/env python3
"""Collects the rows of the kill matrix into target/kill-matrix.json and prints the table.

    tests/checks/kill_matrix.py [--cells N]

Each row is written by a test of tests/e2e/tests/labs/matrix.rs. Fails if a kill did not land in its phase, if its rollout did
not converge, or if there are fewer than N cells.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = ROOT / "target/kill-matrix"
PHASES = ["uploading", "validating", "encoding", "hashing", "listing", "accepted", "seeding", "verified", "showing",
          "fetching", "installing", "activating", "trying", "confirming"]


def sign(cell):
    if cell is None:
        return "."
    return "yes" if cell["landed"] and cell["converged"] else "lost" if cell["landed"] else "MISS"


def main():
    parser = argparse.ArgumentParser(description="Collect the kill matrix.")
    parser.add_argument("--cells", type=int, default=1, help="the minimum number of cells")
    wanted = parser.parse_args().cells
    rows = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(ROWS.glob("row-*.json"))]
    cells = [{**cell, "row": row["row"]} for row in rows for cell in row["cells"]]
    good = [c for c in cells if c["landed"] and c["converged"]]
    found = {(c["process"], c["phase"]): c for c in cells}
    processes = sorted({c["process"] for c in cells})
    print("kill matrix: seeds " + ", ".join(sorted({str(r["seed"]) for r in rows})))
    print(f"{'':<29}" + "".join(f"{p[:9]:>10}" for p in PHASES))
    for process in processes:
        print(f"{process:<29}" + "".join(f"{sign(found.get((process, p))):>10}" for p in PHASES))
    for c in cells:
        if c not in good:
            print(f"  row {c['row']}: {c['process']} in {c['phase']}: {c['evidence'] or 'phase missed'}")
    ratios = [r["wan_ratio"] for r in rows if "wan_ratio" in r]
    judged = sum(r.get("promise_judged", 0) for r in rows)
    print(f"{len(rows)} rows, {len(cells)} cells, {len(good)} landed and converged; copies over the WAN at most "
          f"{max(ratios, default=0):.2f}; the publishing invariant was checked {judged} times")
    merged = {"rows": rows, "cells": len(cells), "landed_and_converged": len(good)}
    (ROOT / "target/kill-matrix.json").write_text(json.dumps(merged, indent=2) + "\n", encoding="utf-8")
    if len(good) != len(cells) or len(found) != len(cells) or len(cells) < wanted:
        print(f"kill matrix: expected {wanted} cells, each landed and converged")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
