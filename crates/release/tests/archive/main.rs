//! The archive from outside: packed, read, judged; hostile ones, and those of the ordinary `tar`.

#[cfg(test)]
mod circumstances;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod mutations;
#[cfg(test)]
mod ordinary_tar;
#[cfg(test)]
mod packing;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod total;
