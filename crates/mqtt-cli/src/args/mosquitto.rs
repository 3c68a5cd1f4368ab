//! The flags of Mosquitto's tools, version 2.0 and what 2.1 has added, and what is different about
//! ours. The reference is made with it, and a test holds our tables against it.

// tidy: dictionary

/// The version of Mosquitto that brought a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Since {
    V2_0,
    V2_1,
}

/// A flag of Mosquitto's.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Each way it is written there.
    pub spellings: &'static [&'static str],
    /// The tools that have it, a letter for each: `p`ub, `s`ub, `r`r, `c`trl, pass`w`d.
    pub tools: &'static str,
    /// Since when.
    pub since: Since,
    /// What is different here; empty when nothing is.
    pub difference: &'static str,
}

/// The flag of `tool` (its letter) that is written like one of `spellings`.
pub fn find(tool: char, spellings: &[String]) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| {
        let is_same = |known: &&str| spellings.iter().any(|given| given == known);
        flag.tools.contains(tool) && flag.spellings.iter().any(is_same)
    })
}

const fn row(
    spellings: &'static [&'static str],
    tools: &'static str,
    since: Since,
    difference: &'static str,
) -> Flag {
    Flag { spellings, tools, since, difference }
}

const NO_ENGINE: &str = "refused: rustls has no engines";

/// All of them.
#[rustfmt::skip]
pub const FLAGS: &[Flag] = {
    use Since::{V2_0, V2_1};
    &[
        row(&["-A"], "psrc", V2_0, ""),
        row(&["-c", "--disable-clean-session"], "psr", V2_0, ""),
        row(&["-d", "--debug"], "psrc", V2_0, ""),
        row(&["-D", "--property"], "psr", V2_0, "before 5.0, properties of PUBLISH are a mistake"),
        row(&["-h", "--host"], "psrc", V2_0, ""),
        row(&["-p", "--port"], "psrc", V2_0, ""),
        row(&["-i", "--id"], "psrc", V2_0, "may be empty: the broker chooses"),
        row(&["-I", "--id-prefix"], "psr", V2_0, ""),
        row(&["-k", "--keepalive"], "psr", V2_0, ""),
        row(&["-L", "--url"], "psrc", V2_0, "the topic may be missing; user and password are \
            percent-decoded, except under Mosquitto's names"),
        row(&["-M"], "psr", V2_0, ""),
        row(&["--nodelay"], "psrc", V2_0, "always so"),
        row(&["-o"], "psrc", V2_0, "a file that is not there is a mistake"),
        row(&["-P", "--pw"], "psrc", V2_0, ""),
        row(&["-u", "--username"], "psrc", V2_0, ""),
        row(&["--proxy"], "psrc", V2_0, "any percent-encoded character is decoded"),
        row(&["-q", "--qos"], "psrc", V2_0, ""),
        row(&["--quiet"], "psrc", V2_0, ""),
        row(&["-S"], "psr", V2_0, "refused, as by most builds of Mosquitto: no SRV look-up"),
        row(&["-t", "--topic"], "psr", V2_0, ""),
        row(&["--unix"], "psrc", V2_0, ""),
        row(&["-V", "--protocol-version"], "psrc", V2_0, "3.1, 3.1.1 and 5.0 are understood too"),
        row(&["--will-topic"], "psr", V2_0, ""),
        row(&["--will-payload"], "psr", V2_0, ""),
        row(&["--will-qos"], "psr", V2_0, ""),
        row(&["--will-retain"], "psr", V2_0, ""),
        row(&["-x"], "psr", V2_0, ""),
        row(&["--ws"], "psr", V2_1, ""),
        row(&["--help"], "psrc", V2_0, "exits with 1 under Mosquitto's names only"),
        row(&["--version"], "psrc", V2_1, "exits with 1 under Mosquitto's names only"),

        row(&["--cafile"], "psrc", V2_0, ""),
        row(&["--capath"], "psrc", V2_0, "all files that hold certificates are read; no rehash"),
        row(&["--cert"], "psrc", V2_0, ""),
        row(&["--key"], "psrc", V2_0, "a key with a passphrase is refused"),
        row(&["--keyform"], "psrc", V2_0, "pem only"),
        row(&["--ciphers"], "psrc", V2_0, "suites that rustls does not have are left out"),
        row(&["--insecure"], "psrc", V2_0, ""),
        row(&["--no-tls"], "psr", V2_1, ""),
        row(&["--psk"], "psrc", V2_0, "where the tool is built with OpenSSL, as in the Debian \
            packages; otherwise refused"),
        row(&["--psk-identity"], "psrc", V2_0, "without effect, as there without --psk"),
        row(&["--tls-alpn"], "psrc", V2_0, ""),
        row(&["--tls-engine"], "psrc", V2_0, NO_ENGINE),
        row(&["--tls-engine-kpass-sha1"], "psrc", V2_0, NO_ENGINE),
        row(&["--tls-keylog"], "psr", V2_1, ""),
        row(&["--tls-use-os-certs"], "psrc", V2_0, ""),
        row(&["--tls-version"], "psrc", V2_0, "the lowest version to speak; tlsv1.1 is \
            refused (RFC 8996)"),

        row(&["-m", "--message"], "pr", V2_0, ""),
        row(&["-f", "--file"], "pr", V2_0, ""),
        row(&["-s", "--stdin-file"], "pr", V2_0, "an empty stdin is an empty payload; \
            mosquitto_pub refuses it"),
        row(&["-l", "--stdin-line"], "p", V2_0, "comes back after a lost connection; lines have \
            any length"),
        row(&["-n", "--null-message"], "pr", V2_0, ""),
        row(&["-r", "--retain"], "p", V2_0, ""),
        row(&["--repeat"], "p", V2_0, ""),
        row(&["--repeat-delay"], "p", V2_0, ""),

        row(&["-C"], "s", V2_0, ""),
        row(&["-E"], "s", V2_0, ""),
        row(&["-F"], "sr", V2_0, "retain in %j and %J is true or false and the time has no stray \
            Z, as in 2.1"),
        row(&["-N"], "sr", V2_0, ""),
        row(&["--message-rate"], "s", V2_1, ""),
        row(&["--pretty"], "sr", V2_0, ""),
        row(&["-R"], "sr", V2_0, ""),
        row(&["--random-filter"], "s", V2_0, "more than 100 is a mistake"),
        row(&["--remove-retained"], "s", V2_0, ""),
        row(&["--retain-as-published"], "sr", V2_0, "before 5.0, a mistake under our names"),
        row(&["--retain-handling"], "sr", V2_1, "before 5.0, a mistake under our names"),
        row(&["--retained-only"], "s", V2_0, ""),
        row(&["-T", "--filter-out"], "s", V2_0, ""),
        row(&["-U", "--unsubscribe"], "s", V2_0, "works without -t too"),
        row(&["-v", "--verbose"], "sr", V2_0, ""),
        row(&["-w", "--watch"], "s", V2_1, ""),
        row(&["-W"], "sr", V2_0, ""),

        row(&["-e"], "r", V2_0, ""),
        row(&["--latency"], "r", V2_1, ""),

        row(&["-f"], "c", V2_1, "the file is replaced in one step and keeps its mode and owner"),
        row(&["-v", "--verbose"], "c", V2_0, "without effect"),

        row(&["-b"], "w", V2_0, ""),
        row(&["-c"], "w", V2_0, "overwrites, as 2.0 does and 2.1 no longer; a file with users is \
            kept as FILE.backup"),
        row(&["-D"], "w", V2_0, "an unknown user is exit code 1"),
        row(&["-H"], "w", V2_0, ""),
        row(&["-I"], "w", V2_1, "20000 unless given, not 1000"),
        row(&["-U"], "w", V2_0, "hashed entries are left alone"),
    ]
};
