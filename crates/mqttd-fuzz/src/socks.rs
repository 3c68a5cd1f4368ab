//! What a SOCKS5 proxy answers.

use std::cell::RefCell;

use mqtt_net::socks5::{Login, Socks5Error, connect_through};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

thread_local! {
    /// Made once: it costs more than an input.
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(Builder::new_current_thread().enable_io().build().expect("a runtime"));
}

/// Bytes of the proxy's answers that come before the stream begins, or `None` where it does not
/// begin.
fn length_of_answers(answers: &[u8], has_login: bool) -> Option<usize> {
    let at = match answers {
        [5, 0, ..] => 2,
        [5, 2, _, 0, ..] if has_login => 4,
        _ => return None,
    };
    let [5, 0, _, kind, address @ ..] = answers.get(at..)? else { return None };
    let address = match kind {
        1 => 4,
        3 => 1 + usize::from(*address.first()?),
        4 => 16,
        _ => return None,
    };
    let end = at + 4 + address + 2;
    (end <= answers.len()).then_some(end)
}

/// A proxy's answers, however cut, open a stream that begins right behind them, or are refused with
/// words. The first byte says whether there is a user, the second where the answers are cut.
pub fn socks5_answer(bytes: &[u8]) {
    let [options, cut, answers @ ..] = bytes else { return };
    let login = (options & 1 == 1).then_some(Login { user: "ann", password: "secret" });
    let (first, second) = answers.split_at(usize::from(*cut).min(answers.len()));
    RUNTIME.with_borrow(|runtime| {
        runtime.block_on(async {
            let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
            let proxy = async {
                theirs.write_all(first).await.expect("room for the first part");
                tokio::task::yield_now().await;
                // Whoever was refused has gone.
                let _ = theirs.write_all(second).await;
                let _ = theirs.shutdown().await;
            };
            let host = ["broker", "10.0.0.7", "[::1]"][usize::from(options >> 1) % 3];
            let (opened, ()) = tokio::join!(connect_through(ours.into(), host, 1883, login), proxy);
            let begins = length_of_answers(answers, login.is_some());
            match opened {
                Ok(mut stream) => {
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).await.expect("what the proxy has written");
                    assert_eq!(Some(&rest[..]), begins.map(|begins| &answers[begins..]));
                }
                Err(error) => {
                    assert!(begins.is_none() && !error.to_string().is_empty(), "{error}");
                    assert!(!matches!(error, Socks5Error::FieldLength(_)), "all of them are short");
                }
            }
        });
    });
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let answers: [&[u8]; 6] = [
        b"\x00\x03\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x07\x5bhello",
        b"\x01\x01\x05\x02\x01\x00\x05\x00\x00\x03\x06broker\x07\x5bhello",
        b"\x04\x09\x05\x00\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x07\x5b",
        b"\x01\x00\x05\x02\x01\x01",
        b"\x00\x00\x05\x00\x05\x05\x00\x01\0\0\0\0\0\0",
        b"\x00\x01\x05\xff",
    ];
    answers.map(<[u8]>::to_vec).to_vec()
}
