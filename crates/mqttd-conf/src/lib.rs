//! The mosquitto.conf grammar: one row per directive.
