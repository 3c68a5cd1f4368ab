//! Rows about how messages and sessions are kept and passed on.

use std::time::Duration;

use crate::directive::{
    Directive,
    Meaning::Global,
    Status, Tail,
    Value::{Flag, Ignored, Integer, Parsed, Text},
};
use crate::raw::Draft;

pub(super) const ROWS: &[Directive] = &[
    Directive::new(
        "retain_available",
        Global(Flag(|draft, on| draft.config.messages.retain_available = on)),
        "true",
        "retain_available false",
        "With false, messages to be retained are refused, and MQTT 5.0 clients are told so when \
         they connect.",
    ),
    Directive::new(
        "retain_expiry_interval",
        Global(Integer(1, 10_000_000, |draft, minutes| {
            let minutes = u64::try_from(minutes).unwrap_or(0);
            draft.config.messages.retain_expiry_interval = Some(Duration::from_secs(minutes * 60));
        })),
        "never",
        "retain_expiry_interval 1440",
        "Minutes after which a retained message is dropped.",
    ),
    Directive::new(
        "check_retain_source",
        Global(Flag(|draft, on| draft.config.messages.check_retain_source = on)),
        "true",
        "check_retain_source false",
        "With true, a retained message is sent only while its publisher may still publish it. \
         True is what Mosquitto's manual says; Mosquitto 2.1.2 itself takes false.",
    ),
    Directive::new(
        "check_payload_format",
        Global(Flag(|draft, on| draft.config.messages.check_payload_format = on)),
        "false",
        "check_payload_format true",
        "With true, an MQTT 5.0 message or will that says its payload is text (Payload Format \
         Indicator 1) and is not well-formed UTF-8 is refused with Reason Code 0x99; at QoS 0, \
         which has no answer, the client is disconnected with it. Otherwise it is passed on \
         unchecked. Not in Mosquitto.",
    ),
    Directive::new(
        "response_information",
        Global(Text(|draft, text| draft.config.messages.response_information = Some(text))),
        "none",
        "response_information replies/%c",
        "The topic below which an MQTT 5.0 client may expect replies. Clients that ask for it \
         (Request Response Information) are told it when they connect. %c stands for the \
         client's identifier, %u for its user name. Nothing is granted by it: that is what \
         acl_file is for. Not in Mosquitto.",
    ),
    Directive::new(
        "persistent_client_expiration",
        Global(Parsed(SPAN, Tail::Comment, |draft: &mut Draft, text| {
            draft.config.messages.persistent_client_expiration = Some(parse_span(text)?);
            Ok(())
        })),
        "never",
        "persistent_client_expiration 14d",
        "Drops the session of a client that has not been connected for this long. Units: \
         s seconds, h hours, d days, w weeks, m months of 30 days, y years of 365 days.",
    ),
    Directive::new(
        "queue_qos0_messages",
        Global(Flag(|draft, on| draft.config.messages.queue_qos0_messages = on)),
        "false",
        "queue_qos0_messages true",
        "Queues QoS 0 messages too for persistent sessions whose client is away.",
    ),
    Directive::new(
        "upgrade_outgoing_qos",
        Global(Flag(|draft, on| draft.config.messages.upgrade_outgoing_qos = on)),
        "false",
        "upgrade_outgoing_qos true",
        "Delivers with the QoS of the subscription even when the message came with a lower \
         one. The standard takes the lower of the two.",
    ),
    Directive::new(
        "allow_duplicate_messages",
        Global(Ignored),
        "",
        "allow_duplicate_messages false",
        "In old Mosquitto, whether a client with overlapping subscriptions could get a message \
         once for each of them.",
    )
    .status(Status::Unnecessary(
        "a client gets a message once, with every subscription's identifier, as from Mosquitto 2",
    )),
];

const SPAN: &str = "a number and a unit of s, h, d, w, m or y, such as 14d";

/// A time such as `14d`.
fn parse_span(text: &str) -> Result<Duration, String> {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    let wrong = || SPAN.to_owned();
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('h') => HOUR,
        Some('d') => DAY,
        Some('w') => 7 * DAY,
        Some('m') => 30 * DAY,
        Some('y') => 365 * DAY,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].trim_end().parse().map_err(|_| wrong())?;
    if number == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let check = |text: &str, seconds: Option<u64>| {
            assert_eq!(parse_span(text).ok().map(|span| span.as_secs()), seconds, "{text}");
        };
        check("1s", Some(1));
        check("2h", Some(7200));
        check("1d", Some(86_400));
        check("1 w", Some(604_800));
        check("2m", Some(5_184_000));
        check("1y", Some(31_536_000));
        check("4294967295y", Some(4_294_967_295 * 31_536_000));
        for wrong in ["", "d", "3", "0d", "-1d", "1.5d", "4294967296y", "3ü", "d3"] {
            check(wrong, None);
        }
    }
}
