//! The program as people run it.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod carried;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod help;
#[cfg(test)]
mod hostile_archives;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod local;
#[cfg(test)]
mod outputs;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod uploads;
