#!/usr/bin/env python3
"""Removes one check at a time, of crates/trust and of the programs, and demands that the test named for it fails.

    tests/checks/mutations.py [--check] [--only WORD] [--json]

With --check it only looks whether every test and every text of the list is there, in a second.

Works on a copy of the tracked files with a separate target folder, both below the target folder: with a shared one,
cargo would take a mutant for the real crate. Exit 1 names each mutation that no test noticed. About half a minute for each,
and some minutes for the first run's dependencies. The programs' tests get a PostgreSQL by target/debug/with-postgres.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / "target/mutations/tree"
BUILT = ROOT / "target/mutations/built"
POSTGRES = ROOT / "target/debug/with-postgres"
TRUST = "crates/trust/src"

IGNORES_TOUGH = (TRUST, "loaded.and_then(|()| self.judge(", "loaded.or(Ok::<(), Refusal>(())).and_then(|()| self.judge(")

# Test, as its file and name; then what is changed: folder (or a file, where several contain the
# text), text that one file below it contains exactly once, text instead. Moving code does not change the list.
OF_TRUST = [
    # tough refuses it, and so do we: both are removed.
    ("attacks::arbitrary_software", [
        IGNORES_TOUGH,
        (TRUST, "delegations.verify_role(&file.signed, &role.to_string()).map_err(unsigned(&role))?;", ""),
    ]),
    ("attacks::extraneous_dependency", [IGNORES_TOUGH]),
    ("attacks::rollback", [IGNORES_TOUGH]),
    ("attacks::fast_forward", [(TRUST, "if newer_root { DateTime::<Utc>::MIN_UTC }", "if false { DateTime::<Utc>::MIN_UTC }")]),
    ("attacks::indefinite_freeze", [(TRUST, "trusted.check_fresh(clock.max(floor).max(self.shipped))?;", "")]),
    ("attacks::indefinite_freeze", [(TRUST, "trusted.check_fresh(clock.max(floor).max(self.shipped))?;", "trusted.check_fresh(clock.max(self.shipped))?;")]),
    ("attacks::slow_retrieval", [(TRUST, "tokio::time::timeout(self.deadline, self", "tokio::time::timeout(self.deadline * 1_000_000, self")]),
    ("attacks::endless_data", [(TRUST, "refuse(Why::EndlessData, format!(\"{name} has more", "refuse(Why::Unfetchable, format!(\"{name} has more")]),
    ("attacks::vulnerable_key", [(TRUST, "if !keys.insert(key) {", "if !keys.insert(key) && false {")]),
    ("attacks::vulnerable_key_in_a_root", [(TRUST, "check_root(&File::<Root>::read(&RoleName::Root, bytes)?.signed.signed)?;", "let _ = check_root;")]),
    ("plan_attacks::wrong_branchs_plan", [(TRUST, "if plan.branch != *branch {", "if false {")]),
    ("plan_attacks::replayed_older_plan", [(TRUST, "if serial < floor.serial {", "if false {")]),
    ("plan_attacks::substituted_release_in_a_plan", [(TRUST, "signed.sha256 == step.payload.sha256", "true")]),
    ("plan_attacks::substituted_release_in_a_plan", [(TRUST, "signed.index_sha256 == named.index_sha256", "true")]),
    ("plan_attacks::helper_asked", [(TRUST, "s.manifest == claim.manifest && s.payload.sha256 == claim.payload", "true")]),
    ("plan_attacks::helper_asked", [(TRUST, "trusted.check_accepted_step(plans::check_claim(&plan, claim)?)", "let s = plans::check_claim(&plan, claim)?; trusted.payload(&s.product, &s.version, &s.payload.name)")]),
    ("plans::any_flipped_byte", [(TRUST, "STANDARD.decode(&signature.sig).is_ok_and(|sig| key.verify(&message, &sig))", "STANDARD.decode(&signature.sig).is_ok_and(|sig| key.verify(&message, &sig) || true)")]),
    ("plans::too_few", [(TRUST, "valid.len() >= keys.threshold() as usize", "!valid.is_empty()")]),
    ("plans::branch_and_times", [(TRUST, "now >= plan.expires", "now > plan.expires")]),
    ("plans::downgrade", [(TRUST, "step.version < installed && !step.execution.downgrade", "false")]),
    ("client::newer_root_holds", [(TRUST, "next.take_roots(&bridge.seen(), scratch.path())?;", "if loaded.is_ok() { next.take_roots(&bridge.seen(), scratch.path())?; }")]),
    ("repository::second_is_to_be_signed_again", [(TRUST, "if proposal.base != present {", "if false {")]),
    ("repository::release_never_changes", [(TRUST, "self.check_releases_stay(proposal)?;", "")]),
    ("repository::outside_the_roles_paths", [(TRUST, "if !exactly ||", "if")]),
    ("repository::rotates_with_old_and_new", [(TRUST, "sets.push(schema::holders(next, &RoleName::Root)?);", "")]),
    ("certificates::speaks_for_no_other", [(TRUST, "if fits {", "if true {")]),
    ("certificates::other_names", [(TRUST, "Some([GeneralName::DNSName(name)])", "Some([GeneralName::DNSName(name), ..])")]),
    ("certificates::other_names", [(TRUST, "KeyUsage::required(CLIENT_AUTH)", "KeyUsage::required_if_present(CLIENT_AUTH)")]),
    ("handshakes::denial_counts", [(TRUST, "&(self.denied)()", "&DenyList::default()")]),
    ("handshakes::lets_in_who_belongs", [(TRUST, "if peer.is(&identity)", "if peer.is(&identity) || true")]),
    ("handshakes::over_by_the_floor_alone", [(TRUST, "self.check(end_entity, intermediates, Purpose::Client, now).map_err(turned_away)", "{ let _ = now; self.time.times().hold(|now| self.check(end_entity, intermediates, Purpose::Client, now)).map_err(turned_away) }")]),
    ("handshakes::any_branchs_server", [(TRUST, "matches!(found, Identity::Branch(_))", "true")]),
]


IGNORES_UPDATE = [
    ("terminal-agent/src", "            (_, Err(refusal)) => Err(refusal),\n", "            (None, Err(refusal)) => Err(refusal),\n"),
    ("terminal-agent/src", "            (Some(envelope), Ok(())) => {", "            (Some(envelope), _) => {"),
]

# Package, then as above.
OF_PROGRAMS = [
    # A terminal.
    ("terminal-agent", "attacks::indefinite_freeze", IGNORES_UPDATE),
    ("terminal-agent", "attacks::mix_and_match", IGNORES_UPDATE),
    ("terminal-agent", "attacks::arbitrary_software", [("terminal-agent/src", "        trusted.check_plan(plan.plan(), now)?;\n", "")]),
    ("terminal-agent", "attacks::substituted_release_in_a_plan", [("terminal-agent/src", "        trusted.check_plan(plan.plan(), now)?;\n", "")]),
    ("terminal-agent", "attacks::replayed_older_plan", [
        ("terminal-agent/src", "    serde_json::from_slice(&bytes).map(Some).map_err(damaged)",
         "    serde_json::from_slice(&bytes).map(|c: Content| Some(Content { floors: Floors::default(), ..c })).map_err(damaged)"),
    ]),
    ("terminal-agent", "attacks::a_release_that_is_withdrawn_at_the_last_moment", [
        ("terminal-agent/src", "if let Err(refused) = authorise(context, update) {", "if let Some(refused) = authorise(context, update).err().filter(|_| false) {"),
        # The root helper would notice too: it is not told of newer metadata.
        ("terminal-agent/src", "if known && self.believed.holds(&evidence.metadata) {", "if known {"),
    ]),
    ("terminal-agent", "attacks::a_package_that_is_withdrawn_before", [
        ("terminal-agent/src", "if let Err(reason) = authorise(package, context) {", "if let Some(reason) = authorise(package, context).err().filter(|_| false) {"),
    ]),
    ("terminal-agent", "attacks::fast_forward", [
        ("crates/trust/src", "=> judge(self.clock),", "=> Err(refusal),"),
        ("crates/trust/src", "if !is_valid(latest) && !is_valid(clock) =>", "if !is_valid(latest) =>"),
    ]),
    ("terminal-agent", "attacks::extraneous_dependency", [IGNORES_TOUGH]),
    ("terminal-agent", "attacks::endless_data", [(TRUST, "refuse(Why::EndlessData, format!(\"{name} has more", "refuse(Why::Unfetchable, format!(\"{name} has more")]),
    ("terminal-agent", "attacks::forged_delta", [("crates/artifact/src/read_back.rs", "    if found != payload.sha256 {", "    if false {")]),
    ("terminal-agent", "recovery::without_a_branch_server_a_restart", [("terminal-agent/src", "        plans.restore(enrolment.recipient().as_ref(), ports, keeper)?;\n", "")]),
    ("terminal-agent", "packages_cli::started_by_root", [("terminal-agent/src", "if !rustix::process::geteuid().is_root() {\n        return Ok(());", "if true {\n        return Ok(());")]),
    ("terminal-agent", "helper::helper_asked_to_activate_an_unverified_slot", [
        ("terminal-agent/src", "        self.check_slot(running.other(), &payload)?;", "        let _ = self.check_slot(running.other(), &payload);"),
    ]),
    ("terminal-agent", "helper::a_slot_on_trial_is_not_written", [("terminal-agent/src", "if state != BootState::settled(running) {", "if false {")]),
    ("terminal-agent", "helper_process::a_foreign_user_is_not_heard", [("terminal-agent/src", "if peer.uid() != agent {", "if false {")]),
    # Trials that say nothing about the release are bounded, and are not charged to it.
    ("terminal-agent", "unjudged::never_judged_is_blamed_after_three", [("terminal-agent/src", "match trial < UNJUDGED_TRIALS {", "match true {")]),
    ("terminal-agent", "unjudged::never_judged_is_blamed_after_three", [("terminal-agent/src", "let trials = self.unjudged_trials(&payload).saturating_add(1);", "let trials = 1;")]),
    ("terminal-agent", "unjudged::machine_without_a_clock", [("terminal-agent/src", "    if judged >= newest {", "    if now >= newest {")]),
    # A clock at 1970.
    ("terminal-agent", "identity::first_enrolment_at_1970", [("terminal-agent/src", "        client.judge_not_before(settings.not_before);\n", "")]),
    ("terminal-agent", "identity::join_token_is_deleted", [("terminal-agent/src", "        self.enrolment.settle_token(settings);\n", "")]),
    ("terminal-agent", "identity::join_token_of_another_fleet", [("terminal-agent/src", "token.authority == *authority)", "token.authority != *authority || true)")]),
    # Confirmed, with other bytes.
    ("terminal-agent", "delivered::delivered_slot_with_an_unreadable_sector", [("terminal-agent/src", "match tries < context.settings.limits.attempts {", "match true {")]),
    ("terminal-agent", "delivered::confirmed_with_other_bytes", [("terminal-agent/src", "        None => Runs::Version,\n", "        None => Runs::Payload,\n")]),
    ("terminal-agent", "delivered::compares_the_running_slot", [("terminal-agent/src", "let (running, payload) = (self.boots.running()?, self.ordered(order, clock)?);", "let (running, payload) = (self.boots.running()?.other(), self.ordered(order, clock)?);")]),
    ("head-office", "proofs::confirmed_with_other_bytes", [("head-office/src", "    db::updates::remove_of_terminal(&transaction, branch, name).await?;\n", "")]),
    ("head-office", "releases::confirmed_with_other_bytes", [("crates/release/src", "any(|withdrawn| *withdrawn != payloads)", "any(|withdrawn| *withdrawn != payloads && false)")]),
    ("branch-server", "identities::confirmed_with_other_bytes", [("branch-server/src", "        updates::forget(&tx, &name).await?;\n", "")]),
    # The slot that does not run boots only verified.
    ("terminal-agent", "marks::loses_its_mark_before_the_first_write", [("terminal-agent/src", "if self.devices.boot.keeps_marks() && verified != Some(running_alone) {", "if false {")]),
    ("terminal-agent", "marks::loses_its_mark_before_the_first_write", [("crates/bootslot/src", "        self.store_copy(&stored)?;\n", "")]),
    ("bootslot", "grub_script::not_verified_is_not_fallen_back_to", [("crates/bootslot/scripts/grub.cfg", 'if [ "x$filial_marks" = "x" -o "x$filial_marks" = "xAB" -o "x$filial_marks" = "x$filial_other" ]; then', "if true; then")]),
    ("bootslot", "uboot_script::faults_lead", [("crates/bootslot/scripts/uboot.cmd", 'if test "${filial_unverified}" = "yes"; then filial_order="${filial_first}"; fi', "true")]),
    # What an archive or an artifact may hold.
    ("release", "archive::path_traversal_in_an_archive", [("crates/release/src", 'if s.split(\'/\').any(|part| matches!(part, "" | "." | "..")) {', "if false {")]),
    ("release", "archive::symlink_and_device_nodes_in_an_archive", [("crates/release/src", "self.note(Flaw::Kind { path: shown.clone(), kind: kind_name, code });", "let _ = (kind_name, code);")]),
    ("release", "archive::manifest_bomb", [("crates/release/src", "if size > limit {", "if false {")]),
    ("artifact", "index::decompression_bomb", [("crates/artifact/src", "if !is_one_frame_of(frame, length) {", "if !is_one_frame_of(frame, length) && false {")]),
    ("artifact", "index::poisoned_piece", [("crates/artifact/src", "written != length || found != segment.sha256", "written != length")]),
    # A branch server.
    ("branch-server", "table::stolen_terminal_certificate_at_another_branch", [("branch-server/src", "if here != branch => return", "if here != branch && false => return")]),
    ("branch-server", "table::every_route_of_machines", [("branch-server/src", "Some(key) if key != checked.key =>", "Some(key) if key != checked.key && false =>")]),
    ("branch-server", "table::every_route_of_machines", [("branch-server/src", "Some(_) if known.denied.is_some() =>", "Some(_) if known.denied.is_some() && false =>")]),
    ("branch-server", "enrol::", [("branch-server/src", "filter(|held| token::hash(secret) == held.secret)", "filter(|held| token::hash(secret) == held.secret || true)")]),
    ("branch-server", "attacks::arbitrary_software", [("branch-server/src", "    trusted.check_plan(plan.plan(), now).map_err(Refusal::Trust)?;\n", "")]),
    ("branch-server", "attacks::fast_forward", [("crates/trust/src", "=> judge(self.clock),", "=> Err(refusal),")]),
    ("branch-server", "attacks::slow_retrieval", [(TRUST, "tokio::time::timeout(self.deadline, self", "tokio::time::timeout(self.deadline * 1_000_000, self")]),
    ("branch-server", "attacks::indefinite_freeze", [("branch-server/src", "    if let Err(refusal) = fresh {", "    if let Some(refusal) = fresh.err().filter(|_| false) {")]),
    ("branch-server", "proofs::unsigned_state", [("branch-server/src", "self.key.is_some_and(|key| key.verify_text(statement, proof));", "{ let _ = statement; self.key.is_some() || !proof.is_empty() };")]),
    ("branch-server", "proofs::ten_thousand_unsigned_states", [("branch-server/src", "let detail = if self.unproven.must_wait(terminal, now).is_some() {", "let detail = if false {")]),
    ("branch-server", "proofs::state_under_a_key_that_waits", [("branch-server/src", "let presented = request.conn_data::<PeerCertificates>().and_then(|presented| presented.0.first());", "let presented = request.conn_data::<PeerCertificates>().and_then(|presented| presented.0.last());")]),
    ("head-office", "releases::one_terminals_false_slot", [("head-office/src", "FROM terminals WHERE denied_at IS NULL) AS t", "FROM terminals) AS t")]),
    ("branch-server", "joining::denied_terminal_does_not_come_back", [("branch-server/src", "let join_token_replaced = !body.keep_join_token && replace_join_token", "let join_token_replaced = body.keep_join_token && replace_join_token")]),
    ("branch-server", "joining::server_in_a_dead_ones_place", [("branch-server/src", "Who::Terminal(_, name) if name == facts.name && checked.key == *key => Ok(()),", "Who::Terminal(_, name) if name == facts.name => Ok(()),")]),
    ("branch-server", "joining::server_in_a_dead_ones_place", [("branch-server/src", "if self.denied.names(&facts.name) {", "if false {")]),
    ("branch-server", "joining::server_in_a_dead_ones_place", [("branch-server/src", "keys: issuers.iter().copied().collect(), ", "")]),
    ("branch-server", "joining::join_token_enrols_as_many", [("branch-server/src", "where join_uses < $1 and join_sha256 = $2", "where (join_uses < $1 or join_uses >= 0) and join_sha256 = $2")]),
    ("branch-server", "joining::bogus_join_tokens", [("crates/service-kit/src", "map_or(true, |peek| peek.join_token.is_some())", "map_or(false, |peek| peek.join_token.is_some())")]),
    ("branch-server", "joining::restored_database_does_not_undo", [("branch-server/src", "            terminals::deny(&tx, terminal, now).await?;\n", "")]),
    ("branch-server", "joining::restored_database_does_not_undo", [("branch-server/src", "    app.denied.allow(&name);\n", "")]),
    ("branch-server", "joining::restored_database_does_not_undo", [("branch-server/src", "let waiting = relay_queue::terminals(&tx, relay::DENIED).await?;", "let waiting = BTreeSet::new();")]),
    ("branch-server", "joining::all_denials_are_reported", [("branch-server/src", "        relay::queue(&tx, *at, &report).await?;\n", "        let _ = (at, &report);\n")]),
    ("branch-server", "joining::enrolments_with_changed_facts", [("branch-server/src", "            self.pace.admit(&known.name, ENROLMENT, instant())?;\n", "")]),
    ("branch-server", "joining::strangers_never_hold", [("branch-server/src", "            None => Some(by_key(client, key).await?),", "            None => terminals::by_key(client, key).await?,")]),
    ("branch-server", "joining::replaced_join_token_does_not", [("branch-server/src", "if site::is_replaced_join(&client, &token::hash(token.secret.expose())).await? {", "if false {")]),
    ("branch-server", "reports::repeated_and_refused_batches", [("branch-server/src", "self.pace.admit(terminal, batch.reports.len(), instant())?;", "self.pace.admit(terminal, 0, instant())?;")]),
    ("head-office", "sync::denial_of_a_terminal_that_is_not_known", [("head-office/src", "} else if !denied || !db::denied_names::remember_unknown(c, branch, &terminal, at).await? {", "} else {")]),
    ("head-office", "sync::denial_of_a_terminal_that_is_not_known", [("head-office/src", "WHERE (SELECT count(*) FROM denied_names WHERE branch = $1) < $4", "WHERE (SELECT count(*) FROM denied_names WHERE branch = $1) < $4 * 9")]),
    ("head-office", "terminals::removing_a_denied_terminal", [("head-office/src", "        db::denied_names::remember_one(c, branch, terminal).await?;\n", "")]),
    ("head-office", "terminals::replaced_keys_are_told", [("head-office/src", "    db::denied_names::replaced(&transaction, branch, name, &key, app.clock.now()).await?;\n", "")]),
    ("branch-server", "joining::replaced_key_does_not_come_back", [("branch-server/src", "if signer.as_ref().is_some_and(|key| self.denied.has_key(key)) {", "if false {")]),
    ("head-office", "sync::denied_terminals_and_servers", [("head-office/src", "    db::denied_names::remember(c, branch).await?;\n", "")]),
    # Numbers of reports that go back, or that two machines use.
    ("terminal-agent", "numbering::acknowledgement_beyond_what_was_sent", [("terminal-agent/src", "Ok(ack) if ack.through > keeper.journal().reports.last_sent() => {", "Ok(ack) if ack.through > keeper.journal().reports.last_sent() && false => {")]),
    ("branch-server", "relay::acknowledgement_beyond_what_was_sent", [("branch-server/src", "if through > site.relay_sent {", "if false {")]),
    ("branch-server", "relay::a_refusal_of_an_earlier_numbering", [("branch-server/src", "if site::lock(&tx).await?.relay_epoch != epoch {", "if site::lock(&tx).await?.relay_epoch != epoch && false {")]),
    ("branch-server", "numbering::restored_terminal", [("crates/wire/src", "if let Some(seq) = recent.first_reused(through, reports) {", "if let Some(seq) = recent.first_reused(through, reports).filter(|_| false) {")]),
    ("branch-server", "numbering::two_clones", [("crates/wire/src", "find(|report| superseded && report.seq > through)", "find(|report| superseded && report.seq > through && false)")]),
    ("branch-server", "numbering::restored_terminal", [("branch-server/src", "if elsewhere.contains(&digest) {", "if false {")]),
    ("head-office", "numbering::restored_branch", [("crates/wire/src", "if let Some(seq) = recent.first_reused(through, reports) {", "if let Some(seq) = recent.first_reused(through, reports).filter(|_| false) {")]),
    ("head-office", "numbering::restored_branch", [("head-office/src", "if elsewhere.contains(&digest) {", "if false {")]),
    ("head-office", "numbering::two_clones", [("crates/wire/src", "find(|report| superseded && report.seq > through)", "find(|report| superseded && report.seq > through && false)")]),
    ("terminal-agent", "cli::check_config_says", [("crates/service-kit/src", "found.mode() & others == 0", "found.mode() & others != 1")]),
    # Operators of a branch.
    ("branch-server", "operators::every_change_of_an_operator", [("branch-server/src/http/operators/identities.rs", "    if before != after {", "    if false {")]),
    ("branch-server", "operators::a_change_whose_row_cannot_be_written", [("branch-server/src/http/operators/identities.rs", "app.audit.commit(tx, &caller, change).await?;", "tx.commit().await.map_err(ApiError::internal)?; let _ = change;")]),
    ("branch-server", "operators::a_tokens_file_is_imported_once", [("branch-server/src/operators.rs", "    site::set_tokens_imported(&tx, now).await?;\n", "")]),
    ("branch-server", "operators::an_expired_token", [("crates/access/src", "if token.expires <= now {", "if false {")]),
    ("branch-server", "operators::bootstrap_makes_the_first_admin", [("crates/access/src", "if admin.password.is_some() || db", "if false && db")]),
    ("head-office", "branch_audits::a_branch_whose_audit_was_cut_back", [("head-office/src/fleet/branch_audits.rs", "Ordering::Less if at <= known.at => Judged::Old,", "Ordering::Less => Judged::Old,"), ("head-office/src/fleet/branch_audits.rs", "        std::cmp::Ordering::Less => Judged::Cut,\n", "")]),
    ("head-office", "branch_audits::a_branch_whose_audit_was_cut_back", [("head-office/src/fleet/branch_audits.rs", "let at = at.min(now);", "let _ = now;")]),
    ("branch-server", "operators::the_head_of_the_audit", [("branch-server/src/reports/audit_head.rs", "if *reported == Some(head) {", "if reported.is_some_and(|last| last.seq >= head.seq) {")]),
    # Head office.
    ("service-kit", "heads::a_request_is_understood", [("crates/service-kit/src", "if end == 0 || self.bytes[end - 1] != b'\\r' {", "if end == 0 {")]),
    ("head-office", "attacks::csrf", [("crates/service-kit/src", "if !request.method().is_safe() {", "if false {")]),
    ("head-office", "attacks::session_fixation", [("crates/access/src", "    for old in planted {", "    for old in planted.take(0) {")]),
    ("head-office", "attacks::role_escalation", [("crates/access/src", "token.role.min(held.operator_role)", "held.operator_role")]),
    ("head-office", "sql::sql_in_every_text_field", [
        ("crates/access/src/db/tokens.rs", "execute(c, INSERT, &params)",
         'let sql = INSERT.sql.replace("$3", &format!("left($3, 0) || \'{}\'", token.name));'
         'execute(c, service_kit::database::Statement { sql: sql.leak(), ..INSERT }, &params)'),
    ]),
    ("head-office", "table::every_route_refuses", [("crates/service-kit/src", "if !caller.role.reaches(needed) {", "if false {")]),
    ("head-office", "table::every_route_refuses", [("crates/service-kit/src", "if !caller.may_use(group) {", "if false {")]),
    ("head-office", "holders::certificates_of_one_branch", [("head-office/src", "then(|| format!(\"branch {branch}\"))", "then(|| checked.identity.to_string())")]),
    ("head-office", "holders::a_denied_branch_is_a_stranger", [("head-office/src", "key_sha256 IS NOT NULL AND denied_at IS NULL", "key_sha256 IS NOT NULL")]),
    ("branch-server", "holders::certificates_of_other_keys", [("branch-server/src", "checked.issuer == Some(self.key)", "checked.issuer.is_some()")]),
    ("head-office", "kit::what_only_the_branch_may_say", [("head-office/src", "_ if bearer != Bearer::Operator => Ok(Ok(())),", "_ if bearer != Bearer::Operator || true => Ok(Ok(())),")]),
    ("head-office", "kit::what_only_the_branch_may_say", [("head-office/src", "through == 0 && !is_only", "through == 0 && !is_only && false")]),
    ("head-office", "proofs::forged_confirmation_by_a_branch", [("head-office/src", "key.verify_text(statement, proof))", "key.verify_text(statement, proof) || true)")]),
    ("head-office", "proofs::old_confirmations_do_not_come_back", [("head-office/src/fleet/states.rs", "is_some_and(|position| position > before)", "is_some_and(|position| position > before) || true")]),
    ("head-office", "proofs::old_confirmations_do_not_come_back", [("crates/wire/src", "state && self.position.as_ref().is_none_or(stands)", "state && self.position.as_ref().is_none_or(|p| stands(p) || true)")]),
    ("head-office", "proofs::old_confirmations_do_not_come_back", [("head-office/src/fleet/states.rs", "if !is_news(newest.as_ref().map(|newest| newest.known), newest_plan, update) {", "if false {")]),
    ("head-office", "proofs::forged_confirmation_by_a_branch", [("head-office/src/fleet/states.rs", "if keys.asked.is_some() && prove(", "if true || prove(")]),
    ("head-office", "audit::a_changed_row", [("crates/wire/src", "            return Err(Broken::Changed(entry.seq));", "")]),
]

MUTATIONS = [("trust", test, edits) for test, edits in OF_TRUST]
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
    # A separate session, so that a test that hangs ends together with cargo.
    process = subprocess.Popen(command, cwd=COPY, env=environment, start_new_session=True, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    return process.returncode, output


def folder_of(package):
    return next(folder for folder in (f"crates/{package}", package) if (ROOT / folder).is_dir())


def filter_of(test):
    """What cargo is asked to run: the test's name, or its whole module."""
    return test if test.endswith("::") else test.rsplit("::", 1)[1]


def binary_of(package, test):
    """The integration test binary that has the test, or what is wrong."""
    *_, module, name = test.split("::")
    tests = ROOT / folder_of(package) / "tests"
    found = set()
    for path in sorted(tests.rglob("*.rs")):
        parts = path.relative_to(tests).with_suffix("").parts
        if module in parts and re.search(rf"fn \w*{name}", path.read_text()):
            # A folder without main.rs belongs to the binary that declares it as a module.
            top = parts[0]
            roots = [top] if (tests / f"{top}.rs").exists() or (tests / top / "main.rs").exists() else []
            found.update(roots)
    return (found.pop(), None) if len(found) == 1 else (None, f"{package}: {len(found)} test binaries have {test}: correct the list")


def file_of(folder, text, root):
    """The one file below the folder that contains the text exactly once, or what is wrong."""
    place = root / folder
    paths = [place] if place.is_file() else sorted(place.rglob("*.rs"))
    having = [(path, path.read_text().count(text)) for path in paths]
    having = [(path, count) for path, count in having if count]
    if len(having) == 1 and having[0][1] == 1:
        return having[0][0], None
    return None, f"{folder} has {sum(count for _, count in having)} times {text!r}, not once: correct the list"


def outdated():
    """Entries that name a test or a text that is gone."""
    for package, test, edits in MUTATIONS:
        for problem in [binary_of(package, test)[1], *(file_of(folder, old, ROOT)[1] for folder, old, _ in edits)]:
            if problem:
                yield problem


def stands(package, binary, name):
    """Whether the test passes on the untouched tree: one that fails anyway would notice everything."""
    done = cargo(package, "--test", binary, "--no-run", seconds=3600)
    if done is None or done[0] != 0:
        sys.exit(f"{package}: {binary} does not build:\n{done[1][-2000:] if done else 'no end'}")
    done = cargo(package, "--test", binary, name, seconds=120)
    return done is not None and done[0] == 0 and " 0 passed" not in done[1]


def judge(package, binary, name, edits):
    """Nothing if a test noticed; otherwise what is wrong."""
    saved = {}
    try:
        for folder, old, new in edits:
            path, problem = file_of(folder, old, COPY)
            if problem:
                return problem
            saved.setdefault(path, path.read_text())
            path.write_text(path.read_text().replace(old, new))
        built = cargo(package, "--test", binary, "--no-run", seconds=1200)
        if built is None or built[0] != 0:
            return "the mutation does not compile: " + (built[1][-2000:] if built else "no end")
        done = cargo(package, "--test", binary, name, seconds=120)
        if done is not None and done[0] == 0:
            return "the test still passes"
        return None
    finally:
        for path, text in saved.items():
            path.write_text(text)


def main():
    problems = sorted(set(outdated()))
    if problems:
        sys.exit("\n".join(problems))
    if "--check" in sys.argv:
        print(f"mutations: {len(MUTATIONS)}, every test and every text is there")
        return 0
    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else ""
    copy_tree()
    results = []
    wanted = [(f"{package}: {test}: {edits[0][0]}: {edits[0][1].strip()}", package, binary_of(package, test)[0], filter_of(test), edits)
              for package, test, edits in MUTATIONS]
    wanted = [found for found in wanted if only in found[0]]
    for package, binary, name in sorted({found[1:4] for found in wanted}):
        if not stands(package, binary, name):
            sys.exit(f"{package}: {binary}::{name} does not pass, or does not exist, before anything is changed")
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
