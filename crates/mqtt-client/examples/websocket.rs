//! Connects over WebSocket, with a path and a header of one's own, as gateways want them.
//!
//! `cargo run -p mqtt-client --example websocket -- ws://localhost:8080/mqtt`

use mqtt_client::{Client, Event, Options, Publish, QoS};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://localhost:8080/mqtt".to_owned());
    let mut options = Options::from_url(&url)?;
    let websocket = options.transport.websocket.as_mut().ok_or("the URL is not ws:// or wss://")?;
    websocket.headers.push(("X-Example".to_owned(), "yes".to_owned()));

    let (client, mut incoming) = Client::connect(options).await?;
    client.subscribe("example/echo", QoS::AtMostOnce).await?;
    client.publish(Publish::new("example/echo", "over WebSocket")).await?.await?;
    while let Some(event) = incoming.next().await {
        if let Event::Message(message) = event {
            println!("{}", String::from_utf8_lossy(message.payload()));
            break;
        }
    }
    client.disconnect().await;
    Ok(())
}
