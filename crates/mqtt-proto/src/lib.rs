//! MQTT 3.1, 3.1.1 and 5.0: packets, topics, QoS and connection machines, without I/O.
