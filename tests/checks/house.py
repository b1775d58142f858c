#!/usr/bin/env python3
"""Checks the rules of the house that no compiler knows.

    tests/checks/house.py [--json]

- source files stay under 400 lines (tests and generated snapshots under 600);
- SQL stands only in db/ and migrations/ (invariant 9);
- pure modules use no clock, no I/O and no async (invariant 1);
- no file names a package registry's host or carries a path of the machine it was written on;
- every command that README.md shows exists.
"""

import json
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT, TEST_LIMIT = 400, 600
PURE = ["terminal-agent/src/decide.rs", "terminal-agent/src/packages/decide.rs", "terminal-agent/src/state.rs",
        "head-office/src/rollout/plan.rs",
        "branch-server/src/sync/plan.rs", "crates/fleet-types/src"]
IMPURE = re.compile(r"\basync\b|\.await\b|\bstd::fs\b|\btokio::|\bUtc::now\b|SystemTime|\bstd::process\b|reqwest::")
SQL = re.compile(r'"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|ALTER TABLE)\s', re.IGNORECASE)
# Written in pieces, so that this file does not name what it looks for.
FOREIGN = re.compile("|".join([r"crates\." + "io", r"registry\.npmjs" + r"\.org", r"pypi\." + "org",
                               r"deb\.debian" + r"\.org", r"security\.debian" + r"\.org", "/wo" + "rk/", "/root" + "/"]))


def tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    return [p for p in listed.decode().split("\0") if p and (ROOT / p).is_file()]


def code_before_tests(text):
    return text.split("#[cfg(test)]")[0]


def is_test(path):
    return "/tests/" in f"/{path}" or path.endswith("tests.rs")


def check_sources(files):
    for path in files:
        if path == "Cargo.lock" or path.endswith((".png", ".json", "package-lock.json")):
            continue
        text = (ROOT / path).read_text(encoding="utf-8", errors="replace")
        lines = text.count("\n")
        if path.endswith((".rs", ".py", ".sh", ".ts", ".tsx")) and lines > (TEST_LIMIT if is_test(path) else LIMIT):
            yield f"{path}: {lines} lines; split it by meaning"
        for match in FOREIGN.finditer(text):
            line = text[:match.start()].count("\n") + 1
            yield f"{path}:{line}: names {match.group()!r}; take it from the host's configuration"
        if not path.endswith(".rs") or is_test(path):
            continue
        body = code_before_tests(text)
        if "/db/" not in path and not path.startswith(("crates/service-kit/src/db", "crates/test-kit", "tests/")):
            for match in SQL.finditer(body):
                yield f"{path}:{body[:match.start()].count(chr(10)) + 1}: SQL outside db/ (invariant 9)"
        if any(path == pure or path.startswith(pure + "/") for pure in PURE):
            code = re.sub(r"//.*", "", body)
            for match in IMPURE.finditer(code):
                yield f"{path}: {match.group()!r} in a pure module (invariant 1)"


def check_pure_exist():
    for pure in PURE:
        if not (ROOT / pure).exists():
            yield f"{pure}: named as a pure module but not there; correct the list in tests/checks/house.py"


def check_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", readme, re.DOTALL)
    words = [line.strip().lstrip("$ ") for block in blocks for line in block.splitlines() if line.strip()]
    for command in words + re.findall(r"`((?:make|filial|target/debug/[a-z-]+) [^`]+)`", readme):
        parts = shlex.split(command, comments=True)
        if not parts:
            continue
        if parts[0] == "make":
            for target in parts[1:]:
                if "=" not in target and not target.startswith("-") and target not in targets:
                    yield f"README.md: 'make {target}' does not exist"
        elif parts[0] in ("filial", "target/debug/filial"):
            yield from check_filial(parts[1:], command)


def check_filial(arguments, command):
    binary = ROOT / "target/debug/filial"
    if not binary.exists():
        yield "README.md names filial commands, but target/debug/filial is not built: run 'make build' first"
        return
    # Everything before --help is parsed first: an unknown verb or option fails, with its right neighbours or without.
    done = subprocess.run([binary, *arguments, "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        yield f"README.md: '{command}' does not exist"


def main():
    files = tracked()
    problems = [*check_sources(files), *check_pure_exist(), *check_readme()]
    if "--json" in sys.argv[1:]:
        print(json.dumps({"files": len(files), "problems": problems}, indent=2))
    else:
        print(f"house: {len(files)} files, {len(problems)} problems")
        for problem in problems:
            print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
