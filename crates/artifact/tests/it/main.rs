//! Encoding, applying, killing and damaging: the crate as its callers use it.

#[cfg(test)]
mod apply;
#[cfg(test)]
mod encode;
#[cfg(test)]
mod faulty_disk;
#[cfg(test)]
mod index;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod samples;
