//! Publishes one message with each QoS and waits until they have arrived.
//!
//! `cargo run -p mqtt-client --example publish -- mqtt://localhost my/topic "Hello MQTT"`

use mqtt_client::{Client, Options, Publish, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let url = words.next().unwrap_or_else(|| "mqtt://localhost".to_owned());
    let topic = words.next().unwrap_or_else(|| "my/topic".to_owned());
    let payload = words.next().unwrap_or_else(|| "Hello MQTT".to_owned());

    // The second half is the stream of messages, which a publisher has no use for.
    let (client, _incoming) = Client::connect(Options::from_url(&url)?).await?;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let publish = Publish::new(topic.as_str(), payload.clone()).qos(qos);
        // The first await queues the message, the second one waits for the Server.
        let acknowledged = client.publish(publish).await?.await?;
        println!("QoS {qos}: {}", acknowledged.reason);
    }
    client.disconnect().await;
    Ok(())
}
