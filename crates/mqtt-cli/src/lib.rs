//! mqtt-pub, mqtt-sub, mqtt-rr and mqtt-passwd.
