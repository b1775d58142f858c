# shellcheck shell=bash
# How this machine gets its Debian packages, for those who make Debian trees on it. To be sourced by bash.
#
# The mirror is the host's own: whatever /etc/apt says for its release. No host is named in this repository.

host_apt_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# The host's apt sources of the suites $@, as one-line entries. Both formats of apt are read.
host_sources() {
    local files=()
    [[ -e /etc/apt/sources.list ]] && files+=(/etc/apt/sources.list)
    local file
    for file in /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [[ -e $file ]] && files+=("$file")
    done
    ((${#files[@]})) || return 0
    awk -v suites="$*" -f "$host_apt_folder/apt-sources.awk" "${files[@]}" | LC_ALL=C sort -u
}

# How the host reaches its mirror (proxies, lenient dates of a frozen mirror): the same for the tree's apt.
host_apt_options() {
    apt-config dump | grep -E '^Acquire::(http|https|Check-Valid-Until|Check-Date|Retries|ForceIPv)[: ]' || true
}
