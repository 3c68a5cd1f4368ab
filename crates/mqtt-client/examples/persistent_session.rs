//! What is published while a subscriber is away waits for it: comes, goes, and comes back.
//!
//! `cargo run -p mqtt-client --example persistent_session -- mqtt://localhost`

use mqtt_client::{Client, Event, Incoming, Options, PropertyId, Publish, QoS, Value, Version};

type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://localhost".to_owned());
    let mut options = Options::from_url(&url)?;
    // A Session belongs to a client id. In 5.0 it lives as long as its expiry says, here an hour;
    // in 3.1.1 it lives until the same client comes with a clean start.
    options.version = Version::V5;
    options.client_id = "example-session".to_owned();
    options.clean_start = false;
    options.connect_property(PropertyId::SessionExpiryInterval, Value::U32(3600))?;

    let (client, _incoming) = Client::connect(options.clone()).await?;
    client.subscribe("example/mail", QoS::AtLeastOnce).await?;
    client.disconnect().await;

    let (sender, _) = Client::connect(Options::from_url(&url)?).await?;
    for letter in ["first", "second"] {
        let publish = Publish::new("example/mail", letter).qos(QoS::AtLeastOnce);
        sender.publish(publish).await?.await?;
    }
    sender.disconnect().await;

    // Nothing is subscribed to here: the Server has kept that, too.
    let (client, mut incoming) = Client::connect(options).await?;
    for _ in 0..2 {
        println!("{}", next_payload(&mut incoming).await?);
    }
    // The Session ends with this connection.
    let mut now = mqtt_client::PropertiesBuf::new();
    now.push(PropertyId::SessionExpiryInterval, Value::U32(0))?;
    client.disconnect_with(mqtt_client::ReasonCode::Success, now).await;
    Ok(())
}

async fn next_payload(incoming: &mut Incoming) -> Result<String, Error> {
    while let Some(event) = incoming.next().await {
        match event {
            Event::Connected(connected) => println!("session: {}", connected.session_present),
            Event::Message(message) => {
                return Ok(String::from_utf8_lossy(message.payload()).into_owned());
            }
            _ => {}
        }
    }
    Err("the connection ended".into())
}
