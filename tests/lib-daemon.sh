# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# tests/lib-daemon.sh: vmkeepd with a configuration of the test's own, and
# kubectl, and the API without it. Sourced by lib.sh.

# vmkeepd_configure [LINE...]: write $T/vmkeep.conf; LINEs are added ("key =
# value"). Sets SOCKET and LISTEN.
vmkeepd_configure() {
    LISTEN=127.0.0.1:$(free_port)
    SOCKET=$T/run/vmkeepd.sock
    export VMKEEP_SOCKET=$SOCKET
    {
        echo "state_dir = $T/state"
        echo "run_dir = $T/run"
        echo "libvirt_uri = ${LIBVIRT_URI:-test:///default}"
        echo "listen = $LISTEN"
        echo "socket = $SOCKET"
        if program vmkeep-guard >/dev/null 2>&1; then echo "guard = $(program vmkeep-guard)"; fi
        printf '%s\n' "$@"
    } >"$T/vmkeep.conf"
    mkdir -p "$T/state" "$T/run"
}

vmkeepd_listens() { [ -S "$SOCKET" ] && (exec 3<>"/dev/tcp/${LISTEN/://}") 2>/dev/null; }
# vmkeepd_start [VARIABLE=VALUE...]: start it and wait until it listens.
#   VMKEEPD_INSIDE=1  it sees the files that the test's libvirtd sees below
#                     /var/lib/libvirt (NVRAM, software TPMs)
vmkeepd_start() {
    local inside=()
    [ -e "$T/vmkeep.conf" ] || vmkeepd_configure
    rm -f "$SOCKET"
    [ -z "${VMKEEPD_INSIDE:-}" ] || inside=(nsenter -t "$namespace_pid" -m -p -r --)
    start_process vmkeepd "${inside[@]}" env "$@" "$(program vmkeepd)" --config "$T/vmkeep.conf"
    echo "$pid_vmkeepd" >"$T/vmkeepd.pid"
    wait_until 60 eval "vmkeepd_listens || ! is_alive $pid_vmkeepd" || true
    [ -z "${VMKEEPD_INSIDE:-}" ] || pid_vmkeepd=$(pgrep -P "$pid_vmkeepd")
    vmkeepd_listens || {
        echo "vmkeepd does not listen: $(tail -n 2 "$T/vmkeepd.log")" >&2
        return 1
    }
}
vmkeepd_stop() { stop_process vmkeepd TERM 20; }
vmkeepd_kill() { stop_process vmkeepd KILL 5; }
vmkeepd_is_running() { [ -n "${pid_vmkeepd:-}" ] && is_alive "$pid_vmkeepd"; }

# kubectl_find: the path of a kubectl: $KUBECTL, the machine's, or Debian's.
kubectl_find() {
    if [ -n "${KUBECTL:-}" ]; then echo "$KUBECTL"; return; fi
    command -v kubectl || kubectl_debian
}

# kubectl_debian: the path of Debian's own kubectl (1.20), unpacked to the cache
# and not installed.
kubectl_debian() {
    local dir=$VMKEEP_CACHE/kubectl
    (
        flock 9
        [ -x "$dir/usr/bin/kubectl" ] || {
            cd "$dir" && apt-get download -qq -o APT::Sandbox::User=root kubernetes-client &&
                dpkg-deb -x kubernetes-client_*.deb "$dir"
        }
    ) 9>"$(mkdir -p "$dir" && echo "$dir/.lock")" >&2
    [ -x "$dir/usr/bin/kubectl" ] && echo "$dir/usr/bin/kubectl"
}

# kubectl_start: point kubectl at the daemon; then `k get vm` works.
kubectl_start() {
    kubectl_path=$(kubectl_find) || skip_all "no kubectl here and none to download"
    "$(program vmkeep)" --socket "$SOCKET" kubeconfig >"$T/kubeconfig"
    export KUBECONFIG=$T/kubeconfig HOME=$T
}
k() { "$kubectl_path" "$@"; }

# ---- reading without kubectl ----
# Most of what tests do is to wait for a field of an object. kubectl needs as
# long to start as a guest's writer for five records, and on the same
# processors; so only what is created, changed and deleted is so by kubectl.
# What kubectl reads is tested by api-conformance.sh.

# objects_url KIND: the path of the objects of that kind in the default namespace.
objects_url() {
    local ns=namespaces/default
    case $1 in
    vm) echo /apis/kubevirt.io/v1/$ns/virtualmachines ;;
    vmi) echo /apis/kubevirt.io/v1/$ns/virtualmachineinstances ;;
    vmsnapshot) echo /apis/snapshot.kubevirt.io/v1beta1/$ns/virtualmachinesnapshots ;;
    vmsnapshotcontent) echo /apis/snapshot.kubevirt.io/v1beta1/$ns/virtualmachinesnapshotcontents ;;
    vmrestore) echo /apis/snapshot.kubevirt.io/v1beta1/$ns/virtualmachinerestores ;;
    *.harvesterhci.io) echo "/apis/harvesterhci.io/v1beta1/$ns/${1%%.*}" ;;
    backuptarget) echo /apis/vmkeep.io/v1alpha1/backuptargets ;;
    pvc) echo /api/v1/$ns/persistentvolumeclaims ;;
    *) return 1 ;;
    esac
}
# object KIND NAME: its JSON; fails if there is none.
object() {
    curl -fsS --max-time 60 --unix-socket "$SOCKET" "http://x$(objects_url "$1")/$2"
}
# object_field KIND NAME JSONPATH: what kubectl's -o jsonpath prints, for paths
# of members, [N], [*] and [?(@.member=="value")]: "" when absent.
object_field() {
    local path=$3
    if [[ $path == *\\* ]] || ! objects_url "$1" >/dev/null; then
        k get "$1" "$2" -o "jsonpath={$path}"
        return
    fi
    path=${path//'[*]'/'[]'}
    path=${path//'[?(@'/'[]|select('}
    path=${path//')]'/')'}
    object "$1" "$2" | jq -j "[($path)? | select(. != null) | if type == \"string\" then . else tojson end] | join(\" \")"
}
# object_condition KIND NAME TYPE MEMBER: "True: the reason", or the message.
object_condition() {
    object "$1" "$2" | jq -j --arg t "$3" --arg m "$4" \
        '[.status.conditions[]? | select(.type == $t) | "\(.status): \(.[$m] // "")"] | join("")'
}
