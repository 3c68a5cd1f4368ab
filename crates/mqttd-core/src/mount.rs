//! Mount points: a listener's Clients live below a prefix that they do not see.

use alloc::string::String;

use mqtt_proto::topic::SharedFilter;

/// A Topic Name from a Client as the broker knows it; `None` without a mount point.
#[inline]
pub(crate) fn put_on_name(mount: Option<&str>, topic: &str) -> Option<String> {
    mount.map(|mount| [mount, topic].concat())
}

/// A Topic Filter likewise; in a shared one the prefix stands behind the share name.
pub(crate) fn put_on_filter(mount: Option<&str>, filter: &str) -> Option<String> {
    let mount = mount?;
    Some(match SharedFilter::parse(filter) {
        Ok(Some((share, inner))) => {
            [SharedFilter::PREFIX, share.as_str(), "/", mount, inner.as_str()].concat()
        }
        _ => [mount, filter].concat(),
    })
}

/// A Topic Name as the Client is to see it.
#[inline]
pub(crate) fn take_off<'t>(mount: Option<&str>, topic: &'t str) -> &'t str {
    mount.and_then(|mount| topic.strip_prefix(mount)).unwrap_or(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_goes_on_and_comes_off() {
        let mount = Some("site/");
        assert_eq!(put_on_name(mount, "a").as_deref(), Some("site/a"));
        assert_eq!(put_on_filter(mount, "+/b").as_deref(), Some("site/+/b"));
        let shared = put_on_filter(mount, "$share/g/+/b");
        assert_eq!(shared.as_deref(), Some("$share/g/site/+/b"));
        assert_eq!(take_off(mount, "site/a"), "a");
        assert_eq!(take_off(None, "site/a"), "site/a");
        assert_eq!(put_on_name(None, "a"), None);
    }
}
