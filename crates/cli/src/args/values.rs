//! Parsers of values whose own errors do not say what is expected, or which command lists it.

use fleet_types::ProductName;
use trust::PublicKey;
use trust::repository::RoleName;
use uuid::Uuid;

/// A whole number within bounds.
pub(super) fn whole<T: TryFrom<u64>, const LOW: u64, const HIGH: u64>(text: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| (LOW..=HIGH).contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("expected a whole number from {LOW} to {HIGH}"))
}

/// The number that the end of a page names.
pub(super) fn page(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected the number that the same command without --before prints at the end".to_owned())
}

pub(super) fn interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected a number of seconds from 0.1 to 3600".to_owned()),
    }
}

pub(super) fn token_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| "expected the id of a token: `filial token list` lists them".to_owned())
}

pub(super) fn public_key(text: &str) -> Result<PublicKey, String> {
    let expected = "expected a public key of 64 lower-case hexadecimal digits, as `filial trust key` prints it";
    text.parse().map_err(|_| expected.to_owned())
}

pub(super) fn role(text: &str) -> Result<RoleName, String> {
    text.parse().map_err(|_| match text.parse::<ProductName>() {
        Ok(product) => {
            format!("the role of product {product} is product-{product}; `filial trust inspect` lists the roles")
        }
        Err(_) => "expected a role such as root, targets or product-NAME: `filial trust inspect` lists them".to_owned(),
    })
}
