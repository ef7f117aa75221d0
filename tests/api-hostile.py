#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Send broken requests to the API for some seconds: tests/api-hostile.sh.

    api-hostile.py SOCKET SECONDS [SEED]

Valid objects and patches are changed at random places, sent with any method,
content type and query. An answer of 500, or none, is a failure.
"""
import json
import random
import socket
import sys
import time

SNAPSHOTS = "/apis/snapshot.kubevirt.io/v1beta1/namespaces/default/virtualmachinesnapshots"
VMS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
EVENTS = "/api/v1/namespaces/default/events"
NAMESPACES = "/api/v1/namespaces"

SNAPSHOT = {
    "apiVersion": "snapshot.kubevirt.io/v1beta1", "kind": "VirtualMachineSnapshot",
    "metadata": {"name": "h1", "labels": {"a": "b"}, "finalizers": ["x/y"],
                 "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "n", "uid": "u"}],
                 "managedFields": [{"manager": "m", "operation": "Apply", "apiVersion": "v1",
                                    "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:a": {}}}}]},
    "spec": {"source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "c1"}},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}
VM = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": {"name": "c1"},
      "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": {"devices": {}}}}}}
EVENT = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e1"}, "reason": "r", "message": "m",
         "involvedObject": {"kind": "X", "name": "y", "namespace": "default"}, "type": "Normal", "count": 1}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "hn"}}
BASES = [(SNAPSHOTS, SNAPSHOT), (SNAPSHOTS, SNAPSHOT), (VMS, VM), (EVENTS, EVENT), (NAMESPACES, NAMESPACE)]
JSON_PATCH = [{"op": "add", "path": "/metadata/labels/x", "value": "1"},
              {"op": "test", "path": "/spec/source/name", "value": "c1"},
              {"op": "copy", "from": "/spec", "path": "/status"}]
METHODS = ["POST", "PUT", "PATCH", "PATCH", "PATCH", "DELETE", "GET", "OPTIONS"]
TYPES = ["application/json", "application/merge-patch+json", "application/json-patch+json",
         "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/yaml",
         "application/vnd.kubernetes.protobuf", ""]
QUERIES = ["", "?fieldManager=a", "?fieldManager=a&force=true", "?fieldManager=b&fieldValidation=Strict",
           "?dryRun=All", "?fieldValidation=Warn", "?labelSelector=a+in+(", "?fieldSelector=metadata.name%3Dh1",
           "?limit=1&continue=5:a/b", "?resourceVersion=999999", "?fieldManager=%00", "?fieldManager=%ff"]
SCALARS = [None, True, False, 0, -1, 1.5, 2 ** 62, "", "x", "a" * 300, "\0", "é", "2026-01-01T00:00:00Z", "f:x", [], {}]
WORDS = ["metadata", "name", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "managedFields",
         "spec", "status", "source", "kind", "apiGroup", "apiVersion", "uid", "resourceVersion", "$patch",
         "$retainKeys", "$deleteFromPrimitiveList/finalizers", "conditions", "type", "fieldsV1", "f:spec", "manager",
         "operation", "runStrategy", "template", "a.b/c", "op", "path", "value", "generateName", "creationTimestamp",
         "deletionTimestamp", "preconditions", "dryRun", "propagationPolicy", "items", ""]


def anything(depth=0):
    r = random.random()
    if depth > 4 or r < .5:
        return random.choice(SCALARS)
    if r < .7:
        return [anything(depth + 1) for _ in range(random.randint(0, 4))]
    return {random.choice(WORDS): anything(depth + 1) for _ in range(random.randint(0, 6))}


def changed(value):
    value = json.loads(json.dumps(value))
    for _ in range(random.randint(0, 4)):
        at = value
        while at and isinstance(at, (dict, list)):
            key = random.choice(list(at)) if isinstance(at, dict) else random.randrange(len(at))
            if random.random() < .5 or not isinstance(at[key], (dict, list)):
                at[key] = anything()
                break
            at = at[key]
    return value


def broken(body):
    body = bytearray(body)
    for _ in range(3):
        body[random.randrange(len(body))] = random.randrange(256)
    return bytes(body)


def ask(path_of_socket, head, body):
    """The status, or what went wrong."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path_of_socket)
        s.settimeout(10)
        s.sendall(f"{head}Host: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = b""
        try:
            while part := s.recv(65536):
                answer += part
        except TimeoutError:
            return "timeout", answer
    return answer[9:12].decode("latin1") or "hung up", answer


def main():
    path_of_socket, seconds = sys.argv[1], float(sys.argv[2])
    random.seed(int(sys.argv[3]) if len(sys.argv) > 3 else None)
    end, count, bad, statuses = time.time() + seconds, 0, 0, {}
    while time.time() < end:
        method = random.choice(METHODS)
        path, base = random.choice(BASES)
        if method != "POST":
            name = base["metadata"]["name"]
            path += "/" + random.choice([name, name, name, "nope", "%2e%2e", "a%20b", "%ff", "..%2f.."])
        path += "/status" if random.random() < .2 else ""
        is_json_patch = method == "PATCH" and random.random() < .3
        body = json.dumps(changed(JSON_PATCH if is_json_patch else base)).encode()
        if random.random() < .1:
            body = broken(body)
        head = f"{method} {path}{random.choice(QUERIES)} HTTP/1.1\r\nContent-Type: {random.choice(TYPES)}\r\n"
        status, answer = ask(path_of_socket, head, body)
        statuses[status] = statuses.get(status, 0) + 1
        count += 1
        if not status.isdigit() or status == "500":
            bad += 1
            print(status, repr(head), body[:500], answer[-300:])
    print(count, "requests:", " ".join(f"{k}={v}" for k, v in sorted(statuses.items())))
    return 1 if bad or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
