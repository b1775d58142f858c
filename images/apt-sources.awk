# Read apt's sources (one-line and deb822 files) and print, as one-line entries, those of the wanted suites.
# Input variable: suites, separated by spaces. Only the component "main" is used.

BEGIN { count = split(suites, list, " "); for (i = 1; i <= count; i++) wanted[list[i]] = 1; clear() }

FNR == 1 { flush_stanza() }

FILENAME ~ /\.sources$/ { deb822(); next }
{ one_line() }

END { flush_stanza() }

function clear() { types = uris = names = parts = key = enabled = trusted = field = "" }

function print_entry(options, uri, suite) {
    sub(/\/$/, "", suite)
    # A CD cannot be reached from a build.
    if (uri ~ /^cdrom:/ || !(suite in wanted)) return
    print "deb " (options == "" ? "" : "[" options "] ") uri " " suite " main"
}

function one_line(    options, rest, f, n, i, main) {
    sub(/#.*/, "")
    if ($1 != "deb") return
    rest = $0
    sub(/^[ \t]*deb[ \t]+/, "", rest)
    if (match(rest, /^\[[^]]*\]/)) {
        options = substr(rest, 2, RLENGTH - 2)
        rest = substr(rest, RLENGTH + 1)
    }
    n = split(rest, f, " ")
    for (i = 3; i <= n; i++) if (f[i] == "main") main = 1
    if (main) print_entry(options, f[1], f[2])
}

function deb822(    name, value) {
    if ($0 ~ /^[ \t]*#/) return
    if ($0 ~ /^[ \t]*$/) { flush_stanza(); return }
    if ($0 ~ /^[ \t]/) { value = $0 } else {
        name = $0; sub(/:.*/, "", name); field = tolower(name)
        value = $0; sub(/^[^:]*:/, "", value)
    }
    if (field == "types") types = types " " value
    else if (field == "uris") uris = uris " " value
    else if (field == "suites") names = names " " value
    else if (field == "components") parts = parts " " value
    else if (field == "signed-by") key = key value
    else if (field == "enabled") enabled = enabled value
    else if (field == "trusted") trusted = trusted value
}

function has(text, word,    f, n, i) {
    n = split(text, f, " ")
    for (i = 1; i <= n; i++) if (f[i] == word) return 1
    return 0
}

function flush_stanza(    u, s, n, m, i, j, options) {
    if (has(types, "deb") && has(parts, "main") && enabled !~ /no/) {
        # A key written into the stanza itself has no place in a one-line entry: the host's keyrings must do then.
        gsub(/[ \t]/, "", key)
        if (key ~ /^\//) options = "signed-by=" key
        if (trusted ~ /yes/) options = options (options == "" ? "" : " ") "trusted=yes"
        n = split(uris, u, " ")
        m = split(names, s, " ")
        for (i = 1; i <= n; i++) for (j = 1; j <= m; j++) print_entry(options, u[i], s[j])
    }
    clear()
}
