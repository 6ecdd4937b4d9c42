#!/usr/bin/env bash
#
# Prints every include that breaks the order of the folders: base <- cluster <- lua <- raft <- proxy, where a folder may
# include itself and those before it, and cli only itself, base and cluster. Exit code 1 when there is one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folders=()
for folder in base cluster lua raft proxy cli; do
    [ -d "$folder" ] && folders+=("$folder")
done

grep -rnE --include='*.[ch]' --include='*.inc' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "${folders[@]}" | awk '
BEGIN {
    split("base cluster lua raft proxy", order, " ")
    for (i in order) rank[order[i]] = i
    split("cli base cluster", allowed, " ")
    for (i in allowed) cli[allowed[i]] = 1
}
{
    split($0, at, ":")
    from = at[1]; sub(/\/.*/, "", from)
    match($0, /"[^"]*"/)
    name = substr($0, RSTART + 1, RLENGTH - 2)
    to = name; sub(/\/.*/, "", to)
    if (name !~ /\//) bad = "is not named from the top of the tree"
    else if (from == "cli") bad = (to in cli) ? "" : "cli may not use " to
    else bad = (to in rank) && rank[to] <= rank[from] ? "" : from " may not use " to
    if (bad != "") { print at[1] ":" at[2] ": \"" name "\": " bad; found++ }
}
END {
    if (found) exit 1
    print "Every include points the right way."
}'
