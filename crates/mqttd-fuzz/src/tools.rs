//! What the tools read: `-F` formats, lines of recorded messages.

use mqtt_cli::clock::Moment;
use mqtt_cli::format::Format;
use mqtt_cli::record::{Defaults, parse};
use mqtt_proto::QoS;

/// Longest format whose time conversions are tried; a stranger does not choose it.
const CONVERSION_BYTES_MAX: usize = 8;

/// A format compiles or is refused with words; a line of a recording is read or refused.
pub fn output_format(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for pretty in [false, true] {
        if let Err(words) = Format::compile(&text, pretty) {
            assert!(!words.is_empty(), "a refusal without words");
        }
    }
    if text.len() <= CONVERSION_BYTES_MAX && !text.contains('\0') {
        let mut out = Vec::new();
        Moment::now().strftime(&text, &mut out);
    }
    let defaults = Defaults { topic: Some("t"), qos: QoS::AtMostOnce, retain: false };
    if let Err(words) = parse(bytes, defaults) {
        assert!(!words.is_empty(), "a refusal without words");
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 6] = [
        b"%t %p",
        b"@Y-@m-@dT@H:@M:@S.@N : %20t : %-5.3p",
        b"%j %J %X %x %l %q %r %% @@ \\n\\t\\e",
        b"%C %D %E %F %A %R %S %P %m %I %U",
        b"{\"topic\":\"a/b\",\"payload\":\"x\",\"qos\":1,\"retain\":true}",
        b"@A",
    ];
    texts.map(<[u8]>::to_vec).to_vec()
}
