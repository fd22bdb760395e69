"""Uses inboxd as a general broker with paho-mqtt, as any program would. Run by the flow tests.

Arguments: address (tcp://host:port or ws://host:port/path), protocol version (4 or 5), prefix of client ids, token whose
acl is `#` both ways. Prints one line per thing that works, then `done`; ends with an error at the first that does not.
"""

import queue
import sys
from urllib.parse import urlparse

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

address, version, prefix, token = sys.argv[1:5]
url = urlparse(address)
five = version == "5"
DEADLINE = 20


class Client:
    """A client with blocking calls and queues of what came."""

    def __init__(self, name, lasting=False, will=None):
        self.messages, self.events = queue.Queue(), queue.Queue()
        options = {} if five else {"clean_session": not lasting}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"{prefix}-{name}",
            protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
            transport="websockets" if url.scheme == "ws" else "tcp",
            **options,
        )
        if url.scheme == "ws":
            self.client.ws_set_options(path=url.path)
        if will:
            self.client.will_set(*will)
        self.client.username_pw_set("user", token)
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_connect = lambda c, u, flags, reason, p: self.events.put((reason, flags, p))
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.events.put(reasons)
        self.client.on_unsubscribe = lambda c, u, mid, reasons, p: self.events.put(reasons)
        self.client.on_publish = lambda c, u, mid, reason, p: self.events.put(("published", reason))
        more = {}
        if five:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 600 if lasting else 0
            properties.TopicAliasMaximum = 4
            more = {"clean_start": not lasting, "properties": properties}
        self.client.connect(url.hostname, url.port, **more)
        self.client.loop_start()
        reason, flags, self.connack = self.events.get(timeout=DEADLINE)
        assert not reason.is_failure, reason
        self.present = flags.session_present

    def subscribe(self, filter, qos):
        self.client.subscribe(filter, qos)
        reasons = self.events.get(timeout=DEADLINE)
        assert [reason.value for reason in reasons] == [qos], reasons

    def publish(self, topic, payload, qos, retain=False, properties=None):
        self.client.publish(topic, payload, qos, retain, properties)
        what, reason = self.events.get(timeout=DEADLINE)
        assert what == "published" and not reason.is_failure, reason

    def hear(self):
        return self.messages.get(timeout=DEADLINE)

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self):
        self.client.loop_stop()
        self.client._sock_close()


def works(what):
    print(what, flush=True)


publisher = Client("publisher")
reader = Client("reader")
for qos in (0, 1, 2):
    reader.subscribe(f"q/{qos}/+", qos)
for sent in (0, 1, 2):
    for granted in (0, 1, 2):
        publisher.publish(f"q/{granted}/{sent}", f"{sent}", sent)
        message = reader.hear()
        assert (message.topic, message.qos, message.retain) == (f"q/{granted}/{sent}", min(sent, granted), False)
works("every QoS")

lasting = Client("lasting", lasting=True)
lasting.subscribe("keep/#", 2)
lasting.leave()
for n in range(40):
    publisher.publish("keep/x", str(n), 1 + n % 2)
lasting = Client("lasting", lasting=True)
assert lasting.present
heard = [lasting.hear() for _ in range(40)]
for qos in (1, 2):
    # paho hands messages of QoS 2 on at PUBREL, so the order is that of each QoS.
    numbers = [int(m.payload) for m in heard if m.qos == qos]
    assert numbers == list(range(qos - 1, 40, 2)), numbers
lasting.leave()
lasting = Client("lasting", lasting=True)
publisher.publish("keep/x", "last", 2)
assert lasting.hear().payload == b"last", "and nothing twice"
works("a session that lasts")

publisher.publish("kept/a", "retained", 1, retain=True)
late = Client("late")
late.subscribe("kept/+", 1)
message = late.hear()
assert (message.payload, message.retain, message.qos) == (b"retained", True, 1)
publisher.publish("kept/a", "", 1, retain=True)
assert late.hear().payload == b""
works("retained messages")

watcher = Client("watcher")
watcher.subscribe("will/#", 1)
Client("mortal", will=("will/x", "gone", 1, False)).vanish()
assert watcher.hear().payload == b"gone"
works("a will")

for topic in ("été/x", "日本/語", "x" * 65535):
    deep = Client("deep")
    deep.subscribe(topic, 2)
    publisher.publish(topic, "here", 2)
    assert deep.hear().topic == topic
    deep.leave()
works("any topic")

if five:
    asking = Client("asking")
    asking.subscribe("answers/#", 1)
    server = Client("server")
    server.subscribe("ask", 1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "answers/asking"
    properties.CorrelationData = bytes(range(256))
    properties.ContentType = "text/x"
    properties.PayloadFormatIndicator = 1
    properties.MessageExpiryInterval = 60
    properties.UserProperty = [("a", "1"), ("b", "2"), ("a", "3")]
    publisher.publish("ask", "?", 1, properties=properties)
    asked = server.hear().properties
    assert asked.UserProperty == [("a", "1"), ("b", "2"), ("a", "3")]
    assert (asked.ContentType, asked.PayloadFormatIndicator) == ("text/x", 1)
    assert asked.MessageExpiryInterval in (59, 60)
    answer = Properties(PacketTypes.PUBLISH)
    answer.CorrelationData = asked.CorrelationData
    server.publish(asked.ResponseTopic, "!", 1, properties=answer)
    assert asking.hear().properties.CorrelationData == bytes(range(256))
    works("request and response")
    own = Client("own")
    own.client.subscribe("own", options=SubscribeOptions(qos=1, noLocal=True))
    own.events.get(timeout=DEADLINE)
    own.publish("own", "mine", 1)
    publisher.publish("own", "another's", 1)
    assert own.hear().payload == b"another's"
    works("no local")
    nobody = Client("")
    works("aliases and the rest")

print("done", flush=True)
