//! What the rules refuse, as answers.

use service_kit::server::ApiError;
use wire::Code;

use crate::rules::Refused;

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Field { field, why } => Self::bad_field(field, why),
            Refused::Role { wanted, held } => {
                let detail = format!("The token cannot have the role {wanted}: you have the role {held}.");
                Self::new(Code::Forbidden, detail, "Ask for your own role or a lower one.")
            }
            Refused::Scope(group) => {
                let detail = format!("The token cannot include {group}: the token that creates it does not.");
                let remedy = "Name only groups of your own token, or log in with your password.";
                Self::new(Code::OutOfScope, detail, remedy)
            }
            Refused::OwnAccount => {
                let detail = "You cannot change the role or access of your own account.";
                Self::new(Code::OwnAccount, detail, "Ask another admin.")
            }
            Refused::LastAdmin(name) => {
                let detail = format!("{name} is the last admin who can log in.");
                Self::new(Code::LastAdmin, detail, "Make another person an admin first.")
            }
        }
    }
}
