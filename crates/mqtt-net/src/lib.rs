//! Byte streams for MQTT: TCP, TLS, WebSocket, Unix socket.
