// MQTT.js as a web page uses it: over WebSocket, 3.1.1 and 5.0; and over TCP as in node.
//
// usage: browser.js PORT WEBSOCKET_PORT

const mqtt = require(process.env.MQTTJS);

const [port, webSocketPort] = process.argv.slice(2);

async function talk(url, protocolVersion) {
    const client = await mqtt.connectAsync(url, { protocolVersion, reconnectPeriod: 0 });
    const got = [];
    const done = new Promise((resolve) => {
        client.on("message", (topic, payload, packet) => {
            got.push(`${topic} ${packet.qos} ${payload}`);
            if (String(payload) === "end") resolve();
        });
    });
    await client.subscribeAsync("js/#", { qos: 2 });
    for (const qos of [0, 1, 2]) {
        await client.publishAsync(`js/${qos}`, `from qos ${qos} é`, { qos });
    }
    await client.publishAsync("js/2", "end", { qos: 2 });
    await done;
    await client.endAsync();
    console.log(got.join("|"));
}

(async () => {
    for (const version of [4, 5]) {
        await talk(`ws://127.0.0.1:${webSocketPort}/mqtt`, version);
        await talk(`mqtt://127.0.0.1:${port}`, version);
    }
})().catch((error) => {
    console.error(error);
    process.exit(1);
});
