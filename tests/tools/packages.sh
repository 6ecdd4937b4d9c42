# shellcheck shell=bash
#
# Debian packages, sourced by ./dev. packages_ensure run|test|bench installs what is missing and does nothing at all, apt
# included, when nothing is. Some packages are only in bookworm-backports; that source is added, with the address and
# keyring of the machine's own Debian source. Servers that come with packages are neither started nor enabled, and
# those that were there before are left as they are.

packages_run=(gcc libc6-dev cmake ninja-build ccache pkg-config libuv1-dev libhiredis-dev libjemalloc-dev
    redis-server redis-tools)
packages_test=(clang clang-format clang-tidy libclang-rt-14-dev libcmocka-dev libnghttp2-dev netcat-openbsd python3 python3-redis python3-flask python3-flask-session nodejs npm
    shellcheck strace valgrind)
# What `./dev bench` compares with.
packages_bench=(haproxy nutcracker etcd-server)
packages_backports_run=()
packages_backports_test=(valkey-server valkey-tools)
# The metadata service needs a consensus library newer than the one of plain bookworm.
packages_raft_least=0.22
if [ -f raft/CMakeLists.txt ]; then
    packages_backports_run+=(libraft-dev)
else
    packages_backports_test+=(libraft-dev)
fi

policy_file=/usr/sbin/policy-rc.d
policy_saved=/usr/sbin/policy-rc.d.keyway-saved

packages_die() {
    printf 'dev: %s\n' "$*" >&2
    exit 1
}

# Prints those of the arguments that are not installed, or too old.
packages_missing() {
    local package version
    declare -A have=()
    while read -r package version; do
        have[${package%%:*}]=$version
    done < <(dpkg-query -W -f='${Package} ${Version} ${db:Status-Status}\n' "$@" 2>/dev/null |
        awk '$3 == "installed" { print $1, $2 }')
    for package in "$@"; do
        version=${have[$package]:-}
        case $package in
            nodejs) [ -n "$version" ] || command -v node >/dev/null || echo "$package" ;;
            npm) [ -n "$version" ] || command -v npm >/dev/null || echo "$package" ;; # other nodejs packages bring it
            libraft-dev)
                if [ -z "$version" ] || dpkg --compare-versions "$version" lt "$packages_raft_least"; then
                    echo "$package"
                fi
                ;;
            *) [ -n "$version" ] || echo "$package" ;;
        esac
    done
}

# Runs a command as root. Its output goes to a log that is shown only if it fails.
packages_root() {
    local log=$packages_log
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    if ! "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >>"$log" 2>&1; then
        tail -n 30 "$log" >&2
        packages_die "this failed: $*"
    fi
}

# The Signed-By of a source entry "file:number" as apt names it; the archive's own keyring where it names none.
packages_keyring() {
    local file=${1%:*}
    local number=${1##*:}
    local keyring=
    case $file in
        *.sources)
            keyring=$(grep -v '^#' "$file" | awk -v RS= -v n="$number" 'NR == n' |
                sed -n 's/^[Ss]igned-[Bb]y:[[:space:]]*\(\/[^[:space:]]*\)$/\1/p')
            ;;
        *) keyring=$(sed -n "${number}s/.*signed-by=\(\/[^],[:space:]]*\).*/\1/p" "$file") ;;
    esac
    echo "${keyring:-/usr/share/keyrings/debian-archive-keyring.gpg}"
}

# Adds bookworm-backports beside the machine's bookworm source, unless it is there. Elsewhere than on bookworm these
# packages are in the release itself.
packages_backports_enable() {
    local codename entry uri source
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [ "$codename" = bookworm ] || return 0
    # shellcheck disable=SC2016  # apt's own placeholders
    entry=$(apt-get indextargets --format '$(RELEASE)|$(COMPONENT)|$(REPO_URI)|$(SOURCESENTRY)' 'Created-By: Packages')
    if ! grep -q '^bookworm-backports|main|' <<<"$entry"; then
        entry=$(grep '^bookworm|main|' <<<"$entry" | grep -v '|cdrom:' | head -n 1) || true
        [ -n "$entry" ] || packages_die "apt has no bookworm source to derive bookworm-backports from"
        IFS='|' read -r _ _ uri source <<<"$entry"
        local text
        text=$(printf 'Types: deb\nURIs: %s\nSuites: bookworm-backports\nComponents: main\nSigned-By: %s\n' \
            "$uri" "$(packages_keyring "$source")")
        # shellcheck disable=SC2016  # expanded by the inner shell
        packages_root sh -c 'printf "%s\n" "$1" >/etc/apt/sources.list.d/keyway-backports.sources' sh "$text"
    fi
    packages_target=(-t bookworm-backports)
}

# While packages are unpacked, a policy that keeps the servers and proxies from being started and leaves every other service
# to the policy that was there. An earlier run that was killed in between is cleared up first.
packages_policy_set() {
    packages_policy_restore
    [ -e $policy_file ] && packages_root mv $policy_file $policy_saved
    packages_root sh -c "cat >$policy_file && chmod 755 $policy_file" <<TEXT
#!/bin/sh
# Put here by Keyway's ./dev while it installs packages; goes again right after.
for word in "\$@"; do
    case \$word in redis* | valkey* | haproxy* | nutcracker* | etcd*) exit 101 ;; esac
done
[ -x $policy_saved ] && exec $policy_saved "\$@"
exit 0
TEXT
}

packages_policy_restore() {
    if [ -e $policy_saved ]; then
        packages_root mv $policy_saved $policy_file
    elif [ -e $policy_file ] && grep -q "Put here by Keyway" $policy_file; then
        packages_root rm -f $policy_file
    fi
}

# Installs; a service that was not on the machine before is switched off for the next boot as well.
packages_install() {
    local service
    local fresh=()
    for service in redis-server valkey-server "${packages_bench[@]}"; do
        [ -n "$(packages_missing "$service")" ] && fresh+=("$service")
    done
    packages_policy_set
    trap packages_policy_restore EXIT
    [ $# -eq 0 ] || packages_root apt-get install -y --no-install-recommends "$@"
    [ ${#packages_late[@]} -eq 0 ] ||
        packages_root apt-get install -y --no-install-recommends "${packages_target[@]}" "${packages_late[@]}"
    packages_policy_restore
    trap - EXIT
    for service in "${fresh[@]}"; do
        [ -z "$(packages_missing "$service")" ] && command -v systemctl >/dev/null &&
            packages_root sh -c "systemctl disable ${service/#etcd-server/etcd}.service || true"
    done
    return 0
}

packages_ensure() {
    local wanted=("${packages_run[@]}")
    local late=("${packages_backports_run[@]}")
    if [ "$1" != run ]; then
        wanted+=("${packages_test[@]}")
        late+=("${packages_backports_test[@]}")
    fi
    [ "$1" != bench ] || wanted+=("${packages_bench[@]}")
    command -v dpkg-query >/dev/null || return 0 # not a Debian: CMake says what is missing
    mapfile -t wanted < <(packages_missing "${wanted[@]}")
    packages_late=()
    [ ${#late[@]} -eq 0 ] || mapfile -t packages_late < <(packages_missing "${late[@]}")
    [ $((${#wanted[@]} + ${#packages_late[@]})) -gt 0 ] || return 0

    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
        packages_die "missing, and there is no sudo to install them: ${wanted[*]} ${packages_late[*]}"
    echo "Installing: ${wanted[*]} ${packages_late[*]}" >&2
    packages_log=$(mktemp)
    packages_target=()
    [ ${#packages_late[@]} -eq 0 ] || packages_backports_enable
    packages_root apt-get update
    packages_install "${wanted[@]}"
    rm -f "$packages_log"
    mapfile -t wanted < <(packages_missing "${wanted[@]}" "${packages_late[@]}")
    [ ${#wanted[@]} -eq 0 ] || packages_die "apt did not install: ${wanted[*]}"
}
