//! The MQTT broker as one deterministic shard machine, without I/O.
