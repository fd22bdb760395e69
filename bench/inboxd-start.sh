#!/usr/bin/env bash
# inboxd-start.sh PORT DATADIR: starts inboxd on 127.0.0.1:PORT with its data in DATADIR (kept if there), leaves its
# pid in DATADIR/broker.pid and returns once the port accepts connections: the form in which the load generator wants
# every broker. Called by compare.sh, and again by the load generator after a kill -9.
#   INBOXD_BIN     the binary
#   INBOXD_SECRET  what the load generator signs its tokens with
set -euo pipefail

PORT=$1
mkdir -p "$2"
DATA=$(cd "$2" && pwd)
: "${INBOXD_BIN:?path of the inboxd binary}" "${INBOXD_SECRET:?signing secret}"

START_SECONDS=60 # as long as the slowest broker beside it is given

umask 077
printf '%s' "$INBOXD_SECRET" >"$DATA/hs.secret"
printf 'unused' | tee "$DATA/app.secret" >"$DATA/graph.token"
# The shipped defaults, apart from ports. The number is there so that the account `acme` exists; nothing is sent to
# WhatsApp, and the address of its API leads nowhere.
cat >"$DATA/inboxd.toml" <<TOML
data_dir = "./store"

[listen]
mqtt = "127.0.0.1:$PORT"
http = "127.0.0.1:$((PORT + 1))"
admin = "127.0.0.1:$((PORT + 2))"

[auth]
hs256_secret_file = "hs.secret"

[whatsapp]
app_secret_file = "app.secret"
verify_token = "unused"
graph_url = "http://127.0.0.1:9/v25.0"

[[whatsapp.number]]
account = "acme"
phone_number_id = "100000000000001"
waba_id = "200000000000001"
access_token_file = "graph.token"
agents = ["nobody"]
TOML

setsid "$INBOXD_BIN" serve --config "$DATA/inboxd.toml" >>"$DATA/broker.log" 2>&1 </dev/null &
echo $! >"$DATA/broker.pid"

end=$((SECONDS + START_SECONDS))
until (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do
  if ! kill -0 "$(cat "$DATA/broker.pid")" 2>/dev/null; then
    echo "inboxd ended:" >&2
    tail -n 5 "$DATA/broker.log" >&2
    exit 1
  fi
  if [ $SECONDS -ge $end ]; then
    echo "port $PORT is not open after $START_SECONDS s" >&2
    exit 1
  fi
  sleep 0.05
done
