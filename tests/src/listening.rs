//! Which sockets listen, as the kernel lists them: a look that no server notices.

use std::fs;

/// State TCP_LISTEN in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Flag SO_ACCEPTCON in `/proc/net/unix`.
const ACCEPTS: &str = "00010000";

/// Does somebody in the network of process `id` listen where `place` says, as it stands after
/// `listener` in a config: a port with an address or without, or 0 and the path of a socket?
pub fn is_there(id: u32, place: &str) -> bool {
    let mut words = place.split_whitespace();
    let port = words.next().and_then(|word| word.parse::<u16>().ok());
    match (port, words.next()) {
        (Some(0), Some(path)) => table(id, "unix").lines().any(|row| is_unix(row, path)),
        (Some(port), _) => {
            let tables = [table(id, "tcp"), table(id, "tcp6")];
            tables.iter().any(|table| table.lines().any(|row| is_tcp(row, port)))
        }
        (None, _) => panic!("no listener: {place}"),
    }
}

fn table(id: u32, name: &str) -> String {
    // The process may have ended: whoever waits for it sees that elsewhere.
    fs::read_to_string(format!("/proc/{id}/net/{name}")).unwrap_or_default()
}

/// `sl local_address rem_address st …`, the address as `HEX:PORT`.
fn is_tcp(row: &str, port: u16) -> bool {
    let mut columns = row.split_whitespace().skip(1);
    let local = columns.next().and_then(|it| it.rsplit_once(':'));
    let state = columns.nth(1);
    state == Some(LISTEN) && local.is_some_and(|(_, it)| u16::from_str_radix(it, 16) == Ok(port))
}

/// `Num RefCount Protocol Flags Type St Inode Path`.
fn is_unix(row: &str, path: &str) -> bool {
    let columns: Vec<&str> = row.split_whitespace().collect();
    matches!(columns[..], [_, _, _, ACCEPTS, _, _, _, it] if it == path)
}

#[cfg(test)]
mod tests {
    use super::is_there;
    use crate::place::{Port, TempDir};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::process;

    #[test]
    fn a_port_is_seen_while_somebody_listens() {
        let (port, me) = (Port::take().number, process::id());
        for address in ["127.0.0.1", "::1"] {
            let place = format!("{port} {address}");
            assert!(!is_there(me, &place), "{place}");
            let listener = TcpListener::bind((address, port)).unwrap();
            assert!(is_there(me, &place) && is_there(me, &port.to_string()), "{place}");
            drop(listener);
        }
    }

    #[test]
    fn so_is_a_unix_socket() {
        let (dir, me) = (TempDir::new(), process::id());
        let place = format!("0 {}", dir.file("s.sock"));
        assert!(!is_there(me, &place));
        let _listener = UnixListener::bind(dir.file("s.sock")).unwrap();
        assert!(is_there(me, &place));
    }
}
