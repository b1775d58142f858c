#!/usr/bin/env python3
"""Checks the dependency graph: every licence is one we accept, and no crate is there in two versions unless listed.

    tests/checks/dependencies.py [--json]

Reads `cargo metadata` for this platform. Exit 1 names each offender and what to do.
"""

import json
import subprocess
import sys

LICENCES = {
    "MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CDLA-Permissive-2.0", "ISC", "MIT-0", "OpenSSL", "Unicode-3.0", "Unlicense", "Zlib", "0BSD",
}

# Crates that stand in two versions, each with the reason. Remove a line when its reason is gone.
TWICE = {
    "base64": "transmission-rpc and reqwest are on 0.22, tokio-postgres on 0.23",
    "bit-vec": "yasna (under rcgen) names 0.9 as an option that is off, proptest is on 0.10",
    "getrandom": "ring (under transmission-rpc's TLS) is on 0.2, rand and uuid on 0.4",
    "http": "actix-web 4 is on http 0.2, hyper and reqwest on 1",
    "syn": "derive macros are moving from syn 2 to 3; build time only",
    "synstructure": "asn1-rs (under x509-parser) is on 0.13, icu's derives on 0.14; build time only",
    "typed-path": "tough is on 0.9, zip (under utoipa-swagger-ui, build time only) on 0.13",
    "untrusted": "aws-lc-rs and tough are on 0.7, ring and webpki on 0.9",
    "winnow": "cron is on 0.6, toml on 1; cron's newer versions bring phf, rand and winnow twice",
    "windows-sys": "not built on this platform",
}


def alternatives(expression):
    """The licence sets of an SPDX expression; enough of its grammar for what crates use."""
    expression = expression.replace("/", " OR ").replace("(", " ( ").replace(")", " ) ")
    tokens, out, i = expression.split(), [], 0
    while i < len(tokens):
        if i + 2 < len(tokens) and tokens[i + 1] == "WITH":
            out.append(" ".join(tokens[i:i + 3]))
            i += 3
        else:
            out.append(tokens[i])
            i += 1
    python = " ".join({"OR": "or", "AND": "and", "(": "(", ")": ")"}.get(t, repr(t in LICENCES)) for t in out)
    return bool(eval(python, {"__builtins__": {}}))  # only True, False, and, or and brackets reach here


def main():
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]
    graph = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    used = {node["id"] for node in graph["resolve"]["nodes"]}
    problems, versions = [], {}
    for package in graph["packages"]:
        if package["id"] not in used:
            continue
        versions.setdefault(package["name"], set()).add(package["version"])
        licence = package["license"] or ""
        if not licence or not alternatives(licence):
            problems.append(f"{package['name']} {package['version']}: licence {licence or 'unknown'!r} is not accepted; "
                            "replace the crate, or add the licence to LICENCES with the team's agreement")
    twice = {name: sorted(found) for name, found in versions.items() if len(found) > 1}
    for name, found in sorted(twice.items()):
        if name not in TWICE:
            problems.append(f"{name}: in versions {', '.join(found)}; align them, or list the reason in TWICE")
    for name in sorted(set(TWICE) - set(twice)):
        if name != "windows-sys":
            problems.append(f"{name}: listed in TWICE but no longer there twice; remove the line")
    if "--json" in sys.argv[1:]:
        print(json.dumps({"packages": len(used), "twice": twice, "problems": problems}, indent=2))
    else:
        print(f"dependencies: {len(used)} packages, {len(twice)} in two versions, {len(problems)} problems")
        for problem in problems:
            print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
