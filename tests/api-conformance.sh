#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# check: timeout=600
# tests/api-conformance.sh: what unmodified kubectl does with the API, by the
# checklist of spec k8swire 15, once with the machine's kubectl and, if that is
# another, once with Debian's own (1.20).
#
# The API runs over a store of its own, without libvirt and controllers; VMs
# are seeded as the projection would make them. Where the list creates VMs,
# this test creates VirtualMachineSnapshots.
. "$(dirname "$0")/lib.sh"
requires_build api-server
requires_program curl jq perl
export HOME=$T

# t ID STATUS REGEX COMMAND: run it by eval; status and output must match.
t() {
    local id=$1 want=$2 re=$3 out status=0
    : >"$T/seen"
    out=$(eval "$4" 2>&1) || status=$?
    if [ "$status" = "$want" ] && RE=$re perl -0777 -ne 'exit(!/$ENV{RE}/m)' <<<"$out"; then
        ok "$label $id"
    else
        not_ok "$label $id: $4"
        note "status $status, wanted $want and /$re/"
        note "$out"
    fi
}
# new ...: t, for kubectl newer than Debian's.
new() { [ "$is_old" = yes ] || t "$@"; }
old() { [ "$is_old" = no ] || t "$@"; }

k() { "$kubectl" "$@"; }
c() { curl -sS --unix-socket "$T/sock" "$@"; }
# seen REGEX COMMAND...: what it prints until that is in it, and 124 if it would
# have gone on then; for what watches.
seen() {
    local re=$1 pid status=0
    shift
    "$@" >>"$T/seen" 2>&1 &
    pid=$!
    wait_until 15 eval "! is_alive $pid || RE=\$re perl -0777 -ne 'exit(!/\$ENV{RE}/m)' $T/seen" || true
    if is_alive $pid; then status=124; fi
    kill $pid 2>/dev/null || true
    wait $pid 2>/dev/null || [ $status = 124 ] || status=$?
    cat "$T/seen"
    return $status
}
# once_seen REGEX COMMAND...: the command, when what `seen` runs has printed that:
# nobody knows how long kubectl takes to start.
once_seen() {
    wait_until 15 grep -q "$1" "$T/seen"
    "${@:2}" >/dev/null
}
# until_seen REGEX COMMAND...: the same, again and again until it has.
until_seen() {
    local i
    for ((i = 0; i < 60; i++)); do
        grep -q "$1" "$T/seen" && return
        "${@:2}" >/dev/null
        sleep 0.5
    done
}
label_and_not() { k label vmsnapshot w2 sel=1 && k label vmsnapshot w2 sel-; }
# codes METHOD TYPE BODY URL...: what the same request to each URL is answered.
codes() {
    local method=$1 type=$2 body=$3 url
    shift 3
    for url; do c -m 20 -o /dev/null -w '%{http_code} ' -X "$method" -H "Content-Type: application/$type" -d "$body" "$url"; done
}
S=http://x
G=$S/apis/snapshot.kubevirt.io/v1beta1/namespaces/default
V=$G/virtualmachinesnapshots
M=$S/apis/kubevirt.io/v1/namespaces/default/virtualmachines

# snap NAME [jq program]: a VirtualMachineSnapshot.
snap() {
    jq -n --arg n "$1" '{apiVersion:"snapshot.kubevirt.io/v1beta1",kind:"VirtualMachineSnapshot",
        metadata:{name:$n,labels:{app:"ck"}},
        spec:{source:{apiGroup:"kubevirt.io",kind:"VirtualMachine",name:"c1"}}} | '"${2:-.}"
}
# vm NAME RUNSTRATEGY [jq program]: a VirtualMachine as one would apply it.
vm() {
    jq -n --arg n "$1" --arg r "$2" '{apiVersion:"kubevirt.io/v1",kind:"VirtualMachine",
        metadata:{name:$n,labels:{app:"ck"}},
        spec:{runStrategy:$r,template:{spec:{domain:{devices:{}}}}}} | '"${3:-.}"
}

server_start() {
    rm -rf "$T/s" "$T/.kube"
    mkdir "$T/s"
    : >"$T/server.log"
    start_process server "$(program api-server)" "$T/s" "$T/sock" 127.0.0.1:0 "$tests_dir/api-seed.json"
    wait_until 20 grep -q '^port' "$T/server.log"
    c -X POST $S/vmkeep/v1/kubeconfig >"$T/kubeconfig"
    export KUBECONFIG=$T/kubeconfig
}

discovery() {
    t D01 0 'Server Version' 'k version'
    t D02 0 '(?s)kubevirt\.io/v1.*\bv1\b' 'k api-versions'
    t D03 0 'vm,vms\s+kubevirt.io/v1\s+true\s+VirtualMachine' 'k api-resources --no-headers | grep "^virtualmachines "'
    t D04 0 '^namespaces$' 'k api-resources --namespaced=false -o name'
    t D05 0 '(?i)content-type: application/json;\s*g=apidiscovery\.k8s\.io;\s*v=v2;\s*as=APIGroupDiscoveryList' \
        'c -D- -H "Accept: application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList" $S/apis'
    t D06 0 'apidiscovery\.k8s\.io/v2beta1' \
        'c -H "Accept: application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json" $S/apis'
    t D07 0 '"APIGroupList"' 'c $S/apis'
    t D08 0 '"APIVersions"' 'c $S/api'
    t D09 0 '"APIResourceList".*virtualmachines/status' 'c $S/apis/kubevirt.io/v1'
    t D10 0 '"APIGroup".*preferredVersion' 'c $S/apis/kubevirt.io'
    t D11 0 '^404$' 'c -o /dev/null -w "%{http_code}" $S/apis/nope.example.com/v1'
    t D12 0 'apis/kubevirt\.io/v1.*serverRelativeURL' 'k get --raw /openapi/v3'
    t D13 0 '^200 application/com\.github\.proto-openapi\.spec\.v2\.v1\.0\+protobuf' \
        'c -H "Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf" -o /dev/null -w "%{http_code} %{content_type}" $S/openapi/v2'
    t D14 0 'io\.k8s\.apimachinery\.pkg\.apis\.meta\.v1\.ObjectMeta' 'c -H "Accept: application/json" $S/openapi/v2'
    t D15 0 'FIELD: +runStrategy +<string>' 'k explain vm.spec.runStrategy'
    t D16 1 'field "?nosuch"? does not exist' 'k explain vm.spec.nosuch'
    t D17 1 'server doesn.t have a resource type "foos"' 'k get foos'
    t D18 0 '^ok' 'k get --raw /livez'
    t D19 0 '^200$' 'c -I -o /dev/null -w "%{http_code}" $S/version'
    t D20 0 'virtualmachinesnapshots.snapshot.kubevirt.io' 'k get crd'
}

create() {
    t C01 0 'virtualmachinesnapshot\.snapshot\.kubevirt\.io/s1 created' 'snap s1 | k create -f -'
    t C02 1 '\(AlreadyExists\).*virtualmachinesnapshots\.snapshot\.kubevirt\.io "s1" already exists' 'snap s1 | k create -f -'
    t C03 1 'is invalid: metadata\.name: Invalid value: "Bad_Name"' 'snap Bad_Name | k create -f -'
    t C04 1 'The VirtualMachineSnapshot "c2" is invalid: spec\.source\.kind: ' 'snap c2 ".spec.source.kind=\"Pod\"" | k create -f -'
    t C05 1 '(?s)is invalid:.*\* spec\.source.*\* spec\.' \
        'snap c2 ".spec.source.kind=\"Pod\"|.spec.failureDeadline=\"x\"" | k create -f -'
    new C06 1 'strict decoding error: unknown field "spec\.tmplate"' 'snap c2 ".spec.tmplate=1" | k create -f -'
    old C06 1 'unknown field "tmplate" in' 'snap c2 ".spec.tmplate=1" | k create -f -'
    new C07 0 'Warning: unknown field "spec\.tmplate"' 'snap c2 ".spec.tmplate=1" | k create --validate=warn -f -; k delete vmsnapshot c2 >/dev/null'
    t C08 1 '(?s)created \(server dry run\).*NotFound' 'snap c3 | k create --dry-run=server -f - && k get vmsnapshot c3'
    t C09 0 'namespace/ck1 created' 'k create ns ck1'
    t C10 0 'Active.*kubernetes\.io/metadata\.name.*ck1' 'k get ns ck1 -o jsonpath="{.status.phase}{.metadata.labels}"'
    t C12 1 'namespaces "nonesuch" not found' 'snap n1 | k create -n nonesuch -f -'
    t C13 0 'gen-[a-z0-9]{5} created' 'snap x "del(.metadata.name)|.metadata.generateName=\"gen-\"" | k create -f -; k delete vmsnapshot --all >/dev/null; snap s1 | k create -f -'
    t C14 0 '(?s)li1 created.*li2 created' \
        'jq -n --argjson a "$(snap li1)" --argjson b "$(snap li2)" "{apiVersion:\"v1\",kind:\"List\",items:[\$a,\$b]}" | k create -f -'
    t C15 1 'no matches for kind "VirtualMachineSnapshot" in version "snapshot.kubevirt\.io/v9"' \
        'snap x ".apiVersion=\"snapshot.kubevirt.io/v9\"" | k create -f -'
    t C16 0 '"reason": ?"BadRequest"' "c -H 'Content-Type: application/json' -XPOST $V -d '{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"x\"}}'"
    t C17 0 'resourceVersion (should|can) not be set' 'snap rv ".metadata.resourceVersion=\"5\"" | c -H "Content-Type: application/json" -XPOST $V -d @-'
    t C18 0 '"code": ?400' 'c -H "Content-Type: application/json" -XPOST $V -d "{bad"'
    t C19 0 '^415$' 'c -o /dev/null -w "%{http_code}" -H "Content-Type: text/csv" -XPATCH $V/s1 -d x'
    t C20 0 'true' 'k get vmsnapshot s1 -o json | jq -e ".metadata|.uid and .resourceVersion and .creationTimestamp and .generation==1"'
    t C21 0 '^(\{\})?$' 'snap st1 ".status={phase:\"Succeeded\"}" | c -H "Content-Type: application/json" -XPOST $V -d @- >/dev/null; k get vmsnapshot st1 -o jsonpath="{.status}"; k delete vmsnapshot st1 >/dev/null'
    t C22 1 '(?s)MethodNotAllowed.*virsh define' 'vm v9 Halted | k create -f -'
    t C23 1 '(?s)Forbidden.*virsh undefine' 'k delete vm c1'
}

gets() {
    t G01 0 '^NAME\s+AGE\s+STATUS\s+READY' 'k get vm'
    t G02 0 '^NAME\s+AGE\s+STATUS\s+READY\s+\S+' 'k get vm c1 -o wide'
    t G03 0 '^default\s+c1' 'k get vm -A'
    t G04 0 'c1.*\bck$' 'k get vm -L app'
    t G05 0 '^virtualmachine\.kubevirt\.io/c1' 'k get vm c1 -o name'
    t G06 0 '(?s)apiVersion: kubevirt\.io/v1\nkind: VirtualMachine' 'k get vm c1 -o yaml'
    t G07 0 'List\nVirtualMachine' 'k get vm -o json | jq -r .kind,.items[0].kind'
    t G08 0 'c1' 'k get vm -o jsonpath="{.items[*].metadata.name}"'
    t G09 1 '\(NotFound\): virtualmachines\.kubevirt\.io "nosuch" not found' 'k get vm nosuch'
    t G10 0 'c1' 'k get vm -l app=ck -o name'
    t G11 0 '^(?!.*c1)' 'k get vm -l "app notin (ck)" -o name'
    t G12 0 'c1' 'k get vm --field-selector metadata.name=c1 -o name'
    t G13 1 'field label not supported' 'k get vm --field-selector spec.bogus=1'
    t G14 0 'virtualmachine\.kubevirt\.io/c1' 'k get all'
    t G15 0 'virtualmachine\.kubevirt\.io/c1' 'k get vm,vmsnapshot -A'
    t G16 0 'c1' 'k get vm --sort-by=.metadata.name'
    t G17 0 'c1' 'k get virtualmachines.v1.kubevirt.io/c1 -o name'
    t G18 0 'No resources found in nonesuch namespace' 'k get vm -n nonesuch'
    t G19 0 '^8$' 'for i in 1 2 3 4 5; do snap pg$i | k create -f - >/dev/null; done; k get vmsnapshot --chunk-size=2 -o name | wc -l'
    t G20 0 '\[true,6\]' 'c "$V?limit=2" | jq -c ".metadata|[(.continue|length>0),.remainingItemCount]"'
    t G21 0 '400' 'c "$V?limit=2&continue=garbage" | jq .code'
    t G22 0 '\[6,true,0\]' 'p=$(c "$V?limit=2"); n=$(jq -rn --argjson p "$p" "\$p.metadata.continue|@uri"); k label vmsnapshot pg5 z=z >/dev/null; c "$V?limit=9&continue=$n" | jq -c --arg r "$(jq -r .metadata.resourceVersion <<<"$p")" "[(.items|length), .metadata.resourceVersion==\$r, ([.items[]|select(.metadata.labels.z)]|length)]"'
    t G23 0 'PartialObjectMetadataList\nPartialObjectMetadata\nnull' \
        'c -H "Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json" $V | jq -r .kind,.items[0].kind,.items[0].spec'
    t G24 0 'Table\nmeta\.k8s\.io/v1' 'c -H "Accept: application/json;as=Table;v=v1;g=meta.k8s.io, application/json" $V | jq -r .kind,.apiVersion'
    t G25 0 'snapshot.kubevirt.io/v1alpha1' 'k get virtualmachinesnapshots.v1alpha1.snapshot.kubevirt.io s1 -o jsonpath="{.apiVersion}"'
}

updates() {
    t U01 0 'replaced' 'k get vm c1 -o json | jq ".spec.runStrategy=\"Always\"" | k replace -f -'
    t U02 1 '\(Conflict\).*the object has been modified' 'k get vm c1 -o json | jq ".metadata.resourceVersion=\"3\"" | k replace -f -'
    t U03 0 'metadata\.resourceVersion: Invalid value: .*must be specified for an update' \
        'c $M/c1 | jq "del(.metadata.resourceVersion)" | c -XPUT -H "Content-Type: application/json" $M/c1 -d @-'
    t U04 0 'patched$' "k patch vm c1 --type=merge -p '{\"spec\":{\"runStrategy\":\"Halted\"}}'"
    t U05 0 'patched \(no change\)' "k patch vm c1 --type=merge -p '{\"spec\":{\"runStrategy\":\"Halted\"}}'"
    t U06 0 'patched' "k patch vm c1 --type=json -p '[{\"op\":\"test\",\"path\":\"/spec/runStrategy\",\"value\":\"Halted\"},{\"op\":\"replace\",\"path\":\"/spec/runStrategy\",\"value\":\"Always\"}]'"
    t U07 1 'invalid' "k patch vm c1 --type=json -p '[{\"op\":\"test\",\"path\":\"/spec/runStrategy\",\"value\":\"XX\"}]'"
    t U08 1 '(strategic-merge-patch\+json is not supported by kubevirt\.io/v1|UnsupportedMediaType)' "k patch vm c1 -p '{\"spec\":{}}'"
    t U09 0 'patched' "k patch ns ck1 -p '{\"metadata\":{\"labels\":{\"q\":\"r\"}}}'"
    t U10 1 "'tier' already has a value" 'k label vm c1 tier=gold && k label vm c1 tier=x'
    t U11 0 '(?s)labeled.*annotated' 'k label vm c1 tier- && k annotate vm c1 a=b'
    t U12 1 '\(Conflict\)' 'k label vm c1 q=1 --resource-version=1'
    t U13 0 'edited' 'EDITOR="sed -i s/Always/Manual/" k edit vm c1'
    t U14 0 'Edit cancelled, no changes made' 'EDITOR=true k edit vm c1'
    t U15 1 '(is invalid|not valid)' 'EDITOR="sed -i s/Manual/Bogus/" k edit vm c1'
    new U16 0 'Running/\d+' "k patch vm c1 --subresource=status --type=merge -p '{\"status\":{\"printableStatus\":\"Running\"}}' && k get vm c1 -o jsonpath='{.status.printableStatus}/{.metadata.generation}'"
    t U17 0 'same' 'g=$(k get vm c1 -o jsonpath={.metadata.generation}); c -XPATCH -H "Content-Type: application/merge-patch+json" $M/c1/status -d "{\"status\":{\"printableStatus\":\"Running\",\"ready\":true},\"spec\":{\"runStrategy\":\"Once\"}}" >/dev/null; k get vm c1 -o jsonpath="{.spec.runStrategy} {.metadata.generation}" | grep -q "Manual $g" && echo same'
    t U18 0 '^Running$' "k patch vm c1 --type=merge -p '{\"status\":{\"printableStatus\":\"Hacked\"}}' >/dev/null; k get vm c1 -o jsonpath={.status.printableStatus}"
    t U19 0 '^0 1$' "A=\$(k get vm c1 -o jsonpath={.metadata.generation}); k label vm c1 gg=1 >/dev/null; B=\$(k get vm c1 -o jsonpath={.metadata.generation}); k patch vm c1 --type=merge -p '{\"spec\":{\"runStrategy\":\"Always\"}}' >/dev/null; D=\$(k get vm c1 -o jsonpath={.metadata.generation}); echo \$((B-A)) \$((D-B))"
    t U20 1 'NotFound' "k patch vm nosuch --type=merge -p '{}'"
    t U21 1 'UID in precondition' 'k get vm c1 -o json | jq ".metadata.uid=\"00000000-0000-0000-0000-000000000000\"" | k replace -f -'
    t U26 1 'metadata.labels: Invalid value: "bad key"' "k label vm c1 'bad key=v'"
    t U27 1 'metadata.annotations: Invalid value: "a/b/c"' "k annotate vm c1 'a/b/c=v'"
    t U28 1 'metadata.finalizers: Invalid value: "bad one"' "k patch vm c1 --type=merge -p '{\"metadata\":{\"finalizers\":[\"bad one\"]}}'"
    t U23 1 'patch: it cannot be applied: JSON patch: operation 0: path "/spec/nosuch" does not exist' "k patch vm c1 --type=json -p '[{\"op\":\"remove\",\"path\":\"/spec/nosuch\"}]'"
    t U24 1 'changes metadata.namespace to "other"' "k patch vm c1 --type=merge -p '{\"metadata\":{\"namespace\":\"other\"}}'"
    t U25 1 'changes kind to "Secret"' "k patch vm c1 --type=merge -p '{\"kind\":\"Secret\"}'"
    t U29 0 '^422 422 422 422 422 $' 'codes PATCH merge-patch+json "{\"metadata\":{\"labels\":{\"slip\":\"1\"}}}" "$M/c1?"{dryRun=Yes,fieldValidation=Loose,force=true,fieldManager=a%07b,fieldManager=$(printf %0129d 0)}; k get vm c1 -o jsonpath={.metadata.labels.slip}'
    t U22 1 'spec' "k patch vmsnapshot s1 --type=merge -p '{\"spec\":{\"failureDeadline\":\"9m0s\"}}'"
}

applies() {
    t A01 0 'as1 created' 'snap as1 | k apply -f -'
    t A02 0 'as1 unchanged' 'snap as1 | k apply -f -'
    t A03 0 '(?s)configured.*Always' 'vm ap1 Always | k apply -f - 2>/dev/null && k get vm ap1 -o jsonpath={.spec.runStrategy}'
    t A04 0 'configured\n$' 'vm ap1 Always "del(.metadata.labels)" | k apply -f - && k get vm ap1 -o jsonpath={.metadata.labels}'
    t A05 1 '(?s)-  runStrategy: Always\n\+  runStrategy: Halted' 'vm ap1 Halted | k diff -f -'
    t A06 0 '^$' 'vm ap1 Always "del(.metadata.labels)" | k diff -f -'
    t A07 0 'sa1 serverside-applied' 'vm sa1 Halted | k apply --server-side --force-conflicts -f -'
    t A08 1 'conflict with "kubectl".*\.spec\.runStrategy' 'vm sa1 Always | k apply --server-side --field-manager=other -f -'
    t A09 0 'serverside-applied' 'vm sa1 Always | k apply --server-side --field-manager=other --force-conflicts -f -'
    new A10 0 'kubectl:Apply\nother:Apply' 'k get vm sa1 -o json --show-managed-fields | jq -r ".metadata.managedFields[]|.manager+\":\"+.operation" | sort'
    t A11 0 'same' 'A=$(k get vm sa1 -o jsonpath={.metadata.resourceVersion}); vm sa1 Always | k apply --server-side --field-manager=other -f - >/dev/null; B=$(k get vm sa1 -o jsonpath={.metadata.resourceVersion}); [ $A = $B ] && echo same'
    t A12 0 'serverside-applied' 'vm ap1 Always "del(.metadata.labels)" | k apply --server-side --force-conflicts -f -'
    t A13 0 'fieldManager: Required value' 'c -H "Content-Type: application/apply-patch+yaml" -XPATCH "$M/sa9?fieldManager=" -d "{}"'
    t A14 0 'VirtualMachine' 'k apply view-last-applied vm ap1 -o json'
    t A15 0 '\(server dry run\)' 'vm ap1 Halted | k apply --dry-run=server -f -'
    t A16 0 '(?s)created.*configured\n\{"a":"1"\}$' \
        'n() { jq -n --argjson l "$1" "{apiVersion:\"v1\",kind:\"Namespace\",metadata:{name:\"as2\",annotations:\$l}}"; }; n "{\"a\":\"1\",\"b\":\"2\"}" | k apply -f - && n "{\"a\":\"1\"}" | k apply -f - && k get ns as2 -o json | jq -c ".metadata.annotations|del(.[\"kubectl.kubernetes.io/last-applied-configuration\"])"'
    t A18 0 '^\[1,7\] \[1,128\]$' 'p() { c -A "$1/1" -XPATCH -H "Content-Type: application/merge-patch+json" $M/ap1 -d "{\"metadata\":{\"labels\":{\"ua\":\"$2\"}}}" | jq -c --arg n "$3" "[.metadata.managedFields[]|select(.manager|startswith(\$n))|.manager|length]|[length,max]"; }; echo $(p $(printf "\xff") 2 unknown) $(p $(printf %0300d 0) 3 000)'
    t A17 0 'created by ssa' 'snap ssa1 | k apply --server-side -f - >/dev/null && k get vmsnapshot ssa1 -o name >/dev/null && echo created by ssa; k delete vmsnapshot ssa1 as1 >/dev/null'
}

deletes() {
    t X01 0 '"pg1" deleted' 'k delete vmsnapshot pg1'
    t X02 1 'NotFound' 'k delete vmsnapshot pg1'
    t X03 0 '^$' 'k delete vmsnapshot pg1 --ignore-not-found'
    t X04 1 'timed out waiting for the condition' 'snap fin ".metadata.finalizers=[\"x.io/f\"]" | k create -f - && k delete vmsnapshot fin --timeout=1s'
    t X05 0 '^20\d\d-' 'k get vmsnapshot fin -o jsonpath={.metadata.deletionTimestamp}'
    t X06 1 'NotFound' "k patch vmsnapshot fin --type=merge -p '{\"metadata\":{\"finalizers\":null}}'; k get vmsnapshot fin"
    t X07 0 'deleted' "snap fin2 '.metadata.finalizers=[\"x.io/f\"]' | k create -f - >/dev/null; (sleep 1; k patch vmsnapshot fin2 --type=merge -p '{\"metadata\":{\"finalizers\":[]}}' >/dev/null)& k delete vmsnapshot fin2 --timeout=60s"
    t X08 0 'pg2$' 'k delete vmsnapshot pg2 --dry-run=server && k get vmsnapshot pg2 -o name'
    t X09 0 '"code": ?409' "c -H 'Content-Type: application/json' -XDELETE $V/pg2 -d '{\"preconditions\":{\"uid\":\"nope\"}}'"
    t X10 0 'Status\nSuccess\nvirtualmachinesnapshots' "c -H 'Content-Type: application/json' -XDELETE $V/pg2 -d '{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"propagationPolicy\":\"Background\"}' | jq -r .kind,.status,.details.kind"
    # A slip in the options must delete nothing.
    t X16 0 '^400 400 400 400 400 422 422 422 422 400 pg3$' 'for d in "{\"dryRun\":\"All\"}" "[]" "\"x\"" "{\"preconditions\":\"u\"}" "{\"kind\":\"Pod\"}" "{\"dryRun\":[\"Some\"]}" "{\"propagationPolicy\":\"No\"}" "{\"propagationPolicy\":\"Orphan\",\"orphanDependents\":true}"; do codes DELETE json "$d" $V/pg3; done; codes DELETE json "" "$V/pg3?"{dryRun=Yes,gracePeriodSeconds=soon}; k get vmsnapshot pg3 -o jsonpath={.metadata.name}'
    t X17 0 '^3 1$' 'for i in 1 2 3; do snap lim$i ".metadata.labels.app=\"lim\"" | k create -f - >/dev/null; done; echo $(c -XDELETE "$V?labelSelector=app%3Dlim&dryRun=All" | jq ".items|length") $(c -XDELETE "$V?labelSelector=app%3Dlim&limit=2" >/dev/null; k get vmsnapshot -l app=lim -o name | wc -l); k delete vmsnapshot -l app=lim >/dev/null'
    t X11 0 '^0$' 'c -XDELETE "$V?labelSelector=app%3Dnone" | jq -r ".items|length"'
    t X12 0 '^$|No resources' 'k delete vmsnapshot -l app=ck --wait=true >/dev/null; k get vmsnapshot -l app=ck -o name'
    t X15 0 '^null$' "snap dep '.metadata.ownerReferences=[{apiVersion:\"v1\",kind:\"X\",name:\"o\",uid:\"U\"}]|.metadata.ownerReferences[0].uid=\"'\$(k get vm c1 -o jsonpath={.metadata.uid})'\"' | k create -f - >/dev/null; snap own | k create -f - >/dev/null; u=\$(k get vmsnapshot own -o jsonpath={.metadata.uid}); k patch vmsnapshot dep --type=merge -p '{\"metadata\":{\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"X\",\"name\":\"own\",\"uid\":\"'\$u'\"}]}}' >/dev/null; k delete vmsnapshot own --cascade=orphan >/dev/null; k get vmsnapshot dep -o json | jq .metadata.ownerReferences; k delete vmsnapshot dep >/dev/null"
}

watches() {
    t W01 0 'condition met' "snap w1 | k create -f - >/dev/null; (sleep 1; c -XPATCH -H 'Content-Type: application/merge-patch+json' $V/w1/status -d '{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"reason\":\"x\",\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}]}}' >/dev/null)& k wait --for=condition=Ready vmsnapshot/w1 --timeout=60s"
    t W02 1 'timed out waiting for the condition' 'k wait --for=condition=Nope vmsnapshot/w1 --timeout=1s'
    new W03 0 'condition met' 'k wait --for=jsonpath="{.spec.source.name}"=c1 vmsnapshot/w1 --timeout=60s'
    t W04 0 'condition met' '(sleep 1; k delete vmsnapshot w1 --wait=false >/dev/null)& k wait --for=delete vmsnapshot/w1 --timeout=60s'
    t W05 124 '(?s)w2.*w2.*InProgress' "snap w2 | k create -f - >/dev/null; once_seen w2 c -XPATCH -H 'Content-Type: application/merge-patch+json' $V/w2/status -d '{\"status\":{\"phase\":\"InProgress\"}}' & seen '(?s)w2.*w2.*InProgress' $kubectl get vmsnapshot w2 -w"
    t W06 124 '(?s)ADDED.*w2.*DELETED.*w2' "until_seen DELETED label_and_not & seen '(?s)ADDED.*w2.*DELETED.*w2' $kubectl get vmsnapshot -l sel=1 -w --output-watch-events"
    t W07 0 'MODIFIED' 'r=$(c $V | jq -r .metadata.resourceVersion); k label vmsnapshot w2 r=1 >/dev/null; c "$V?watch=1&resourceVersion=$r&timeoutSeconds=1" | jq -r .type'
    t W08 0 'ADDED' 'c "$V?watch=True&timeoutSeconds=1" | jq -r .type | head -1'
    t W09 0 '"k8s\.io/initial-events-end":"true"' \
        'c "$V?watch=1&timeoutSeconds=2&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true" | jq -c "select(.type==\"BOOKMARK\")|.object.metadata.annotations"'
    new W10 0 'condition met' 'KUBE_FEATURE_WatchListClient=true k wait --for=jsonpath="{.spec.source.name}"=c1 vmsnapshot/w2 --timeout=60s'
    t W11 0 'real (1|2|3|4|5|6|7|8|9|1[0-9])\.' 'TIMEFORMAT="real %R"; time c "$V?watch=1&resourceVersion=$(c $V?limit=1 | jq -r .metadata.resourceVersion)&timeoutSeconds=2"'
    t W12 28 '(?si)200.*transfer-encoding: chunked' 'c -D- -o/dev/null -m 5 "$V?watch=1&resourceVersion=$(c $V?limit=1 | jq -r .metadata.resourceVersion)"'
    t W13 0 '400' 'c "$V?watch=1&resourceVersion=abc" | jq .code'
    t W14 0 '"ERROR".*"code": ?410' 'c "$V?watch=1&resourceVersion=1&timeoutSeconds=1"'
    t W16 0 'BOOKMARK' 'c "$V?watch=1&resourceVersion=$(c $V?limit=1 | jq -r .metadata.resourceVersion)&timeoutSeconds=1&allowWatchBookmarks=true" | jq -r .type | tail -1'
    # What is no list or watch is refused in Kubernetes' words, never ignored.
    t W17 0 '^422 422 422 422 422 422 $' 'codes GET json "" "$V?"{resourceVersionMatch=Exact,"resourceVersionMatch=Near&resourceVersion=5","resourceVersionMatch=Exact&resourceVersion=0",sendInitialEvents=true,"watch=1&resourceVersionMatch=NotOlderThan","watch=1&sendInitialEvents=false&resourceVersionMatch=Exact"}'
    t W24 0 '^400 400 400 400 400 400 400 504 $' 'codes GET json "" "$V?"{limit=x,timeoutSeconds=x,timeoutSeconds=-1,resourceVersion=x,"continue=5:a/b&resourceVersion=5",includeObject=All} "$V/w1?resourceVersion="{x,999999}'
    t W18 0 'ListOptions.meta.k8s.io .*resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided' 'c "$V?resourceVersionMatch=Exact" | jq -r .message'
    t W19 0 '^200 200 200 $' 'codes GET json "" "$V?"{"resourceVersionMatch=NotOlderThan&resourceVersion=1",limit=-1,"limit=&timeoutSeconds="}'
    t W15 0 '422' 'c "$V?watch=1&sendInitialEvents=true" | jq .code'
}

others() {
    t E06 0 'control plane.* is running at' 'k cluster-info'
    t E07 1 'services "x" not found' 'k get svc x'
    t E08 0 'pr2 pruned' 'd=$T/prune; rm -rf $d; mkdir $d; for i in 1 2; do snap pr$i ".metadata.labels={p:\"one\"}" >$d/$i.json; done; k apply -f $d >/dev/null; rm $d/2.json; k apply --prune -l p=one -f $d --prune-$(k apply --help | grep -om1 -E "whitelist|allowlist")=snapshot.kubevirt.io/v1beta1/VirtualMachineSnapshot; k delete -f $d >/dev/null'
    t E01 0 '(?s)Events:.*Started.*hello ev' \
        'u=$(k get vmsnapshot w2 -o jsonpath={.metadata.uid}); jq -n --arg u "$u" "{apiVersion:\"v1\",kind:\"Event\",metadata:{generateName:\"w2.\"},involvedObject:{apiVersion:\"snapshot.kubevirt.io/v1beta1\",kind:\"VirtualMachineSnapshot\",name:\"w2\",namespace:\"default\",uid:\$u},reason:\"Started\",message:\"hello ev\",type:\"Normal\",lastTimestamp:\"2025-01-01T00:00:00Z\",count:1,source:{component:\"ck\"}}" | k create -f - && k describe vmsnapshot w2'
    new E02 0 'hello ev' 'k events --for vmsnapshot/w2'
    t E05 0 '^LAST SEEN +TYPE +REASON +OBJECT +MESSAGE' 'k get events'
    t E03 0 'Started' 'k get events --field-selector involvedObject.name=w2'
    t E04 0 '(Used By|Mounted By):\s+<none>' 'k describe pvc c1-vda'
    t E05 0 'Status:\s+Active' 'k describe ns default'
    t S01 0 '^yes' 'k auth can-i create vm'
    t S02 1 '^no' 'k auth can-i --as=bob create vm'
    t S03 0 'Resources.*Verbs' 'k auth can-i --list'
    new S04 0 'Username' 'k auth whoami'
    t S05 0 '^yes' 'k auth can-i get /healthz'
    t S06 0 '\["Status","Failure","NotFound",404,"nosuch","kubevirt\.io","virtualmachines"\]' 'c $M/nosuch | jq -c "[.kind,.status,.reason,.code,.details.name,.details.group,.details.kind]"'
    t S07 0 'MethodNotAllowed' 'c -XPUT $V -d "{}" | jq -r .reason'
    t S08 1 'NotFound|could not find the requested resource|MethodNotAllowed' 'k scale vm c1 --replicas=1'
    t S09 1 'Forbidden.*User "bob" cannot list resource "virtualmachines"' 'k --as=bob get vm'
}

# The kinds of backups: cluster-scoped, and of a second group that has a short
# name of the first.
H=$S/apis/harvesterhci.io/v1beta1/namespaces/default
# target NAME [jq program], backup NAME [...], hrestore NAME [...]
target() {
    jq -n --arg n "$1" '{apiVersion:"vmkeep.io/v1alpha1",kind:"BackupTarget",metadata:{name:$n},
        spec:{directory:{path:"/srv/b"}}} | '"${2:-.}"
}
backup() {
    jq -n --arg n "$1" '{apiVersion:"harvesterhci.io/v1beta1",kind:"VirtualMachineBackup",
        metadata:{name:$n,namespace:"default"},
        spec:{source:{apiGroup:"kubevirt.io",kind:"VirtualMachine",name:"c1"},type:"backup"}} | '"${2:-.}"
}
hrestore() {
    jq -n --arg n "$1" '{apiVersion:"harvesterhci.io/v1beta1",kind:"VirtualMachineRestore",
        metadata:{name:$n,namespace:"default"},
        spec:{target:{apiGroup:"kubevirt.io",kind:"VirtualMachine",name:"new"},newVM:true,
            virtualMachineBackupName:"b1",virtualMachineBackupNamespace:"default"}} | '"${2:-.}"
}
# status_put PATH JSON: the status as a controller would write it.
status_put() { c -f -XPATCH -H 'Content-Type: application/merge-patch+json' "$1/status" -d "{\"status\":$2}" >/dev/null; }

backups() {
    local ready='{"conditions":[{"type":"Ready","status":"True"}],"repositoryUUID":"r1","backups":3,"freeBytes":1610612736,"encrypted":true}'
    BT=$S/apis/vmkeep.io/v1alpha1/backuptargets
    A=$S/v1/harvester/kubevirt.io.virtualmachines/default
    t B01 0 '^backuptargets +vmkt +vmkeep\.io/v1alpha1 +false +BackupTarget' 'k api-resources --no-headers | grep "^backuptargets "'
    t B02 0 'virtualmachinebackups +vmbackup,vmbackups +harvesterhci\.io/v1beta1 +true' 'k api-resources --no-headers | grep "^virtualmachinebackups "'
    t B03 0 '(?s)snapshot\.kubevirt\.io.*harvesterhci\.io' 'c $S/apis | jq -r .groups[].name'
    t B04 0 'FIELD: +path +<string>' 'k explain backuptarget.spec.directory.path'
    t B05 0 'FIELD: +fsFreezeDeadline +<string>' 'k explain vmbackup.spec.fsFreezeDeadline'
    t B06 0 'FIELD: +keepMacAddress +<boolean>' 'k explain virtualmachinerestores.spec.keepMacAddress --api-version=harvesterhci.io/v1beta1'
    t B07 0 'FIELD: +targetReadinessPolicy' 'k explain vmrestore.spec.targetReadinessPolicy'
    t B08 0 '(?s)backuptargets\.vmkeep\.io.*virtualmachinebackups\.harvesterhci\.io.*virtualmachinerestores\.harvesterhci\.io.*virtualmachinerestores\.snapshot\.kubevirt\.io' 'k get crd | sort'
    t B09 0 '^Cluster$' 'k get crd backuptargets.vmkeep.io -o jsonpath={.spec.scope}'
    t B10 1 'backup target is not set' 'backup b0 | k create -f -'
    t B11 0 'backuptarget\.vmkeep\.io/default created' 'target default | k create -f -'
    t B12 0 '^directory Generated$' 'k get backuptarget default -o jsonpath="{.spec.type} {.spec.encryption.mode}"'
    t B13 1 'spec\.directory\.path: Invalid value: "srv"' 'target t1 ".spec.directory.path=\"srv\"" | k create -f -'
    t B14 1 '(?s)AlreadyExists' 'target default | k create -f -'
    t B15 0 'default configured' 'target default | k apply -f - 2>/dev/null'
    t B16 0 'default unchanged' 'target default | k apply -f -'
    t B17 1 'spec\.directory is immutable' 'target default ".spec.directory.path=\"/srv/c\"" | k apply -f -'
    t B18 0 'serverside-applied' 'target t2 | k apply --server-side -f -'
    t B19 0 'annotated' 'k annotate backuptarget default vmkeep.io/test=now'
    t B20 0 'patched' "k patch vmkt t2 --type=merge -p '{\"metadata\":{\"labels\":{\"a\":\"b\"}}}'"
    t B21 0 '(?s)^NAME +PATH +READY +BACKUPS +FREE +ENCRYPTED +AGE\ndefault +/srv/b +True +3 +1\.5Gi +true +\d+s\n' \
        "status_put $BT/default '$ready' && k get backuptargets default"
    t B22 0 'condition met' 'k wait --for=condition=Ready backuptarget/default --timeout=60s'
    t B23 0 '(?s)Name: +default.*Path: +/srv/b' 'k describe backuptarget default'
    t B24 0 '^backuptarget\.vmkeep\.io/t2$' 'k get vmkt -l a=b -o name'
    t B25 0 '404' "c -o /dev/null -w '%{http_code}' $S/apis/vmkeep.io/v1alpha1/namespaces/default/backuptargets"
    t B26 0 '"t2" deleted' 'k delete backuptarget t2'
    t B27 124 '(?s)default.*default' "once_seen default k label vmkt default w=1 & seen '(?s)default.*default' $kubectl get backuptargets -w"

    t B30 0 'virtualmachinebackup\.harvesterhci\.io/b1 created' 'backup b1 | k create -f -'
    t B31 1 '"b1" already exists' 'backup b1 | k create -f -'
    t B32 1 'already used by a backup \(backup and snapshot share names\)' 'backup b1 ".spec.type=\"snapshot\"" | k create -f -'
    t B33 0 '^backup$' 'backup b2 "del(.spec.type)" | k create -f - >/dev/null; k get vmbackup b2 -o jsonpath={.spec.type}'
    t B34 1 'spec\.type: spec\.type is immutable' "k patch vmbackup b2 --type=merge -p '{\"spec\":{\"type\":\"snapshot\"}}'"
    t B35 1 'spec\.source\.name: .*source VM name is empty' 'backup b3 ".spec.source.name=\"\"" | k create -f -'
    t B36 1 'must not be negative' 'backup b3 ".spec.fsFreezeDeadline=\"-1s\"" | k create -f -'
    t B37 0 '^$' 'k get vmbackup b1 -o jsonpath={.status}; backup st ".status={readyToUse:true}" | c -H "Content-Type: application/json" -XPOST $H/virtualmachinebackups -d @- >/dev/null; k get vmbackup st -o jsonpath={.status.readyToUse}; k delete vmbackup st >/dev/null'
    t B38 1 'VMBackup default/b1 is not ready' 'hrestore r1 | k create -f -'
    t B39 0 '^NAME +SOURCE_KIND +SOURCE_NAME +TYPE +READY_TO_USE +AGE +ERROR\nb1 +VirtualMachine +c1 +backup +true +\d+s' \
        "status_put $H/virtualmachinebackups/b1 '{\"readyToUse\":true,\"sourceUID\":\"u\",\"progress\":100,\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}],\"vmkeep\":{\"storedBytes\":2048,\"target\":\"default\",\"phase\":\"Ready\"}}' && k get vmbackup b1"
    t B40 0 'Ready +100 +default +2\.0Ki' 'k get vmbackup b1 -o wide'
    t B41 0 'condition met' 'k wait --for=condition=Ready vmbackup/b1 --timeout=60s'
    t B42 0 '(?s)Name: +b1.*Ready To Use: +true' 'k describe vmbackup b1'

    t B50 0 'virtualmachinerestore\.harvesterhci\.io/r1 created' 'hrestore r1 | k create -f -'
    t B51 0 'restore-b1-[a-z0-9]{5} created' 'hrestore x "del(.metadata.name)|.metadata.generateName=\"restore-b1-\"|.spec.target.name=\"new2\"" | k create -f -'
    t B52 1 'Please wait for the previous VM restore' 'hrestore r2 | k create -f -'
    t B53 1 'VM c1 is already exists' 'hrestore r2 ".spec.target.name=\"c1\"" | k create -f -'
    t B54 1 'VirtualMachineRestore spec is immutable' "k patch virtualmachinerestores.harvesterhci.io r1 --type=merge -p '{\"spec\":{\"newVM\":false}}'"
    t B55 1 'vmrestore default/r1 is in progress' 'k delete vmbackup b1'
    t B56 0 '^NAME +TARGET_KIND +TARGET_NAME +COMPLETE +AGE +ERROR\nr1 +VirtualMachine +new +false +\d+s +no space' \
        "status_put $H/virtualmachinerestores/r1 '{\"complete\":false,\"conditions\":[{\"type\":\"InProgress\",\"status\":\"False\",\"reason\":\"Error\",\"message\":\"no space\"}]}' && k get virtualmachinerestores.harvesterhci.io r1"
    t B57 1 'NotFound' 'k get vmrestore r1'
    t B58 0 'virtualmachinerestore\.harvesterhci\.io/r1' 'k get all'
    t B59 0 '(?s)restore-b1-.*deleted' 'k delete virtualmachinerestores.harvesterhci.io --all'
    t B60 0 '(?s)"b1".*deleted' 'k delete vmbackup --all'
    t B61 1 'Unsupported value: "maybe": supported values: "", "delete", "retain"' 'hrestore r3 ".spec.deletionPolicy=\"maybe\"" | k create -f -'
    t B70 0 '^ok$' "status_put $BT/default '$ready' && c $S/v1/harvester/backuptarget/healthz"
    t B71 0 '^204$' "c -o /dev/null -w '%{http_code}' -XPOST -H 'Content-Type: application/json' '$A/c1?action=backup' -d '{\"name\":\"act\",\"fsFreezeDeadline\":\"5s\"}'"
    t B72 0 '^c1 backup 5s$' 'k get vmbackup act -o jsonpath="{.spec.source.name} {.spec.type} {.spec.fsFreezeDeadline}"'
    t B73 0 '"code": ?409' "c -XPOST -H 'Content-Type: application/json' '$A/c1?action=backup' -d '{\"name\":\"act\"}'"
    t B74 0 '"code": ?422' "c -XPOST -H 'Content-Type: application/json' '$A/c1?action=backup'"
    t B75 0 'virtualmachines.kubevirt.io .*nosuch.* not found' "c -XPOST -H 'Content-Type: application/json' '$A/nosuch?action=backup' -d '{\"name\":\"x\"}'"
    t B76 0 '"code": ?422.*VMBackup default/act is not ready|VMBackup default/act is not ready.*"code": ?422' "c -XPOST -H 'Content-Type: application/json' '$A/c1?action=restore' -d '{\"name\":\"re\",\"backupName\":\"act\"}'"
    t B77 0 '^204$' "status_put $H/virtualmachinebackups/act '{\"readyToUse\":true,\"sourceUID\":\"'\$(k get vm ap1 -o jsonpath={.metadata.uid})'\"}'; c -o /dev/null -w '%{http_code}' -XPOST -H 'Content-Type: application/json' '$A/ap1?action=restore' -d '{\"name\":\"re\",\"backupName\":\"act\",\"haltAfterRestore\":true}'"
    t B78 0 '^\{"haltAfterRestore":true,"keepMacAddress":false,"newVM":false,"target":\{"apiGroup":"kubevirt.io","kind":"VirtualMachine","name":"ap1"\}' 'k get virtualmachinerestores.harvesterhci.io re -o json | jq -cS .spec'
    t B81 1 '^400 400 400 NotFound' 'for d in "{\"name\":\"re2\",\"backupName\":\"act\",\"haltAfterRestore\":\"true\"}" "{\"name\":7}" "[]"; do codes POST json "$d" "$A/ap1?action=restore"; done; k get virtualmachinerestores.harvesterhci.io re2 2>&1 | grep -o NotFound'
    t B79 0 '^404404405|^404404404' "c -o /dev/null -w '%{http_code}' -XPOST -H 'Content-Type: application/json' '$A/c1?action=fly'; c -o /dev/null -w '%{http_code}' '$A/c1'; c -o /dev/null -w '%{http_code}' -XPOST $S/v1/harvester/backuptarget/healthz"
    t B80 0 '401' "curl -sk -o /dev/null -w '%{http_code}' -XPOST 'https://127.0.0.1:'\$(sed -n 's/^port //p' $T/server.log)'/v1/harvester/kubevirt.io.virtualmachines/default/c1?action=backup' -d '{}'"
    k delete virtualmachinerestores.harvesterhci.io,vmbackup --all >/dev/null
    t B62 0 '"default" deleted' 'k delete backuptarget default'
    t B63 0 'backup target is not set' "c $S/v1/harvester/backuptarget/healthz"
}

# put_action NAME STATUS: PUT start, and be the controller that ends the action.
put_action() {
    local i name=
    c -w '\n%{http_code}' -XPUT "$R/virtualmachines/$1/start" >"$T/put.out" &
    local pid=$!
    for i in {1..50}; do
        name=$(c $S/apis/vmkeep.io/v1alpha1/namespaces/default/virtualmachineactions | jq -r '.items[]|select(.status.phase==null)|.metadata.name')
        if [ -n "$name" ]; then break; fi
        sleep 0.1
    done
    c -XPATCH -H 'Content-Type: application/merge-patch+json' \
        "$S/apis/vmkeep.io/v1alpha1/namespaces/default/virtualmachineactions/$name/status" -d "$2" >/dev/null
    wait $pid
    cat "$T/put.out"
}

subresources() {
    R=$S/apis/subresources.kubevirt.io/v1/namespaces/default
    t R01 0 '^\n202$' "put_action c1 '{\"status\":{\"phase\":\"Succeeded\"}}'"
    t R02 0 '"message":"VM is already running".*"code":409' \
        "put_action c1 '{\"status\":{\"phase\":\"Failed\",\"code\":409,\"reason\":\"Conflict\",\"message\":\"VM is already running\"}}'"
    t R03 0 'virtualmachines.kubevirt.io \\"nosuch\\" not found' 'c -XPUT $R/virtualmachines/nosuch/start'
    t R04 0 '^404405$' 'c -o /dev/null -w "%{http_code}" -XPUT $R/virtualmachines/c1/fly; c -o /dev/null -w "%{http_code}" $R/virtualmachines/c1/start'
    t R05 0 '"code":422' 'c -XPUT -H "Content-Type: application/json" -d "{\"paused\":7}" $R/virtualmachines/c1/start'
    t R06 0 '^202 400 202 422 0$' 'codes PUT json "{\"dryRun\":[\"All\"]}" $R/virtualmachines/c1/stop; codes PUT json "{\"dryRun\":true}" $R/virtualmachines/c1/stop; codes PUT json "" "$R/virtualmachines/c1/stop?dryRun="{All,Yes}; k get vmactions -o name | grep -c stop || true'
    k delete vmactions --all >/dev/null
}

security() {
    local port
    port=$(sed -n 's/^port //p' "$T/server.log")
    t H01 0 '^401$' 'curl -sk -o /dev/null -w "%{http_code}" https://127.0.0.1:'"$port"'/api/v1/namespaces'
    t H02 0 '^200$' 'curl -sk -o /dev/null -w "%{http_code}" https://127.0.0.1:'"$port"'/apis'
    t H03 0 '^401$' 'curl -sk -o /dev/null -w "%{http_code}" -H "Authorization: Bearer vmk_00" https://127.0.0.1:'"$port"'/apis'
    t H04 0 '^403$' 'curl -sk -o /dev/null -w "%{http_code}" -H "Authorization: Bearer $(jq -r ".users[0].user.token" $T/kubeconfig)" -XPOST https://127.0.0.1:'"$port"'/vmkeep/v1/kubeconfig'
    t H05 60 '' 'curl -s https://127.0.0.1:'"$port"'/version'
    t H06 0 '^413$' 'head -c 4000000 /dev/zero | tr "\0" x | c -o /dev/null -w "%{http_code}" -H "Content-Type: application/json" -H Expect: -XPOST $V --data-binary @-'
    t H07 0 '^413$' 'head -c 4000000 /dev/zero | tr "\0" x | c -o /dev/null -w "%{http_code}" -H "Content-Type: application/json" -H "Transfer-Encoding: chunked" -XPOST $V --data-binary @-'
    t H08 0 '^(431|400)$' 'c -o /dev/null -w "%{http_code}" -H "X-Long: $(head -c 100000 /dev/zero | tr "\0" x)" $V'
    t H09 0 '^404$' 'c -o /dev/null -w "%{http_code}" $V/..%2F..%2Fx'
    t H10 0 '^400$' 'c -o /dev/null -w "%{http_code}" "$V/%zz"'
    t H11 0 '^4' 'c -o /dev/null -w "%{http_code}" "$V/\$(id)%00"'
    t H12 0 '^405$' 'c -o /dev/null -w "%{http_code}" -XOPTIONS $V'
    t H13 0 '600' 'stat -c %a $T/s/pki/tokens'
    t H14 0 '^$' 'grep -r "$(jq -r ".users[0].user.token" $T/kubeconfig)" $T/s || true'
}

# A watcher that is killed is noticed, and a stop ends the streams cleanly.
ends() {
    local before
    curl -sN --unix-socket "$T/sock" "$V?watch=1" >/dev/null &
    local pid=$!
    sleep 0.5
    before=$(ls "/proc/$pid_server/fd" | wc -l)
    kill -9 $pid
    wait $pid 2>/dev/null || true
    t W20 0 '' 'wait_until 4 eval "[ \$(ls /proc/$pid_server/fd | wc -l) -lt '"$before"' ]"'
    curl -sN --unix-socket "$T/sock" "$V?watch=1" >/dev/null &
    pid=$!
    sleep 0.5
    t W21 0 '' 'stop_process server TERM 20'
    t W22 0 '' "wait $pid"
    t W23 1 '' 'grep -A20 -E "Sanitizer|runtime error" "$T/server.log"'
}

run_all() {
    kubectl=$1
    label=$2
    is_old=no
    if "$kubectl" version --client 2>&1 | grep -q '1\.20\.'; then is_old=yes; fi
    server_start
    discovery; create; gets; updates; applies; deletes; watches; others; backups; subresources; security; ends
}

run_all "$(kubectl_find)" new
# Where Debian's is the machine's own, this was it.
if [ "$is_old" = yes ]; then
    note "the machine's kubectl is Debian's"
elif old_path=$(kubectl_debian); then
    run_all "$old_path" debian
else
    note "no Debian kubectl"
fi
