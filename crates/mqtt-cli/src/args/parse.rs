//! Values of flags: numbers with Mosquitto's limits and Mosquitto's words when they are wrong.

use std::time::Duration;

use mqtt_client::{QoS, Version};
use mqtt_proto::topic::{SharedFilter, TopicFilter, TopicName};

use crate::format::Format;

/// QoS 0, 1 or 2.
pub fn qos(text: &str) -> Result<QoS, String> {
    let number: i64 = text.parse().unwrap_or(-1);
    u8::try_from(number)
        .ok()
        .and_then(QoS::from_u8)
        .ok_or_else(|| format!("Invalid QoS given: {text}"))
}

/// QoS 0, 1 or 2 of a will.
pub fn will_qos(text: &str) -> Result<QoS, String> {
    qos(text).map_err(|_| format!("Invalid will QoS {text}.\n"))
}

/// A port; 0 stands for a Unix socket.
pub fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("Invalid port given: {text}"))
}

/// 5 to 65535 seconds.
pub fn keep_alive(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(seconds) if seconds >= 5 => Ok(seconds),
        _ => Err("Invalid keepalive given, it must be between 5 and 65535 inclusive.\n".to_owned()),
    }
}

/// The names Mosquitto has for the versions.
pub fn version(text: &str) -> Result<Version, String> {
    match text {
        "mqttv31" | "31" | "3.1" => Ok(Version::V31),
        "mqttv311" | "311" | "3.1.1" => Ok(Version::V311),
        "mqttv5" | "5" | "5.0" => Ok(Version::V5),
        _ => Err("Invalid protocol version argument given.\n".to_owned()),
    }
}

/// At least 1.
pub fn max_in_flight(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("Maximum inflight messages must be greater than 0.\n".to_owned()),
    }
}

/// Seconds, or for ever.
pub fn session_expiry(text: &str) -> Result<u32, String> {
    match text {
        "∞" | "-1" => Ok(u32::MAX),
        _ => match text.parse::<i64>() {
            Ok(seconds) => u32::try_from(seconds)
                .map_err(|_| "session-expiry-interval out of range.\n".to_owned()),
            Err(_) => Err("session-expiry-interval not a number.\n".to_owned()),
        },
    }
}

/// A Topic Name.
pub fn topic_name(text: &str) -> Result<String, String> {
    match TopicName::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("Invalid publish topic '{text}', does it contain '+' or '#'?")),
    }
}

/// The topic of a will.
pub fn will_topic(text: &str) -> Result<String, String> {
    topic_name(text)
        .map_err(|_| format!("Invalid will topic '{text}', does it contain '+' or '#'?"))
}

/// The topic of a response.
pub fn response_topic(text: &str) -> Result<String, String> {
    topic_name(text)
        .map_err(|_| format!("Invalid response topic '{text}', does it contain '+' or '#'?"))
}

/// A Topic Filter, shared or not.
pub fn topic_filter(text: &str) -> Result<String, String> {
    let checked = match SharedFilter::parse(text) {
        Ok(None) => TopicFilter::new(text).map(|_| ()),
        Ok(Some(_)) => Ok(()),
        Err(error) => Err(error),
    };
    match checked {
        Ok(()) => Ok(text.to_owned()),
        Err(_) => Err(format!(
            "Invalid subscription topic '{text}', are all '+' and '#' wildcards correct?"
        )),
    }
}

/// A filter for `-T`.
pub fn filter_out(text: &str) -> Result<String, String> {
    topic_filter(text).map_err(|_| {
        format!("Invalid filter topic '{text}', are all '+' and '#' wildcards correct?")
    })
}

/// A filter for `-U`.
pub fn unsubscribe_filter(text: &str) -> Result<String, String> {
    topic_filter(text).map_err(|_| {
        format!("Invalid unsubscribe topic '{text}', are all '+' and '#' wildcards correct?")
    })
}

/// A count of at least 1.
pub fn message_count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("Invalid message count \"{text}\".\n")),
    }
}

/// How often a message is published, at least once.
pub fn repeat(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("--repeat argument must be >0.\n".to_owned()),
    }
}

/// Seconds with a fraction, for `--repeat-delay`.
pub fn repeat_delay(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "--repeat-delay argument must be >=0.0.\n".to_owned())
}

/// Whole seconds, at least 1.
pub fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("Invalid timeout \"{text}\".\n")),
    }
}

/// A format for `-F`.
pub fn format(text: &str) -> Result<String, String> {
    Format::compile(text, false).map(|_| text.to_owned())
}

/// More than 0 and at most 100.
pub fn percentage(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("--random-filter chance must be between 0.1-100.0\n".to_owned()),
    }
}

/// Messages per second: `500`, `500/s`, `30/m`.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, seconds) = match text.split_once('/') {
        None => (text, 1.0),
        Some((number, "s")) => (number, 1.0),
        Some((number, "m" | "min")) => (number, 60.0),
        Some((number, "h")) => (number, 3600.0),
        Some(_) => ("", 1.0),
    };
    match number.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate / seconds),
        _ => Err(format!("Invalid rate '{text}', write for example 500, 500/s or 30/m.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_mosquittos_from_both_sides() {
        assert_eq!(qos("2"), Ok(QoS::ExactlyOnce));
        assert_eq!(qos("3").unwrap_err(), "Invalid QoS given: 3");
        assert!(qos("-1").is_err() && qos("x").is_err() && qos("256").is_err());
        assert_eq!((keep_alive("5"), keep_alive("65535")), (Ok(5), Ok(65535)));
        assert!(keep_alive("4").is_err() && keep_alive("65536").is_err());
        assert_eq!((port("0"), port("65535")), (Ok(0), Ok(65535)));
        assert_eq!(port("70000").unwrap_err(), "Invalid port given: 70000");
        assert_eq!(session_expiry("4294967294"), Ok(u32::MAX - 1));
        assert_eq!((session_expiry("-1"), session_expiry("∞")), (Ok(u32::MAX), Ok(u32::MAX)));
        assert!(session_expiry("-2").unwrap_err().contains("out of range"));
        assert!(session_expiry("4294967296").unwrap_err().contains("out of range"));
        assert!(session_expiry("A").unwrap_err().contains("not a number"));
        assert_eq!(max_in_flight("1"), Ok(1));
        assert!(max_in_flight("0").is_err() && max_in_flight("65536").is_err());
        assert!(message_count("0").is_err() && repeat("0").is_err() && timeout("0").is_err());
        assert!(percentage("0").is_err() && percentage("100.1").is_err());
        assert_eq!(percentage("100"), Ok(100.0));
    }

    #[test]
    fn versions_have_mosquittos_names() {
        for (text, expected) in
            [("31", Version::V31), ("mqttv311", Version::V311), ("5", Version::V5)]
        {
            assert_eq!(version(text), Ok(expected));
        }
        assert!(version("4").is_err());
    }

    #[test]
    fn rates_have_units() {
        assert_eq!(rate("500"), Ok(500.0));
        assert_eq!(rate("30/m"), Ok(0.5));
        assert!(rate("0").is_err() && rate("5/x").is_err() && rate("inf").is_err());
    }

    #[test]
    fn topics_and_filters_are_told_apart() {
        assert!(topic_name("a/+").is_err() && topic_name("").is_err());
        assert!(topic_filter("a/+/#").is_ok() && topic_filter("$share/g/a").is_ok());
        assert!(topic_filter("a#").is_err() && topic_filter("$share/g").is_err());
    }
}
