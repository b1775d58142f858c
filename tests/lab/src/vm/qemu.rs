//! How QEMU is told what to be: a small PC with UEFI, processors that are emulated, one disk, one link.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use crate::error::LabError;
use crate::net::Net;
use crate::recipe::{Recipe, write};

use super::Vm;

const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// A reset ends QEMU, and the lab begins it again ([`after_reset`]): with emulated processors, a reset inside the process may
/// reach one in the middle of its instructions, which then goes on with the registers of a machine that just began, and hangs.
///
/// Never KVM: the device may be there and hang. The plain x86-64 processor, because emulating the newer instructions that
/// `-cpu max` offers to kernel and libraries takes two to three times the processor time of a boot (56 s instead of 137 to 174 s).
const MACHINE: &str = "-no-user-config -nodefaults -display none -monitor none -M q35 -accel tcg,thread=multi -cpu qemu64 \
    -m 640 -rtc base=utc -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng \
    -device i6300esb -action watchdog=reset,reboot=shutdown";
/// How a log of writes begins, and how it goes on after a reset.
const LOG_BEGINS: &str = "driver=blklogwrites,node-name=logged,file=file,log=log,log-sector-size=512";
const LOG_GOES_ON: &str = "driver=blklogwrites,node-name=logged,file=file,log=log,log-append=on";

/// An option with a path in it. QEMU takes a comma for the end of a value, and two for one.
fn with(before: &str, path: &Path, after: &str) -> OsString {
    format!("{before}{}{after}", path.display().to_string().replace(',', ",,")).into()
}

/// QEMU for a machine's next start.
pub(crate) fn recipe(vm: &Vm) -> Result<Recipe, LabError> {
    let option = |name: &str, value: OsString| [OsString::from(name), value];
    let mut args: Vec<OsString> = MACHINE.split_whitespace().map(OsString::from).collect();
    args.extend(option("-smp", vm.options.processors.to_string().into()));
    args.extend(option("-drive", format!("if=pflash,format=raw,readonly=on,file={FIRMWARE}").into()));
    args.extend(option("-drive", with("if=pflash,format=raw,file=", &vm.variables(), "")));
    // The host's cache, as a disk has one: a guest's flush is an fsync here.
    let disk = "driver=file,node-name=file,cache.direct=off,cache.no-flush=off,filename=";
    args.extend(option("-blockdev", with(disk, &vm.disk(), "")));
    let node = if vm.recording.load(Ordering::Relaxed) {
        let log = vm.next_write_log();
        write(&log, "")?;
        args.extend(option("-blockdev", with("driver=file,node-name=log,filename=", &log, "")));
        args.extend(option("-blockdev", LOG_BEGINS.into()));
        "logged"
    } else {
        "file"
    };
    args.extend(option("-blockdev", format!("driver=raw,node-name=disk,file={node}").into()));
    args.extend(option("-device", "virtio-blk-pci,drive=disk,bootindex=0".into()));
    let medium = "driver=raw,node-name=medium,read-only=on,file.driver=file,file.filename=";
    args.extend(option("-blockdev", with(medium, &vm.medium(), "")));
    args.extend(option("-device", "virtio-blk-pci,drive=medium".into()));
    let tap = format!("tap,id=lan,ifname={},script=no,downscript=no", Net::vm_port(vm.number));
    args.extend(option("-netdev", tap.into()));
    // No ROM: these machines never boot from the network.
    args.extend(option("-device", format!("virtio-net-pci,netdev=lan,mac={},romfile=", vm.hardware_address).into()));
    let console = with(",server=on,wait=off,logappend=on,logfile=", &vm.console(), "");
    let mut socket = with("socket,id=console,path=", &vm.console_socket(), "");
    socket.push(console);
    args.extend(option("-chardev", socket));
    args.extend(option("-serial", "chardev:console".into()));
    args.extend(option("-qmp", with("unix:", &vm.control_socket(), ",server=on,wait=off")));
    Ok(Recipe::new(vm.namespace.clone(), PathBuf::from("qemu-system-x86_64")).args(args).followed())
}

/// QEMU for a machine that was reset: as it was, and a log of its writes goes on.
pub(crate) fn after_reset(mut recipe: Recipe) -> Recipe {
    for arg in &mut recipe.args {
        if arg == LOG_BEGINS {
            *arg = LOG_GOES_ON.into();
        }
    }
    recipe
}
