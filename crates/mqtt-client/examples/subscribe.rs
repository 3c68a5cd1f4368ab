//! Prints messages, acknowledging each one by hand once it is printed.
//!
//! `cargo run -p mqtt-client --example subscribe -- mqtt://localhost 'my/#'`

use mqtt_client::{Acknowledge, Client, Event, Options, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let url = words.next().unwrap_or_else(|| "mqtt://localhost".to_owned());
    let filter = words.next().unwrap_or_else(|| "my/#".to_owned());

    let mut options = Options::from_url(&url)?;
    // A Session of our own: what arrives while we are away waits for us.
    options.client_id = "example-subscriber".to_owned();
    options.clean_start = false;
    options.acknowledge = Acknowledge::Manual;
    let (client, mut incoming) = Client::connect(options).await?;
    client.subscribe(filter, QoS::ExactlyOnce).await?;
    while let Some(event) = incoming.next().await {
        match event {
            Event::Message(message) => {
                let payload = String::from_utf8_lossy(message.payload());
                println!("{} {payload}", message.topic());
                client.acknowledge(&message);
            }
            Event::Disconnected { lost, retry_in } => eprintln!("{lost}; retry in {retry_in:?}"),
            _ => {}
        }
    }
    Ok(())
}
