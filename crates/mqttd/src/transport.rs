//! From an accepted socket to what is spoken on it: PROXY header, TLS, then MQTT, WebSocket or
//! HTTP. Nothing of MQTT is read here; the deadline is the caller's.

use std::net::IpAddr;

use mqtt_net::http::Request;
use mqtt_net::proxy_header::{self, ProxyHeader};
use mqtt_net::websocket::{self, AcceptOptions};
use mqtt_net::{PeerAddress, PeerCertificate, Stream};
use mqttd_conf::Protocol;

use crate::live::Door;

/// What a connection turns out to be.
pub(crate) enum Spoken {
    /// MQTT, with the user name that a certificate gives.
    Mqtt(Stream, Option<String>),
    /// HTTP, with the request and the user name likewise.
    Http(Stream, Request, Option<String>),
}

/// What the bytes below MQTT have said of the Client.
struct Below<'d> {
    door: &'d Door,
    proxy: Option<ProxyHeader>,
    certificate: Option<PeerCertificate>,
    psk_identity: Option<String>,
}

/// Takes off what the listener puts around MQTT. `peer` becomes the Client's own address where a
/// proxy tells it, and `may_come` is asked about it, before any handshake where that is possible;
/// `Err` holds what the log says.
pub(crate) async fn open(
    door: &Door,
    message_bytes_max: u64,
    peer: &mut PeerAddress,
    mut may_come: impl FnMut(&PeerAddress) -> Result<(), String>,
    mut stream: Stream,
) -> Result<Spoken, String> {
    let mut below = Below { door, proxy: None, certificate: None, psk_identity: None };
    below.read_proxy_header(&mut stream, peer).await?;
    // Behind a proxy of the Web the address is known only with the request.
    let is_known = door.conf.web.trusted_proxies.is_empty();
    if is_known {
        may_come(peer)?;
    }
    if let Some(tls) = &door.tls {
        stream = tls.server.accept(stream).await.map_err(|error| error.to_string())?;
        below.certificate = stream.peer_certificate().map_err(|error| error.to_string())?;
    }
    if let Some(psk) = &door.psk {
        let (encrypted, identity) = psk.accept(stream).await?;
        stream = encrypted;
        below.psk_identity = Some(identity);
    }
    let username = below.username()?;
    let web = &door.conf.web;
    let request = match door.conf.protocol {
        Protocol::Mqtt => return Ok(Spoken::Mqtt(stream, username)),
        Protocol::HttpApi => {
            let request = Request::read(&mut stream).await.map_err(|error| error.to_string())?;
            trust_proxy(door, &request, peer);
            if !is_known {
                may_come(peer)?;
            }
            return Ok(Spoken::Http(stream, request, username));
        }
        Protocol::Websockets => match Request::read(&mut stream).await {
            Ok(request) => request,
            Err(error) => {
                let error = error.into();
                let refused = websocket::refuse(stream, error).await;
                return Err(refused.map_or_else(|error| error.to_string(), |_| String::new()));
            }
        },
    };
    trust_proxy(door, &request, peer);
    if !is_known {
        may_come(peer)?;
    }
    if web.http_dir.is_some() && !request.wants_websocket() {
        return Ok(Spoken::Http(stream, request, username));
    }
    let options = AcceptOptions { allowed_origins: &web.origins, max_message: message_bytes_max };
    let upgraded = websocket::upgrade(stream, request, options).await;
    Ok(Spoken::Mqtt(upgraded.map_err(|error| error.to_string())?, username))
}

impl Below<'_> {
    async fn read_proxy_header(
        &mut self,
        stream: &mut Stream,
        peer: &mut PeerAddress,
    ) -> Result<(), String> {
        let Some(proxy) = self.door.conf.proxy else { return Ok(()) };
        let version = match proxy.version {
            1 => proxy_header::Version::V1,
            _ => proxy_header::Version::V2,
        };
        let header = proxy_header::read(stream, version)
            .await
            .map_err(|error| format!("protocol error ({error})"))?;
        if let Some(source) = header.source {
            *peer = PeerAddress::from(source);
        }
        if proxy.requires_tls && !header.tls.as_ref().is_some_and(|tls| tls.is_tls) {
            return Err("not authorised (the PROXY header shows no TLS)".to_owned());
        }
        self.proxy = Some(header);
        Ok(())
    }

    /// The user name that the Client's certificate gives, if the listener goes by that. Behind a
    /// proxy that speaks TLS in the broker's place, the proxy has seen the certificate.
    fn username(&self) -> Result<Option<String>, String> {
        let identity = self.door.conf.identity;
        if let Some(name) = &self.psk_identity {
            return Ok(identity.use_identity_as_username.then(|| name.clone()));
        }
        let by_subject = identity.use_subject_as_username;
        let is_asked = by_subject || identity.use_identity_as_username;
        let proxied = self.proxy.as_ref().and_then(|header| header.tls.as_ref());
        let name = match (&self.door.tls, proxied) {
            _ if !is_asked => return Ok(None),
            (Some(_), _) => self.certificate.as_ref().and_then(|certificate| match by_subject {
                true => Some(certificate.subject.clone()),
                false => certificate.common_name.clone(),
            }),
            (None, Some(tls)) if tls.is_verified && !by_subject => tls.common_name.clone(),
            (None, Some(_)) => None,
            (None, None) => return Ok(None),
        };
        name.map(Some).ok_or_else(|| "not authorised (no name in the certificate)".to_owned())
    }
}

/// `X-Forwarded-For`, if who sent it is one of `trusted_proxy`.
fn trust_proxy(door: &Door, request: &Request, peer: &mut PeerAddress) {
    let proxies = &door.conf.web.trusted_proxies;
    let is_trusted = |ip: IpAddr| proxies.iter().any(|network| network.contains(ip));
    let is_from_proxy = match peer {
        PeerAddress::Ip(address, _) => is_trusted(*address),
        // Whoever may write to the socket file is as near as a proxy can be, if any is trusted.
        _ => !proxies.is_empty(),
    };
    if is_from_proxy {
        if let Some(ip) = request.forwarded_for(is_trusted) {
            // The port is not told.
            *peer = PeerAddress::Ip(ip, 0);
        }
    }
}
