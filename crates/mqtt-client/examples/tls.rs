//! Connects over TLS: with the operating system's CAs, or those of a file, and with a certificate
//! of our own if the Server wants one.
//!
//! `cargo run -p mqtt-client --example tls -- mqtts://localhost ca.crt client.crt client.key`

use std::fs;

use mqtt_client::{Client, Options, Publish, QoS, Tls, TlsSettings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let url = words.first().map_or("mqtts://localhost", String::as_str);
    let read = |path: &String| fs::read(path).map(|contents| (path.clone(), contents));

    // An mqtts:// URL alone trusts the operating system's CAs.
    let mut options = Options::from_url(url)?;
    let mut settings = TlsSettings::default();
    if let Some(ca) = words.get(1) {
        settings.authorities = vec![read(ca)?];
    }
    if let [_, _, certificate, key] = words.as_slice() {
        settings.identity = Some([read(certificate)?, read(key)?]);
    }
    options.transport.tls = Some(Tls::new(&settings)?);
    let (client, _incoming) = Client::connect(options).await?;
    let publish = Publish::new("example/secret", "nobody reads this on the way");
    client.publish(publish.qos(QoS::AtLeastOnce)).await?.await?;
    println!("arrived");
    client.disconnect().await;
    Ok(())
}
