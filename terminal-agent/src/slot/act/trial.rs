//! Has the bootloader try a slot, by the root helper, which believes nothing that is said here.

use fleet_types::Slot;
use trust::Why;
use trust::plans::Claim;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use crate::model::event::Event;
use crate::model::reasons::{DETAIL, failed, of_error, reason};
use crate::model::request::{Order, Request};
use crate::model::update::{Retry, Update};
use crate::ports::HelperTrouble;
use crate::slot::context::Context;
use crate::slot::outcome::{Outcome, of_helper};

/// Sets the trial.
///
/// Head office ordered exactly this release for this terminal, its order has not expired, and the release keys signed
/// it. Otherwise, what becomes of the update.
pub async fn start(context: Context<'_>, update: &Update) -> Outcome {
    if let Err(refused) = authorise(context, update) {
        return refused;
    }
    match ask(context, Request::Activate(order(update))).await {
        Ok(()) => Outcome::Done,
        Err(trouble) => not_tried(&trouble),
    }
}

/// Compares the slot that runs with what was ordered: it was delivered, and nothing here knows what it holds.
pub async fn check_running(context: Context<'_>, update: &Update) -> Outcome {
    match ask(context, Request::CheckRunning(order(update))).await {
        Ok(()) => Outcome::Event(Event::Delivered(Box::new(update.clone()))),
        Err(HelperTrouble::Refused(reason)) if reason.code == ReasonCode::ReadBackMismatch => {
            Outcome::Differs { slot: update.target, unreadable: None }
        }
        Err(HelperTrouble::Refused(reason)) if reason.code == ReasonCode::SlotUnreadable => {
            let tries = context.journal.trouble.as_ref().filter(|t| t.bounded).map_or(0, |t| t.count).saturating_add(1);
            match tries < context.settings.limits.attempts {
                true => Outcome::bounded(reason, Retry::Later),
                false => Outcome::Differs { slot: update.target, unreadable: Some(unreadable(&reason, update.target)) },
            }
        }
        Err(trouble) => Outcome::waits(trouble.reason()),
    }
}

/// The running slot was not readable as often as it was tried.
fn unreadable(last: &Reason, slot: Slot) -> Reason {
    let sentence = format!(
        "A sector of running slot {slot} cannot be read, so its content is not confirmed: the release is written to the other slot. \
         Check the disk."
    );
    failed(ReasonCode::SlotUnreadable, sentence, last.params.get(DETAIL).unwrap_or(&last.text))
}

fn order(update: &Update) -> Order {
    Order { product: update.product.clone(), manifest: update.manifest, payload: update.payload.sha256 }
}

/// Asks the root helper for something that the followed plan orders.
async fn ask(context: Context<'_>, request: Request) -> Result<(), HelperTrouble> {
    let no_plan = || HelperTrouble::Refused(Reason::new(ReasonCode::NoMetadata, "No signed plan has arrived yet."));
    let evidence = context.plans.evidence().ok_or_else(no_plan)?;
    for request in [Request::Accept(evidence), request] {
        context.ports.helper.ask(request).await?;
    }
    Ok(())
}

fn authorise(context: Context<'_>, update: &Update) -> Result<(), Outcome> {
    let installed = context.ports.host.image_version();
    let installed =
        installed.map_err(|e| Outcome::bounded(of_error(ReasonCode::RunningVersionUnknown, &e), Retry::Later))?;
    let claim = Claim {
        terminal: &context.settings.identity.name,
        product: &update.product,
        manifest: update.manifest,
        payload: update.payload.sha256,
        installed: Some(&installed),
    };
    context.plans.authorise(context.recipient, claim, context.ports).map_err(|refusal| {
        let reason = reason(&refusal);
        match refusal.why() {
            // The update is not refused: there is no metadata yet to judge it by.
            Why::NoMetadata => Outcome::waits(reason),
            _ => Outcome::fail(reason, Retry::NextPlan),
        }
    })
}

/// What it means for the update that the root helper did not set the trial.
fn not_tried(trouble: &HelperTrouble) -> Outcome {
    use ReasonCode as C;
    let HelperTrouble::Refused(reason) = trouble else { return of_helper(trouble) };
    let reason = reason.clone();
    match &reason.code {
        // It was away when the plan came, and waits for fresh metadata.
        C::NoMetadata | C::MetadataExpired => Outcome::waits(reason),
        C::ReadBackMismatch => Outcome::fail(reason, Retry::Never),
        // A disk, a file or the boot block: it may work next time.
        C::SlotUnavailable
        | C::SlotUnreadable
        | C::SlotUnwritable
        | C::BootNotSettled
        | C::BootStateChanged
        | C::BootStateInvalid
        | C::BootStateUnreadable
        | C::BootStateUnwritable
        | C::RunningSlotUnknown
        | C::RunningVersionUnknown
        | C::CmdlineNoRoot
        | C::CmdlineUnknownRoot
        | C::CmdlineSameRoots
        | C::HelperStorage
        | C::HelperUnreachable
        | C::RequestTooSlow
        | C::RequestTooLarge
        | C::RequestMalformed
        | C::TrustStorage
        | C::TrustStoreDamaged => Outcome::bounded(reason, Retry::Later),
        _ => Outcome::fail(reason, Retry::NextPlan),
    }
}
