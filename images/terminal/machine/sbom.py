#!/usr/bin/env python3
"""What an image consists of, beside it: the list of its Debian packages, and a CycloneDX 1.5 SBOM of packages and crates.

    sbom.py --root TREE --lock Cargo.lock --name NAME --version VERSION --packages OUT --sbom OUT

The package list has one "name version architecture" a line. The same tree and lock file give the same bytes: no times, and no
serial number of its own.
"""

import argparse
import json
import pathlib
import tomllib


def stanzas(path):
    """The stanzas of a Debian control file, as dictionaries of their first lines."""
    for text in path.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in text.splitlines() if line[:1].isalpha() and ": " in line)
        if fields:
            yield fields


def debian(root):
    """Installed packages as (name, version, architecture, source), by name."""
    found = []
    for fields in stanzas(root / "var/lib/dpkg/status"):
        if fields.get("Status") == "install ok installed":
            source = fields.get("Source", fields["Package"]).split(" ")[0]
            found.append((fields["Package"], fields["Version"], fields["Architecture"], source))
    if not found:
        raise SystemExit(f"sbom.py: {root} lists no installed package: is it the root of a Debian tree?")
    return sorted(found)


def crates(lock, wanted):
    """What the crates `wanted` are built from, transitively, as (name, version, checksum)."""
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    by_name = {}
    for package in packages:
        by_name.setdefault(package["name"], []).append(package)
    seen, left = {}, [(name, None) for name in wanted]
    while left:
        name, version = left.pop()
        for package in by_name[name]:
            key = (package["name"], package["version"])
            if (version is None or version == package["version"]) and key not in seen:
                seen[key] = package.get("checksum")
                for dependency in package.get("dependencies", []):
                    words = dependency.split(" ")
                    left.append((words[0], words[1] if len(words) > 1 else None))
    return sorted((name, version, checksum or "") for (name, version), checksum in seen.items())


def components(root, lock):
    """The SBOM's components."""
    for name, version, architecture, source in debian(root):
        purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}&distro=bookworm"
        properties = [{"name": "debian:source", "value": source}]
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, "properties": properties}
    for name, version, checksum in crates(lock, ["terminal-agent"]):
        purl = f"pkg:cargo/{name}@{version}"
        component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        if checksum:
            component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        yield component


def main():
    """Reads the arguments, writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["root", "lock", "packages", "sbom"]:
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--version", required=True)
    given = parser.parse_args()
    lines = [f"{name} {version} {architecture}\n" for name, version, architecture, _ in debian(given.root)]
    given.packages.write_text("".join(lines), encoding="utf-8")
    subject = {"type": "operating-system", "bom-ref": given.name, "name": given.name, "version": given.version}
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": subject},
        "components": list(components(given.root, given.lock)),
    }
    given.sbom.write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
