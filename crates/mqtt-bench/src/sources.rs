//! `--source-addresses`: local addresses to connect from. One address has some 28,000 ports to give
//! (`ip_local_port_range`) and never more than 64,512; more connections need more addresses.

use std::net::{IpAddr, Ipv4Addr};

/// Most addresses of one list: a /16, enough for four thousand million connections.
pub(crate) const SOURCE_ADDRESSES_MAX: usize = 65_536;

/// Reads `127.0.0.2,127.0.0.10-127.0.0.20,10.1.0.0/24`; of a network, all but its first and its
/// last address count.
///
/// # Errors
/// The part that is not understood.
pub(crate) fn parse(text: &str) -> Result<Vec<IpAddr>, String> {
    let mut addresses = Vec::new();
    for part in text.split(',').map(str::trim) {
        if let Some((first, last)) = part.split_once('-') {
            push_range(&mut addresses, v4(first)?, v4(last)?, part)?;
        } else if let Some((network, bits)) = part.split_once('/') {
            let bits: u32 = bits.parse().ok().filter(|it| *it <= 30).ok_or_else(|| {
                format!("`{part}`: a network is written like 10.1.0.0/24, at most /30")
            })?;
            let size = 1u64 << (32 - bits);
            let first = u64::from(v4(network)?) & !(size - 1);
            push_range(&mut addresses, (first + 1) as u32, (first + size - 2) as u32, part)?;
        } else {
            let address = part.parse().map_err(|_| format!("`{part}` is not an IP address"))?;
            addresses.push(address);
        }
        if addresses.len() > SOURCE_ADDRESSES_MAX {
            return Err(format!("more than {SOURCE_ADDRESSES_MAX} source addresses"));
        }
    }
    Ok(addresses)
}

fn v4(text: &str) -> Result<u32, String> {
    let address: Result<Ipv4Addr, _> = text.trim().parse();
    address.map(u32::from).map_err(|_| format!("`{text}` is not an IPv4 address"))
}

fn push_range(to: &mut Vec<IpAddr>, first: u32, last: u32, part: &str) -> Result<(), String> {
    if first > last {
        return Err(format!("`{part}`: the first address is behind the last"));
    }
    // Checked before anything is allocated.
    if (last - first) as usize >= SOURCE_ADDRESSES_MAX {
        return Err(format!("`{part}`: more than {SOURCE_ADDRESSES_MAX} source addresses"));
    }
    to.extend((first..=last).map(|it| IpAddr::V4(Ipv4Addr::from(it))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_ranges_and_networks() {
        let texts = |list: &str| -> Vec<String> {
            parse(list).unwrap().iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(texts("127.0.0.2"), ["127.0.0.2"]);
        assert_eq!(texts("127.0.0.2, ::1"), ["127.0.0.2", "::1"]);
        assert_eq!(texts("10.0.0.255-10.0.1.1"), ["10.0.0.255", "10.0.1.0", "10.0.1.1"]);
        assert_eq!(texts("10.0.0.9/30"), ["10.0.0.9", "10.0.0.10"]);
        assert_eq!(parse("10.0.0.0/16").unwrap().len(), SOURCE_ADDRESSES_MAX - 2);
        assert_eq!(parse("10.0.0.0-10.0.255.255").unwrap().len(), SOURCE_ADDRESSES_MAX);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (list, words) in [
            ("", "not an IP"),
            ("host", "`host`"),
            ("10.0.0.2-10.0.0.1", "behind"),
            ("10.0.0.0/31", "at most /30"),
            ("0.0.0.0/0", "65536"),
            ("10.0.0.0-10.1.0.0", "65536"),
            ("10.0.0.0/16,10.1.0.0/29", "65536"),
        ] {
            let error = parse(list).unwrap_err();
            assert!(error.contains(words), "{list}: {error}");
        }
    }
}
