use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

const UNWATCHED: LineSettings = LineSettings {
    timeout: None,
    keepalive: None,
};

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

fn pair() -> (Stream, DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 20);
    (Stream::new(Box::new(near), TIMEOUT), far)
}

#[test]
fn lines_and_counters() {
    run(async {
        let (mut stream, mut far) = pair();
        far.write_all(b"NOOP\r\nEXIT\n\r\nlong").await.unwrap();
        assert_eq!(stream.read_line(10).await.unwrap(), b"NOOP");
        assert_eq!(stream.read_line(10).await.unwrap(), b"EXIT");
        assert_eq!(stream.read_line(10).await.unwrap(), b"");
        assert!(matches!(
            stream.read_line(3).await,
            Err(StreamError::LineTooLong(3))
        ));
        stream.queue().extend_from_slice(b"OK\r\n");
        stream.flush().await.unwrap();
        assert_eq!(
            stream.traffic(),
            Traffic {
                received: 17,
                sent: 4
            }
        );
    });
}

#[test]
fn silence_and_end_are_told_apart() {
    run(async {
        let (mut stream, far) = pair();
        let short = Duration::from_millis(10);
        stream.set_timeout(short);
        match stream.wait_for_input().await {
            Err(StreamError::TimedOut(waited)) => assert_eq!(waited, short),
            other => panic!("{other:?}"),
        }
        drop(far);
        assert!(matches!(
            stream.wait_for_input().await,
            Err(StreamError::Closed)
        ));
    });
}

/// The compressed answer of wire-protocol §5.
const NOOP_COMPLETED: [u8; 27] = [
    0xf2, 0xf7, 0x56, 0xf0, 0xcb, 0xcf, 0x2f, 0x50, 0x48, 0xce, 0xcf, 0x2d, 0xc8, 0x49, 0x2d, 0x49,
    0x4d, 0xe1, 0xe5, 0x02, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00,
];

#[test]
fn compressed_octets_behind_the_last_line_are_not_lost() {
    run(async {
        let (mut stream, mut far) = pair();
        far.write_all(b"OK DEFLATE active\r\n").await.unwrap();
        far.write_all(&NOOP_COMPLETED[..7]).await.unwrap();
        assert_eq!(stream.read_line(100).await.unwrap(), b"OK DEFLATE active");
        stream
            .compress(Compression::Deflate, Level::Default)
            .unwrap();
        assert!(stream.is_compressed());
        far.write_all(&NOOP_COMPLETED[7..25]).await.unwrap();
        assert_eq!(stream.read_line(100).await.unwrap(), b"OK Noop completed");
        assert!(
            stream
                .compress(Compression::Deflate, Level::Default)
                .is_err()
        );
        // The peer just disappears, without an end of its compressed stream.
        drop(far);
        let end = stream.wait_for_input().await;
        assert!(matches!(end, Err(StreamError::Closed)), "{end:?}");
    });
}

#[test]
fn each_flush_ends_with_a_sync_marker() {
    run(async {
        let (mut stream, mut far) = pair();
        stream
            .compress(Compression::Deflate, Level::Default)
            .unwrap();
        let mut received = [0; 1000];
        for text in [b"OK Noop completed\r\n".as_slice(), b"OK Finished\r\n"] {
            stream.queue().extend_from_slice(text);
            stream.flush().await.unwrap();
            let count = far.read(&mut received).await.unwrap();
            assert!(received[..count].ends_with(&[0, 0, 0xff, 0xff]));
            stream.flush().await.unwrap();
        }
    });
}

#[test]
fn two_compressed_streams_talk() {
    for compression in [Compression::Deflate, Compression::Zstd] {
        run(talk(compression));
    }
}

async fn talk(compression: Compression) {
    let (near, far) = tokio::io::duplex(100);
    let mut near = Stream::new(Box::new(near), TIMEOUT);
    let mut far = Stream::new(Box::new(far), TIMEOUT);
    near.compress(compression, Level::Fastest).unwrap();
    far.compress(compression, Level::Best).unwrap();
    let noise: Vec<u8> = (0_u32..300_000)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .filter(|octet| *octet != b'\n')
        .collect();
    let send = async {
        near.queue().extend_from_slice(&noise);
        near.queue().push(b'\n');
        near.flush().await.unwrap();
        near.queue().extend_from_slice(&vec![b'x'; 1 << 20]);
        near.relieve().await.unwrap();
        near.queue().push(b'\n');
        near.flush().await.unwrap();
        assert!(near.traffic().sent < noise.len() as u64 + 20_000);
    };
    let receive = async {
        assert_eq!(far.read_line(1 << 20).await.unwrap(), noise);
        assert_eq!(far.read_line(1 << 20).await.unwrap().len(), 1 << 20);
    };
    tokio::join!(send, receive);
}

#[test]
fn garbage_instead_of_compressed_octets_is_an_error() {
    for compression in [Compression::Deflate, Compression::Zstd] {
        run(refuse(compression, b"NOOP\r\nNOOP\r\n\xff\xff\xff\xff"));
    }
}

async fn refuse(compression: Compression, received: &[u8]) {
    let (mut stream, mut far) = pair();
    stream.compress(compression, Level::Default).unwrap();
    far.write_all(received).await.unwrap();
    assert!(matches!(
        stream.read_line(100).await,
        Err(StreamError::Io(_))
    ));
}

/// A frame whose header asks for a window of 64 MiB: nothing of that size is made.
#[test]
fn a_zstandard_window_beyond_ours_is_refused() {
    let frame = [
        0x28,
        0xb5,
        0x2f,
        0xfd,
        0x00,
        (26 - 10) << 3,
        0x09,
        0,
        0,
        b'x',
    ];
    run(refuse(Compression::Zstd, &frame));
    let within = [
        0x28,
        0xb5,
        0x2f,
        0xfd,
        0x00,
        (19 - 10) << 3,
        0x10,
        0,
        0,
        b'x',
        b'\n',
    ];
    run(async move {
        let (mut stream, mut far) = pair();
        stream.compress(Compression::Zstd, Level::Default).unwrap();
        far.write_all(&within).await.unwrap();
        assert_eq!(stream.read_line(100).await.unwrap(), b"x");
    });
}

#[test]
fn plain_text_behind_starttls_is_discarded() {
    run(async {
        let (mut stream, mut far) = pair();
        far.write_all(b"STARTTLS\r\nAPPLY UNUSER bob\r\n")
            .await
            .unwrap();
        stream.read_line(100).await.unwrap();
        let (mut transport, discarded) = stream.into_transport().unwrap();
        assert_eq!(discarded, 18);
        far.write_all(b"hello").await.unwrap();
        let mut octets = [0; 100];
        assert_eq!(transport.read(&mut octets).await.unwrap(), 5);
    });
}

#[test]
fn an_unfinished_value_is_never_completed() {
    run(async {
        let (mut stream, mut far) = pair();
        stream.queue().extend_from_slice(b"* MESSAGE %{");
        stream.abandon();
        assert!(matches!(stream.flush().await, Err(StreamError::Unfinished)));
        assert!(stream.shutdown().await.is_err());
        let mut octets = Vec::new();
        far.read_to_end(&mut octets).await.unwrap();
        assert!(octets.is_empty());
    });
}

#[tokio::test]
async fn what_is_secret_is_wiped_once_it_is_sent() {
    let (near, mut far) = tokio::io::duplex(1000);
    let mut stream = Stream::new(Box::new(near), Duration::from_secs(5));
    stream.queue_secret().extend_from_slice(b"password");
    stream.flush().await.unwrap();
    let mut received = [0; 8];
    far.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"password");
    assert!(stream.output.is_empty());
    stream.queue().resize(8, 1);
    stream.flush().await.unwrap();
    assert!(!stream.output_is_secret);
}

#[tokio::test]
async fn an_allowance_is_counted_as_it_is_read() {
    let (near, mut far) = tokio::io::duplex(1000);
    let mut stream = Stream::new(Box::new(near), Duration::from_secs(5));
    stream.set_allowance(Some(10));
    far.write_all(b"12345678\n").await.unwrap();
    assert_eq!(stream.read_line(100).await.unwrap(), b"12345678");
    assert_eq!(stream.allowance(), Some(1));
    far.write_all(b"12").await.unwrap();
    assert!(matches!(
        stream.wait_for_input().await,
        Err(StreamError::TooMuch)
    ));
    stream.set_allowance(None);
    far.write_all(b"34").await.unwrap();
    stream.wait_for_input().await.unwrap();
}

/// Over TCP: the peer, which reads only after it has sent everything, gets the answer and the end.
#[test]
fn a_peer_that_is_still_sending_gets_the_last_answer() {
    run(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let peer = tokio::spawn(async move {
            let mut peer = TcpStream::connect(address).await.unwrap();
            peer.write_all(&vec![b'x'; 16 << 20]).await.unwrap();
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).await.unwrap();
            answer
        });
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = Stream::tcp(socket, TIMEOUT, UNWATCHED).unwrap();
        stream.wait_for_input().await.unwrap();
        stream.queue().extend_from_slice(b"BAD too much\r\n");
        stream.linger().await.unwrap();
        drop(stream);
        assert_eq!(peer.await.unwrap(), b"BAD too much\r\n");
    });
}

#[test]
fn a_peer_that_neither_sends_nor_closes_is_left() {
    run(async {
        let (mut stream, mut far) = pair();
        stream.set_timeout(Duration::from_millis(10));
        far.write_all(b"more").await.unwrap();
        stream.linger().await.unwrap();
        drop(stream);
        assert!(far.write_all(b"and more").await.is_err());
    });
}

#[test]
fn a_peer_that_sends_without_end_is_left() {
    run(async {
        let (mut stream, mut far) = pair();
        let flood = tokio::spawn(async move {
            let more = vec![b'x'; 1 << 20];
            while far.write_all(&more).await.is_ok() {}
        });
        stream.linger().await.unwrap();
        assert!(stream.traffic().received >= LINGER_OCTETS as u64);
        drop(stream);
        flood.await.unwrap();
    });
}
