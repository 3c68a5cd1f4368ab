//! [`Authority`]: certificates made here by the openssl program, and brokers that use them.

use std::fs;
use std::process::Command;

use crate::Broker;
use crate::place::{TempDir, broker_under_test};
use crate::process;

/// An authority with the certificates it has signed, in a folder of its own.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

const EC: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

impl Authority {
    /// A new authority of this name.
    pub fn new(name: &str) -> Authority {
        let authority = Authority { dir: TempDir::new() };
        let subject = format!("/CN={name}");
        let usage = "keyUsage=critical,keyCertSign,cRLSign";
        let form = ["-keyout", "ca.key", "-out", "ca.crt", "-subj", &subject, "-addext", usage];
        authority.openssl(&[&["req", "-x509", "-days", "30"], &EC[..], &form[..]].concat());
        authority
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.dir.path());
        process::run(command, b"").ok();
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> String {
        self.dir.file(name)
    }

    /// The path of its own certificate.
    pub fn ca(&self) -> String {
        self.file("ca.crt")
    }

    /// Makes NAME.crt and NAME.key. `extension` is a line of openssl's x509v3_config.
    pub fn sign(&self, name: &str, subject: &str, extension: &str) {
        self.sign_for("30", name, subject, extension);
    }

    /// [`Authority::sign`] for so many days; after none the certificate is over.
    pub fn sign_for(&self, days: &str, name: &str, subject: &str, extension: &str) {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let form = ["-keyout", &key, "-out", &request, "-subj", subject];
        self.openssl(&[&["req", "-new"], &EC[..], &form[..]].concat());
        self.dir.write("extension", extension);
        let out = format!("{name}.crt");
        let signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", days];
        let form = ["-extfile", "extension", "-in", &request, "-out", &out];
        self.openssl(&[&["x509", "-req"], &signed[..], &form[..]].concat());
    }

    /// Makes NAME.crt for localhost and 127.0.0.1.
    pub fn server(&self, name: &str) {
        self.sign(name, "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
    }

    /// Makes NAME.crt for the client of this name.
    pub fn client(&self, name: &str) {
        self.sign(name, &format!("/O=House/CN={name}"), "basicConstraints=CA:FALSE\n");
    }

    /// Makes `crl.pem`, in which these clients are revoked.
    pub fn revoke(&self, names: &[&str]) {
        self.dir.write("index.txt", "");
        self.dir.write("crlnumber", "01\n");
        self.dir.write(
            "ca.cnf",
            "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ncrlnumber=crlnumber\n\
             certificate=ca.crt\nprivate_key=ca.key\ndefault_md=sha256\ndefault_crl_days=30\n\
             crl_extensions=more\n[more]\nauthorityKeyIdentifier=keyid:always\n",
        );
        for name in names {
            self.openssl(&["ca", "-config", "ca.cnf", "-revoke", &format!("{name}.crt")]);
        }
        self.openssl(&["ca", "-config", "ca.cnf", "-gencrl", "-out", "crl.pem"]);
    }

    /// A broker with `server.crt` of this authority and more lines for its two TLS listeners.
    pub fn broker(&self, lines: &str) -> Broker {
        self.broker_with("", lines, "")
    }

    /// The same with lines above the listeners and an ACL file, `{ca}/acl`.
    pub fn broker_with(&self, global: &str, lines: &str, acl: &str) -> Broker {
        self.dir.write("acl", acl);
        let tls = format!(
            "certfile {{dir}}/server.crt\nkeyfile {{dir}}/server.key\n{}\n",
            lines.replace("{ca}", self.dir.path().to_str().unwrap())
        );
        let text = format!(
            "allow_anonymous true\n{}listener {{port}} 127.0.0.1\n{tls}\
             listener {{ws}} 127.0.0.1\nprotocol websockets\n{tls}",
            global.replace("{ca}", self.dir.path().to_str().unwrap())
        );
        let broker = Broker::prepared(broker_under_test(), &text);
        self.install(&broker, "server");
        broker.started()
    }

    /// Gives the broker's folder this certificate and key.
    pub fn install(&self, broker: &Broker, name: &str) {
        for ending in ["crt", "key"] {
            let content = fs::read_to_string(self.file(&format!("{name}.{ending}"))).unwrap();
            broker.write(&format!("server.{ending}"), &content);
        }
    }

    /// The arguments of a tool that shows a certificate of this authority.
    pub fn shown(&self, name: &str) -> [String; 4] {
        let (crt, key) = (self.file(&format!("{name}.crt")), self.file(&format!("{name}.key")));
        ["--cert".into(), crt, "--key".into(), key]
    }
}
