//! A machine of firmware and bootloader alone: a disk with GRUB, the environment block, and no kernel.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_types::Slot;

use crate::exec::Tool;
use crate::images::{SmallImage, small_image};
use crate::machine::BootEnv;
use crate::options::LabOptions;
use crate::part::{Part, Place};
use crate::process::PartState;
use crate::recipe::write;
use crate::start::lay_out;
use crate::vm::events::is_reset;
use crate::vm::{VmBoot, VmOptions};

const SECTOR: usize = 512;
/// First and last sector of each partition, and the size of the disk.
const PARTITIONS: [(&str, u64, u64); 4] =
    [("esp", 2048, 34_815), ("slot-a", 34_816, 51_199), ("slot-b", 51_200, 67_583), ("data", 67_584, 69_631)];
const SECTORS: u64 = 71_680;
/// Emulated firmware, on a machine with other work.
const BOOTS: Duration = Duration::from_secs(120);

/// As the image's own bootloader decides, without a kernel to boot: it restarts the machine once.
const GRUB: &str = r#"
serial --unit=0
terminal_output serial
search --no-floppy --label FILIAL-ESP --set=root
load_env -f ($root)/filial/grubenv
if [ "$filial_trial_left" = 1 ]; then
  set filial_trial_left=0
  save_env -f ($root)/filial/grubenv filial_trial_left
  echo "filial: trying slot $filial_trial, 0 attempts left"
  reboot
fi
echo "filial: starting slot $filial_default"
echo "no kernel here"
sleep 100000
"#;

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1)))
    })
}

/// The partition table and its copy at the end, as the firmware checks it.
fn table(disk: &std::fs::File) -> std::io::Result<()> {
    let mut entries = vec![0; 128 * 128];
    for ((number, (name, first, last)), entry) in (1u8..).zip(PARTITIONS).zip(entries.chunks_exact_mut(128)) {
        // EFI system partition, which is the only type that the firmware looks at.
        entry[..16].copy_from_slice(&uuid::uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").to_bytes_le());
        entry[16] = number;
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        for (unit, two) in name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
            two.copy_from_slice(&unit.to_le_bytes());
        }
    }
    for (own, other, list) in [(1, SECTORS - 1, 2), (SECTORS - 1, 1, SECTORS - 33)] {
        let mut header = vec![0; 92];
        header[..16].copy_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0");
        for (at, value) in [(24, own), (32, other), (40, 34), (48, SECTORS - 34), (56, 1), (72, list)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in [(80, 128), (84, 128), (88, crc32(&entries))] {
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let sum = crc32(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        disk.write_all_at(&header, own * SECTOR as u64)?;
        disk.write_all_at(&entries, list * SECTOR as u64)?;
    }
    // The protective record, without which firmware takes the disk for an old one.
    disk.write_all_at(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 446)?;
    disk.write_all_at(&[0x55, 0xaa], 510)
}

fn stand_in(folder: &Path, image: &Path) -> PathBuf {
    let path = |name: &str| folder.join(name);
    let disk = path("disk");
    let file = std::fs::File::create(&disk).unwrap();
    file.set_len(SECTORS * SECTOR as u64).unwrap();
    table(&file).unwrap();
    file.write_all_at(&std::fs::read(image).unwrap(), PARTITIONS[1].1 * SECTOR as u64).unwrap();
    write(&path("grub.cfg"), GRUB).unwrap();
    let modules = "--modules=part_gpt fat search_label loadenv serial echo sleep test reboot";
    let grub =
        Tool::new("grub-mkstandalone").args(["-O", "x86_64-efi", modules, "--locales=", "--fonts=", "--themes="]);
    let config = format!("boot/grub/grub.cfg={}", path("grub.cfg").display());
    grub.arg("-o").arg(path("BOOTX64.EFI")).arg(config).run().unwrap();
    let block = Tool::new("grub-editenv").arg(path("grubenv"));
    block.arg("create").run().unwrap();
    let set = ["set", "filial_default=A", "filial_trial=B", "filial_trial_left=1"];
    Tool::new("grub-editenv").arg(path("grubenv")).args(set).run().unwrap();
    let esp = PARTITIONS[0].1;
    let kib = ((PARTITIONS[0].2 + 1 - esp) / 2).to_string();
    let format = ["-F", "16", "-n", "FILIAL-ESP", "--offset", &esp.to_string()];
    Tool::new("mkfs.vfat").args(format).arg(&disk).arg(kib).run().unwrap();
    let esp = format!("{}@@{}", disk.display(), esp * SECTOR as u64);
    let tool = |name: &str| Tool::new(name).env("MTOOLS_SKIP_CHECK", "1").args(["-i", &esp]);
    tool("mmd").args(["::/EFI", "::/EFI/BOOT", "::/filial"]).run().unwrap();
    tool("mcopy").arg(path("BOOTX64.EFI")).arg("::/EFI/BOOT/").run().unwrap();
    tool("mcopy").arg(path("grubenv")).arg("::/filial/").run().unwrap();
    disk
}

/// Slot and trial of each boot.
fn told(boots: &[VmBoot]) -> Vec<(Slot, bool)> {
    boots.iter().map(|b| (b.slot, b.trial)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_boots_restarts_by_itself_loses_its_power_and_goes_without_a_trace() {
    let temp = tempfile::tempdir().unwrap();
    let image = small_image(temp.path(), &SmallImage::new("1.0.0")).unwrap();
    let vm = VmOptions {
        disk: stand_in(temp.path(), &image),
        image: image.clone(),
        record_writes: true,
        ..VmOptions::new().unwrap()
    };
    let options = LabOptions { vms: 1, vm, ..LabOptions::new("unit-vm", &image).unwrap().sized(1, 0) };
    let mut lab = lay_out(options).await.unwrap();
    let prefix = lab.claim.prefix().to_owned();
    let site = lab.branches[0].1.clone();
    std::fs::create_dir_all(&site.folder).unwrap();
    // What the branch server and the trust of a whole lab would have left.
    write(&site.terminals_join_token(), "token-of-the-test-0123456789\n").unwrap();
    write(&site.folder.join("root.json"), "{}").unwrap();
    lab.start_vms().await.unwrap();

    let vm = lab.vms().remove(0);
    let part = Part::machine(&vm);
    assert_eq!(part.to_string(), "branch-1/vm-1:machine");
    // The trial restarts the machine; without attempts it is slot A.
    let end = lab.console_wait(&vm, "no kernel here", 0, BOOTS).await.unwrap();
    assert_eq!(told(&lab.vm_boots(&vm).unwrap()), [(Slot::B, true), (Slot::A, false)]);
    lab.wait("QEMU to tell of the restart", BOOTS, async || Ok(lab.vm_events(&vm)?.iter().any(is_reset).then_some(())))
        .await
        .unwrap();
    let env = BootEnv { default: Slot::A, trial: Some(Slot::B), trial_left: 0 };
    assert_eq!(lab.read_env(&vm).unwrap(), env);
    let length = image.metadata().unwrap().len();
    let held = lab.slot_sha256(&vm, Slot::A, length).await.unwrap();
    assert_eq!(held, crate::machine::sha256_of(&image, length).unwrap());
    assert_eq!(lab.booted(&vm).unwrap(), Some((Slot::A, "1.0.0".parse().unwrap())));
    assert!(lab.vm_slot_version(&vm, Slot::B).is_err(), "slot B is empty");

    let branch = Place::Branch(vm.branch.clone());
    let carrier = ["/sys/class/net/v1/carrier", "/sys/class/net/v1/brport/state"];
    assert_eq!(lab.run_in(&branch, "cat", &carrier).await.unwrap(), "1\n3\n", "the tap forwards on the bridge");
    lab.power_cut(&vm).await.unwrap();
    assert_eq!(lab.state(&part).unwrap(), PartState::Killed);
    assert_eq!(lab.run_in(&branch, "cat", &carrier[..1]).await.unwrap(), "0\n");
    lab.check_parts().unwrap();
    lab.power_on(&vm).unwrap();
    lab.console_wait(&vm, "no kernel here", end, BOOTS).await.unwrap();
    assert_eq!(lab.vm_boots(&vm).unwrap().len(), 3);
    let folder = lab.folder().join("branch-1/vm-1");
    let log = std::fs::read(folder.join("writes-1.log")).unwrap();
    // WRITE_LOG_MAGIC of dm-log-writes (Linux, drivers/md/dm-log-writes.c).
    assert_eq!(log[..8], 0x006a_7366_7773_6872_u64.to_le_bytes());
    // The second boot has its own, and wrote nothing.
    assert_eq!(folder.join("writes-2.log").metadata().unwrap().len(), 0);
    let account = lab.describe().await;
    assert!(account.contains("boots slot B on trial") && account.contains("no kernel here"), "{account}");

    lab.stop().await.unwrap();
    assert!(folder.join("console.log").exists() && folder.join("provisioning/terminal.toml").exists());
    assert!(!folder.join("disk.raw").exists());
    let left = Tool::new("ip").args(["netns", "list"]).run().unwrap();
    assert!(!left.contains(&format!("{prefix}-")), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_ends_by_itself_ends_a_wait() {
    let temp = tempfile::tempdir().unwrap();
    let image = small_image(temp.path(), &SmallImage::new("1.0.0")).unwrap();
    let vm = VmOptions { disk: stand_in(temp.path(), &image), image: image.clone(), ..VmOptions::new().unwrap() };
    let options = LabOptions { vms: 1, vm, ..LabOptions::new("unit-vm-end", &image).unwrap().sized(1, 0) };
    let mut lab = lay_out(options).await.unwrap();
    let site = lab.branches[0].1.clone();
    std::fs::create_dir_all(&site.folder).unwrap();
    write(&site.terminals_join_token(), "token\n").unwrap();
    write(&site.folder.join("root.json"), "{}").unwrap();
    lab.start_vms().await.unwrap();
    let vm = lab.vms().remove(0);
    let folder = lab.folder().join("branch-1/vm-1");
    lab.signal(&Part::machine(&vm), rustix::process::Signal::KILL).unwrap();
    let said = lab.console_wait(&vm, "a text that never appears", 0, BOOTS).await.unwrap_err().to_string();
    assert!(said.contains("branch-1/vm-1:machine ended unexpectedly"), "{said}");
    // Not stopped in order, as after a failed test: the disk is kept for inspection.
    drop(lab);
    assert!(folder.join("disk.raw").exists());
    std::fs::remove_dir_all(folder).unwrap();
}
