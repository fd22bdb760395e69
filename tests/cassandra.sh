#!/usr/bin/env bash
# cassandra.sh - one small Apache Cassandra node on 127.0.0.1, for tests of store::scylla.
#
# Cassandra speaks ScyllaDB's protocol and needs a JVM and maven only: no container, no
# package source of its own. The jars are fetched once, by coordinates, into a cache;
# every node lives wholly inside the directory you name. NOT for production: one node,
# small heap, and neither authentication nor TLS unless asked for.
#
# Usage: cassandra.sh fetch            download the jars only (warm a CI cache)
#        cassandra.sh start  DIR       start in the background, return once CQL answers
#        cassandra.sh run    DIR       run in the foreground (Ctrl-C stops it)
#        cassandra.sh status DIR       exit 0: up; 1: process runs, CQL does not answer;
#                                      3: not running
#        cassandra.sh stop   DIR       clean shutdown (flush), wait; idempotent
#        cassandra.sh kill   DIR       kill -9, wait; for crash tests; idempotent
#        cassandra.sh wipe   DIR       stop, then delete what start created under DIR
#        cassandra.sh nodetool DIR ... nodetool (needs CASSANDRA_JMX_PORT at start)
#
# Environment (all optional; the values in force at `start` are the ones that count):
#   CASSANDRA_VERSION     5.0.9             Maven version of cassandra-all
#   CASSANDRA_CACHE       ~/.cache/cassandra-test
#   CASSANDRA_CQL_PORT    9042
#   CASSANDRA_STORAGE_PORT 7000
#   CASSANDRA_JMX_PORT    (unset: JMX off)
#   CASSANDRA_HEAP        512m
#   CASSANDRA_SYNC        periodic          periodic | batch | group: when a write is
#                                           acknowledged (see Durability below)
#   CASSANDRA_SECURE      (unset: open to all) 1: user and password, both `cassandra`, and TLS beside
#                                           plain connections; DIR/conf/ca.pem signs the
#                                           node's certificate for 127.0.0.1 and cassandra.test
#   CASSANDRA_PAXOS       v2                v1 | v2: variant used for LWT
#   CASSANDRA_WAIT        120               seconds `start` waits for CQL
#   CASSANDRA_JVM_OPTS    (unset)           extra JVM flags, split on blanks
#   CASSANDRA_MVN_OPTS    (unset)           extra mvn flags, e.g. "-o" or "-s settings.xml"
#   JAVA_HOME             (unset: java on PATH); must be a Java 17
#
# Durability: `periodic` (the default of Cassandra and of ScyllaDB) acknowledges before the
# write can be replayed: `kill` loses the last acknowledged writes (we saw 81 to 323 of
# 9600 to 25000, up to 69 ms old), a lost machine up to 10 s of them. `batch` and `group`
# (10 ms window) acknowledge after fsync: `kill` lost none. Crash tests want `batch`.
set -euo pipefail

VERSION=${CASSANDRA_VERSION:-5.0.9}
CACHE=${CASSANDRA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cassandra-test}
CQL_PORT=${CASSANDRA_CQL_PORT:-9042}
STORAGE_PORT=${CASSANDRA_STORAGE_PORT:-7000}
JMX_PORT=${CASSANDRA_JMX_PORT:-}
HEAP=${CASSANDRA_HEAP:-512m}
SYNC=${CASSANDRA_SYNC:-periodic}
SECURE=${CASSANDRA_SECURE:-}
PAXOS=${CASSANDRA_PAXOS:-v2}
WAIT=${CASSANDRA_WAIT:-120}
LIB=$CACHE/$VERSION/lib

die() { printf 'cassandra.sh: %s\n' "$*" >&2; exit 2; }
note() { printf 'cassandra.sh: %s\n' "$*" >&2; }
usage() { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "$0"; }

find_java() {
  JAVA=${JAVA_HOME:+$JAVA_HOME/bin/}java
  command -v "$JAVA" >/dev/null || die "no java: install a Java 17 or set JAVA_HOME"
  local major
  major=$("$JAVA" -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
  [[ $major == 17 ]] || die "Java 17 is needed, '$JAVA' is ${major:-unknown}; set JAVA_HOME"
}

# --- jars -------------------------------------------------------------------------------

fetch() {
  [[ -f $LIB/.complete ]] && return
  command -v mvn >/dev/null || die "no mvn on PATH (needed once, to download Cassandra)"
  mkdir -p "$CACHE/$VERSION"
  exec 9>"$CACHE/$VERSION/.lock"
  flock 9 # two CI jobs may share the cache
  if [[ ! -f $LIB/.complete ]]; then
    note "downloading cassandra-all $VERSION (about 70 MB) into $LIB"
    local pom=$CACHE/$VERSION/pom.xml new=$CACHE/$VERSION/lib.new
    rm -rf "$LIB" "$new"
    cat >"$pom" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local.test</groupId>
  <artifactId>cassandra-jars</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.cassandra</groupId>
      <artifactId>cassandra-all</artifactId>
      <version>$VERSION</version>
    </dependency>
  </dependencies>
</project>
POM
    # shellcheck disable=SC2086  # CASSANDRA_MVN_OPTS is a list of flags
    mvn -q -B -Dstyle.color=never -f "$pom" ${CASSANDRA_MVN_OPTS:-} \
      org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$new" >&2 ||
      die "mvn could not fetch org.apache.cassandra:cassandra-all:$VERSION (see above)"
    compgen -G "$new/jamm-*.jar" >/dev/null || die "no jamm jar among the downloads in $new"
    touch "$new/.complete"
    mv "$new" "$LIB"
  fi
  exec 9>&-
}

# --- one node ---------------------------------------------------------------------------

# Absolute, so that the process can be recognised and the yaml does not depend on the cwd.
set_dir() {
  [[ -n ${1:-} ]] || die "name the node's directory (see: cassandra.sh help)"
  DIR=$(realpath -m -- "$1")
  [[ $DIR != *[[:space:]]* ]] || die "the directory must not contain blanks: $DIR"
  PIDFILE=$DIR/cassandra.pid
}

# Prints the node's pid if it runs. A pid file left by a dead node, or a pid since taken by
# another process, does not count: the command line must name this directory.
node_pid() {
  local pid
  [[ -f $PIDFILE ]] && pid=$(<"$PIDFILE") && [[ $pid =~ ^[0-9]+$ ]] || return 1
  ps -ww -o args= -p "$pid" 2>/dev/null | grep -qF -- "-Dcassandra.storagedir=$DIR " || return 1
  echo "$pid"
}

# The port this node was started with (status/stop may run without the start's environment).
node_port() { sed -n 's/^native_transport_port: //p' "$DIR/conf/cassandra.yaml" 2>/dev/null; }

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Sends a CQL v4 OPTIONS frame and expects SUPPORTED (opcode 6) in answer: a listening
# socket alone does not mean that the server works.
cql_answers() {
  # shellcheck disable=SC2016  # $1 belongs to the inner bash
  [[ $(timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" &&
    printf "\x04\0\0\0\x05\0\0\0\0" >&3 && head -c 5 <&3 | od -An -tx1' _ "$1" 2>/dev/null) \
    == " 84 00 00 00 06" ]]
}

# A key pair of the node's own, signed by itself.
certify() {
  local keytool=${JAVA_HOME:+$JAVA_HOME/bin/}keytool store=$DIR/conf/node.p12
  [[ -f $DIR/conf/ca.pem ]] && return
  "$keytool" -genkeypair -alias node -keyalg EC -groupname secp256r1 -validity 365 \
    -dname CN=cassandra.test -ext san=ip:127.0.0.1,dns:cassandra.test \
    -keystore "$store" -storetype PKCS12 -storepass cassandra >/dev/null 2>&1 &&
    "$keytool" -exportcert -rfc -alias node -keystore "$store" -storepass cassandra \
      >"$DIR/conf/ca.pem" 2>/dev/null || die "$keytool could not make a certificate"
}

configure() {
  local sync
  case $SYNC in
    periodic) sync=$'commitlog_sync: periodic\ncommitlog_sync_period: 10000ms' ;;
    batch) sync='commitlog_sync: batch' ;;
    group) sync=$'commitlog_sync: group\ncommitlog_sync_group_window: 10ms' ;;
    *) die "CASSANDRA_SYNC must be periodic, batch or group, not '$SYNC'" ;;
  esac
  [[ $PAXOS == v1 || $PAXOS == v2 ]] || die "CASSANDRA_PAXOS must be v1 or v2, not '$PAXOS'"
  mkdir -p "$DIR/conf/triggers" "$DIR/log" "$DIR/tmp"
  local authenticator=AllowAllAuthenticator encryption=
  if [[ -n $SECURE ]]; then
    authenticator=PasswordAuthenticator
    certify
    encryption=$'client_encryption_options:\n  enabled: true\n  optional: true'
    encryption+=$'\n  store_type: PKCS12\n  keystore_password: cassandra\n  keystore: '$DIR/conf/node.p12
  fi
  cat >"$DIR/conf/cassandra.yaml" <<YAML
# Written by cassandra.sh at every start; edits are lost.
cluster_name: test
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:$STORAGE_PORT"
num_tokens: 4
auto_bootstrap: false
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: $STORAGE_PORT
native_transport_port: $CQL_PORT
start_native_transport: true
authenticator: $authenticator
authorizer: AllowAllAuthorizer
role_manager: CassandraRoleManager

data_file_directories: [$DIR/data]
commitlog_directory: $DIR/commitlog
saved_caches_directory: $DIR/saved_caches
hints_directory: $DIR/hints
cdc_raw_directory: $DIR/cdc_raw
storage_compatibility_mode: NONE
$sync
paxos_variant: $PAXOS
$encryption

# small
commitlog_total_space: 256MiB
memtable_heap_space: 64MiB
memtable_offheap_space: 64MiB
memtable_allocation_type: heap_buffers
file_cache_size: 32MiB
networking_cache_size: 32MiB
key_cache_size: 8MiB
counter_cache_size: 2MiB
prepared_statements_cache_size: 10MiB
concurrent_reads: 16
concurrent_writes: 32
concurrent_counter_writes: 16
concurrent_compactors: 1
hinted_handoff_enabled: false
dynamic_snitch: false
auto_snapshot: false

# a shared CI machine stalls: keep time-outs from failing tests
read_request_timeout: 10s
write_request_timeout: 10s
counter_write_request_timeout: 10s
cas_contention_timeout: 5s
range_request_timeout: 20s
truncate_request_timeout: 60s
request_timeout: 20s
YAML
  cat >"$DIR/conf/logback.xml" <<'XML'
<configuration>
  <statusListener class="ch.qos.logback.core.status.NopStatusListener"/>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <logger name="org.apache.cassandra" level="${cassandra.loglevel:-WARN}"/>
  <root level="WARN"><appender-ref ref="OUT"/></root>
</configuration>
XML
}

# Sets MODULES: what Cassandra 5.0 needs opened (its conf/jvm17-server.options).
module_flags() {
  local m
  MODULES=()
  for m in java.base/jdk.internal.misc java.base/java.lang.ref \
    java.management.rmi/com.sun.jmx.remote.internal.rmi java.rmi/sun.rmi.registry \
    java.rmi/sun.rmi.server java.sql/java.sql jdk.unsupported/sun.misc \
    jdk.compiler/com.sun.tools.javac.file jdk.attach/sun.tools.attach; do
    MODULES+=(--add-exports "$m=ALL-UNNAMED")
  done
  for m in java.base/java.lang java.base/java.lang.module java.base/java.lang.reflect \
    java.base/java.io java.base/java.util java.base/sun.nio.ch \
    java.base/jdk.internal.loader java.base/jdk.internal.ref java.base/jdk.internal.reflect \
    java.base/jdk.internal.math java.base/jdk.internal.module \
    java.base/jdk.internal.util.jar jdk.management/com.sun.management.internal \
    jdk.compiler/com.sun.tools.javac; do
    MODULES+=(--add-opens "$m=ALL-UNNAMED")
  done
}

# Sets CMD, the whole java command line.
java_command() {
  local jamm
  jamm=$(compgen -G "$LIB/jamm-*.jar" | head -n 1)
  module_flags
  # -Dcassandra.storagedir comes first: node_pid looks for it, followed by a blank.
  CMD=("$JAVA" "-Dcassandra.storagedir=$DIR"
    "-Xms$HEAP" "-Xmx$HEAP" -Xss512k -XX:+UseSerialGC -XX:+PerfDisableSharedMem
    -XX:+ExitOnOutOfMemoryError "-javaagent:$jamm"
    -Djdk.attach.allowAttachSelf=true -Djava.net.preferIPv4Stack=true
    "-Djava.io.tmpdir=$DIR/tmp" "-Djna.tmpdir=$DIR/tmp"
    -Dio.netty.tryReflectionSetAccessible=true
    "-Dcassandra.config=file://$DIR/conf/cassandra.yaml"
    "-Dcassandra.logdir=$DIR/log" "-Dcassandra.triggers_dir=$DIR/conf/triggers"
    "-Dlogback.configurationFile=$DIR/conf/logback.xml"
    -Dcassandra-foreground=yes
    # no peers: nothing to wait for
    -Dcassandra.ring_delay_ms=1 -Dcassandra.skip_wait_for_gossip_to_settle=0
    -Dcassandra.superuser_setup_delay_ms=0 -Dcassandra.shutdown_announce_in_ms=0
    -Dcassandra.consistent.rangemovement=false)
  CMD+=("${MODULES[@]}")
  [[ -z $JMX_PORT ]] || CMD+=("-Dcassandra.jmx.local.port=$JMX_PORT")
  # shellcheck disable=SC2206  # CASSANDRA_JVM_OPTS is a list of flags
  CMD+=(${CASSANDRA_JVM_OPTS:-})
  CMD+=(-cp "$LIB/*" org.apache.cassandra.service.CassandraDaemon)
}

prepare() {
  find_java
  local p
  for p in "$CQL_PORT" "$STORAGE_PORT" ${JMX_PORT:+"$JMX_PORT"}; do
    ! port_taken "$p" || die "port $p on 127.0.0.1 is taken by another process" \
      "(CASSANDRA_CQL_PORT, CASSANDRA_STORAGE_PORT, CASSANDRA_JMX_PORT choose others)"
  done
  fetch
  configure
  java_command
}

start() {
  local pid out=$DIR/log/cassandra.out deadline
  if pid=$(node_pid); then
    CQL_PORT=$(node_port)
    note "already running, pid $pid"
  else
    prepare
    cd "$DIR"
    setsid "${CMD[@]}" </dev/null >>"$out" 2>&1 &
    pid=$!
    echo "$pid" >"$PIDFILE"
  fi
  deadline=$((SECONDS + WAIT))
  until cql_answers "$CQL_PORT"; do
    if ! kill -0 "$pid" 2>/dev/null; then
      rm -f "$PIDFILE"
      tail -n 25 "$out" >&2
      die "the node ended during start-up; its output is above and in $out"
    fi
    ((SECONDS < deadline)) || die "CQL did not answer on 127.0.0.1:$CQL_PORT within $WAIT s" \
      "(pid $pid still runs; output: $out)"
    sleep 0.1
  done
  echo "127.0.0.1:$CQL_PORT"
}

status() {
  local pid port
  pid=$(node_pid) || { echo "not running"; return 3; }
  port=$(node_port)
  if cql_answers "$port"; then
    echo "up: pid $pid, CQL 127.0.0.1:$port, rss $(($(ps -o rss= -p "$pid") / 1024)) MiB"
  else
    echo "pid $pid runs, but CQL does not answer on 127.0.0.1:$port"
    return 1
  fi
}

# stop_with SIGNAL SECONDS
stop_with() {
  local pid deadline
  if pid=$(node_pid); then
    kill "-$1" "$pid"
    deadline=$((SECONDS + $2))
    while kill -0 "$pid" 2>/dev/null; do
      ((SECONDS < deadline)) || die "pid $pid still runs $2 s after SIG$1; try: cassandra.sh kill"
      sleep 0.1
    done
  fi
  rm -f "$PIDFILE"
}

main() {
  local verb=${1:-help}
  shift || true
  case $verb in
    fetch) fetch; echo "$LIB" ;;
    start) set_dir "${1:-}"; start ;;
    run) set_dir "${1:-}"
      ! node_pid >/dev/null || die "already running in the background (pid $(node_pid))"
      prepare; cd "$DIR"; echo $$ >"$PIDFILE"; exec "${CMD[@]}" ;;
    status) set_dir "${1:-}"; status ;;
    stop) set_dir "${1:-}"; stop_with TERM 60 ;;
    kill) set_dir "${1:-}"; stop_with KILL 10 ;;
    wipe) set_dir "${1:-}"; stop_with TERM 60
      rm -rf "$DIR"/{conf,data,commitlog,saved_caches,hints,cdc_raw,log,tmp}
      rmdir "$DIR" 2>/dev/null || true ;;
    nodetool) set_dir "${1:-}"; shift; find_java; module_flags
      exec "$JAVA" "${MODULES[@]}" "-Duser.home=$DIR/tmp" -cp "$LIB/*" "-Dcassandra.logdir=$DIR/log" \
        "-Dlogback.configurationFile=$DIR/conf/logback.xml" \
        org.apache.cassandra.tools.NodeTool -p "${JMX_PORT:-7199}" "$@" ;;
    help | -h | --help) usage ;;
    *) usage >&2; die "unknown verb '$verb'" ;;
  esac
}
main "$@"
