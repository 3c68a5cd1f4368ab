//! The ways to a broker: TLS with its flags, WebSocket, a Unix socket, a SOCKS5 proxy, URLs. The
//! broker is Debian's, and where Debian's tool can go the same way, it ends with the same code.

mod world;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use world::{World, run, said};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

type Ca = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // OpenSSL takes a certificate with its issuer's name for one that signs itself.
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes NAME.crt and NAME.key, signed by the CA and good for the names.
fn certificate(folder: &Path, name: &str, names: &[&str], ca: &Ca) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, ca).unwrap();
    fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// A broker with three more listeners: TLS; TLS that wants a certificate; TLS under another name.
struct Secure {
    world: World,
    tls: String,
    mutual: String,
    misnamed: String,
}

impl Secure {
    fn new() -> Self {
        let world = World::open();
        let folder = world.folder.path().to_owned();
        let (ours, other) = (authority("ours"), authority("other"));
        fs::write(folder.join("ca.crt"), ours.pem()).unwrap();
        fs::write(folder.join("other.crt"), other.pem()).unwrap();
        fs::create_dir(folder.join("capath")).unwrap();
        fs::write(folder.join("capath/any name"), ours.pem()).unwrap();
        fs::write(folder.join("capath/README"), "nothing to see").unwrap();
        certificate(&folder, "server", &["localhost", "127.0.0.1"], &ours);
        certificate(&folder, "elsewhere", &["elsewhere.test"], &ours);
        certificate(&folder, "client", &["client"], &ours);
        let ports = [free_port(), free_port(), free_port()].map(|port| port.to_string());
        let at = folder.display();
        let mut lines = String::new();
        for (port, name, more) in [
            (&ports[0], "server", String::new()),
            (&ports[1], "server", format!("cafile {at}/ca.crt\nrequire_certificate true\n")),
            (&ports[2], "elsewhere", String::new()),
        ] {
            lines.push_str(&format!(
                "listener {port} 127.0.0.1\ncertfile {at}/{name}.crt\nkeyfile {at}/{name}.key\n\
                 {more}"
            ));
        }
        let [tls, mutual, misnamed] = ports;
        Self { world: world.restarted_with(&lines), tls, mutual, misnamed }
    }

    fn path(&self, name: &str) -> String {
        self.world.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Publishes over TLS with both tools: ours' exit code and stderr, and that of Debian's.
    fn publish(&self, port: &str, args: &[&str]) -> (i32, String, i32) {
        let all = ["-h", "localhost", "-p", port, "-t", "a", "-m", "x", "-q", "1"];
        let (code, _, err) = said(&run(self.world.ours("pub").args(all).args(args)));
        let theirs = run(self.world.theirs("mosquitto_pub").args(all).args(args));
        (code, err, said(&theirs).0)
    }
}

#[test]
fn the_server_is_trusted_by_file_and_by_folder() {
    let Some(()) = world::peers() else { return };
    let secure = Secure::new();
    let (ca, other) = (secure.path("ca.crt"), secure.path("other.crt"));
    let trusted = secure.publish(&secure.tls, &["--cafile", &ca]);
    assert_eq!(trusted, (0, String::new(), 0));
    // Debian's tool would want the folder rehashed.
    let (code, err, _) = secure.publish(&secure.tls, &["--capath", &secure.path("capath")]);
    assert_eq!((code, err.as_str()), (0, ""));
    let named = |port: &str, ca: &str| {
        let args = ["-p", port, "-h", "localhost", "-t", "a", "-m", "x", "--cafile", ca];
        let (code, _, err) = said(&run(secure.world.ours_as("mosquitto_pub").args(args)));
        assert_eq!(err, "Unable to connect (A TLS error occurred.).\n");
        code
    };
    let (code, err, theirs) = secure.publish(&secure.tls, &["--cafile", &other]);
    let named_code = named(&secure.tls, &other);
    // Debian's tool ends with 8 instead when the broken connection is seen first.
    assert!(code == 8 && [1, 8].contains(&theirs) && named_code == 1, "{code} {theirs} {err}");
    assert!(err.contains("certificate"), "{err}");
    let (code, err, theirs) = secure.publish(&secure.misnamed, &["--cafile", &ca]);
    let named_code = named(&secure.misnamed, &ca);
    assert!(code == 8 && [1, 8].contains(&theirs) && named_code == 1, "{code} {theirs} {err}");
    let any_name = secure.publish(&secure.misnamed, &["--cafile", &ca, "--insecure"]);
    assert_eq!(any_name, (0, String::new(), 0));
    // --insecure is about the name; the CA still counts.
    assert_eq!(secure.publish(&secure.misnamed, &["--cafile", &other, "--insecure"]).0, 8);
    // The operating system does not know this CA.
    assert_eq!(secure.publish(&secure.tls, &["--tls-use-os-certs"]).0, 8);
    // Without TLS to a port that speaks it.
    assert_ne!(secure.publish(&secure.tls, &["--cafile", &ca, "--no-tls"]).0, 0);
}

#[test]
fn a_client_shows_its_certificate() {
    let Some(()) = world::peers() else { return };
    let secure = Secure::new();
    let [ca, cert, key] = ["ca.crt", "client.crt", "client.key"].map(|name| secure.path(name));
    let shown = ["--cafile", &ca, "--cert", &cert, "--key", &key];
    assert_eq!(secure.publish(&secure.mutual, &shown), (0, String::new(), 0));
    let (code, err, theirs) = secure.publish(&secure.mutual, &["--cafile", &ca]);
    assert!(code != 0 && theirs != 0, "{err}");
    let other_key = secure.path("server.key");
    let swapped = ["--cafile", &ca, "--cert", &cert, "--key", &other_key];
    let (code, err, theirs) = secure.publish(&secure.mutual, &swapped);
    assert!(code == 1 && theirs == 1 && err.contains("key"), "{err}");
    let locked = secure.path("locked.key");
    let pem = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(&locked, pem).unwrap();
    let args = ["--cafile", &ca, "--cert", &cert, "--key", &locked];
    let (code, err) = {
        let all = ["-h", "localhost", "-p", &secure.mutual, "-t", "a", "-m", "x"];
        let output = run(secure.world.ours("pub").args(all).args(args));
        (said(&output).0, said(&output).2)
    };
    assert!(code == 1 && err.contains("passphrase"), "{err}");
}

#[test]
fn versions_ciphers_alpn_and_secrets_can_be_chosen() {
    let Some(()) = world::peers() else { return };
    let secure = Secure::new();
    let (ca, log) = (secure.path("ca.crt"), secure.path("secrets"));
    for args in [
        &["--tls-version", "tlsv1.2"][..],
        &["--tls-version", "tlsv1.3"],
        &["--tls-alpn", "mqtt"],
        &["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256:AES128-SHA"],
    ] {
        let all: Vec<&str> = ["--cafile", &ca].into_iter().chain(args.iter().copied()).collect();
        assert_eq!(secure.publish(&secure.tls, &all), (0, String::new(), 0), "{args:?}");
    }
    // Nothing that rustls has is left.
    let (code, err, _) = secure.publish(&secure.tls, &["--cafile", &ca, "--ciphers", "RC4-SHA"]);
    assert!(code == 1 && err.contains("RC4-SHA"), "{err}");
    // 2.0 has no such flag.
    let (code, err, _) = secure.publish(&secure.tls, &["--cafile", &ca, "--tls-keylog", &log]);
    assert_eq!((code, err.as_str()), (0, ""));
    let secrets = fs::read_to_string(&log).unwrap();
    assert!(secrets.contains("CLIENT_TRAFFIC_SECRET_0 "), "{secrets}");
    let nowhere = ["--cafile", &ca, "--tls-keylog", "/nonexistent/log"];
    assert_eq!(secure.publish(&secure.tls, &nowhere).0, 1);
}

#[test]
fn urls_name_the_way() {
    let Some(()) = world::peers() else { return };
    let secure = Secure::new();
    let ca = secure.path("ca.crt");
    for (url, args) in [
        (format!("mqtt://127.0.0.1:{}/url", secure.world.port), &[][..]),
        (format!("mqtts://localhost:{}/url", secure.tls), &["--cafile", &ca]),
    ] {
        let collecting = secure.world.collect("url", "%p", 1);
        let args = [&["-L", &url, "-m", "by url", "-q", "1"][..], args].concat();
        let published = said(&run(secure.world.ours("pub").args(&args)));
        assert_eq!(published, (0, String::new(), String::new()), "{url}");
        assert!(said(&world::finish(collecting)).1.ends_with("by url"));
    }
    // A topic for the subscriber, too.
    secure.world.retain(&["-t", "kept/here", "-m", "x"]);
    let url = format!("mqtt://127.0.0.1:{}/kept/here", secure.world.port);
    let got = run(secure.world.ours("sub").args(["-L", &url, "-C", "1", "-W", "10", "-v"]));
    assert_eq!(said(&got), (0, "kept/here x\n".to_owned(), String::new()));
}

#[test]
fn websockets_and_unix_sockets_lead_there_too() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    let (port, socket) = (free_port().to_string(), world.folder.path().join("socket"));
    let socket = socket.to_str().unwrap().to_owned();
    let lines = format!("listener {port} 127.0.0.1\nprotocol websockets\nlistener 0 {socket}\n");
    let world = world.restarted_with(&lines);
    world.retain(&["-t", "w", "-m", "there"]);
    let socket_in_folder = world.folder.path().join("socket").to_str().unwrap().to_owned();
    let ws = format!("ws://127.0.0.1:{port}/w");
    let unix = format!("unix://{socket_in_folder}");
    for args in [
        &["-t", "w", "-h", "127.0.0.1", "-p", &port, "--ws"][..],
        &["-L", &ws],
        &["-t", "w", "--unix", &socket_in_folder],
        &["-t", "w", "-L", &unix],
    ] {
        let got = said(&run(world.ours("sub").args(args).args(["-C", "1", "-W", "10"])));
        assert_eq!(got, (0, "there\n".to_owned(), String::new()), "{args:?}");
    }
    // Plain MQTT to a WebSocket and the other way round end with a word, not with a hang.
    for args in [&["-p", &port][..], &["--ws"], &["-p", &port, "--ws", "--ws-path", "/nope"]] {
        let base = ["-t", "w", "-h", "127.0.0.1", "-C", "1", "-W", "10"];
        let (code, out, err) = said(&run(world.ours("sub").args(base).args(args)));
        // Mosquitto 2.0 takes any path.
        if args.contains(&"--ws-path") {
            assert_eq!((code, out.as_str()), (0, "there\n"), "{err}");
        } else {
            assert!(code != 0 && code != 27 && err.lines().count() == 1, "{args:?}: {code} {err}");
        }
    }
}

/// What a client asked a proxy for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    login: Option<(String, String)>,
    host: String,
}

/// A SOCKS5 proxy (RFC 1928, 1929) for one connection, which goes to the broker wherever the
/// client wants to go. It wants a login if `wants_login`.
fn proxy(broker: u16, wants_login: bool) -> (u16, JoinHandle<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let working = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut take = |count: usize| -> Vec<u8> {
            let mut bytes = vec![0; count];
            client.read_exact(&mut bytes).unwrap();
            bytes
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let greeting = take(2);
        let methods = take(greeting[1].into());
        let method = if wants_login { 2 } else { 0 };
        assert!(methods.contains(&method), "{methods:?}");
        client.write_all(&[5, method]).unwrap();
        let mut take = |count: usize| -> Vec<u8> {
            let mut bytes = vec![0; count];
            client.read_exact(&mut bytes).unwrap();
            bytes
        };
        let login = wants_login.then(|| {
            let head = take(2);
            let user = text(take(head[1].into()));
            let length = take(1)[0];
            (user, text(take(length.into())))
        });
        if wants_login {
            client.write_all(&[1, 0]).unwrap();
        }
        let mut take = |count: usize| -> Vec<u8> {
            let mut bytes = vec![0; count];
            client.read_exact(&mut bytes).unwrap();
            bytes
        };
        let head = take(4);
        assert_eq!((head[0], head[1], head[3]), (5, 1, 3), "CONNECT to a name");
        let length = take(1)[0];
        let host = text(take(length.into()));
        take(2);
        client.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).unwrap();
        let server = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], broker))).unwrap();
        let pump = |mut from: TcpStream, mut to: TcpStream| {
            thread::spawn(move || {
                // Either side may end first.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            })
        };
        let there = pump(client.try_clone().unwrap(), server.try_clone().unwrap());
        let back = pump(server, client);
        there.join().unwrap();
        back.join().unwrap();
        Asked { login, host }
    });
    (port, working)
}

#[test]
fn a_proxy_resolves_the_name_and_may_want_a_login() {
    let Some(()) = world::peers() else { return };
    let world = World::open();
    world.retain(&["-t", "p", "-m", "through"]);
    for (login, expected) in
        [("", None), ("us%40er:p%3Aw@", Some(("us@er".to_owned(), "p:w".to_owned())))]
    {
        let (port, working) = proxy(world.port, expected.is_some());
        let url = format!("socks5h://{login}127.0.0.1:{port}");
        // A name that only the proxy knows.
        let args = ["-h", "broker.inside", "-t", "p", "-C", "1", "-W", "15", "--proxy", &url];
        let got = said(&run(world.ours("sub").args(args)));
        assert_eq!(got, (0, "through\n".to_owned(), String::new()));
        let asked = Asked { login: expected, host: "broker.inside".to_owned() };
        assert_eq!(working.join().unwrap(), asked);
    }
    // A proxy that refuses is said to have refused.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("socks5h://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let refusing = thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut bytes = [0; 100];
        let _ = client.read(&mut bytes).unwrap();
        client.write_all(&[5, 0xFF]).unwrap();
    });
    let args = ["-h", "broker.inside", "-t", "p", "-W", "15", "--proxy", &url];
    let (code, _, err) = said(&run(world.ours("sub").args(args)));
    assert!(code == 1 && err.contains("proxy"), "{code} {err}");
    refusing.join().unwrap();
}
