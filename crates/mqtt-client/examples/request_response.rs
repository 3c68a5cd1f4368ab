//! Asks on one topic and waits for the answer on another (MQTT 5.0 section 4.10), playing both
//! parts.
//!
//! `cargo run -p mqtt-client --example request_response -- mqtt://localhost`

use mqtt_client::{Client, Event, Incoming, Message, Options, PropertyId, Publish, QoS};
use mqtt_client::{Value, Version};

type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "mqtt://localhost".to_owned());
    let mut options = Options::from_url(&url)?;
    options.version = Version::V5;

    let (lamp, lamp_incoming) = Client::connect(options.clone()).await?;
    lamp.subscribe("example/lamp/get", QoS::AtLeastOnce).await?;
    let answering = answer(&lamp, lamp_incoming);

    let (asker, asker_incoming) = Client::connect(options).await?;
    asker.subscribe("example/lamp/answer", QoS::AtLeastOnce).await?;
    let asking = ask(&asker, asker_incoming);

    let ((), answer) = tokio::try_join!(answering, asking)?;
    println!("the lamp is {answer}");
    asker.disconnect().await;
    lamp.disconnect().await;
    Ok(())
}

async fn ask(client: &Client, mut incoming: Incoming) -> Result<String, Error> {
    let request = Publish::new("example/lamp/get", "state?")
        .qos(QoS::AtLeastOnce)
        .property(PropertyId::ResponseTopic, Value::Text("example/lamp/answer"))?
        .property(PropertyId::CorrelationData, Value::Binary(b"1"))?;
    client.publish(request).await?.await?;
    let answer = next_message(&mut incoming).await?;
    Ok(String::from_utf8_lossy(answer.payload()).into_owned())
}

async fn answer(client: &Client, mut incoming: Incoming) -> Result<(), Error> {
    let request = next_message(&mut incoming).await?;
    let properties = request.properties();
    let topic = properties.text(PropertyId::ResponseTopic).ok_or("nobody to answer")?;
    let mut response = Publish::new(topic, "on").qos(QoS::AtLeastOnce);
    if let Some(data) = properties.binary(PropertyId::CorrelationData) {
        response = response.property(PropertyId::CorrelationData, Value::Binary(data))?;
    }
    client.publish(response).await?.await?;
    Ok(())
}

async fn next_message(incoming: &mut Incoming) -> Result<Message, Error> {
    while let Some(event) = incoming.next().await {
        if let Event::Message(message) = event {
            return Ok(message);
        }
    }
    Err("the connection ended".into())
}
