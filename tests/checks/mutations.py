#!/usr/bin/env python3
"""Removes one check at a time, of crates/trust and of the programs, and demands that the test named for it fails.

    tests/checks/mutations.py [--only WORD] [--json]

Works on a copy of the tracked files with a target folder of its own, both below the target folder: with a shared one,
cargo would take a mutant for the real crate. Exit 1 names each mutation that no test noticed. About half a minute for each,
and some minutes for the first run's dependencies. The programs' tests get a PostgreSQL by target/debug/with-postgres.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / "target/mutations/tree"
BUILT = ROOT / "target/mutations/built"
POSTGRES = ROOT / "target/debug/with-postgres"
TRUST = "crates/trust/src"

IGNORES_TOUGH = ("client/mod.rs", "loaded.and_then(|()| self.judge(", "loaded.or(Ok::<(), Refusal>(())).and_then(|()| self.judge(")

# Test binary, test, then what is changed: file below crates/trust/src, text that stands there once, text instead.
OF_TRUST = [
    # tough refuses it, and so do we: both are removed.
    ("attacks", "arbitrary_software", [
        IGNORES_TOUGH,
        ("client/trusted.rs", "delegations.verify_role(&file.signed, &role.to_string()).map_err(unsigned(&role))?;", ""),
    ]),
    ("attacks", "extraneous_dependency", [IGNORES_TOUGH]),
    ("attacks", "rollback", [IGNORES_TOUGH]),
    ("attacks", "fast_forward", [("client/mod.rs", "if newer_root { DateTime::<Utc>::MIN_UTC }", "if false { DateTime::<Utc>::MIN_UTC }")]),
    ("attacks", "indefinite_freeze", [("client/mod.rs", "trusted.check_fresh(clock.max(floor))?;", "")]),
    ("attacks", "indefinite_freeze", [("client/mod.rs", "trusted.check_fresh(clock.max(floor))?;", "trusted.check_fresh(clock)?;")]),
    ("attacks", "slow_retrieval", [("client/bridge.rs", "tokio::time::timeout(self.deadline, self", "tokio::time::timeout(self.deadline * 1_000_000, self")]),
    ("attacks", "endless_data", [("client/bridge.rs", "refuse(Why::EndlessData, format!(\"{name} has more", "refuse(Why::Unfetchable, format!(\"{name} has more")]),
    ("attacks", "vulnerable_key", [("repository/schema.rs", "if !keys.insert(key) {", "if !keys.insert(key) && false {")]),
    ("attacks", "vulnerable_key_in_a_root", [("client/state.rs", "check_root(&File::<Root>::read(&RoleName::Root, bytes)?.signed.signed)?;", "let _ = check_root;")]),
    ("attacks", "wrong_branchs_plan", [("plans.rs", "if plan.branch != *branch {", "if false {")]),
    ("attacks", "replayed_older_plan", [("plans.rs", "if serial < floor.serial {", "if false {")]),
    ("attacks", "substituted_release_in_a_plan", [("client/trusted.rs", "signed.sha256 == step.payload.sha256", "true")]),
    ("attacks", "substituted_release_in_a_plan", [("client/trusted.rs", "signed.index_sha256 == step.artifact.index_sha256", "true")]),
    ("attacks", "helper_asked", [("plans.rs", "s.manifest == claim.manifest && s.payload.sha256 == claim.payload", "true")]),
    ("attacks", "helper_asked", [("client/trusted.rs", "trusted.check_accepted_step(plans::check_claim(&plan, claim)?)", "let s = plans::check_claim(&plan, claim)?; trusted.payload(&s.product, &s.version, &s.payload.name)")]),
    ("plans", "any_flipped_byte", [("plans.rs", "STANDARD.decode(&signature.sig).is_ok_and(|sig| key.verify(&message, &sig))", "STANDARD.decode(&signature.sig).is_ok_and(|sig| key.verify(&message, &sig) || true)")]),
    ("plans", "too_few", [("plans.rs", "valid.len() >= keys.threshold() as usize", "!valid.is_empty()")]),
    ("plans", "branch_and_times", [("plans.rs", "now >= plan.expires", "now > plan.expires")]),
    ("plans", "downgrade", [("plans.rs", "step.version < *installed && !step.downgrade", "false")]),
    ("client", "newer_root_holds", [("client/mod.rs", "next.take_roots(&bridge.seen(), scratch.path())?;", "if loaded.is_ok() { next.take_roots(&bridge.seen(), scratch.path())?; }")]),
    ("repository", "second_is_to_be_signed_again", [("repository/accept.rs", "if proposal.base != present {", "if false {")]),
    ("repository", "release_never_changes", [("repository/accept.rs", "self.check_releases_stay(proposal)?;", "")]),
    ("repository", "outside_the_roles_paths", [("repository/accept.rs", "if !exactly ||", "if")]),
    ("repository", "rotates_with_old_and_new", [("repository/accept.rs", "sets.push(schema::holders(next, &RoleName::Root)?);", "")]),
    ("certificates", "speaks_for_no_other", [("certificates/check.rs", "if fits {", "if true {")]),
    ("certificates", "other_names", [("certificates/check.rs", "Some([GeneralName::DNSName(name)])", "Some([GeneralName::DNSName(name), ..])")]),
    ("certificates", "other_names", [("certificates/check.rs", "KeyUsage::required(CLIENT_AUTH)", "KeyUsage::required_if_present(CLIENT_AUTH)")]),
    ("certificates", "denial_counts", [("certificates/tls.rs", "&(self.denied)()", "&DenyList::default()")]),
    ("certificates", "lets_in_who_belongs", [("certificates/tls.rs", "if peer.is(&identity)", "if peer.is(&identity) || true")]),
    ("certificates", "over_by_the_floor_alone", [("certificates/tls.rs", "self.check(end_entity, intermediates, Purpose::Client, now).map_err(turned_away)", "{ let _ = now; self.time.times().hold(|now| self.check(end_entity, intermediates, Purpose::Client, now)).map_err(turned_away) }")]),
    ("certificates", "any_branchs_server", [("certificates/tls.rs", "matches!(found, Identity::Branch(_))", "true")]),
]


IGNORES_UPDATE = [
    ("terminal-agent/src/talk.rs", "            (_, Err(refusal)) => Err(refusal),\n", "            (None, Err(refusal)) => Err(refusal),\n"),
    ("terminal-agent/src/talk.rs", "            (Some(envelope), Ok(())) => {", "            (Some(envelope), _) => {"),
]

# Package, test binary, test, then what is changed: file, text that stands there once, text instead.
OF_PROGRAMS = [
    # A terminal.
    ("terminal-agent", "attacks", "indefinite_freeze", IGNORES_UPDATE),
    ("terminal-agent", "attacks", "mix_and_match", IGNORES_UPDATE),
    ("terminal-agent", "attacks", "arbitrary_software", [("terminal-agent/src/believed.rs", "        trusted.check_plan(plan.plan(), now)?;\n", "")]),
    ("terminal-agent", "attacks", "substituted_release_in_a_plan", [("terminal-agent/src/believed.rs", "        trusted.check_plan(plan.plan(), now)?;\n", "")]),
    ("terminal-agent", "attacks", "replayed_older_plan", [
        ("terminal-agent/src/accepted.rs", "    serde_json::from_slice(&bytes).map(Some).map_err(damaged)",
         "    serde_json::from_slice(&bytes).map(|c: Content| Some(Content { floors: Floors::default(), ..c })).map_err(damaged)"),
    ]),
    ("terminal-agent", "attacks", "a_release_that_is_withdrawn_at_the_last_moment", [
        ("terminal-agent/src/metadata.rs", "let Action::WriteBoot(BootState { trial: Some(_), .. }) = action else", "let Action::WriteBoot(BootState { trial: Some(_), default: fleet_types::Slot::B }) = action else"),
        # The root helper would notice too: it is not told of newer metadata.
        ("terminal-agent/src/helper.rs", "if known && self.believed.holds(&evidence.metadata) {", "if known {"),
    ]),
    ("terminal-agent", "attacks", "a_package_that_is_withdrawn_before", [
        ("terminal-agent/src/packages/act.rs", "if let Err(reason) = self.authorise_package(&package) {", "if let Some(reason) = self.authorise_package(&package).err().filter(|_| false) {"),
    ]),
    ("terminal-agent", "attacks", "fast_forward", [
        ("crates/trust/src/certificates/time.rs", "=> judge(self.clock),", "=> Err(refusal),"),
        ("crates/trust/src/certificates/mod.rs", "if !is_valid(latest) && !is_valid(clock) =>", "if !is_valid(latest) =>"),
    ]),
    ("terminal-agent", "attacks", "extraneous_dependency", [(f"{TRUST}/{IGNORES_TOUGH[0]}", *IGNORES_TOUGH[1:])]),
    ("terminal-agent", "attacks", "endless_data", [(f"{TRUST}/client/bridge.rs", "refuse(Why::EndlessData, format!(\"{name} has more", "refuse(Why::Unfetchable, format!(\"{name} has more")]),
    ("terminal-agent", "attacks", "forged_delta", [("crates/artifact/src/read_back.rs", "    if found != payload.sha256 {", "    if false {")]),
    ("terminal-agent", "attacks", "without_a_branch_server_a_restart", [("terminal-agent/src/agent.rs", "        agent.restore_plan()?;\n", "")]),
    ("terminal-agent", "helper", "helper_asked_to_activate_an_unverified_slot", [
        ("terminal-agent/src/helper.rs", "        self.check_slot(running.other(), PayloadId { sha256: signed.sha256, length: signed.length })?;",
         "        let _ = self.check_slot(running.other(), PayloadId { sha256: signed.sha256, length: signed.length });"),
    ]),
    ("terminal-agent", "helper", "a_slot_on_trial_is_not_written", [("terminal-agent/src/helper/boot.rs", "if state != BootState::settled(running) {", "if false {")]),
    ("terminal-agent", "helper_process", "a_foreign_user_is_not_heard", [("terminal-agent/src/helper/serve.rs", "if peer.uid() != agent {", "if false {")]),
    # What an archive or an artifact may hold.
    ("release", "archive", "path_traversal_in_an_archive", [("crates/release/src/path.rs", 'if s.split(\'/\').any(|part| matches!(part, "" | "." | "..")) {', "if false {")]),
    ("release", "archive", "symlink_and_device_nodes_in_an_archive", [("crates/release/src/scan/mod.rs", "self.note(Flaw::Kind { path: shown.clone(), kind: kind_name, code });", "let _ = (kind_name, code);")]),
    ("release", "archive", "manifest_bomb", [("crates/release/src/scan/mod.rs", "if size > limit {", "if false {")]),
    ("artifact", "index", "decompression_bomb", [("crates/artifact/src/decode.rs", "if !is_one_frame_of(frame, length) {", "if !is_one_frame_of(frame, length) && false {")]),
    ("artifact", "index", "poisoned_piece", [("crates/artifact/src/decode.rs", "written != length || found != segment.sha256", "written != length")]),
    # A branch server.
    ("branch-server", "api", "table::stolen_terminal_certificate_at_another_branch", [("branch-server/src/routes/authentication.rs", "if here != branch => return", "if here != branch && false => return")]),
    ("branch-server", "api", "table::every_route_of_machines", [("branch-server/src/routes/authentication.rs", "Some(key) if key != checked.key =>", "Some(key) if key != checked.key && false =>")]),
    ("branch-server", "api", "table::every_route_of_machines", [("branch-server/src/routes/authentication.rs", "Some(_) if known.denied.is_some() =>", "Some(_) if known.denied.is_some() && false =>")]),
    ("branch-server", "api", "enrol::", [("branch-server/src/join.rs", "filter(|held| token::hash(secret) == held.secret)", "filter(|held| token::hash(secret) == held.secret || true)")]),
    ("branch-server", "api", "attacks::arbitrary_software", [("branch-server/src/sync/accept.rs", "    trusted.check_plan(plan.plan(), now).map_err(Refusal::Trust)?;\n", "")]),
    ("branch-server", "api", "attacks::fast_forward", [("crates/trust/src/certificates/time.rs", "=> judge(self.clock),", "=> Err(refusal),")]),
    ("branch-server", "api", "attacks::slow_retrieval", [(f"{TRUST}/client/bridge.rs", "tokio::time::timeout(self.deadline, self", "tokio::time::timeout(self.deadline * 1_000_000, self")]),
    ("branch-server", "api", "attacks::indefinite_freeze", [("branch-server/src/jobs/sync.rs", "    if let Err(refusal) = fresh {", "    if let Some(refusal) = fresh.err().filter(|_| false) {")]),
    # Head office.
    ("head-office", "api", "attacks::csrf", [("crates/service-kit/src/server/route.rs", "if !request.method().is_safe() {", "if false {")]),
    ("head-office", "api", "attacks::session_fixation", [("head-office/src/routes/session.rs", "    for old in cookies(&request) {", "    for old in cookies(&request).take(0) {")]),
    ("head-office", "api", "attacks::role_escalation", [("head-office/src/operators/doorkeeper.rs", "token.role.min(held.operator_role)", "held.operator_role")]),
    ("head-office", "api", "sql::sql_in_every_text_field", [
        ("head-office/src/db/tokens.rs", "execute(c, INSERT, &params)",
         'let sql = INSERT.sql.replace("$3", &format!("left($3, 0) || \'{}\'", token.name));'
         'execute(c, service_kit::database::Statement { sql: sql.leak(), ..INSERT }, &params)'),
    ]),
    ("head-office", "api", "table::every_route_refuses", [("crates/service-kit/src/server/route.rs", "if !caller.role.reaches(needed) {", "if false {")]),
    ("head-office", "api", "table::every_route_refuses", [("crates/service-kit/src/server/route.rs", "if !caller.may_use(group) {", "if false {")]),
    ("head-office", "api", "reports::forged_confirmation_by_a_branch", [("head-office/src/routes/reports.rs", "if key.as_ref().is_some_and(proven) {", "if key.as_ref().is_some_and(proven) || true {")]),
    ("head-office", "api", "audit::a_changed_row", [("crates/wire/src/v1/audit.rs", "            return Err(Broken::Changed(entry.seq));", "")]),
]

MUTATIONS = [("trust", binary, test, [(f"{TRUST}/{name}", old, new) for name, old, new in edits]) for binary, test, edits in OF_TRUST]
MUTATIONS += OF_PROGRAMS


def copy_tree():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    shutil.rmtree(COPY, ignore_errors=True)
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            # With the time of now: cargo would take a mutant of an earlier run for what is older than it.
            shutil.copy(ROOT / name, COPY / name)


def cargo(package, *arguments, seconds):
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BUILT)}
    server = [str(POSTGRES), "--"] if package in ("head-office", "branch-server") else []
    command = [*server, "cargo", "test", "--quiet", "--locked", "-p", package, *arguments]
    # A session of its own, so that a test that hangs ends together with cargo.
    process = subprocess.Popen(command, cwd=COPY, env=environment, start_new_session=True, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    return process.returncode, output


def stands(package, binary, test):
    """Whether the test passes on the untouched tree: one that fails anyway would notice everything."""
    done = cargo(package, "--test", binary, "--no-run", seconds=3600)
    if done is None or done[0] != 0:
        sys.exit(f"{package}: {binary} does not build:\n{done[1][-2000:] if done else 'no end'}")
    done = cargo(package, "--test", binary, test, seconds=120)
    return done is not None and done[0] == 0 and " 0 passed" not in done[1]


def judge(package, binary, test, edits):
    """Nothing if a test noticed; otherwise what is wrong."""
    saved = {}
    for name, old, new in edits:
        path = COPY / name
        text = saved.setdefault(path, path.read_text())
        if text.count(old) != 1:
            return f"{name} does not have exactly one {old!r}: correct the list"
    try:
        for name, old, new in edits:
            path = COPY / name
            path.write_text(path.read_text().replace(old, new))
        built = cargo(package, "--test", binary, "--no-run", seconds=1200)
        if built is None or built[0] != 0:
            return "the mutation does not compile: " + (built[1][-2000:] if built else "no end")
        done = cargo(package, "--test", binary, test, seconds=120)
        if done is not None and done[0] == 0:
            return "the test still passes"
        return None
    finally:
        for path, text in saved.items():
            path.write_text(text)


def main():
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    copy_tree()
    results = []
    wanted = [(f"{package}: {binary}::{test}: {edits[0][0]}: {edits[0][1].strip()}", package, binary, test, edits)
              for package, binary, test, edits in MUTATIONS]
    wanted = [found for found in wanted if only in found[0]]
    for package, binary, test in sorted({found[1:4] for found in wanted}):
        if not stands(package, binary, test):
            sys.exit(f"{package}: {binary}::{test} does not pass, or does not exist, before anything is changed")
    for name, package, binary, test, edits in wanted:
        problem = judge(package, binary, test, edits)
        results.append({"mutation": name, "problem": problem})
        if "--json" not in sys.argv:
            print(f"{'noticed' if problem is None else 'MISSED '}  {name}{'' if problem is None else chr(10) + '    ' + problem}", flush=True)
    missed = [r for r in results if r["problem"]]
    shutil.rmtree(COPY, ignore_errors=True)
    if "--json" in sys.argv:
        print(json.dumps(results, indent=2))
    else:
        print(f"mutations: {len(results)}, {len(missed)} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
