#!/bin/sh
# The demonstration from nothing: says what will happen and what it costs, then installs, builds and runs it.
#
#   tests/demo.sh [OPTIONS]        options of `lab demo`; --plan prints the first screen and stops
#
# Times are those of two processors.
set -eu
cd "$(dirname "$0")/.."

missing=$(tests/checks/setup.sh --missing | wc -l)
# A line of the plan: number, what happens, how long it takes.
line() { printf '   %-2s %-46s %s\n' "$@"; }
plan() {
    if [ "$missing" = 0 ]; then
        line 1 "all Debian packages are installed" "a few seconds"
    else
        line 1 "install Debian packages: $missing are missing" "about $((20 + missing * 3)) s, downloads included"
    fi
    if [ -x target/debug/lab ]; then
        line 2 "the programs are compiled: what changed, again" "seconds if nothing changed"
    else
        line 2 "compile the programs, once" "about 10 min; 8 GB in target"
    fi
    if [ -e target/images/v1.squashfs ] && [ -e target/images/v2.squashfs ]; then
        line 3 "the terminals' images are built" "a few seconds"
    else
        line 3 "build two Debian images for the terminals" "about 1 min; 0.5 GB in target/images"
    fi
    line 4 "start head office, branches, terminals" "about 20 s"
    line 5 "try invalid join tokens: each is refused" "a few seconds"
    line 6 "pack, upload, check and publish a release" "about 10 s"
    line 7 "branches and terminals fetch it; the terminals" "about 30 s"
    line "" "restart into it and confirm it"
    case " $* " in
        *" --once "*) line 8 "end every part and remove the networks" "a few seconds" ;;
        *) line 8 "everything stays up, to look around" "until Ctrl-C" ;;
    esac
}

cat <<SCREEN

  Filial on this machine: head office, two branches behind 50 Mbit/s links, three terminals in each.
  One release goes from an update archive to every terminal, with the real programs and daemons
  (PostgreSQL, transmission, opentracker) in network namespaces of their own.

$(plan "$@")

  Needs root (network namespaces) and about 2 GB of memory; nothing listens outside this machine.
  Ctrl-C ends it at any point and removes what it started. Logs stay in target/lab/demo.
  Free disk here: $(df -Ph . | awk 'NR == 2 { print $4 }').

SCREEN
case " $* " in *" --plan "*) exit 0 ;; esac

step() { printf '\n=== %s\n' "$1"; }
step "1  Debian packages"
make --no-print-directory setup
step "2  Programs"
make --no-print-directory build
step "3  Images of the terminals"
make --no-print-directory images
step "4  The demonstration"
exec target/debug/lab demo "$@"
