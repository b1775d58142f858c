//! The checks on the way from inputs to settings. Each refuses with the key, what is wrong, and a line to write instead.
//!
//! `key` is dotted (`operators.listen`); `example` is the bare text of a value, without quotes.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::ConfigError;

/// Longest address in bytes. It may end up in torrent files, which others read.
const MAX_URL: usize = 256;
/// Shortest time in seconds: whatever is repeated after less keeps a processor busy.
const MIN_SECONDS: f64 = 0.01;
/// Longest time in seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// A value that the program cannot do without.
///
/// # Errors
/// It is absent.
pub fn required<T>(value: Option<T>, key: &str, example: &str) -> Result<T, ConfigError> {
    value.ok_or_else(|| ConfigError::missing(key, &line(key, example)))
}

/// An address and port.
///
/// # Errors
/// It is absent or none.
pub fn address(value: Option<String>, key: &str, example: &str) -> Result<SocketAddr, ConfigError> {
    let text = required(value, key, example)?;
    text.parse().map_err(|_| wrong(key, &format!("{text:?} is not an address with port"), example))
}

/// An `http://` address with a host.
///
/// # Errors
/// It is absent or none, or longer than an address in a torrent file may be.
pub fn http_url(value: Option<String>, key: &str, example: &str) -> Result<String, ConfigError> {
    url("http://", value, key, example)
}

/// An `https://` address with a host.
///
/// # Errors
/// It is absent or none, or longer than addresses are here.
pub fn https_url(value: Option<String>, key: &str, example: &str) -> Result<String, ConfigError> {
    url("https://", value, key, example)
}

fn url(scheme: &str, value: Option<String>, key: &str, example: &str) -> Result<String, ConfigError> {
    let text = required(value, key, example)?;
    // The parser forgives white space and control characters; a torrent file must not carry them.
    let plain = text.starts_with(scheme) && text.len() <= MAX_URL && text.bytes().all(|b| b.is_ascii_graphic());
    if plain && reqwest::Url::parse(&text).is_ok_and(|url| url.has_host()) {
        return Ok(text);
    }
    Err(wrong(key, &format!("{text:?} is not an {scheme} address"), example))
}

/// A path that means the same in every process: daemons have working folders of their own.
///
/// # Errors
/// It is absent or relative.
pub fn absolute(value: Option<PathBuf>, key: &str, example: &str) -> Result<PathBuf, ConfigError> {
    let path = required(value, key, example)?;
    if path.is_absolute() {
        return Ok(path);
    }
    Err(wrong(key, &format!("{:?} is not an absolute path", path.display().to_string()), example))
}

/// A time in seconds, from a hundredth to a day.
///
/// # Errors
/// It is out of range.
pub fn seconds(value: Option<f64>, key: &str, default: f64) -> Result<Duration, ConfigError> {
    within(value.unwrap_or(default), MIN_SECONDS, MAX_SECONDS, key).map(Duration::from_secs_f64)
}

/// A number of which both bounds are allowed.
///
/// # Errors
/// It is out of range, or no number.
pub fn within<T: PartialOrd + Display>(given: T, low: T, high: T, key: &str) -> Result<T, ConfigError> {
    if given >= low && given <= high {
        return Ok(given);
    }
    Err(ConfigError::bad(key, format!("{given} is out of range; write a number from {low} to {high}")))
}

/// A value that is there and cannot be used.
pub(super) fn wrong(key: &str, what: &str, example: &str) -> ConfigError {
    ConfigError::bad(key, format!("{what}; write for example: {}", line(key, example)))
}

/// The line as it would stand in the file.
fn line(key: &str, example: &str) -> String {
    format!("{} = {example:?}", key.rsplit('.').next().unwrap_or(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn a_refusal_names_the_key_and_a_line_to_write() {
        let refusals = [
            required::<String>(None, "a.file", "/x").unwrap_err(),
            absolute(Some("x".into()), "a.file", "/x").unwrap_err(),
            http_url(text("x"), "a.file", "/x").unwrap_err(),
            address(text("x"), "a.file", "/x").unwrap_err(),
        ];
        for refusal in refusals.map(|e| e.to_string()) {
            assert!(refusal.starts_with("setting a.file: ") && refusal.ends_with("file = \"/x\""), "{refusal}");
        }
    }

    #[test]
    fn addresses_of_http_are_whole_plain_and_short() {
        let url = |value: &str| http_url(text(value), "url", "http://host:1").is_ok();
        assert!(url("http://host") && url("http://[fd00::1]:6969/announce"));
        for bad in ["", "http://", "host:1", "https://host", "udp://host", "http://ho st", "http://host/\n"] {
            assert!(!url(bad), "{bad:?}");
        }
        assert!(!url(&format!("http://host/{}", "x".repeat(MAX_URL))));
        assert!(https_url(text("https://host:1"), "url", "https://host:1").is_ok());
        assert!(https_url(text("http://host:1"), "url", "https://host:1").is_err());
    }

    #[test]
    fn numbers_stay_in_their_bounds() {
        assert_eq!(seconds(None, "s", 2.0).unwrap(), Duration::from_secs(2));
        for bad in [0.0, -1.0, 86_401.0, f64::NAN, f64::INFINITY] {
            assert!(seconds(Some(bad), "s", 2.0).is_err(), "{bad}");
        }
        assert!(within(1, 1, 3, "n").is_ok() && within(3, 1, 3, "n").is_ok());
        assert!(within(4, 1, 3, "n").unwrap_err().to_string().contains("n: 4 is out of range"));
    }
}
