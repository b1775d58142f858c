#!/usr/bin/env python3
"""Checks what changed: format, clippy and tests of the changed crates and of the crates that use them.

    tests/checks/check.py [--base COMMIT] [--list]

Changed is what differs from COMMIT, new files included; by default where this branch left main, or the last commit on main
itself. All tests of a changed crate run, and of the crates that use it those in libraries and programs; end-to-end tests do
not. --list prints the crates and runs nothing. Exit codes: 0 all is well, 1 a check failed, 2 wrong usage.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
POSTGRES = ROOT / "target/debug/with-postgres"
# A change to one of these can change every crate.
OF_ALL = {"Cargo.toml", "Cargo.lock", "clippy.toml", "rustfmt.toml"}
# Too slow between edits: whole labs.
NOT_HERE = {"e2e"}


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def default_base():
    for main in ("origin/main", "main"):
        done = subprocess.run(["git", "merge-base", "HEAD", main], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.strip()
    return "HEAD"


def changed_files(base):
    changed = output("git", "diff", "--name-only", "--no-renames", base, "--").split("\n")
    new = output("git", "ls-files", "--others", "--exclude-standard").split("\n")
    return sorted({name for name in changed + new if name})


def members():
    """Folder and workspace dependencies of each crate of the workspace, by name."""
    packages = json.loads(output("cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"))["packages"]
    names = {p["name"] for p in packages}
    folder = lambda p: str(pathlib.Path(p["manifest_path"]).parent.relative_to(ROOT))
    return {p["name"]: (folder(p), {d["name"] for d in p["dependencies"]} & names) for p in packages}


def affected(files, crates):
    """The crates that files belong to, and those that use one of them, directly or not."""
    if any(name in OF_ALL for name in files):
        return set(crates), set()
    # The longest folder: crates may lie in each other's.
    owner = lambda name: max((c for c, (at, _) in crates.items() if name.startswith(at + "/")), key=lambda c: len(crates[c][0]), default=None)
    changed = {owner(name) for name in files} - {None}
    users, found = set(), set(changed)
    while found:
        found = {c for c, (_, uses) in crates.items() if uses & found} - users - changed
        users |= found
    return changed, users


def step(name, command):
    begun = time.monotonic()
    print(f"=== {name}", flush=True)
    done = subprocess.run(command, cwd=ROOT, check=False)
    return name, time.monotonic() - begun, done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description="Check what changed.")
    parser.add_argument("--base", help="the commit to compare with")
    parser.add_argument("--list", action="store_true", help="print the crates and run nothing")
    arguments = parser.parse_args()
    base = arguments.base or default_base()
    files, crates = changed_files(base), members()
    changed, users = affected(files, crates)
    names = lambda some: " ".join(sorted(some)) or "none"
    print(f"check: {len(files)} files differ from {base[:12]}; changed: {names(changed)}; using them: {names(users)}", flush=True)
    if arguments.list:
        return 0
    steps = [step("format", ["cargo", "fmt", "--all", "--check"])]
    packages = [word for name in sorted(changed | users) for word in ("-p", name)]
    if packages:
        steps.append(step("clippy", ["cargo", "clippy", "--locked", "--all-targets", *packages, "--", "-D", "warnings"]))
    tested = [word for name in sorted((changed | users) - NOT_HERE) for word in ("-p", name)]
    if tested:
        whole = " | ".join(f"package(={name})" for name in sorted(changed - NOT_HERE)) or "none()"
        wanted = f"({whole} | kind(lib) | kind(bin)) - binary_id(lab) - binary_id(/^lab::/)"
        if "lab" in changed:
            wanted = f"{whole} | kind(lib) | kind(bin)"
        if not POSTGRES.exists():
            steps.append(step("with-postgres", ["cargo", "build", "--locked", "-p", "test-kit", "--bins"]))
        run = ["cargo", "nextest", "run", "--locked", "--no-tests", "pass", *tested, "-E", wanted]
        steps.append(step("tests", [POSTGRES, "--", *run]))
    print("\n" + ", ".join(f"{name} {seconds:.0f} s{'' if good else ' FAILED'}" for name, seconds, good in steps))
    return 0 if all(good for _, _, good in steps) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        print(f"check: `{' '.join(error.cmd)}` failed: {(error.stderr or '').strip()}", file=sys.stderr)
        sys.exit(1)
