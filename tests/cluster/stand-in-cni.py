#!/usr/bin/python3
"""Captures a pod as its annotations ask, for comparisons: chained behind the bridge plugin as type "stand-in" with
{"sidestep": PATH, "flags": [...], "cgroups": MOUNT OF CGROUP2, "mode": MODE}. The pod annotation lab/mode chooses who
captures: sidestep (the default: attach, with lab/flags as more flags for this pod, or nobody if "mode" is none, as
where there is the agent), iptables (the real istio-iptables), none."""

import json
import os
import subprocess
import sys
import time

LOG = "/run/stand-in.log"
ISTIO_CNI = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020".split() + ["-x", ""]


def run(*words):
    start = time.time()
    done = subprocess.run(words, capture_output=True, text=True)
    with open(LOG, "a") as log:
        log.write(f"{command} rc {done.returncode} {time.time() - start:.3f} s {' '.join(words)}\n")
        log.write(done.stdout + done.stderr)
    return done


def mode(config, annotations):
    # Only istio-validation among the init containers says that a sidecar waits to be captured: neither gateways nor
    # proxyless gRPC have it, and with istio-init the pod captures itself.
    status = json.loads(annotations.get("sidecar.istio.io/status", "{}"))
    waits = "istio-validation" in (status.get("initContainers") or [])
    usual = config.get("mode", "sidestep")
    asked = annotations.get("lab/mode", "sidestep") if waits else "none"
    return usual if asked == "sidestep" else asked


def add(config):
    runtime = config.get("runtimeConfig", {})
    annotations = runtime.get("io.kubernetes.cri.pod-annotations", {})
    names = dict(pair.split("=", 1) for pair in os.environ["CNI_ARGS"].split(";") if "=" in pair)
    flags = config.get("flags", []) + annotations.get("lab/flags", "").split()
    chosen = mode(config, annotations)
    if chosen == "sidestep":
        path = f"/run/annotations-{names['K8S_POD_UID']}"
        with open(path, "w") as file:
            json.dump(annotations, file)
        return run(config["sidestep"], "attach", "--netns", netns, "--cgroup", config["cgroups"] + runtime["cgroupPath"],
                   "--annotations", path, "--defaults", "cni",
                   "--pod", f"{names['K8S_POD_NAMESPACE']}/{names['K8S_POD_NAME']}", *flags)
    if chosen == "iptables":
        dual = ["--dual-stack"] if "--dual-stack" in flags else []
        return run("nsenter", f"--net={netns}", "istio-iptables", *ISTIO_CNI, *dual)
    return None


command, text = os.environ.get("CNI_COMMAND"), sys.stdin.read()
config = json.loads(text) if text.strip() else {}
netns = os.environ.get("CNI_NETNS", "")

if command == "VERSION":
    print('{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}')
elif command == "ADD":
    done = add(config)
    if done and done.returncode:
        print(json.dumps({"cniVersion": "1.0.0", "code": 11, "msg": done.stderr[-500:]}))
        sys.exit(1)
    print(json.dumps(config["prevResult"]))
elif command == "DEL" and netns and os.path.exists(config["sidestep"]):
    run(config["sidestep"], "detach", "--netns", netns)
