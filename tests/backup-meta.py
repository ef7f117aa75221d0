#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""backup-meta.py VM.json DOMAIN.xml NS NAME UID TARGET:FORMAT:BYTES... [DISK=PATH=BYTES...]

The metadata of a backup (docs/formats/backup-metadata.md), as another program
than vmkeepd would write it; DISK=PATH=BYTES: a file of the firmware. VM.json: the VirtualMachine as kubectl prints it.
"""
import datetime
import json
import sys


def main():
    vm_path, xml_path, ns, name, uid = sys.argv[1:6]
    disks = [arg.split(":") for arg in sys.argv[6:] if "=" not in arg]
    files = [arg.split("=") for arg in sys.argv[6:] if "=" in arg]
    vm = json.load(open(vm_path, encoding="utf-8"))
    meta = vm["metadata"]
    saved = {key: meta[key] for key in ("name", "namespace", "labels", "annotations") if key in meta}
    vm_name = meta["name"]
    backup = {
        "vmkeepBackup": 1,
        "backup": {
            "namespace": ns, "name": name, "uid": uid,
            "spec": {"type": "backup", "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": vm_name}},
        },
        "vm": {
            "uuid": meta["uid"], "host": "elsewhere",
            "source": {"metadata": saved, "spec": vm["spec"]},
            "volumeBackups": [{
                "name": f"{name}-volume-{vm_name}-{target}", "volumeName": target, "csiDriverName": "vmkeep.io",
                "volumeSize": int(size),
                "persistentVolumeClaim": {
                    "metadata": {"name": f"{vm_name}-{target}", "namespace": meta["namespace"]},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
                },
            } for target, _, size in disks],
            "domainXML": open(xml_path, encoding="utf-8").read(),
            "hasSecrets": True,
        },
        "cut": {
            "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "consistency": "Quiesced", "frozenMilliseconds": 50,
        },
        "disks": [{"target": target, "claim": f"{vm_name}-{target}", "format": form, "bus": "virtio", "size": int(size),
                   "tracking": "Full"} for target, form, size in disks],
        "firmware": [{"disk": disk, "path": path, "size": int(size)} for disk, path, size in files],
    }
    sys.stdout.write(json.dumps(backup, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


main()
