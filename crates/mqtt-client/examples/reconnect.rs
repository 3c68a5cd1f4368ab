//! Publishes a reading each tenth of a second, comes back with growing waits when the connection is
//! lost, and ends when all of them are acknowledged.
//!
//! `cargo run -p mqtt-client --example reconnect -- mqtt://localhost 100`

use std::time::Duration;

use mqtt_client::{Backoff, Client, Delivery, Event, Incoming, Options, Publish, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let url = words.next().unwrap_or_else(|| "mqtt://localhost".to_owned());
    let count: u32 = words.next().map_or(Ok(100), |text| text.parse())?;

    let mut options = Options::from_url(&url)?;
    // 0.2 s, 0.4 s, 0.8 s … 10 s, each up to a half shorter, so that not all come at once.
    options.reconnect = Some(Backoff {
        first: Duration::from_millis(200),
        max: Duration::from_secs(10),
        jitter: 0.5,
    });
    let (client, incoming) = Client::connect(options).await?;
    tokio::spawn(tell(incoming));
    let mut deliveries: Vec<Delivery> = Vec::new();
    for number in 0..count {
        // Taken in any case; what is not acknowledged goes out again on the next connection.
        let publish = Publish::new("example/reading", number.to_string()).qos(QoS::AtLeastOnce);
        deliveries.push(client.publish(publish).await?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for delivery in deliveries {
        delivery.await?;
    }
    println!("{count} readings have arrived");
    client.disconnect().await;
    Ok(())
}

/// Says what happens to the connection.
async fn tell(mut incoming: Incoming) {
    while let Some(event) = incoming.next().await {
        match event {
            Event::Connected(_) => println!("connected"),
            Event::Disconnected { lost, retry_in: Some(wait) } => println!("{lost}: in {wait:?}"),
            Event::Disconnected { lost, retry_in: None } => println!("{lost}: not again"),
            _ => {}
        }
    }
}
