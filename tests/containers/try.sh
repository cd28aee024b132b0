#!/usr/bin/env bash
# A worker in a real container and under a real systemd, looked at by a person: it prints what happened.
#
# By hand, as root, in about three minutes. It needs podman, runc and debootstrap, and a virtual
# environment with vsdk_trio; it uses ports 8070 and 8099 of this machine.
#
#     tests/containers/try.sh DIRECTORY       a root file system is made there, and kept
set -euo pipefail
root=$(realpath -m "${1:?the directory for the root file system}")
project=$(realpath "$(dirname "$0")/../..")
registry=http://127.0.0.1:8070
worker="/opt/agent/bin/python -m vsdk_trio run agent.py"

pod() { podman --runtime runc --cgroup-manager=cgroupfs "$@" 2> >(grep -v level=warning >&2); }

dispatch() { vsdk-trio dispatch box --metadata "$1" --registry $registry; }

until_registered() {
    for _ in $(seq 100); do
        pod logs box 2>&1 | grep -q "registered with" && return
        sleep 0.2
    done
    pod logs box
    exit 1
}

# box COMMAND: a container that runs it in /app, on the network of this machine.
box() {
    pod rm -f box >/dev/null 2>&1 || true
    pod run -d --name box "${extra[@]}" --network=host --cgroups=no-conmon \
        --ulimit nofile=1024:1024 --ulimit nproc=4096:4096 -w /app \
        -e VSDK_TRIO_REGISTRY_URL=$registry -e VIDEOSDK_AUTH_TOKEN=local \
        --rootfs "$root" "$@" >/dev/null
}

# stopped SECONDS: stop it with that patience, and show how it ended.
stopped() {
    pod stop -t "$1" box >/dev/null
    echo "exit code $(pod inspect box --format '{{.State.ExitCode}}'); the registry says:"
    vsdk-trio jobs --registry $registry | tail -1
}

if [ ! -e "$root/opt/agent" ]; then
    debootstrap --variant=minbase --include=python3,python3-venv,systemd-sysv,procps,tini \
        bookworm "$root" >/dev/null
    chroot "$root" python3 -m venv --without-pip /opt/agent
    version=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    # For its Python; a wheel for another one would not load.
    python -m pip install -q --python-version "$version" --only-binary=:all: \
        --target "$root/opt/agent/lib/python$version/site-packages" \
        -c "$project/constraints.txt" "$(python -m pip wheel -q --no-deps -w "$root/opt" \
            "$project" >/dev/null; ls "$root"/opt/vsdk_trio*.whl)"
fi
mkdir -p "$root/app"
cat >"$root/app/agent.py" <<'AGENT'
import subprocess

import trio

from vsdk_trio import JobContext, Options, RoomOptions, WorkerJob


async def entrypoint(ctx: JobContext) -> None:
    await ctx.connect()
    if ctx.metadata.get("daemons"):
        subprocess.Popen(["sh", "-c", "setsid sleep 2 & setsid sleep 300 & exit 0"])
    await trio.sleep(ctx.metadata["seconds"])


WorkerJob(
    entrypoint,
    jobctx=lambda: JobContext(room_options=RoomOptions(transport_mode="loopback")),
    options=Options.from_env(agent_id="box", max_processes=3, host="127.0.0.1", port=8099),
).start()
AGENT
for mode in mixed control-group; do
    cat >"$root/etc/systemd/system/agent-$mode.service" <<UNIT
[Service]
Type=notify
WorkingDirectory=/app
ExecStart=$worker
Environment=VSDK_TRIO_STATE_DIR=/var/lib/agent VSDK_TRIO_REGISTRY_URL=$registry VIDEOSDK_AUTH_TOKEN=local
StateDirectory=agent
KillMode=$mode
SendSIGHUP=yes
TimeoutStopSec=60
Restart=on-failure
RestartPreventExitStatus=2
UNIT
done

vsdk-trio registry --port 8070 >/dev/null &
trap 'pod rm -f box >/dev/null 2>&1; kill %1' EXIT
sleep 2
extra=()

echo "--- process 1: a job of 6 s is stopped with 40 s of patience"
box $worker && until_registered && dispatch '{"seconds": 6}' && sleep 1 && stopped 40
echo "--- the same behind tini"
box tini -- $worker && until_registered && dispatch '{"seconds": 6}' && sleep 1 && stopped 40
echo "--- drained by a hook before it is stopped"
box $worker && until_registered && dispatch '{"seconds": 6}' && sleep 1
pod exec box /opt/agent/bin/python -m vsdk_trio drain http://127.0.0.1:8099 && stopped 40
echo "--- a job of 20 s is stopped with 2 s of patience"
box $worker && until_registered && dispatch '{"seconds": 20}' && sleep 1 && stopped 2
echo "--- process 1: what jobs leave behind; no line may be defunct, and no sleep may run"
box $worker && until_registered && dispatch '{"seconds": 3, "daemons": true}' && sleep 8
pod exec box ps -eo pid,ppid,stat,comm
stopped 20

extra=(--systemd=always)
box /sbin/init
sleep 5
for mode in mixed control-group; do
    echo "--- $(pod exec box systemctl --version | head -1), KillMode=$mode, SendSIGHUP=yes, a job of 8 s"
    pod exec box systemctl start agent-$mode
    dispatch '{"seconds": 8}' && sleep 1
    (sleep 1 && pod exec box systemctl show agent-$mode -p ActiveState -p StatusText) &
    pod exec box systemctl stop agent-$mode
    pod exec box systemctl show agent-$mode -p Result -p ExecMainStatus
    vsdk-trio jobs --registry $registry | tail -1
done
