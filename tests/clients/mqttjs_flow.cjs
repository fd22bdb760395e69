/*
 * Follows an inbox with MQTT.js and sends one command. Run by the flow tests.
 *
 * Arguments: address (mqtt://… or ws://…), protocol version (4 or 5), client id, token, topic to follow, topic to
 * publish to, payload, folder whose node_modules has MQTT.js. Prints `ready` when subscribed, then each message's payload
 * as a line. Runs until it is ended.
 */
const { createRequire } = require("node:module");
const { join } = require("node:path");

const [address, version, clientId, token, inbox, outbox, payload, folder] = process.argv.slice(2);
const mqtt = createRequire(join(folder, "package.json"))("mqtt");

function fail(error) {
  console.error(error);
  process.exit(1);
}

const client = mqtt.connect(address, {
  protocolVersion: Number(version),
  clientId,
  username: "alice",
  password: token,
  reconnectPeriod: 0,
});
client.on("error", fail);
client.on("message", (_topic, message) => console.log(message.toString()));
client.on("connect", () => {
  client.subscribe(inbox, { qos: 1 }, (error, granted) => {
    if (error || granted.some((grant) => grant.qos !== 1)) fail(error ?? granted);
    console.log("ready");
    client.publish(outbox, payload, { qos: 1 }, (refused) => refused && fail(refused));
  });
});
