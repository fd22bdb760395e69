"""Follows an inbox with paho-mqtt and sends one command. Run by the flow tests.

Arguments: address (tcp://host:port or ws://host:port/path), protocol version (4 or 5), client id, token, topic to
follow, topic to publish to, payload. Prints `ready` when subscribed, then each message's payload as a line. Runs until
it is ended.
"""

import sys
from urllib.parse import urlparse

import paho.mqtt.client as mqtt

address, version, client_id, token, inbox, outbox, payload = sys.argv[1:8]
url = urlparse(address)
protocol = mqtt.MQTTv5 if version == "5" else mqtt.MQTTv311
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id=client_id,
    protocol=protocol,
    transport="websockets" if url.scheme == "ws" else "tcp",
)
if url.scheme == "ws":
    client.ws_set_options(path=url.path)
client.username_pw_set("alice", token)


def say(text):
    print(text, flush=True)


def on_connect(client, userdata, flags, reason, properties):
    if reason.is_failure:
        sys.exit(f"refused: {reason}")
    client.subscribe(inbox, qos=1)


def on_subscribe(client, userdata, mid, reasons, properties):
    if any(reason.is_failure for reason in reasons):
        sys.exit(f"subscription refused: {reasons}")
    say("ready")
    client.publish(outbox, payload, qos=1)


client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = lambda client, userdata, message: say(message.payload.decode())
client.connect(url.hostname, url.port)
client.loop_forever(retry_first_connection=False)
