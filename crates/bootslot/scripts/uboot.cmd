# Filial's boot script for U-Boot: which of two slots starts. Hush, made into an image with
# `mkimage -T script -C none -d uboot.cmd boot.scr` and sourced by a small header, which sets
#   filial_slot_a/_b   interface and partition of each slot, such as "mmc 0:2"
#   filial_root_a/_b   what root= says for each slot, such as PARTLABEL=slot-a
#   filial_kernel      the kernel's path in a slot
#   filial_initrd      the initramfs' path in a slot, or empty
#   filial_fdt         the device tree's path in a slot, or empty
#   filial_args        kernel arguments of every boot
#   filial_trial_args  more of them for a counted trial, such as "filial.trial=1 panic=10"
#   filial_safe        A or B: the slot to begin with when the environment says nothing usable
# and sets as environment variables, because they are run,
#   filial_boot        starts what lies at ${kernel_addr_r}, ${ramdisk_addr_r} (with ${filial_initrd_size}) and
#                      ${fdt_addr_r}, such as 'booti ${kernel_addr_r} ${ramdisk_addr_r}:${filial_initrd_size} ${fdt_addr_r}'
#   filial_save        saves the environment; without it, saveenv
#   filial_restart     restarts the machine when no slot starts; without it, reset
# and may set
#   filial_wait        seconds before that restart (10)
#
# The state is three environment variables (crates/bootslot): filial_default (A or B), filial_trial (A, B or not
# there), filial_trial_left (0 to 9). The environment must be redundant (CONFIG_SYS_REDUNDAND_ENVIRONMENT): else a
# loss of power while it is saved loses it. A trial with attempts left costs one, saved before its slot starts; what
# cannot be saved is not tried. A confirmed boot saves nothing. When a slot cannot be loaded the next one is taken:
# trial, default, the other one. Without a trial, filial_trial_left says which slots are verified (4, and 1 more for A, 2
# more for B): then the other one is taken only if it is one of them. With another digit there are no marks, as after an older
# agent, and it is taken as it is. A default that is no slot is no default: the safe one stands in for it, and nothing
# is tried. There is no prompt at the end.
#
# Variables without setenv are the shell's own and are never saved. U-Boot's hush takes no empty assignment (the old
# value stays), hence "none" and "no"; it has no functions, so the last part is one loop.

if test "x${filial_safe}" != "xB"; then filial_safe=A; fi
if test "x${filial_wait}" = "x"; then filial_wait=10; fi
filial_done=no
filial_next=none
filial_tried=none
filial_marks=none
filial_trying="${filial_trial}"
if test "x${filial_trial}" = "x"; then filial_trying=none; fi

filial_first="${filial_default}"
if test "x${filial_default}" = "x"; then filial_first=none; fi
if test "x${filial_first}" != "xA" && test "x${filial_first}" != "xB"; then
    echo "filial: the environment names no default slot; beginning with slot ${filial_safe}"
    filial_first=${filial_safe}
    filial_trying=none
elif test "${filial_trying}" = "none"; then
    if test "x${filial_trial_left}" = "x4"; then filial_marks=neither; fi
    if test "x${filial_trial_left}" = "x5"; then filial_marks=A; fi
    if test "x${filial_trial_left}" = "x6"; then filial_marks=B; fi
    if test "x${filial_trial_left}" = "x7"; then filial_marks=none; fi
fi
if test "${filial_first}" = "A"; then filial_other=B; else filial_other=A; fi

if test "x${filial_trying}" = "x${filial_other}"; then
    if test "x${filial_trial_left}" = "x1"; then filial_next=0; fi
    if test "x${filial_trial_left}" = "x2"; then filial_next=1; fi
    if test "x${filial_trial_left}" = "x3"; then filial_next=2; fi
    if test "x${filial_trial_left}" = "x4"; then filial_next=3; fi
    if test "x${filial_trial_left}" = "x5"; then filial_next=4; fi
    if test "x${filial_trial_left}" = "x6"; then filial_next=5; fi
    if test "x${filial_trial_left}" = "x7"; then filial_next=6; fi
    if test "x${filial_trial_left}" = "x8"; then filial_next=7; fi
    if test "x${filial_trial_left}" = "x9"; then filial_next=8; fi
    if test "${filial_next}" = "none"; then
        echo "filial: the trial of slot ${filial_other} has no attempts left"
    fi
fi

if test "${filial_next}" != "none"; then
    setenv filial_trial_left ${filial_next}
    if env exists filial_save; then
        if run filial_save; then filial_tried=${filial_other}; fi
    else
        if saveenv; then filial_tried=${filial_other}; fi
    fi
    if test "${filial_tried}" = "none"; then
        echo "filial: the attempt cannot be counted, so slot ${filial_other} is not tried"
    else
        if test "${filial_next}" = "1"; then
            echo "filial: trying slot ${filial_tried}, 1 attempt left"
        else
            echo "filial: trying slot ${filial_tried}, ${filial_next} attempts left"
        fi
    fi
fi

# What was tried in vain is not taken again, uncounted.
filial_unverified=no
if test "${filial_marks}" != "none" && test "${filial_marks}" != "${filial_other}"; then filial_unverified=yes; fi
if test "${filial_tried}" = "none"; then
    filial_order="${filial_first} ${filial_other}"
    if test "${filial_unverified}" = "yes"; then filial_order="${filial_first}"; fi
else
    filial_order="${filial_tried} ${filial_first}"
fi
for filial_slot in ${filial_order}; do
    if test "${filial_done}" = "no"; then
        if test "${filial_slot}" = "A"; then
            filial_from=${filial_slot_a}
            filial_root=${filial_root_a}
        else
            filial_from=${filial_slot_b}
            filial_root=${filial_root_b}
        fi
        if test "${filial_slot}" = "${filial_tried}"; then
            setenv bootargs "root=${filial_root} ${filial_args} ${filial_trial_args}"
        else
            echo "filial: starting slot ${filial_slot}"
            setenv bootargs "root=${filial_root} ${filial_args}"
        fi
        filial_loaded=no
        if load ${filial_from} ${kernel_addr_r} ${filial_kernel}; then filial_loaded=yes; fi
        if test "${filial_loaded}" = "yes" && test -n "${filial_initrd}"; then
            filial_loaded=no
            if load ${filial_from} ${ramdisk_addr_r} ${filial_initrd}; then
                setenv filial_initrd_size ${filesize}
                filial_loaded=yes
            fi
        fi
        if test "${filial_loaded}" = "yes" && test -n "${filial_fdt}"; then
            filial_loaded=no
            if load ${filial_from} ${fdt_addr_r} ${filial_fdt}; then filial_loaded=yes; fi
        fi
        if test "${filial_loaded}" = "yes"; then
            if run filial_boot; then filial_done=yes; fi
        fi
        if test "${filial_done}" = "no"; then echo "filial: slot ${filial_slot} cannot be started"; fi
    fi
done
if test "${filial_done}" = "no" && test "${filial_unverified}" = "yes"; then
    echo "filial: slot ${filial_other} is not verified and is not started"
fi
if test "${filial_done}" = "no"; then
    echo "filial: no slot starts; restarting in ${filial_wait} seconds (if this repeats, write an image to a slot again)"
    sleep ${filial_wait}
    if env exists filial_restart; then run filial_restart; else reset; fi
fi
