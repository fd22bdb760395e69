#!/usr/bin/env bash
# compare.sh: inboxd beside other brokers, in turn, on this machine, under the same load.
#
#   MQBENCH_DIR=/path/to/mqbench bench/compare.sh -p "mosquitto rabbitmq-quorum inboxd" -s "inbox rate offline crash"
#
#   -p peers      names below MQBENCH_DIR/peers, and `inboxd`          (default: mosquitto rabbitmq-quorum inboxd)
#   -s scenarios  connect inbox rate offline crash storm               (default: inbox rate offline crash)
#   -r rounds     each round runs all peers once; the table shows the median (default 1)
#   -o file       the raw results, one JSON line per run, appended     (default: a new file under INBOXD_CACHE/compare)
#   -f            also: is a PUBACK sent before or after a sync? (strace)
#
# Sizes come from the environment: CLIENTS STORM USERS MESSAGES OFFLINE PUBLISHERS WINDOW RATE SECS.
# MQBENCH_DIR holds the load generator `mqload` and a start script per broker; it is not part of this repository and
# may be read-only: a copy is built under INBOXD_CACHE (default ~/.cache/inboxd). Without MQBENCH_DIR that copy is used.
# The brokers themselves come from the system (Debian: mosquitto, rabbitmq-server).
#
# Rates compare within one round only. What holds on a busy machine: counts of lost, repeated and shuffled messages,
# CPU per message, bytes per connection.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CACHE=${INBOXD_CACHE:-$HOME/.cache/inboxd}
WORK=$CACHE/mqbench
peers="mosquitto rabbitmq-quorum inboxd"
scenarios="inbox rate offline crash"
rounds=1
out=$CACHE/compare/$(date -u +%Y%m%dT%H%M%SZ).jsonl
check_sync=no
while getopts "p:s:r:o:f" option; do
  case $option in
    p) peers=$OPTARG ;; s) scenarios=$OPTARG ;; r) rounds=$OPTARG ;; o) out=$OPTARG ;; f) check_sync=yes ;;
    *) sed -n '2,21s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac
done
mkdir -p "$(dirname "$out")"
out=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")

# --- the load generator, in a copy that may be written to
if [ -n "${MQBENCH_DIR:-}" ] && [ "$(realpath "$MQBENCH_DIR")" != "$(realpath -m "$WORK")" ]; then
  mkdir -p "$WORK"
  # Times are kept, so that cargo builds again only what changed; `build` and `run` of the copy stay.
  cp -a --no-preserve=mode,ownership "$MQBENCH_DIR/." "$WORK/"
  find "$WORK" -maxdepth 3 -name '*.sh' -exec chmod +x {} +
fi
if [ ! -d "$WORK/mqload" ]; then
  echo "compare.sh: no load generator: set MQBENCH_DIR to the folder with mqload/, peers/ and run-all.sh" >&2
  exit 64
fi
MQLOAD=$WORK/build/mqload/release/mqload
(cd "$WORK/mqload" && CARGO_TARGET_DIR=$WORK/build/mqload nice -n 15 cargo build --quiet --release --locked)

# --- inboxd, as users get it
if [[ " $peers " == *" inboxd "* ]]; then
  if [ -z "${INBOXD_BIN:-}" ]; then
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
    (cd "$HERE/.." && nice -n 15 cargo build --quiet --release --locked --package inboxd)
    INBOXD_BIN=$CARGO_TARGET_DIR/release/inboxd
  fi
  export INBOXD_BIN INBOXD_SECRET=a-secret-for-this-bench-only-0123456789
  # `user/…` is the server's own: the load goes over general topics, which the token grants. No blanks in it: the
  # harness splits at them. The user name is not evaluated, but MQTT 3.1.1 has no password without one.
  acl='"acl":{"publish":["t/#"],"subscribe":["t/#"]}'
  export ARGS_inboxd="--topic t/{i} --username x --pub-username x --jwt-secret $INBOXD_SECRET"
  ARGS_inboxd+=" --jwt-claims {\"sub\":\"{i}\",\"acc\":\"acme\",\"exp\":{exp},$acl}"
  ARGS_inboxd+=" --pub-jwt-claims {\"sub\":\"pub{i}\",\"acc\":\"acme\",\"exp\":{exp},$acl}"
fi
with_paths=""
for peer in $peers; do
  if [ "$peer" = inboxd ]; then with_paths+=" inboxd=$HERE/inboxd-start.sh"; else with_paths+=" $peer"; fi
done

# --- the runs
export MQLOAD RUN_DIR=$WORK/run
"$WORK/run-all.sh" -p "$with_paths" -s "$scenarios" -r "$rounds" -o "$out"
if [ $check_sync = yes ]; then
  mkdir -p "$WORK/run"
  for peer in $with_paths; do "$WORK/fsync-check.sh" "$peer" | tee -a "$out.sync"; done
fi
python3 "$WORK/table.py" "$out"
echo
echo "results: $out"
