//! When each role of the metadata expires, and what to do about it. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use trust::repository::RoleName;
use wire::v1::status::Alert;
use wire::{Reason, ReasonCode};

/// How long before the end people are told of roles that they must sign themselves.
const WARN_BEFORE: TimeDelta = TimeDelta::days(30);

/// When a role expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The role.
    pub role: RoleName,
    /// Until when it is valid.
    pub at: DateTime<Utc>,
    /// Whether head office renews it by itself.
    pub by_itself: bool,
    /// How long it lasts when head office renews it.
    pub life: TimeDelta,
}

/// What is to be said of these at `now`: [`ReasonCode::MetadataExpired`] or [`ReasonCode::MetadataExpires`].
pub fn alerts(expiries: &[Expiry], now: DateTime<Utc>) -> Vec<Alert> {
    expiries.iter().filter_map(|expiry| alert(expiry, now)).collect()
}

fn alert(expiry: &Expiry, now: DateTime<Utc>) -> Option<Alert> {
    let Expiry { role, at, by_itself, life } = expiry;
    let left = *at - now;
    // What is renewed by itself at half of its life is in trouble once a third is left.
    let early = if *by_itself { *life / 3 } else { WARN_BEFORE };
    if left > early {
        return None;
    }
    let remedy = match (role, by_itself) {
        (_, true) => {
            "Check in the log why it could not be renewed: the clock, the disk, or a role above it.".to_owned()
        }
        (RoleName::Snapshot | RoleName::Timestamp | RoleName::Derived | RoleName::Plan, false) => {
            format!("Give head office the present key of {role}, and restart it.")
        }
        (RoleName::Root, false) => "Have its holders sign it again: `filial trust propose FOLDER root`.".to_owned(),
        (role, false) => format!(
            "Have its holders sign it again: `filial trust propose FOLDER {role}`, `filial trust sign`, `filial trust accept`."
        ),
    };
    let reason = |code| Reason::of(code).with("role", role).with("at", at);
    let reason = if left <= TimeDelta::zero() {
        let text = format!("Role {role} expired {at}: branches and terminals accept nothing new.");
        reason(ReasonCode::MetadataExpired).with("cause", text)
    } else {
        reason(ReasonCode::MetadataExpires)
    };
    Some(Alert { reason, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    fn expiry(role: RoleName, hours: i64, by_itself: bool) -> Expiry {
        Expiry { role, at: now() + TimeDelta::hours(hours), by_itself, life: TimeDelta::days(7) }
    }

    #[test]
    fn nobody_is_told_of_what_is_renewed_in_time() {
        let fine = [
            expiry(RoleName::Timestamp, 24 * 3, true),
            expiry(RoleName::Root, 24 * 31, false),
            expiry(RoleName::Product("kiosk".parse().unwrap()), 24 * 300, false),
        ];
        assert_eq!(alerts(&fine, now()), []);
    }

    #[test]
    fn each_trouble_has_its_sentence_and_its_remedy() {
        let kiosk = RoleName::Product("kiosk".parse().unwrap());
        let said = alerts(
            &[
                expiry(RoleName::Timestamp, 24, true),
                expiry(RoleName::Root, 24 * 29, false),
                expiry(kiosk, -1, false),
                expiry(RoleName::Plan, 1, false),
            ],
            now(),
        );
        let codes: Vec<_> = said.iter().map(|a| a.reason.code.as_str()).collect();
        assert_eq!(codes, ["metadata-expires", "metadata-expires", "metadata-expired", "metadata-expires"]);
        for (alert, (text, remedy)) in said.iter().zip([
            ("timestamp", "log"),
            ("root", "filial trust propose FOLDER root"),
            ("product-kiosk expired", "filial trust accept"),
            ("plan", "present key"),
        ]) {
            assert!(alert.reason.sentence().contains(text) && alert.remedy.contains(remedy), "{alert:?}");
        }
    }
}
