//! Logs made by hand and logs of QEMU, read and replayed.

#[cfg(test)]
mod forged;
#[cfg(test)]
mod qemu;
