//! Every backend against its real bootloader and tools, and cut at every byte.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod grub;
#[cfg(test)]
mod grub_cuts;
#[cfg(test)]
mod grub_script;
#[cfg(test)]
mod support;
#[cfg(test)]
mod uboot_cuts;
#[cfg(test)]
mod uboot_script;
