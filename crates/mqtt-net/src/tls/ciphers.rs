//! Cipher suites by the names OpenSSL gives them, as configuration files have them.
//!
//! A list of `ciphers` chooses among what rustls has: AEAD with forward secrecy. Words for what it
//! does not have (`!aNULL`, `AES128-SHA`) choose nothing.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite as suite;

use super::TlsError;

/// A suite up to TLS 1.2: its name, the words of OpenSSL's lists that mean it among others.
struct Row {
    name: &'static str,
    words: &'static [&'static str],
    suite: SupportedCipherSuite,
}

const ECDSA_AES256: &[&str] = &["AES", "AES256", "AESGCM", "aECDSA", "ECDSA", "FIPS"];
const ECDSA_AES128: &[&str] = &["AES", "AES128", "AESGCM", "aECDSA", "ECDSA", "FIPS"];
const ECDSA_CHACHA: &[&str] = &["CHACHA20", "aECDSA", "ECDSA"];
const RSA_AES256: &[&str] = &["AES", "AES256", "AESGCM", "aRSA", "FIPS"];
const RSA_AES128: &[&str] = &["AES", "AES128", "AESGCM", "aRSA", "FIPS"];
const RSA_CHACHA: &[&str] = &["CHACHA20", "aRSA"];

/// Words that mean every row.
const ALL: [&str; 9] =
    ["DEFAULT", "ALL", "HIGH", "ECDHE", "kECDHE", "EECDH", "kEECDH", "TLSv1.2", "PROFILE=SYSTEM"];

/// In the order of OpenSSL's preference.
const TLS12: [Row; 6] = [
    Row {
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        words: ECDSA_AES256,
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    },
    Row {
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        words: RSA_AES256,
        suite: suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    },
    Row {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        words: ECDSA_CHACHA,
        suite: suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    },
    Row {
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        words: RSA_CHACHA,
        suite: suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    },
    Row {
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        words: ECDSA_AES128,
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    },
    Row {
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        words: RSA_AES128,
        suite: suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    },
];

const TLS13: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", suite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
];

/// A choice of cipher suites, in the server's order of preference.
#[derive(Debug, Clone, PartialEq)]
pub struct CipherSuites {
    pub(super) suites: Vec<SupportedCipherSuite>,
    /// Names that were asked for and are not there, for a warning.
    pub unavailable: Vec<String>,
}

impl CipherSuites {
    /// Reads `ciphers` (up to TLS 1.2) and `ciphers_tls1.3`; without a list, all of that version.
    ///
    /// # Errors
    /// [`TlsError::Ciphers`] when a list leaves nothing.
    pub fn parse(tls12: Option<&str>, tls13: Option<&str>) -> Result<Self, TlsError> {
        let mut unavailable = Vec::new();
        let nothing = |list: &str, known: Vec<&str>| TlsError::Ciphers {
            list: list.to_owned(),
            known: known.join(":"),
        };
        let mut suites = match tls13 {
            Some(list) => select_tls13(list, &mut unavailable),
            None => TLS13.iter().map(|(_, suite)| *suite).collect(),
        };
        if let (true, Some(list)) = (suites.is_empty(), tls13) {
            return Err(nothing(list, TLS13.iter().map(|(name, _)| *name).collect()));
        }
        let older = match tls12 {
            Some(list) => select_tls12(list, &mut unavailable),
            None => TLS12.iter().collect(),
        };
        if let (true, Some(list)) = (older.is_empty(), tls12) {
            return Err(nothing(list, TLS12.iter().map(|row| row.name).collect()));
        }
        suites.extend(older.iter().map(|row| row.suite));
        Ok(CipherSuites { suites, unavailable })
    }
}

fn words(list: &str) -> impl Iterator<Item = &str> {
    list.split([':', ',', ' ', ';']).filter(|word| !word.is_empty())
}

fn select_tls13(list: &str, unavailable: &mut Vec<String>) -> Vec<SupportedCipherSuite> {
    let mut chosen = Vec::new();
    for word in words(list) {
        match TLS13.iter().find(|(name, _)| *name == word) {
            Some((_, suite)) if !chosen.contains(suite) => chosen.push(*suite),
            Some(_) => {}
            None => unavailable.push(word.to_owned()),
        }
    }
    chosen
}

/// OpenSSL's rules: `a+b` means both, `!a` never, `-a` not unless added again, `+a` last.
fn select_tls12(list: &str, unavailable: &mut Vec<String>) -> Vec<&'static Row> {
    let (mut chosen, mut banned): (Vec<&Row>, Vec<&str>) = (Vec::new(), Vec::new());
    for word in words(list).filter(|word| !word.starts_with('@')) {
        let (operator, class) = match word.split_at(1) {
            (operator @ ("!" | "-" | "+"), class) => (operator, class),
            _ => ("", word),
        };
        let meant: Vec<&Row> = TLS12.iter().filter(|row| row.is_meant(class)).collect();
        let is_meant = |row: &&Row| meant.iter().any(|other| other.name == row.name);
        match operator {
            "!" => {
                banned.extend(meant.iter().map(|row| row.name));
                chosen.retain(|row| !is_meant(row));
            }
            "-" => chosen.retain(|row| !is_meant(row)),
            "+" => chosen.sort_by_key(is_meant),
            _ if meant.is_empty() => unavailable.push(word.to_owned()),
            _ => {
                let is_new = |row: &&&Row| !chosen.iter().any(|other| other.name == row.name);
                let new: Vec<&Row> = meant.iter().filter(is_new).copied().collect();
                chosen.extend(new);
            }
        }
    }
    chosen.retain(|row| !banned.contains(&row.name));
    chosen
}

impl Row {
    fn is_meant(&self, class: &str) -> bool {
        class
            .split('+')
            .all(|part| part == self.name || ALL.contains(&part) || self.words.contains(&part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(list: &str) -> String {
        let mut unavailable = Vec::new();
        let rows = select_tls12(list, &mut unavailable);
        let short = |row: &&Row| {
            row.name.replace("ECDHE-", "").replace("-GCM-SHA384", "").replace("-GCM-SHA256", "")
        };
        let names: Vec<String> = rows.iter().map(short).collect();
        format!("{} | {}", names.join(" "), unavailable.join(" "))
    }

    /// The right sides are what `openssl ciphers -tls1_2 -s LIST` prints, without the suites that
    /// rustls does not have.
    #[test]
    fn lists_mean_what_openssl_takes_them_for() {
        for (list, wanted) in [
            ("ECDHE-RSA-AES128-GCM-SHA256", "RSA-AES128 | "),
            (
                "ECDHE-RSA-AES128-GCM-SHA256:AES256-SHA:ECDHE-RSA-AES256-GCM-SHA384",
                "RSA-AES128 RSA-AES256 | AES256-SHA",
            ),
            (
                "DEFAULT:!aNULL:!eNULL:!LOW:!EXPORT:!SSLv2:@STRENGTH",
                "ECDSA-AES256 RSA-AES256 ECDSA-CHACHA20-POLY1305 RSA-CHACHA20-POLY1305 \
                 ECDSA-AES128 RSA-AES128 | ",
            ),
            ("ECDHE+AESGCM:!AES128", "ECDSA-AES256 RSA-AES256 | "),
            ("ECDHE+aRSA+AESGCM", "RSA-AES256 RSA-AES128 | "),
            ("CHACHA20:RSA+AES128", "ECDSA-CHACHA20-POLY1305 RSA-CHACHA20-POLY1305 | RSA+AES128"),
            ("aRSA:+AES256", "RSA-CHACHA20-POLY1305 RSA-AES128 RSA-AES256 | "),
            ("aRSA:-CHACHA20:CHACHA20+aRSA", "RSA-AES256 RSA-AES128 RSA-CHACHA20-POLY1305 | "),
            ("!aRSA:HIGH:-ECDSA", " | "),
            ("RC4-SHA", " | RC4-SHA"),
        ] {
            assert_eq!(chosen(list), wanted, "{list}");
        }
    }

    #[test]
    fn a_list_that_leaves_nothing_is_refused_with_what_there_is() {
        let error = CipherSuites::parse(Some("RC4-SHA:DES-CBC3-SHA"), None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("RC4-SHA:DES-CBC3-SHA"), "{text}");
        assert!(text.contains("ECDHE-RSA-AES128-GCM-SHA256"), "{text}");
        let error = CipherSuites::parse(None, Some("TLS_AES_128_CCM_SHA256")).unwrap_err();
        assert!(error.to_string().contains("TLS_CHACHA20_POLY1305_SHA256"), "{error}");
        let both = CipherSuites::parse(
            Some("ECDHE-RSA-AES128-GCM-SHA256"),
            Some("TLS_AES_256_GCM_SHA384:TLS_AES_128_CCM_SHA256"),
        )
        .unwrap();
        assert_eq!((both.suites.len(), both.unavailable.len()), (2, 1));
        assert_eq!(CipherSuites::parse(None, None).unwrap().suites.len(), 9);
    }
}
